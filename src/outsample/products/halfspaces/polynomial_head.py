"""Deduction and projection for halfspaces: a polynomial head of total degree at most d.

The head g stands for the product of the indicators so far.  It is held by its Hermite moments
G_j = E[g(x) He^(j)(x)], symmetric tensors of order j <= d.  With v a unit normal, a the contraction
of the last index with v (which is the derivative of g along v) and a† the symmetric product with v,
multiplying by a function f of v · x is a sum in normal order, that is with all a to the right:

    f(v · x) = sum over p, q of E[He_(p+q)(z) f(z)] (a†)^p a^q / (p! q!),   z a standard normal.

It is exact, and what it leaves out, moments of order above d, is the projection.  Per factor and
for D coordinates this takes O(d D^d) operations, and no quadrature.

Only the angles between the normals matter.  In coordinates that make their matrix triangular, last
normal first, a factor leaves one coordinate that no later factor looks at; its moments are dropped,
exactly.  With k factors the work is O(n k² + k^(d+1)).
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from outsample.cost import report_flops
from outsample.errors import BudgetError, InputError, UnsupportedProblem
from outsample.estimator import Estimate, Trust, worst_trust
from outsample.products.halfspaces.feasibility import is_empty
from outsample.products.halfspaces.hermite_moments import hermite_moments
from outsample.products.halfspaces.preparation import Prepared, prepare
from outsample.products.halfspaces.problem import HalfspaceIntersection

#: The moments of highest order may have so many entries (half a gigabyte; the work takes about
#: four times as much memory).
_MOST_ENTRIES = 2**26

#: Trust: a last degree that changes the estimate by more, an estimate below this multiple of the
#: independent one, and correlations beyond this lower it.
_LARGE_STEP, _FAR_BELOW, _NEAR_DUPLICATE = 0.3, 0.1, 0.99
#: So does a head whose part of highest degree has a norm beyond this share of its constant term:
#: what was projected away is then not much smaller.  Of what stays trusted on random normals (not
#: those of the benchmark) some 2 % are more than 10 % off.
_HIGHEST = 0.2
#: Correlations above this are noticed at degree 0.
_INDEPENDENT = 0.1
#: Two factors of correlation r meet in every degree, at degree l with weight r^l; beyond this at
#: the first degree that is left out the series has not begun to converge.  In the plane and beyond,
#: with near-duplicates, wedges and shared directions, 51 of 2,144 trusted estimates were more than
#: 10 % off without this and 5 of 1,844 with it; on fresh problems 5 of 940.
_SLOW = 0.2
_ROUND_OFF, _TINY = 1e-12, 1e-300
#: Distances of a normal from the span of others that are round-off.
_DEPENDENT = 1e-7

#: A NumPy array or, for gradients, a tensor: they share the operators that the head takes.
Array = Any
Stack = Callable[[list[Array]], Array]


def settings_at(epsilon: float, problem: HalfspaceIntersection) -> dict[str, Any]:
    """The largest degree d with n^d <= 1/ε², while the moments of order d fit in memory."""
    if not 0 < epsilon < math.inf:
        raise InputError(f"epsilon = {epsilon!r}; expected a finite number above 0")
    n = max(problem.normals.shape[1], 2)
    degree = math.floor(max(0.0, -2 * math.log(epsilon) / math.log(n)) + 1e-9)
    size = max(min(problem.normals.shape), 2)
    return {"degree": min(degree, math.floor(math.log(_MOST_ENTRIES, size)))}


def refusal(problem: HalfspaceIntersection, degree: int) -> str | None:
    """None: every intersection of halfspaces has a head of every degree, memory permitting."""
    del problem, degree
    return None


def project(problem: HalfspaceIntersection, degree: int) -> Estimate:
    """Estimate the probability by a head of total degree at most ``degree``.

    Gradients flow to offsets and mean, and to normals and covariance if the normals are linearly
    independent.

    Raises:
        BudgetError: if the moments of order ``degree`` would not fit in memory.
        UnsupportedProblem: if gradients in linearly dependent normals are asked for.
    """
    prepared = prepare(problem)
    size = min(prepared.directions.shape)
    if size**degree > _MOST_ENTRIES:
        raise BudgetError(
            f"Projection: degree = {degree} in {size} dimensions takes {float(size) ** degree:.2g} "
            f"moments of the highest order, more than {_MOST_ENTRIES:.2g}; use a lower degree"
        )
    if prepared.empty or _is_empty(prepared):
        nothing = problem.normals.new_zeros(())
        return Estimate(value=nothing, log_value=nothing - torch.inf)
    moments, log_mass = hermite_moments(prepared.lower, prepared.upper, 2 * degree)
    if torch.is_grad_enabled() and (prepared.gram.requires_grad or moments.requires_grad):
        stack = cast(Stack, torch.stack)
        ratios, highest = _ratios(_triangle(prepared), _weights(moments, degree, stack), stack)
    else:
        rows = _rows(prepared.directions.cpu().numpy())
        weights = _weights(moments.detach().cpu().numpy(), degree, np.stack)
        found, highest = _ratios(rows, weights, np.stack)
        ratios = [torch.as_tensor(ratio) for ratio in found]
        _report(prepared, [len(row) for row in rows], degree)
    return _summary(problem, prepared, ratios, log_mass.sum(), highest, degree)


def _is_empty(prepared: Prepared) -> bool:
    parts = (prepared.directions, prepared.gram, prepared.lower, prepared.upper)
    return prepared.factors > 0 and is_empty(*(t.detach().cpu().numpy() for t in parts))


def _rows(directions: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The normals in coordinates of which row i uses the first k - i, at most n."""
    k = len(directions)
    triangle = cast(NDArray[np.float64], np.linalg.qr(directions[::-1].T, mode="r")).T[::-1]
    return [np.ascontiguousarray(row[: k - i]) for i, row in enumerate(triangle)]


