"""Expectation propagation for intersections of halfspaces, with Hermite corrections."""

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from outsample.cost import report_flops
from outsample.distributions import Gaussian
from outsample.errors import InputError
from outsample.estimator import Estimator, Explanation, Trust, worst_trust
from outsample.problem import Problem
from outsample.products.halfspaces.corrections import (
    DEGREE,
    correlations,
    pair_flops,
    pair_terms,
    second_order,
    third_order,
    triple_flops,
)
from outsample.products.halfspaces.estimate import HalfspaceEstimate, Mixture
from outsample.products.halfspaces.feasibility import is_empty
from outsample.products.halfspaces.implicit_gradient import Linearisation, LogProbability
from outsample.products.halfspaces.least_distance import log_mass_bound
from outsample.products.halfspaces.preparation import Prepared, prepare
from outsample.products.halfspaces.problem import HalfspaceIntersection
from outsample.products.halfspaces.sites import (
    SETTLED,
    FixedPoint,
    cavities,
    covariance,
    fixed_point,
    log_normaliser,
    sweep_flops,
    tilt,
)
from outsample.products.halfspaces.truncated_normal import hermite_coefficients, hermite_flops

Vector = NDArray[np.float64]
Corrections = Literal["D2", "D3"] | None

#: Largest posterior correlations at which D3 and D2 (at degree 8) are at their best.
_FOR_THIRD, _FOR_SECOND = 0.45, 0.6
#: Highest degree of D2 beyond that correlation, where the series soon turns.
_LOW_DEGREE = 4
#: Corrections larger than this say that the expansion fails; still larger ones are left out.
_LARGE, _LARGEST = 0.3, 1.0
#: D2 and D3 beyond which 20 and more equally correlated normals have shown errors of 2 % and more.
_DOUBTFUL = 0.1, 0.02
#: Changes of sites beyond which what they give is not an approximation.
_LOST = 0.1
#: Corrections to log p that are no cause for doubt, whatever their ratio.
_SMALL = 1e-3
#: Normals with a correlation beyond this, yet not merged, make this method 7-20 % wrong.
_NEAR = 0.99


class PropagatingEstimator(Estimator):
    """What estimators built on :func:`propagate` share: preparation, and certain answers."""

    def accepts(self, problem: Problem) -> str | None:
        """Takes intersections of halfspaces."""
        return refusal(problem)

    def _count_flops(self, problem: Problem, explanation: Explanation | None) -> int:
        with torch.no_grad():
            return self._estimate(problem, explanation).kernel_flops or 0

    def _estimate(self, problem: Problem, explanation: Explanation | None) -> HalfspaceEstimate:
        if not isinstance(problem, HalfspaceIntersection):
            raise TypeError(f"{type(problem).__name__} was not refused")
        ready = prepare(problem)
        work = preparation_flops(problem)
        certain = certain_estimate(problem, ready, work)
        if certain is not None:
            return certain
        return self._approximate(problem, ready, work, explanation)

    @abstractmethod
    def _approximate(
        self,
        problem: HalfspaceIntersection,
        ready: Prepared,
        work: int,
        explanation: Explanation | None,
    ) -> HalfspaceEstimate:
        """Estimate what is not certain; ``work`` is the FLOPs of the preparation."""


