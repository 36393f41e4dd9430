"""Genz's sampler of multivariate normal probabilities: separation of variables on lattices."""

import math
from dataclasses import dataclass
from typing import ClassVar, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray

from outsample.cost import report_flops
from outsample.errors import InputError
from outsample.estimator import Estimator, Explanation, positive_integer
from outsample.problem import Problem
from outsample.products.halfspaces.preparation import Prepared, prepare
from outsample.products.halfspaces.problem import HalfspaceIntersection
from outsample.sampling.sampler import SampledEstimate, samples_at, seed_sequence

#: Normals at a smaller angle (in radians) are one: it moves p by a part in 1e7 at most.
_SAME = 1e-7
#: Points of the first round of SciPy's integrator, per dimension; each round has √2 times the last.
_FIRST_ROUND = 1000
#: Fewer would take a second round, as SciPy rounds its lattices down to primes.
_FEWEST_POINTS = 120
#: With fewer the standard error is marked ``low_confidence``.
_FEW_REPLICATES = 8
#: One dimension of one point: two distribution functions, one inverse, and a few sums.
_STEP_FLOPS = 90


@dataclass(frozen=True)
class Genz(Estimator):
    """Probability of halfspaces by Genz's quasi-Monte Carlo method, as SciPy has it.

    Conditions are met one after the other, each coordinate drawn from the normal law cut to what
    its condition leaves; the weights are integrated over shifted lattices.  The best sampler of
    these probabilities up to a few dozen halfspaces.  Two factors are exact.

    The standard error comes from the spread of independent replicates.

    Args:
        points: lattice points of all replicates together; SciPy's integrator may take fewer.
        seed: at least 0; equal seeds give equal draws.
        replicates: number of independent runs, at least 2.

    Raises:
        InputError: for settings out of range, or fewer than 120 points a replicate.

    References:
        A. Genz, J. Comput. Graph. Stat. 1 (1992).

    Example:
        >>> import torch
        >>> Genz(points=8000).estimate(HalfspaceIntersection(torch.eye(4))).value
        tensor(0.0625)
    """

    points: int = 20_000
    seed: int = 0
    replicates: int = 8

    mechanistic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("points", "replicates"):
            positive_integer("Genz", name, getattr(self, name))
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"Genz: seed = {self.seed!r}; expected an integer of at least 0")
        if self.replicates < 2:
            raise InputError(
                f"Genz: replicates = {self.replicates}; expected at least 2, for a standard error"
            )
        if self.points < _FEWEST_POINTS * self.replicates:
            raise InputError(
                f"Genz: points = {self.points} for {self.replicates} replicates; expected at "
                f"least {_FEWEST_POINTS} for each"
            )

    @classmethod
    def at(cls, epsilon: float, problem: Problem) -> Self:
        """As many points as cost 1/ε² evaluations, and at least 120 for each replicate."""
        if not isinstance(problem, HalfspaceIntersection):
            return cls()
        k, n = problem.normals.shape
        budget = samples_at(epsilon) * 2 * n * k // max(_point_flops(k), 1)
        return cls(points=max(budget, _FEWEST_POINTS * cls.replicates))

    def accepts(self, problem: Problem) -> str | None:
        """Takes intersections of halfspaces."""
        if isinstance(problem, HalfspaceIntersection):
            return None
        return "it takes a HalfspaceIntersection; use MonteCarlo"

    def estimate(self, problem: Problem, explanation: Explanation | None = None) -> SampledEstimate:
        """Estimate E[M(x)] of ``problem``, with a standard error; no explanation is used.

        Raises:
            UnsupportedProblem: if the sampler does not take this problem.
        """
        return cast(SampledEstimate, super().estimate(problem, explanation))

    def _estimate(self, problem: Problem, explanation: Explanation | None) -> SampledEstimate:
        if not isinstance(problem, HalfspaceIntersection):
            raise TypeError("accepts() lets only halfspaces in")
        with torch.no_grad():
            prepared = prepare(problem, same=_SAME)
        values, points = self._replicates(prepared)
        value = problem.normals.new_tensor(values.mean())
        report_flops(points * _point_flops(prepared.factors), "Genz")
        spread = float(values.std(ddof=1)) / math.sqrt(self.replicates)
        doubts: tuple[str, ...] = ()
        if self.replicates < _FEW_REPLICATES:
            doubts = (
                f"the standard error rests on {self.replicates} replicates; "
                f"{_FEW_REPLICATES} are better",
            )
        elif points and spread >= 0.3 * values.mean():
            doubts = ("the standard error is a third of the estimate or more; take more points",)
        return SampledEstimate(
            value=value,
            standard_error=value.new_tensor(spread),
            error_kind="estimated",
            trust="low_confidence" if doubts else "ok",
            reasons=doubts,
            diagnostics={"factors": prepared.factors, "merged": prepared.merged},
            samples=points,
            batch=points // self.replicates,
            terms=self.replicates,
            stopped="samples",
        )

    def _replicates(self, prepared: Prepared) -> tuple[NDArray[np.float64], int]:
        """Independent values, and how many points they took together."""
        if prepared.empty or prepared.factors == 0:
            return np.full(self.replicates, float(not prepared.empty)), 0
        from scipy.stats import multivariate_normal  # slow to import

        limit, each = _rounds(self.points // self.replicates, prepared.factors)
        gram, lower, upper = (
            t.cpu().numpy() for t in (prepared.gram, prepared.lower, prepared.upper)
        )
        values = [
            multivariate_normal.cdf(
                upper,
                cov=gram,  # pyright: ignore[reportArgumentType] (a wrong stub)
                allow_singular=True,
                lower_limit=lower,
                maxpts=limit,
                abseps=0,
                rng=np.random.Generator(np.random.PCG64(seeds)),
            )
            for seeds in seed_sequence(self.seed).spawn(self.replicates)
        ]
        return np.array(values), each * self.replicates


def _rounds(points: int, factors: int) -> tuple[int, int]:
    """SciPy's ``maxpts`` for at most ``points`` (they are passed by its last round), and how many.

    Its integrator takes rounds that grow by √2 until their points pass ``maxpts``.
    """
    if factors <= 2:
        return points, 0  # closed forms
    first = math.sqrt(2) * _FIRST_ROUND * factors
    if points < (1 + math.sqrt(2)) * first:
        taken = min(points, round(first))
        return round(taken / math.sqrt(2)), taken
    taken = size = first
    while taken + math.sqrt(2) * size <= points:
        size *= math.sqrt(2)
        taken += size
    return round(0.95 * taken), round(taken)


def _point_flops(factors: int) -> int:
    """Operations for one lattice point."""
    return factors * factors + _STEP_FLOPS * factors if factors > 2 else 0