def _triangle(prepared: Prepared) -> list[Tensor]:
    """The same with gradients, in the correlations too if these have any."""
    if not prepared.gram.requires_grad:
        rows = _rows(prepared.directions.cpu().numpy())
        return [torch.from_numpy(row).to(prepared.gram) for row in rows]
    factor, failed = torch.linalg.cholesky_ex(prepared.gram.flip(0, 1))
    if int(failed) or bool((factor.detach().diagonal() < _DEPENDENT).any()):
        raise UnsupportedProblem(
            f"Projection: the {prepared.factors} normals are linearly dependent, and there is no "
            "gradient in them; detach them, or use ExpectationPropagation"
        )
    return [row[: prepared.factors - i] for i, row in enumerate(factor.flip(0))]


def _weights(moments: Array, degree: int, stack: Stack) -> Array:
    """E[He_(p+q) f] / q! for each factor f, divided by E[f]; of shape (k, q, p)."""
    orders = range(degree + 1)
    rows = [moments[:, q : q + degree + 1] / math.factorial(q) for q in orders]
    return stack(rows).swapaxes(0, 1)


def _ratios(rows: list[Array], weights: Array, stack: Stack) -> tuple[list[Array], float]:
    """Estimates of p / Π p_i by heads of degree d, d - 1 and so on, until two differ.

    Two that are next to each other do not where symmetry makes even or odd parts vanish.  Also
    the largest norm of the part of degree d, over the constant term, of any head of degree d.
    """
    ratios: list[Array] = []
    highest: list[float] = []
    for degree in range(weights.shape[1] - 1, -1, -1):
        ratio, norm = _expectation(rows, weights[:, : degree + 1, : degree + 1], stack)
        ratios.append(ratio)
        highest.append(norm)
        if abs(ratios[0] - ratios[-1]) > _ROUND_OFF:
            break
    return ratios, highest[0]


def _expectation(rows: list[Array], weights: Array, stack: Stack) -> tuple[Array, float]:
    """E of the product of all factors, each divided by its probability; norm of highest degree."""
    if not rows:
        return weights.sum() + 1, 0.0
    head = [weights[0, 0, 0]]  # 1, as E[He_0 f] is divided by E[f]
    degree, highest = weights.shape[1] - 1, 0.0
    for row, weight, later in zip(rows, weights, rows[1:], strict=False):
        head = _multiply(head, row, weight, len(later), stack)
        square = _number((head[-1] * head[-1]).sum()) / math.factorial(degree)
        highest = max(highest, math.sqrt(square) / max(abs(_number(head[0])), _TINY))
    total = 0 * head[0]
    for order, moment in enumerate(head):  # of the last factor only the expectation is wanted
        for _ in range(order):
            moment = moment @ rows[-1]
        total = total + weights[-1, order, 0] * moment
    return total, highest if degree else 0.0


def _number(value: Array) -> float:
    return float(value.detach() if isinstance(value, Tensor) else value)


def _multiply(
    head: list[Array],
    v: Array,
    weights: Array,
    kept: int,
    stack: Stack,
) -> list[Array]:
    """The head times one factor, of which later factors see the first ``kept`` coordinates."""
    degree = len(weights) - 1
    contracted: list[list[Array]] = [[] for _ in head]
    for order, moment in enumerate(head):
        contracted[order].append(moment)
        for lower in range(order - 1, -1, -1):
            moment = moment @ v
            contracted[lower].append(moment)
    # sums[o][p]: what the p-th power of a† is to act on, of order o.
    sums: list[Array] = []
    for order, given in enumerate(contracted):
        both = stack([part[(slice(kept),) * order] for part in given])
        flat = both.reshape(len(given), -1)
        if order < degree:  # else there is one, with weight 1
            flat = weights[: len(given), : degree - order + 1].T @ flat
        sums.append(flat.reshape(len(flat), *both.shape[1:]))
    v = v[:kept]
    product: list[Array] = []
    for total in range(degree + 1):
        moment = sums[0][total]
        for order in range(1, total + 1):
            power = total - order
            moment = _symmetric_product(v, moment)
            if power:
                moment *= 1 / (power + 1)
            if order < len(sums):
                moment += sums[order][power]
        product.append(moment)
    return product