@dataclass(frozen=True)
class ExpectationPropagation(PropagatingEstimator):
    """P(v_i · x >= b_i for all i) by a Gaussian that matches each condition's mean and variance.

    Expectation propagation is deduction and projection in a basis that adapts: degrees up to 2
    in the exponent are kept, and what is left of each factor is expanded in Hermite polynomials
    about the Gaussian found, so that relative accuracy does not depend on how small p is.  The
    value is differentiable in normals, offsets and the Gaussian, by implicit differentiation.

    Args:
        corrections: ``"D2"`` (pairs of factors), ``"D3"`` (also triples and the second order of
            the logarithm) or None (the plain method).  The error grows with the largest
            correlation r that remains between factors: D3 is best up to r = 0.45, D2 up to 0.6
            (D2 stops at degree 4 beyond that, instead of 8); ``trust`` says so.

    Cost: about 10 sweeps of O(k³), 12 to 40 where normals are strongly correlated or k > n;
    O(n k²) before them.

    Raises:
        InputError: for another word in ``corrections``.

    References:
        T. P. Minka, UAI 2001; Cunningham, Hennig and Lacoste-Julien, arXiv:1111.6832;
        Opper, Paquet and Winther, JMLR 14 (2013), for corrections.

    Example:
        >>> import torch, outsample as ou
        >>> orthant = ou.HalfspaceIntersection(torch.eye(40, dtype=torch.float64))
        >>> log_p = ExpectationPropagation().estimate(orthant).log_value
        >>> round(log_p.item() / math.log(2), 9)
        -40.0
    """

    corrections: Corrections = "D3"

    mechanistic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_corrections("ExpectationPropagation", self.corrections)

    def _approximate(
        self,
        problem: HalfspaceIntersection,
        ready: Prepared,
        work: int,
        explanation: Explanation | None,
    ) -> HalfspaceEstimate:
        gram, lower, upper = to_numpy(ready)
        found = propagate(
            gram, lower[None], upper[None], self.corrections, largest_correction=_LARGEST
        )
        k, log_p, kernel = len(lower), float(found.log_values[0]), found.flops
        if not found.sites.change[0] < _LOST:
            log_p = log_mass_bound(gram, lower, upper)
            kernel += 10 * k**3
        report_flops(kernel, "expectation_propagation")
        trust, reasons = _judge(ready, found, self.corrections)
        return make_estimate(
            problem,
            ready,
            log_p,
            *single_gaussian(ready, found),
            trust=trust,
            reasons=reasons,
            diagnostics={
                **diagnostics_of(ready),
                "sweeps": found.sites.sweeps,
                "change": float(found.sites.change[0]),
                "largest_correlation": float(found.correlation[0]),
                "degree": int(found.degree[0]),
                "D2": float(found.second[0]),
                "D3": float(found.third[0]),
            },
            kernel_flops=work + kernel,
        )


@dataclass(frozen=True)
class Propagated:
    """Fixed points and log probabilities of a batch of Q problems; vectors have shape (Q,)."""

    sites: FixedPoint
    log_values: Vector
    #: Corrections D2 and D3 of each; 0 where not asked for.
    second: Vector
    third: Vector
    #: Largest correlation between factors, and highest degree taken.
    correlation: Vector
    degree: NDArray[np.int64]
    #: 1 where the corrections went into the value, else 0.
    corrected: Vector
    with_third: bool
    flops: int

    def only(self, kept: NDArray[np.bool_]) -> "Propagated":
        """Some problems of the batch."""
        sites = self.sites._replace(
            precision=self.sites.precision[kept],
            shift=self.sites.shift[kept],
            change=self.sites.change[kept],
        )
        return replace(
            self,
            sites=sites,
            log_values=self.log_values[kept],
            second=self.second[kept],
            third=self.third[kept],
            correlation=self.correlation[kept],
            degree=self.degree[kept],
            corrected=self.corrected[kept],
        )

    def linearisation(self, weights: Vector, shifts: Vector, removed: Vector) -> Linearisation:
        """Where to differentiate Σ_q weights_q log p_q."""
        return Linearisation(
            sites=np.concatenate([self.sites.precision, self.sites.shift], axis=1),
            weights=weights,
            shifts=shifts,
            removed=removed,
            kept=_kept(self.degree),
            corrected=self.corrected,
            third=self.with_third,
        )


