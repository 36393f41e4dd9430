"""Quasi-Monte Carlo: scrambled Sobol points through the inverse normal distribution function."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from outsample.cost import count_flops, report_flops
from outsample.errors import InputError
from outsample.estimator import Explanation, positive_integer
from outsample.problem import Problem
from outsample.sampling.moments import Moments
from outsample.sampling.progress import progress
from outsample.sampling.sampler import (
    SampledEstimate,
    Sampler,
    Stopped,
    batch_rows,
    empty_terms,
    empty_values,
    evaluate,
    needs_normals,
    samples_at,
    seed_sequence,
    summarise,
)

if TYPE_CHECKING:
    from scipy.stats import qmc

#: Bits of a Sobol coordinate: a replicate has at most 2^30 points.
_BITS = 30


@dataclass(frozen=True)
class QuasiMonteCarlo(Sampler):
    """Average of M over scrambled Sobol points, in independent replicates.

    Each replicate is a Sobol sequence with its own random linear scramble and digital shift, whose
    points are uniform; the inverse normal distribution function makes normals of them.  A
    replicate has 2^k points, the most that ``samples`` allows, since only powers of two are
    balanced: the estimate's ``samples`` says how many were used in all.  The standard error comes
    from the spread of the replicates.

    With an early stop, all replicates start short and are doubled together; ``seconds`` ends the
    run before a doubling that would not fit.

    Args:
        samples: number of evaluations over all replicates, at least 2 a replicate.
        seed: at least 0; equal seeds give equal points.
        replicates: independent scrambles, at least 2.
        standard_error: stop early once no output's is above this.
        seconds: stop early once another doubling would end after this time.

    Raises:
        InputError: for settings out of range, by name.

    Example:
        >>> import torch, outsample as ou
        >>> problem = ou.NetworkMean(torch.nn.Linear(4, 2), ou.Gaussian.standard(4))
        >>> ou.QuasiMonteCarlo(samples=10_000).estimate(problem).samples
        8192

    References:
        Owen, Journal of Complexity 14 (1998); Matoušek, Journal of Complexity 14 (1998), for the
        scramble; Joe and Kuo, SIAM J. Sci. Comput. 30 (2008), for the direction numbers.
    """

    samples: int = 2**14
    seed: int = 0
    replicates: int = 8
    standard_error: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_integer("QuasiMonteCarlo", "replicates", self.replicates)
        if self.replicates < 2:
            raise InputError(
                "QuasiMonteCarlo: replicates = 1; expected at least 2, whose spread is the "
                "standard error"
            )
        if not 2 * self.replicates <= self.samples < self.replicates << (_BITS + 1):
            raise InputError(
                f"QuasiMonteCarlo: samples = {self.samples} with replicates = {self.replicates}; "
                f"expected 2 to 2^{_BITS} samples a replicate"
            )

    @classmethod
    def at(cls, epsilon: float, problem: Problem) -> Self:
        """N = ⌈1/ε²⌉, but at least two points in each of the 8 replicates."""
        return cls(samples=max(samples_at(epsilon), 2 * cls.replicates))

    def accepts(self, problem: Problem) -> str | None:
        """Takes problems whose inputs are made from at most 21201 normals."""
        from scipy.stats import qmc  # slow to import

        reason = needs_normals(problem)
        if reason is None and problem.inputs.latent_size > qmc.Sobol.MAXDIM:
            reason = (
                f"its inputs take {problem.inputs.latent_size} normals, and Sobol sequences are "
                f"known for at most {qmc.Sobol.MAXDIM}; use MonteCarlo"
            )
        return reason

    def _estimate(self, problem: Problem, explanation: Explanation | None) -> SampledEstimate:
        start = time.perf_counter()
        length = self._length()
        rows = min(batch_rows(problem), length)
        children = seed_sequence(self.seed).spawn(self.replicates)
        replicates = [(_engine(problem, seed), empty_values(problem)) for seed in children]
        goal, done = (rows if self._may_stop else length), 0
        stopped: Stopped | None = None
        values, terms = empty_values(problem), empty_terms(problem)
        work = None if self._may_stop else length * self.replicates
        with torch.no_grad(), progress("QuasiMonteCarlo", work) as advance:
            while done < length and stopped is None:
                for engine, moments in replicates:
                    for _ in range((goal - done) // rows):
                        _take(problem, engine, rows, moments)
                        advance(rows)
                values, terms = _pooled(problem, [moments for _, moments in replicates])
                done, goal = goal, 2 * goal
                if done < length:
                    # A doubling takes as long again as everything before it.
                    elapsed = 2 * (time.perf_counter() - start)
                    stopped = self._reached(terms, terms, elapsed)
        equal = int((terms.constant & ~values.constant).sum())
        doubts: tuple[str, ...] = ()
        if equal:
            doubts = (
                f"{equal} of {terms.mean.numel()} outputs came out equal in all replicates, as "
                f"steps in one direction do; their error may be about 1/{done}, not 0",
            )
        return summarise(problem, values, terms, rows, stopped or "samples", doubts)

    def _count_flops(self, problem: Problem, explanation: Explanation | None) -> int:
        """Batches cost the same, so one is metered."""
        rows = min(batch_rows(problem), self._length())
        engine, moments = _engine(problem, seed_sequence(self.seed)), empty_values(problem)
        with torch.no_grad():
            one = count_flops(lambda: _take(problem, engine, rows, moments))
        return one * (self._length() // rows) * self.replicates

    def _length(self) -> int:
        """Points of one replicate: the largest power of two that the samples allow."""
        return 1 << ((self.samples // self.replicates).bit_length() - 1)


def _engine(problem: Problem, seed: np.random.SeedSequence) -> "qmc.Sobol":
    from scipy.stats import qmc

    return qmc.Sobol(
        problem.inputs.latent_size, scramble=True, bits=_BITS, rng=np.random.default_rng(seed)
    )


def _take(problem: Problem, engine: "qmc.Sobol", rows: int, moments: Moments) -> None:
    """Evaluate the next points of one replicate and take in the values."""
    uniform = torch.from_numpy(engine.random(rows))
    report_flops(2 * uniform.numel(), "sobol")  # one exclusive or and one scaling a number
    # Points lie on multiples of 2^-30, 0 among them: the middle of each cell is inside (0, 1).
    z = torch.special.ndtri(uniform + 2.0 ** -(_BITS + 1))
    moments.add(evaluate(problem, problem.inputs.from_normal(z.to(problem.device, problem.dtype))))


def _pooled(problem: Problem, replicates: list[Moments]) -> tuple[Moments, Moments]:
    """Moments of all values, and of the replicates' means."""
    values, terms = empty_values(problem), empty_terms(problem)
    for moments in replicates:
        values.merge(moments)
        terms.add(moments.mean[None], weight=moments.weight)
    return values, terms