def _symmetric_product(v: Array, tensor: Array) -> Array:
    """The sum over all places at which ``v`` can stand among the indices of a symmetric tensor."""
    size = len(v)
    product = tensor[..., None] * v
    for place in range(tensor.ndim):
        product += (tensor.reshape(size**place, 1, -1) * v[:, None]).reshape(product.shape)
    return product


def _report(prepared: Prepared, sizes: list[int], degree: int) -> None:
    """Tell the meter what the kernel does in ``sizes`` coordinates, factor by factor."""
    short, long = sorted(prepared.directions.shape)
    flops = round(2 * long * short**2 - 2 * short**3 / 3)  # the triangular factor
    for d in range(max(degree - 1, 0), degree + 1):
        for i, size in enumerate(sizes):
            top = d if i else 0  # the first head is constant
            flops += sum(2 * size**j * (top - j + 1) for j in range(1, top + 1))
            if i == len(sizes) - 1:
                continue
            kept = sizes[i + 1]
            flops += sum(2 * (d - j + 1) * (top - j + 1) * kept**j for j in range(min(d, top + 1)))
            flops += sum((d - j + 1) * (2 * j + 1) * kept**j for j in range(1, d + 1))
            flops += 2 * kept**d
    report_flops(flops, "polynomial_head")


def _summary(
    problem: HalfspaceIntersection,
    prepared: Prepared,
    ratios: list[Tensor],
    log_mass: Tensor,
    highest: float,
    degree: int,
) -> Estimate:
    """The estimate, clamped to 0 from below, with what speaks against it."""
    ratio = ratios[0].to(log_mass.device)
    positive = bool(ratio.detach() > 0)
    # Indicators and projections are contractions, so only round-off ever takes it above 1.
    log_value = (log_mass + (ratio.log() if positive else 0 * ratio - torch.inf)).clamp_max(0)
    diagnostics = {
        "factors": prepared.factors,
        "merged": prepared.merged,
        "largest_correlation": prepared.largest_correlation,
        "over_independent": float(ratio.detach()),
        "last_degree_over_independent": float((ratio - ratios[-1]).detach()),
        "highest_degree": highest,
    }
    doubts = list(_doubts(diagnostics, degree, has_step=len(ratios) > 1))
    grades: list[Trust] = [grade for grade, _ in doubts]
    return Estimate(
        value=log_value.exp().to(problem.dtype),
        log_value=log_value.to(problem.dtype),
        trust=worst_trust(*grades),
        reasons=tuple(reason for _, reason in doubts),
        diagnostics=diagnostics,
    )


def _doubts(
    diagnostics: dict[str, Any], degree: int, has_step: bool
) -> Iterator[tuple[Trust, str]]:
    """Reasons not to believe the number, with the trust each leaves."""
    ratio, step = diagnostics["over_independent"], diagnostics["last_degree_over_independent"]
    correlation = diagnostics["largest_correlation"]
    if ratio <= 0:
        yield (
            "unreliable",
            f"the polynomial gave {ratio:.3g} times the product of the single probabilities, "
            "clamped to 0; use ExpectationPropagation",
        )
    elif has_step and abs(step) > _LARGE_STEP * ratio:
        grade: Trust = "unreliable" if abs(step) > ratio else "low_confidence"
        yield (
            grade,
            f"the last degree changed the estimate by {abs(step) / ratio:.2g} of itself; use a "
            "higher degree, or ExpectationPropagation",
        )
    if (highest := diagnostics["highest_degree"]) > _HIGHEST:
        yield (
            "low_confidence",
            f"the part of the highest degree reached a norm of {highest:.2g} beside the constant "
            f"term, beyond {_HIGHEST}: what was projected away may matter as much; use a higher "
            "degree, or ExpectationPropagation",
        )
    if not has_step and correlation > _INDEPENDENT:
        yield (
            "low_confidence",
            "degree 0 takes the halfspaces for independent, and the largest correlation is "
            f"{correlation:.3g}; use a higher degree",
        )
    if has_step and correlation ** (degree + 1) > _SLOW:
        yield (
            "low_confidence",
            f"two normals have a correlation of {correlation:.3g}, and degree {degree} is too low "
            "for that; use a higher degree, or ExpectationPropagation",
        )
    if 0 < ratio < _FAR_BELOW:
        yield (
            "low_confidence",
            f"the estimate is {ratio:.2g} of the product of the single probabilities, whose size "
            "the error goes by; use ExpectationPropagation",
        )
    if correlation > _NEAR_DUPLICATE:
        yield (
            "unreliable",
            f"two normals have a correlation of {correlation:.6f}: too "
            "close for a polynomial, not close enough to be merged",
        )
