"""Closed forms for few halfspaces: intervals, wedges, trihedral cones, and products of these.

Groups of conditions that are uncorrelated across groups are independent, so their probabilities
multiply.  A group has a closed form if it is

- one factor l <= y <= u: Φ(u) - Φ(l);
- two or three half-lines through the centre: (π - θ) / 2π and (2π - θ₁₂ - θ₁₃ - θ₂₃) / 4π, with
  the angles θ between normals (W. F. Sheppard 1899);
- any two factors: one integral of Φ against φ, which panels of Gauss and Legendre's rule give to
  round-off.

Angles come from |u - v| and |u + v| (W. Kahan's formula), which keeps their digits near 0 and π.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float64
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from outsample.distributions import Gaussian
from outsample.products.halfspaces.legendre import legendre_rule
from outsample.products.halfspaces.preparation import Prepared, prepare
from outsample.products.halfspaces.problem import HalfspaceIntersection

#: Correlations, and angles between normals, below these are round-off of zero.
_ROUND_OFF, _SAME = 1e-15, 1e-14
#: Limits below this are round-off of zero: offsets that a mean cancels.
_CENTRE = 4e-15
#: Beyond this φ underflows; panels of this width are short enough for 16 points.
_RANGE, _PANEL = 39.0, 0.5
#: As good as infinite, but times zero it is zero, which gradients need.
_FAR = 1e6
_HALF = math.sqrt(0.5)
#: Panels double in width away from where an integrand turns.
_DOUBLINGS = 60


def has_closed_form(problem: HalfspaceIntersection) -> bool:
    """Whether :func:`closed_form` knows the probability; cheap."""
    with torch.no_grad():
        prepared = prepare(problem, same=_SAME)
        return prepared.empty or all(
            _is_closed(prepared, group) for group in _independent(prepared)
        )


def closed_form(problem: HalfspaceIntersection) -> Tensor | None:
    """The probability to about 1e-15, shape (), or None if it has no closed form here.

    It is differentiable in normals, offsets and the parameters of a Gaussian.
    """
    prepared = prepare(problem, same=_SAME)
    if prepared.empty:
        return problem.normals.new_zeros(())
    groups = list(_independent(prepared))
    if not all(_is_closed(prepared, group) for group in groups):
        return None
    value = prepared.lower.new_ones(())
    for group in groups:
        value = value * _probability(problem, prepared, group)
    return value.to(problem.dtype)


def _independent(prepared: Prepared) -> Iterator[list[int]]:
    """Factors grouped so that factors of different groups are uncorrelated."""
    linked = (prepared.gram.detach().abs() > _ROUND_OFF).cpu().numpy()
    count, labels = connected_components(linked, directed=False)
    for label in range(count):
        yield np.flatnonzero(labels == label).tolist()


def _is_closed(prepared: Prepared, group: list[int]) -> bool:
    return len(group) <= 2 or (len(group) == 3 and _is_central(prepared, group))


def _is_central(prepared: Prepared, group: list[int]) -> bool:
    """Whether every factor of the group is a half-line that starts at 0, up to round-off."""
    lower, upper = prepared.lower.detach()[group], prepared.upper.detach()[group]
    return bool((lower.abs() <= _CENTRE).all() and (upper == torch.inf).all())


def _probability(problem: HalfspaceIntersection, prepared: Prepared, group: list[int]) -> Tensor:
    if len(group) == 1:
        return interval_mass(prepared.lower[group[0]], prepared.upper[group[0]])
    if not _is_central(prepared, group):
        angle = _angle(problem, prepared, *group)
        return _bivariate(prepared.lower[group], prepared.upper[group], angle)
    if len(group) == 2:
        return (math.pi - _angle(problem, prepared, *group)) / (2 * math.pi)
    i, j, k = group
    angles = [_angle(problem, prepared, *pair) for pair in ((i, j), (i, k), (j, k))]
    return (2 * math.pi - torch.stack(angles).sum()) / (4 * math.pi)


def _angle(problem: HalfspaceIntersection, prepared: Prepared, i: int, j: int) -> Tensor:
    """Angle between two normals in whitened coordinates, in (0, π)."""
    rows = prepared.rows[[i, j]]
    u, v = problem.normals.double()[rows] / prepared.deviation[[i, j], None]
    return 2 * torch.atan2(_deviation(problem, u - v), _deviation(problem, u + v))


def _deviation(problem: HalfspaceIntersection, w: Tensor) -> Tensor:
    """Standard deviation of w · x, up to the scale that all w on a sphere share."""
    law = problem.inputs
    if not isinstance(law, Gaussian):
        return (w @ w).sqrt()
    scale = law.scale.double()
    if scale.dim() < 2:
        return (w * w * scale).sum().sqrt()
    # What a singular covariance has as 0 may come out below.
    return torch.maximum(w @ scale @ w, 1e-16 * (w.abs() @ scale.abs() @ w.abs()).detach()).sqrt()


def interval_mass(lower: Float64[Tensor, "*n"], upper: Float64[Tensor, "*n"]) -> Tensor:
    """P(lower <= z <= upper) of standard normals z, entrywise, to relative round-off.

    Wide intervals take a difference of two tails, on the side where both are small; narrow ones,
    where it would cancel, the integral.
    """
    flip = lower + upper < 0
    near = torch.where(flip, -upper, lower)
    far = torch.where(flip, -lower, upper)
    tails = (torch.erfc(near * _HALF) - torch.erfc(far * _HALF)) / 2  # special.ndtr has no tails
    narrow = (far - near < _PANEL).detach()
    if not bool(narrow.any()):
        return tails
    x, weights = legendre_rule(lower.device)
    start = torch.where(narrow, near, 0)
    half = torch.where(narrow, far - near, 0) / 2
    nodes = start[..., None] + half[..., None] * (1 + x)
    return torch.where(narrow, half * (_density(nodes) @ weights), tails)


def _bivariate(
    lower: Float64[Tensor, "2"], upper: Float64[Tensor, "2"], angle: Float64[Tensor, ""]
) -> Tensor:
    """P(l <= y <= u) for two standard normals y at correlation cos(angle).

    Given y₀ = t, y₁ is normal with mean t cos and deviation sin; the integral over t is cut into
    panels, which are short where the conditional probability turns.
    """
    low, high = lower[0].clamp(-_RANGE, _RANGE), upper[0].clamp(-_RANGE, _RANGE)
    under, over = lower[1].clamp(-_FAR, _FAR), upper[1].clamp(-_FAR, _FAR)
    cos, sin = angle.cos(), angle.sin()
    with torch.no_grad():
        reach = (sin / cos.abs()) * 2.0 ** torch.arange(_DOUBLINGS).to(lower)
        turns = (torch.stack([under, over]) / cos)[:, None] + torch.cat([-reach, reach])
        even = torch.arange(-_RANGE, _RANGE + _PANEL, _PANEL).to(lower)
        cuts = torch.cat([even, turns.flatten()]).clamp(-_RANGE, _RANGE).sort().values
    cuts = torch.maximum(low, torch.minimum(high, cuts))
    x, weights = legendre_rule(lower.device)
    half = (cuts[1:] - cuts[:-1]) / 2
    t = cuts[:-1, None] + half[:, None] * (1 + x)
    inner = interval_mass((under - t * cos) / sin, (over - t * cos) / sin)
    return half @ ((_density(t) * inner) @ weights)


def _density(t: Tensor) -> Tensor:
    return (-t * t / 2).exp() / math.sqrt(2 * math.pi)
