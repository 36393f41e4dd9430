"""Permanents of nonnegative matrices by sequential importance sampling, row by row."""

import math
from dataclasses import dataclass
from typing import ClassVar, Self, cast

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from outsample.cost import report_flops
from outsample.errors import InputError
from outsample.estimator import Estimator, Explanation, Trust, positive_integer
from outsample.problem import Problem
from outsample.products.permanents.estimate import SampledPermanent
from outsample.products.permanents.problem import Permanent
from outsample.products.permanents.scaling import plain_array
from outsample.sampling.sampler import samples_at, seed_sequence

#: Rounds of row and column scaling.  Any number is exact; these make rows and columns of dense
#: matrices sum to 1 within a percent or less.
_ROUNDS = 30
#: Entries of a batch (samples times columns): about one level-2 cache.
_BATCH_ENTRIES = 1 << 16
#: Effective samples below which the standard error is not to be trusted.
_FEWEST_EFFECTIVE = 30
#: A column that later rows hardly reach weighs at most so many times its entry.
_MOST_PULL = 1e3


@dataclass(frozen=True)
class SequentialImportanceSampling(Estimator):
    """Average of weights of random matchings, drawn row by row; for matrices with entries >= 0.

    The matrix is scaled towards row and column sums of 1.  Row i then takes a free column j with
    probability proportional to A_ij / Σ_{l > i} A_lj: what it gains there, over what later rows
    would have had of it.  The product of A over these probabilities is an unbiased estimate of
    the permanent, whose relative variance on dense matrices is below 1, where that of a plain
    average grows exponentially.  Draws depend on ``seed`` alone.

    Args:
        samples: number of matchings.
        seed: at least 0; equal seeds give equal draws.

    Raises:
        InputError: for settings out of range, by name.

    References:
        L. E. Rasmussen, Random Structures & Algorithms 5 (1994); I. Beichl and F. Sullivan,
        J. Comput. Phys. 149 (1999), for scaled matrices; Y. Chen, P. Diaconis, S. Holmes and
        J. S. Liu, JASA 100 (2005), for column-wise proposals.

    Example:
        >>> import torch
        >>> ones = Permanent(torch.ones(6, 6, dtype=torch.float64))
        >>> SequentialImportanceSampling(samples=100).estimate(ones).value
        tensor(1.0000, dtype=torch.float64)
    """

    samples: int = 10_000
    seed: int = 0

    mechanistic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        name = type(self).__name__
        positive_integer(name, "samples", self.samples)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise InputError(f"{name}: seed = {self.seed!r}; expected an integer of at least 0")

    @classmethod
    def at(cls, epsilon: float, problem: Problem) -> Self:
        """As many samples as cost 1/ε² evaluations (n operations each), at least 1."""
        n = problem.inputs.shape[0]
        budget = samples_at(epsilon) * n - _preparation_flops(n)
        return cls(samples=max(1, budget // _sample_flops(n)))

    def accepts(self, problem: Problem) -> str | None:
        """Takes permanents of matrices without negative entries."""
        if not isinstance(problem, Permanent):
            return "it takes permanents; use MonteCarlo"
        if bool((problem.matrix.detach() < 0).any()):
            return "weights would cancel where entries are negative; use MonteCarlo or Projection"
        return None

    def estimate(
        self, problem: Problem, explanation: Explanation | None = None
    ) -> SampledPermanent:
        """Estimate E[M(x)] of ``problem``, with a standard error; no explanation is used.

        Raises:
            UnsupportedProblem: if the sampler does not take this problem.
        """
        return cast(SampledPermanent, super().estimate(problem, explanation))

    def _estimate(self, problem: Problem, explanation: Explanation | None) -> SampledPermanent:
        if not isinstance(problem, Permanent):
            raise TypeError("accepts() lets only permanents in")
        n = problem.size
        batch = min(self.samples, max(1, _BATCH_ENTRIES // n))
        nothing = problem.is_zero()
        if nothing is not None:
            return self._summarise(problem, np.full(self.samples, -math.inf), batch, nothing)
        scaled, log_factor = _balanced(plain_array(problem.matrix))
        draws = np.random.Generator(np.random.PCG64(seed_sequence(self.seed)))
        sizes = [min(batch, self.samples - k) for k in range(0, self.samples, batch)]
        logs = np.concatenate([_log_weights(scaled, size, draws) for size in sizes])
        flops = _preparation_flops(n) + self.samples * _sample_flops(n)
        report_flops(flops, "sequential importance sampling")
        return self._summarise(problem, logs + log_factor, batch, None)

    def _summarise(
        self,
        problem: Permanent,
        logs: Float64[NDArray[np.float64], " samples"],
        batch: int,
        zero: str | None,
    ) -> SampledPermanent:
        highest, relative, effective = float(logs.max()), None, float(self.samples)
        log_permanent = -math.inf
        if highest > -math.inf:
            weights = np.exp(logs - highest)
            mean = float(weights.mean())
            log_permanent = highest + math.log(mean)
            effective = float(weights.sum() ** 2 / (weights**2).sum())
            if self.samples > 1:
                relative = float(weights.std(ddof=1)) / (mean * math.sqrt(self.samples))
        trust: Trust = "ok"
        reasons: tuple[str, ...] = ()
        if zero is None and highest == -math.inf:
            trust, reasons = (
                "unreliable",
                (f"all {self.samples} draws ended without a matching, which there is",),
            )
        elif zero is None and effective < _FEWEST_EFFECTIVE:
            trust, reasons = (
                "low_confidence",
                (
                    f"{self.samples} weights are worth {effective:.3g} equal ones: a few dominate, "
                    "and larger ones may not have been met; draw more",
                ),
            )
        like = problem.matrix.detach()
        log_value = log_permanent - math.lgamma(problem.size + 1)
        value = like.new_tensor(log_value).double().exp()
        error = None if relative is None else (value * relative).to(like.dtype)
        return SampledPermanent(
            value=value.to(like.dtype),
            standard_error=error,
            error_kind="none" if error is None else "estimated",
            log_value=like.new_tensor(log_value),
            sign=like.new_tensor(0.0 if log_permanent == -math.inf else 1.0),
            trust=trust,
            reasons=reasons,
            diagnostics={"effective_samples": effective, "zero": zero},
            samples=self.samples,
            batch=batch,
            terms=self.samples,
            stopped="samples",
            log_permanent=like.new_tensor(log_permanent),
            relative_error=relative,
        )


def _balanced(
    matrix: Float64[NDArray[np.float64], "n n"],
) -> tuple[Float64[NDArray[np.float64], "n n"], float]:
    """A nearly doubly stochastic matrix, and the log of the factor to its permanent."""
    heights = matrix.max(1)
    scaled, log = matrix / heights[:, None], float(np.log(heights).sum())
    for _ in range(_ROUNDS):
        for axis in (0, 1):
            sums = scaled.sum(axis, keepdims=True)
            scaled = scaled / sums
            log += float(np.log(sums).sum())
    return scaled, log


def _log_weights(
    matrix: Float64[NDArray[np.float64], "n n"], size: int, draws: np.random.Generator
) -> Float64[NDArray[np.float64], " samples"]:
    """Logs of the weights of ``size`` random matchings, -inf of those that could not end."""
    n = len(matrix)
    later = np.cumsum(matrix[::-1], 0)[::-1] - matrix
    later = np.maximum(later, matrix / _MOST_PULL)
    pull = np.divide(matrix, later, out=np.zeros_like(matrix), where=later > 0)
    # A_ij over the part of its probability that is its own is ``later`` where it can be drawn.
    ratios = np.log(np.where(later > 0, later, 1))
    free = np.ones((size, n))
    weights = np.empty((size, n))
    log = np.zeros(size)
    each = np.arange(size)
    with np.errstate(divide="ignore"):
        for gain, ratio in zip(pull, ratios, strict=True):
            np.multiply(free, gain, out=weights)
            np.cumsum(weights, 1, out=weights)
            total = weights[:, -1].copy()
            # Below the total, so that the column found is one that adds to it.
            mark = np.minimum(draws.random(size) * total, np.nextafter(total, 0))
            column = (weights > mark[:, None]).argmax(1)
            free[each, column] = 0
            log += np.log(total)
            log += np.where(total > 0, ratio[column], 0.0)
    return log


def _preparation_flops(n: int) -> int:
    return (4 * _ROUNDS + 6) * n * n


def _sample_flops(n: int) -> int:
    # A row takes four operations a column, a random number, two logarithms and some sums.
    return n * (4 * n + 45)
