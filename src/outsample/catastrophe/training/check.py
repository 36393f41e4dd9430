"""Checks of a mechanistic estimate by an independent rare-event estimator."""

import dataclasses
import math
from dataclasses import dataclass

from outsample.catastrophe.estimate import TailEstimator
from outsample.catastrophe.problem import CatastropheProbability

#: Relative errors of the sampled probability above which it decides nothing.
_LARGEST_ERROR = 0.35


@dataclass(frozen=True)
class Check:
    """A log probability beside that of an independent estimator."""

    #: log p as training has it, and as the check has it.
    log_probability: float
    log_checked: float
    #: Standard error of the checked probability over itself.
    relative_error: float
    #: Whether they agree within the factor; None if the check's own error is too large to say.
    agrees: bool | None


def checked(
    problem: CatastropheProbability,
    log_probability: float,
    estimator: TailEstimator,
    turn: int,
    factor: float,
) -> Check:
    """Check ``log_probability`` of the problem; sampled checks draw anew each turn."""
    seed = getattr(estimator, "seed", None)
    if seed is not None:
        changes = {"seed": seed + turn}
        estimator = dataclasses.replace(estimator, **changes)
    estimate = estimator.estimate(problem)
    log_checked = -math.inf
    if estimate.log_value is not None:
        log_checked = float(estimate.log_value.detach())
    relative = 0.0 if estimate.relative_error is None else float(estimate.relative_error)
    agrees = None
    if relative <= _LARGEST_ERROR and estimate.trust != "unreliable":
        agrees = abs(log_checked - log_probability) <= math.log(factor)
    return Check(log_probability, log_checked, relative, agrees)
