"""Moments of a standard normal that is known to lie in an interval, accurate in both tails.

One rule serves mass, moments and Hermite coefficients: Gauss-Legendre quadrature over the part of
the interval that carries mass, with the distance to its most probable point as variable.  Nothing
cancels there, so that relative errors stay near 1e-14 from slabs around zero to limits of ±1e8,
where closed forms in erfcx lose everything.

The functions take NumPy arrays or tensors, whichever ``xp`` names: one formula for the fast path
and for its derivatives.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.polynomial.legendre import leggauss

#: A NumPy array or a tensor; the module that works on it, numpy or torch.
Array = Any
Module = Any

#: Nodes of the rule.  48 reach 1e-14 on [-9, 9], the widest stretch there is.
NODES = 48
#: The density is cut where it has fallen by exp(-40) below its maximum.
_REACH = 40.0
_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)

_POINTS, _WEIGHTS = leggauss(NODES)
_RULES: dict[Any, tuple[Array, Array]] = {
    np: (_POINTS, _WEIGHTS),
    torch: (torch.from_numpy(_POINTS), torch.from_numpy(_WEIGHTS)),
}


class Truncated(NamedTuple):
    """A standard normal on an interval; shapes are those of the limits."""

    #: log P(lower <= z <= upper).
    log_mass: Array
    #: E[z] and Var[z] given that z lies there.
    mean: Array
    variance: Array
    #: Quadrature of the truncated law: z - E[z] at its nodes, and weights of sum 1, (..., NODES).
    deviations: Array
    weights: Array


def truncated(lower: Array, upper: Array, xp: Module = np) -> Truncated:
    """Log mass, mean and variance of a standard normal on [lower, upper], entry by entry.

    Args:
        lower: float64, lower < upper; -inf where there is no limit.
        upper: the same shape; +inf where there is no limit.  Derivatives need finite limits: 1e9
            is as good as infinite.
        xp: numpy or torch, to fit the limits.
    """
    points, weights = _RULES[xp]
    peak = xp.minimum(lower.clip(0), upper)
    # Where t (t / 2 + |peak|) = _REACH, for the distance t from the peak; stable for large |peak|.
    far = 2 * _REACH / (xp.sqrt(peak * peak + 2 * _REACH) + abs(peak))
    first, last = xp.maximum(lower - peak, -far), xp.minimum(upper - peak, far)
    half = (last - first) / 2
    t = ((first + last) / 2)[..., None] + half[..., None] * points
    density = weights * xp.exp(-t * (t / 2 + peak[..., None]))
    mass = density.sum(-1)
    density = density / mass[..., None]
    shift = (density * t).sum(-1)
    t = t - shift[..., None]
    return Truncated(
        log_mass=xp.log(mass * half) - peak * peak / 2 - _LOG_ROOT_2PI,
        mean=peak + shift,
        variance=(density * t * t).sum(-1),
        deviations=t,
        weights=density,
    )


def hermite_coefficients(law: Truncated, degree: int, xp: Module = np) -> Array:
    """E[h_l(w)] for l = 3 … degree, shape (degree - 2, ...), w the truncated law, standardised.

    h_l = He_l / sqrt(l!) is the orthonormal Hermite polynomial.  l = 1, 2 vanish by
    standardisation: the Gaussian of the same mean and variance differs from l = 3 on.
    """
    w = law.deviations / xp.sqrt(law.variance)[..., None]
    before, now = w, (w * w - 1) / math.sqrt(2)
    found: list[Array] = []
    for p in range(2, degree):
        before, now = now, (w * now - math.sqrt(p) * before) / math.sqrt(p + 1)
        found.append((law.weights * now).sum(-1))
    return xp.stack(found)


def quadrature_flops(entries: int) -> int:
    """FLOPs of :func:`truncated` for that many intervals: 22 a node."""
    return 22 * NODES * entries


def hermite_flops(entries: int, degree: int) -> int:
    """FLOPs of :func:`hermite_coefficients`: 6 a node and degree."""
    return 6 * NODES * entries * (degree - 1)