def propagate(
    gram: Vector,
    lower: Vector,
    upper: Vector,
    corrections: Corrections,
    start: tuple[Vector, Vector] | None = None,
    largest_correction: float = math.inf,
) -> Propagated:
    """Expectation propagation with corrections, in NumPy, for problems that share K.

    Args:
        gram: K, shape (k, k).
        lower: shape (Q, k).
        upper: shape (Q, k).
        corrections: which corrections to add.
        start: precisions and shifts of the sites to start from, each (Q, k); zeros unless given.
        largest_correction: problems whose corrections are larger, in absolute value, go without.
    """
    k = lower.shape[1]
    before = (np.zeros_like(lower), np.zeros_like(lower)) if start is None else start
    sites = fixed_point(gram, lower, upper, *before)
    none = np.zeros(len(lower))
    with np.errstate(all="ignore"):  # what did not converge may overflow; it is marked
        cavity = cavities(gram, sites.precision, sites.shift)
        law = tilt(cavity, lower, upper)
        log_values = log_normaliser(gram, sites.precision, cavity, law)
        rho = correlations(covariance(gram, sites.precision, cavity.inverse))
        largest = abs(rho).max((1, 2))
        low = (largest > _FOR_SECOND) & (corrections == "D2")
        degree = np.where(low, _LOW_DEGREE, DEGREE)
        second, third, corrected = none, none, none
        if corrections is not None:
            coefficients = hermite_coefficients(law, DEGREE) * _kept(degree)
            pairs = pair_terms(coefficients, rho, DEGREE)
            second = second_order(pairs)
            if corrections == "D3":
                third = third_order(coefficients, rho, pairs)
            added = second + third
            corrected = (abs(added) <= largest_correction).astype(float)
            log_values = log_values + np.where(corrected > 0, added, 0)
    each = 0 if corrections is None else hermite_flops(k, DEGREE) + pair_flops(k)
    each += triple_flops(k) if corrections == "D3" else 0
    return Propagated(
        sites=sites,
        log_values=log_values,
        second=second,
        third=third,
        correlation=largest,
        degree=degree,
        corrected=corrected,
        with_third=corrections == "D3",
        # The last sweep's work is done once more for the value.
        flops=(sites.work + len(lower)) * sweep_flops(k) + len(lower) * each,
    )


def check_corrections(owner: str, corrections: object) -> None:
    """Raise InputError unless ``corrections`` is one of the words known."""
    if corrections not in ("D2", "D3", None):
        raise InputError(
            f"{owner}: corrections = {corrections!r}; expected 'D3' (the most), 'D2' or None"
        )


def refusal(problem: Problem) -> str | None:
    """Why ``problem`` is none for the methods of this package, or None."""
    if isinstance(problem, HalfspaceIntersection):
        return None
    return "it takes a HalfspaceIntersection; use the estimator of this problem's kind"


def to_numpy(ready: Prepared) -> tuple[Vector, Vector, Vector]:
    """Gram matrix and limits as arrays."""
    gram, lower, upper = (t.detach().cpu().numpy() for t in (ready.gram, ready.lower, ready.upper))
    return gram, lower, upper


def preparation_flops(problem: HalfspaceIntersection) -> int:
    """FLOPs of whitening and of the Gram matrix."""
    k, n = problem.normals.shape
    law = problem.inputs
    dense = isinstance(law, Gaussian) and law.scale.dim() == 2
    return 2 * k * k * n + 6 * k * n + (6 * k * n * n if dense else 0)


def diagnostics_of(ready: Prepared) -> dict[str, Any]:
    """What preparation did to the conditions."""
    return {"factors": ready.factors, "merged": ready.merged, "dropped": ready.dropped}


def certain_estimate(
    problem: HalfspaceIntersection, ready: Prepared, flops: int
) -> HalfspaceEstimate | None:
    """The estimate where there is nothing to estimate: no condition, or contradictory ones."""
    empty = ready.empty or (
        ready.factors > 0 and is_empty(ready.directions.cpu().numpy(), *to_numpy(ready))
    )
    if not empty and ready.factors > 0:
        return None
    n = problem.normals.shape[1]
    log_value = problem.normals.new_tensor(-math.inf if empty else 0.0)
    # A certain answer has derivatives too: zeros.
    log_value = log_value + sum(t.flatten()[:0].sum() for t in problem.tensors() if t.requires_grad)
    none = np.zeros((1, 0))
    everything = Mixture(np.zeros((0, n)), np.zeros((0, n)), np.ones(1), none, none, none)
    return HalfspaceEstimate(
        value=log_value.exp(),
        log_value=log_value,
        sign=log_value.new_tensor(0.0 if empty else 1.0),
        diagnostics={**diagnostics_of(ready), "empty": empty},
        kernel_flops=flops,
        _mixture=None if empty else everything,
    )


