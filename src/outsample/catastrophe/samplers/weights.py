"""Importance weights: their mean in log space, and what speaks against it."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.estimator import Trust

#: Effective samples below which, and largest shares of one weight above which, a mean of weights
#: is low_confidence and unreliable.
_FEW, _FEWEST = 100.0, 10.0
_LARGE, _LARGEST = 0.02, 0.2


@dataclass(frozen=True)
class WeightedMean:
    """Mean of importance weights that are zero where the event does not happen."""

    #: Log of the mean, and its standard error over the mean.
    log_value: float
    relative_error: float
    #: (Σ w)² / Σ w², and the largest weight over Σ w; 0 and 1 if no weight is positive.
    effective_samples: float
    largest_share: float

    @classmethod
    def of(cls, log_weights: Float64[Tensor, " hits"], count: int) -> "WeightedMean":
        """Mean over ``count`` draws, of which those with positive weights are given."""
        if len(log_weights) == 0:
            return cls(-math.inf, math.inf, 0.0, 1.0)
        top = float(log_weights.max())
        shares = (log_weights - top).exp()
        total, square = float(shares.sum()), float(shares.square().sum())
        effective = total**2 / square
        spread = max(count / effective - 1, 0.0)
        relative = math.sqrt(spread / (count - 1)) if count > 1 else math.inf
        return cls(top + math.log(total / count), relative, effective, 1 / total)

    def reasons(self) -> list[tuple[Trust, str]]:
        """Reasons not to believe the standard error."""
        found: list[tuple[Trust, str]] = []
        if self.effective_samples < _FEW:
            grade: Trust = "unreliable" if self.effective_samples < _FEWEST else "low_confidence"
            found.append(
                (grade, f"the mean rests on {self.effective_samples:.3g} effective samples")
            )
        if self.largest_share > _LARGE:
            grade = "unreliable" if self.largest_share > _LARGEST else "low_confidence"
            found.append((grade, f"one draw has {self.largest_share:.2g} of all weight"))
        return found


def tilt_weights(
    z: Float64[Tensor, "rows n"], shifts: Float64[Tensor, "modes n"]
) -> Float64[Tensor, " rows"]:
    """Log of N(0, I) over the equal mixture of N(shift, I), at rows of z."""
    logs = z @ shifts.T - 0.5 * shifts.square().sum(1)
    return math.log(len(shifts)) - torch.logsumexp(logs, 1)
