"""Halfspaces whose normals share a direction: integrate over it, approximate the rest."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_ndtr, logsumexp

from outsample.cost import report_flops
from outsample.distributions import Gaussian
from outsample.errors import BudgetError, InputError
from outsample.estimator import (
    Explanation,
    Trust,
    positive_integer,
    worst_trust,
)
from outsample.products.halfspaces.directions import (
    Directions,
    common_factors,
    factor_flops,
    loadings_of,
)
from outsample.products.halfspaces.estimate import HalfspaceEstimate, Mixture
from outsample.products.halfspaces.expectation_propagation import (
    Corrections,
    Propagated,
    PropagatingEstimator,
    check_corrections,
    diagnostics_of,
    make_estimate,
    propagate,
    single_gaussian,
    to_numpy,
)
from outsample.products.halfspaces.least_distance import log_mass_bound
from outsample.products.halfspaces.preparation import Prepared
from outsample.products.halfspaces.problem import HalfspaceIntersection
from outsample.products.halfspaces.sites import SETTLED, cavities

Vector = NDArray[np.float64]

#: Step of the trapezoid rule, in posterior standard deviations of the coordinate and, where that
#: is less, in the widths over which a condition switches on.
_STEP, _SWITCH = 0.55, 0.75
#: Nodes reach this many standard deviations, and are left out where even the least likely
#: condition alone makes their share of p smaller than exp(-24).
_SPAN, _NEGLIGIBLE = 12.0, 24.0
#: A given number of nodes spans this many standard deviations to either side; they are too few if
#: that makes the step larger than the automatic one by this factor.
_NARROW, _COARSEST = 7.0, 1.5
#: Most points of the lattice, and most entries of a matrix for each node (64 MiB; the work takes
#: about twenty times as much).
_MOST_POINTS, _MOST_ENTRIES = 1 << 21, 1 << 23
#: Inner corrections larger than this are left out; the share of p of such nodes that raises doubt.
_LARGEST_CORRECTION, _SHARE = 0.5, 1e-6
#: Correlation that may remain between factors.
_REMAINING, _CORRELATED_SHARE = 0.6, 0.01


@dataclass(frozen=True)
class CommonDirection(PropagatingEstimator):
    """P(v_i · x >= b_i for all i) for normals that share one direction, or a few.

    Given the coordinates t of x along the common directions, what remains of the normals is
    nearly uncorrelated, and expectation propagation with corrections is accurate; the integral
    over t is done by the trapezoid rule about its posterior, for all nodes at once.  In terms of
    the projection of random products: all degrees along the common directions, low degrees across.

    The directions come from a :class:`Directions` explanation, else they are the factors that
    explain most of the correlations between normals.  Where a normal is nearly a common
    direction, the coordinate is blurred a little, so that the integrand has no step.

    Gradients hold the common directions fixed, which is right up to the error of the method.

    Args:
        nodes: nodes along each direction; None picks the step.
        corrections: of the inner expectation propagation.
        directions: how many common directions, 1 to 3, unless an explanation tells them.

    Cost: that of expectation propagation times the number of nodes (about 25 for one direction),
    which share the work of arrays.

    Raises:
        InputError: for settings out of range.
        BudgetError: from an estimate that would take too many nodes, as several directions do
            where normals are nearly parallel to them.

    Example:
        >>> import torch, outsample as ou
        >>> normals = torch.full((8, 20), 0.3, dtype=torch.float64)
        >>> normals[:, :8] += torch.eye(8, dtype=torch.float64)
        >>> cone = ou.HalfspaceIntersection(normals)
        >>> f"{CommonDirection().estimate(cone).value.item():.6f}"
        '0.196425'
    """

    nodes: int | None = None
    corrections: Corrections = "D3"
    directions: int = 1

    mechanistic: ClassVar[bool] = True
    explanations: ClassVar[tuple[type[Explanation], ...]] = (Directions,)

    def __post_init__(self) -> None:
        check_corrections("CommonDirection", self.corrections)
        positive_integer("CommonDirection", "directions", self.directions)
        if self.directions > 3:
            raise InputError(
                f"CommonDirection: directions = {self.directions}; expected 1 to 3, for the nodes "
                "form a grid over them"
            )
        if self.nodes is not None:
            positive_integer("CommonDirection", "nodes", self.nodes)

    def _approximate(
        self,
        problem: HalfspaceIntersection,
        ready: Prepared,
        work: int,
        explanation: Explanation | None,
    ) -> HalfspaceEstimate:
        gram, lower, upper = to_numpy(ready)
        loadings = self._loadings(problem, ready, gram, explanation)
        whole = propagate(gram, lower[None], upper[None], None)
        grid = place_nodes(gram, lower, upper, loadings, whole, self.nodes)
        if not (len(grid.nodes) and np.isfinite(whole.log_values).all()):
            return _bounded(problem, ready, whole, work + whole.flops)
        removed = loadings @ loadings.T
        shifts = grid.nodes @ loadings.T
        start = (
            np.repeat(whole.sites.precision, len(shifts), axis=0),
            whole.sites.shift - whole.sites.precision * shifts,
        )
        found = propagate(
            gram - removed,
            lower - shifts,
            upper - shifts,
            self.corrections,
            start,
            _LARGEST_CORRECTION,
        )
        kernel = whole.flops + found.flops + 90 * grid.tried * len(lower)
        kernel += factor_flops(len(lower)) if explanation is None else 0
        settled = (found.sites.change < SETTLED) & np.isfinite(found.log_values)
        # Far out, propagation may fail where there is next to no mass: bounds tell.
        bounds = grid.log_weights[~settled] + [
            log_mass_bound(gram - removed, lower - s, upper - s) for s in shifts[~settled]
        ]
        kernel += int((~settled).sum()) * 10 * len(lower) ** 3
        if settled.any():
            found, shifts = found.only(settled), shifts[settled]
            grid = replace(grid, nodes=grid.nodes[settled], log_weights=grid.log_weights[settled])
            log_terms = grid.log_weights + found.log_values
        else:
            return _bounded(problem, ready, whole, work + kernel)
        log_p = float(np.asarray(logsumexp(log_terms)))
        weights = np.exp(log_terms - log_p)
        lost = float(np.exp(np.minimum(bounds - log_p, 0.0)).sum())
        report_flops(kernel, "common_direction")
        directions = ready.directions.cpu().numpy()
        trust, reasons = _judge(found, weights, lost, grid.coarseness)
        return make_estimate(
            problem,
            ready,
            log_p,
            found.linearisation(weights, shifts, removed),
            Mixture(
                directions=directions,
                axes=np.linalg.pinv(directions, rcond=1e-10).dot(loadings).T,
                weights=weights,
                nodes=grid.nodes,
                precision=found.sites.precision,
                shift=found.sites.shift,
            ),
            trust=trust,
            reasons=reasons,
            diagnostics={
                **diagnostics_of(ready),
                "nodes": len(weights),
                "directions": loadings.shape[1],
                "sweeps": whole.sites.sweeps + found.sites.sweeps,
                "change": _of_share(found.sites.change, weights),
                "largest_correlation": _of_share(found.correlation, weights),
                "D2": float(weights @ found.second),
                "D3": float(weights @ found.third),
            },
            kernel_flops=work + kernel,
        )

    def _loadings(
        self,
        problem: HalfspaceIntersection,
        ready: Prepared,
        gram: Vector,
        explanation: Explanation | None,
    ) -> Vector:
        if not isinstance(explanation, Directions):
            return common_factors(gram, self.directions)
        law, cpu = problem.inputs, torch.device("cpu")
        if isinstance(law, Gaussian):
            with torch.no_grad():
                root = law.to(torch.float64, cpu).square_root()
        else:
            root = torch.eye(law.shape[0], dtype=torch.float64)
        if explanation.directions.shape[0] > 3:
            raise InputError(
                f"CommonDirection: {explanation.directions.shape[0]} directions given; expected 1 "
                "to 3, for the nodes form a grid over them"
            )
        return loadings_of(explanation, root, ready.directions.cpu().numpy(), gram)


def _bounded(
    problem: HalfspaceIntersection, ready: Prepared, whole: Propagated, flops: int
) -> HalfspaceEstimate:
    """The upper bound on p, where propagation converged at no node."""
    gram, lower, upper = to_numpy(ready)
    return make_estimate(
        problem,
        ready,
        log_mass_bound(gram, lower, upper),
        *single_gaussian(ready, whole),
        trust="unreliable",
        reasons=("the sites converged at no node; the value is no more than an upper bound",),
        diagnostics={**diagnostics_of(ready), "nodes": 0},
        kernel_flops=flops + 10 * len(lower) ** 3,
    )


@dataclass(frozen=True)
class Grid:
    """Nodes t of the integral over r coordinates."""

    #: Shape (Q, r), and the logarithms of their weights, with the density of t, shape (Q,).
    nodes: Vector
    log_weights: Vector
    #: Nodes that were looked at, those without mass included.
    tried: int
    #: Step over the one that is chosen where no number of nodes is given.
    coarseness: float


def place_nodes(
    gram: Vector,
    lower: Vector,
    upper: Vector,
    loadings: Vector,
    whole: Propagated,
    count: int | None,
) -> Grid:
    """Lattice about the posterior of t, in its principal coordinates, without hopeless nodes.

    The trapezoid rule converges faster than any power of its step for analytic integrands that
    fall off like a Gaussian, which this one is.

    Args:
        gram: K, shape (k, k).
        lower: shape (k,).
        upper: shape (k,).
        loadings: A, shape (k, r): t has covariance A with y.
        whole: expectation propagation on the whole problem.
        count: nodes along each coordinate, or None.

    Raises:
        BudgetError: if there are too many nodes.
    """
    k, r = loadings.shape
    cavity = cavities(gram, whole.sites.precision, whole.sites.shift)
    middle = loadings.T @ cavity.weights[0]
    reduction = loadings.T @ (cavity.inverse[0] * whole.sites.precision[0]) @ loadings
    spread, axes = np.linalg.eigh(np.eye(r) - (reduction + reduction.T) / 2)
    spread = spread.clip(1e-12)
    root = axes * np.sqrt(spread)
    own = np.sqrt(1 - (loadings * loadings).sum(axis=1))
    slope = np.sqrt(((loadings @ root) ** 2).sum(axis=1)) / own
    automatic = min(_STEP, _SWITCH / max(float(slope.max()), 1e-300))
    step = automatic if count is None else 2 * _NARROW / max(count - 1, 1)
    half = math.ceil(_SPAN / step)
    _check_size((2 * half + 1) ** r, _MOST_POINTS, "points of the lattice")
    ticks = step * np.arange(-half, half + 1)
    offsets = np.stack(np.meshgrid(*[ticks] * r, indexing="ij"), axis=-1).reshape(-1, r)
    offsets = offsets[(offsets * offsets).sum(axis=1) <= _SPAN**2]
    nodes = middle + offsets @ root.T
    log_weights = r * math.log(step / math.sqrt(2 * math.pi)) + np.log(spread).sum() / 2
    log_weights = log_weights - (nodes * nodes).sum(axis=1) / 2
    means = nodes @ loadings.T
    least = np.minimum(log_ndtr((means - lower) / own), log_ndtr((upper - means) / own)).min(axis=1)
    kept = log_weights + least > float(whole.log_values[0]) - _NEGLIGIBLE
    _check_size(int(kept.sum()), _MOST_ENTRIES // max(k * k, 64), f"nodes of {k} factors")
    return Grid(nodes[kept], log_weights[kept], len(nodes), step / automatic)


def _check_size(number: int, most: int, of: str) -> None:
    if number > most:
        raise BudgetError(
            f"CommonDirection: it takes {number} {of}, and at most {most} are allowed: lower the "
            "number of directions, or give the number of nodes along each"
        )


def _of_share(figures: Vector, weights: Vector) -> float:
    """Largest figure among the nodes that matter."""
    return float(figures[weights > _SHARE].max())


def _judge(
    found: Propagated, weights: Vector, lost: float, coarseness: float
) -> tuple[Trust, tuple[str, ...]]:
    reasons: list[str] = []
    grades: list[Trust] = []
    if coarseness > _COARSEST:
        grades.append("low_confidence")
        reasons.append(
            f"nodes are {coarseness:.2g} times further apart than the integrand asks for: give "
            "more of them, or nodes=None"
        )
    if lost > _SHARE:
        grades.append("unreliable")
        reasons.append(f"the sites did not converge at nodes with a share of up to {lost:.2g} of p")
    correlated = float(weights @ (found.correlation > _REMAINING))
    if correlated > _CORRELATED_SHARE:
        grades.append("low_confidence")
        reasons.append(
            f"factors stay correlated beyond {_REMAINING} at nodes with a share of "
            f"{correlated:.2g} of p: the directions do not explain the correlations; try more "
            "directions"
        )
    bare = float(weights @ (found.corrected == 0)) if found.second.any() else 0.0
    if bare > _CORRELATED_SHARE:
        grades.append("low_confidence")
        reasons.append(
            f"corrections were too large to be used at nodes with a share of {bare:.2g} of p"
        )
    return worst_trust(*grades), tuple(reasons)