def single_gaussian(ready: Prepared, found: Propagated) -> tuple[Linearisation, Mixture]:
    """Where to differentiate, and the law of x given the conditions, of a batch of one problem."""
    k, n = ready.factors, ready.directions.shape[1]
    law = Mixture(
        directions=ready.directions.cpu().numpy(),
        axes=np.zeros((0, n)),
        weights=np.ones(1),
        nodes=np.zeros((1, 0)),
        precision=found.sites.precision,
        shift=found.sites.shift,
    )
    return found.linearisation(np.ones(1), np.zeros((1, k)), np.zeros((k, k))), law


def make_estimate(
    problem: HalfspaceIntersection,
    ready: Prepared,
    log_value: float,
    at: Linearisation,
    mixture: Mixture,
    **fields: Any,
) -> HalfspaceEstimate:
    """An estimate in the problem's dtype, with gradients if any input asks for them.

    Corrections may take a probability near 1 beyond it; it is cut there.
    """
    log_value = float(np.minimum(log_value, 0.0))  # keeps NaN
    inputs = (ready.gram, ready.lower, ready.upper)
    if torch.is_grad_enabled() and any(t.requires_grad for t in inputs):
        log_p = torch.as_tensor(LogProbability.apply(*inputs, log_value, at))
    else:
        log_p = ready.gram.new_tensor(log_value)
    return HalfspaceEstimate(
        value=log_p.exp().to(problem.normals),
        log_value=log_p.to(problem.normals),
        sign=torch.ones_like(log_p.detach()),
        _mixture=mixture,
        **fields,
    )


def _kept(degree: NDArray[np.int64]) -> Vector:
    """Factors 1 and 0 on the coefficients of degree 3 … DEGREE, shape (degrees, Q, 1)."""
    return (np.arange(3, DEGREE + 1)[:, None, None] <= degree[:, None]).astype(float)


def _judge(
    ready: Prepared, found: Propagated, corrections: Corrections
) -> tuple[Trust, tuple[str, ...]]:
    change, r = float(found.sites.change[0]), float(found.correlation[0])
    second, third = float(found.second[0]), float(found.third[0])
    reasons: list[str] = []
    grades: list[Trust] = []
    if ready.largest_correlation > _NEAR:
        grades.append("low_confidence")
        reasons.append(
            f"two normals have a correlation of {ready.largest_correlation:.7g}: nearly the same, "
            "yet not merged; errors of 7-20 % have been seen; try CommonDirection"
        )
    if not change < SETTLED:
        grades.append("unreliable")
        instead = "" if change < _LOST else "; the value is no more than an upper bound"
        reasons.append(f"the sites did not converge, with changes of {change:.2g}{instead}")
    if r > _FOR_SECOND:
        grades.append("low_confidence")
        reasons.append(
            f"factors stay correlated up to {r:.2f}, beyond {_FOR_SECOND}, where the corrections "
            "lose their worth; try CommonDirection"
        )
    elif r > _FOR_THIRD and corrections == "D3":
        grades.append("low_confidence")
        reasons.append(
            f"factors stay correlated up to {r:.2f}, beyond {_FOR_THIRD}, where D3 is no better "
            "than D2; try corrections='D2' or CommonDirection"
        )
    if not abs(second) <= _LARGE:
        grades.append("unreliable")
        left_out = "" if found.corrected[0] else "; it is left out"
        reasons.append(f"the correction D2 = {second:.2g} is too large for a series{left_out}")
    elif abs(second) > _DOUBTFUL[0] or abs(third) > _DOUBTFUL[1]:
        grades.append("low_confidence")
        reasons.append(
            f"the corrections D2 = {second:.2g} and D3 = {third:.2g} are not small, and what comes "
            "after them may be several per cent; try CommonDirection"
        )
    if abs(third) > max(abs(second) / 2, _SMALL):
        grades.append("low_confidence")
        reasons.append(f"D3 = {third:.2g} is not small beside D2 = {second:.2g}")
    if found.log_values[0] > _SMALL:
        grades.append("low_confidence")
        reasons.append(f"log p = {found.log_values[0]:.2g} with corrections, cut to 0")
    return worst_trust(*grades), tuple(reasons)
