"""Importance sampling from shifted Gaussians that the cross-entropy method finds."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.catastrophe.samplers.sampler import Evaluator, Part, Reasons, TailSampler
from outsample.catastrophe.samplers.weights import WeightedMean, tilt_weights
from outsample.errors import InputError
from outsample.estimator import positive_integer

#: Share of a level's draws that the next shift is made from.
_ELITE = 0.1
#: Levels before giving up, and levels without progress.
_MOST_LEVELS, _PATIENCE = 60, 8
#: Fewer draws a level make shifts that are mostly noise.
_FEWEST_DRAWS = 100
#: Draws of a level unless told, at least; and for each input, in whose direction a shift has noise
#: of its own (30 were too few for a halfspace at 8 sd in 64 dimensions, 80 were enough).
_FEWEST_DEFAULT, _PER_INPUT = 1000, 100


@dataclass(frozen=True)
class CrossEntropy(TailSampler):
    """Importance sampling from N(μ, I), in whitened inputs, with a shift μ for each conjunction.

    Levels lead to the event: the highest tenth of a level's scores, weighted by N(0, I) over the
    proposal, give the next shift, until the event itself takes a tenth.  A last run draws from
    the equal mixture of all conjunctions' shifts and averages the weights of the draws that meet
    the detector.

    The standard error is what the weights show.  One shift covers one region: if a single
    threshold has several (|f| > t behind a network), or a shell around the mean, what the
    proposal never reaches is missed without a trace; :class:`SubsetSimulation` does not need a
    shape.

    Args:
        samples: draws of the last run, for each component of a mixture.
        seed: at least 0; equal seeds give equal draws.
        level_samples: draws of a level, at least 100; unless given, a tenth of ``samples``, but
            1000 or more, and 100 or more for each input.

    Raises:
        InputError: for settings out of range, by name.

    References:
        R. Y. Rubinstein and D. P. Kroese, "The Cross-Entropy Method" (2004), chapter 3.

    Example:
        >>> import torch, outsample as ou
        >>> inputs = ou.Gaussian.standard(2, torch.float64)
        >>> problem = ou.CatastropheProbability(torch.nn.ReLU(), inputs, ou.output[0] > 4)
        >>> found = ou.CrossEntropy(samples=20_000).estimate(problem)
        >>> exact = torch.special.log_ndtr(torch.tensor(-4.0)).item()
        >>> abs(found.log_value.item() - exact) < 4 * found.relative_error.item()
        True
    """

    samples: int = 50_000
    seed: int = 0
    level_samples: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.level_samples is not None:
            positive_integer("CrossEntropy", "level_samples", self.level_samples)
            if self.level_samples < _FEWEST_DRAWS:
                raise InputError(
                    f"CrossEntropy: level_samples = {self.level_samples}; expected at least "
                    f"{_FEWEST_DRAWS}"
                )

    def _on_gaussian(self, evaluator: Evaluator) -> Part:
        reasons: Reasons = []
        levels: list[int] = []
        shifts: list[Tensor] = []
        for place in range(len(evaluator.problem.conjunctions)):
            shift, count, reached = self._shift(evaluator, place)
            shifts.append(shift)
            levels.append(count)
            if not reached:
                name = f" of conjunction {place}" if len(evaluator.problem.conjunctions) > 1 else ""
                reasons.append(("unreliable", f"the levels{name} did not reach the event"))
        modes = torch.stack(shifts)
        found = self._last_run(evaluator, modes)
        return Part(
            found.log_value,
            found.relative_error,
            evaluator.samples,
            [*reasons, *found.reasons()],
            {
                "effective_samples": found.effective_samples,
                "largest_share": found.largest_share,
                "levels": levels,
                "shift_lengths": modes.norm(dim=1).tolist(),
            },
        )

    def _shift(self, evaluator: Evaluator, place: int) -> tuple[Float64[Tensor, " n"], int, bool]:
        """The shift for one conjunction, the levels it took, and whether they reached it."""
        inputs = evaluator.law.shape[0]
        rows = self.level_samples or max(self.samples // 10, _FEWEST_DEFAULT, _PER_INPUT * inputs)
        elite = max(int(_ELITE * rows), 1)
        draws = evaluator.draws(self.seed, f"levels {place}")
        shift = evaluator.problem.inputs.mean.detach().new_zeros(evaluator.law.shape).double()
        best, waited, level = -torch.inf, 0, 0
        while level < _MOST_LEVELS and waited < _PATIENCE:
            level += 1
            noise = evaluator.normals(rows, draws)
            z = noise.double() + shift
            score = evaluator.scores(z.to(noise.dtype))[:, place]
            height = float(score.topk(elite).values[-1])
            reached = height > 0
            chosen = z[score > 0] if reached else z[score >= height]
            weights = tilt_weights(chosen, shift[None])
            shift = (weights - weights.max()).softmax(0) @ chosen
            if reached:
                return shift, level, True
            waited = 0 if height > best else waited + 1
            best = max(best, height)
        return shift, level, False

    def _last_run(self, evaluator: Evaluator, shifts: Float64[Tensor, "modes n"]) -> WeightedMean:
        draws = evaluator.draws(self.seed, "last run")
        # Every shift in turn, as often as the others: the mixture without luck in its labels.
        order = torch.arange(self.samples, device=shifts.device) % len(shifts)
        found: list[Tensor] = []
        for labels in order.split([*evaluator.batches(self.samples)]):
            noise = evaluator.normals(len(labels), draws)
            z = noise.double() + shifts[labels]
            hit = (evaluator.scores(z.to(noise.dtype)) > 0).any(1)
            found.append(tilt_weights(z[hit], shifts))
        return WeightedMean.of(torch.cat(found), self.samples)
