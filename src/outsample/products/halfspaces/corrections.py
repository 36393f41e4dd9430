"""Corrections to expectation propagation: Hermite expansion of what the sites leave out.

In the Gaussian with all sites, condition i over its site is a function F_i(y_i) with Hermite
coefficients c_il, c_i0 = 1 and c_i1 = c_i2 = 0.  The probability is the normaliser times
E[∏ F_i(y_i)], expanded in products of correlations ρ_ij: pairs (D2), triples, and the second order
of the logarithm (D3).

Source: Opper, Paquet and Winther, JMLR 14 (2013), section 5, for the idea and the pairs.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from outsample.products.halfspaces.truncated_normal import Array, Module

#: Highest Hermite degree l of a factor.  The series is asymptotic: more than 12 is worse.
DEGREE = 8


def correlations(covariance: Array, xp: Module = np) -> Array:
    """ρ_ij with a zero diagonal, from covariances of shape (..., k, k)."""
    scale = xp.sqrt(xp.diagonal(covariance, 0, -2, -1))
    rho = covariance / (scale[..., :, None] * scale[..., None, :])
    return rho * (1 - xp.eye(rho.shape[-1], dtype=rho.dtype))


def pair_terms(coefficients: Array, rho: Array, degree: int) -> Array:
    """E_ij = Σ_{l=3..degree} c_il c_jl ρ_ij^l, shape (..., k, k).

    Args:
        coefficients: c_l for l = 3, 4, …, shape (degrees, ..., k).
        rho: correlations with zero diagonal, shape (..., k, k).
        degree: highest l.
    """
    power = rho * rho
    total = 0
    for c in coefficients[: degree - 2]:
        power = power * rho
        total = total + c[..., :, None] * c[..., None, :] * power
    return total


def second_order(pairs: Array) -> Array:
    """D2: the sum over pairs of :func:`pair_terms`."""
    return pairs.sum((-2, -1)) / 2


def third_order(coefficients: Array, rho: Array, pairs: Array, xp: Module = np) -> Array:
    """D3 in full: triangles, chains and the logarithm's second order, at degree DEGREE.

    A triangle has exponents a, e, g >= 1 of ρ_ij, ρ_ik, ρ_jk, a chain one of them zero.
    """
    c: list[Array] = [0, 0, 0, *coefficients]  # c[l]; the first three are not used
    powers: list[Array] = [1, rho]
    for _ in range(DEGREE - 2):
        powers.append(powers[-1] * rho)
    stacked = xp.stack(powers[1:])
    left, degrees, right, triples = _triangle_terms()
    # Σ_k ρ_ik^e c_k ρ_jk^g for every (e, g) at once.
    middle = xp.stack(c[3:])[degrees][..., None, :]
    inner = (stacked[left] * middle) @ stacked[right]
    total = 0
    for a, e_g, l_i, l_j, factor in triples:
        sides = c[l_i][..., :, None] * c[l_j][..., None, :] * stacked[a]
        total = total + factor * (sides * inner[e_g]).sum((-2, -1))
    for a, e, factor in _chain_terms():
        ends = (powers[a] * c[a][..., None, :]).sum(-1) * (powers[e] * c[e][..., None, :]).sum(-1)
        same = (powers[a] * powers[e] * (c[a] * c[e])[..., None, :]).sum(-1)
        total = total + factor * (c[a + e] * (ends - same)).sum(-1)
    rows, squares = pairs.sum(-1), (pairs * pairs).sum((-2, -1))
    return total - squares / 4 - ((rows * rows).sum(-1) - squares) / 2


@cache
def _triangle_terms() -> tuple[
    NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], list[tuple[int, int, int, int, float]]
]:
    """Exponents of the inner products, and (a, which inner product, degrees of i, j, factor).

    The sum over i, j, k is symmetric in a, e, g, so that a <= e <= g is enough.
    """
    inner: dict[tuple[int, int], int] = {}
    triples: list[tuple[int, int, int, int, float]] = []
    f = math.factorial
    for g in range(1, DEGREE):
        for e in range(1, g + 1):
            for a in range(1, e + 1):
                if a + e < 3 or e + g > DEGREE:
                    continue
                orders = f(3) // math.prod(f((a, e, g).count(p)) for p in {a, e, g})
                factor = math.sqrt(f(a + e) * f(a + g) * f(e + g)) / (f(a) * f(e) * f(g))
                place = inner.setdefault((e, g), len(inner))
                triples.append((a - 1, place, a + e, a + g, orders * factor / 6))
    e, g = (np.array(side) for side in zip(*inner, strict=True))
    return e - 1, e + g - 3, g - 1, triples


@cache
def _chain_terms() -> list[tuple[int, int, float]]:
    """(a, e, factor) with a, e >= 3 and a + e <= DEGREE."""
    return [
        (a, e, math.sqrt(math.comb(a + e, a)) / 2)
        for a in range(3, DEGREE - 2)
        for e in range(3, DEGREE + 1 - a)
    ]


def pair_flops(k: int) -> int:
    """FLOPs of the pairs: a product and a sum for each power and pair."""
    return 5 * (DEGREE - 2) * k * k


def triple_flops(k: int) -> int:
    """FLOPs of :func:`third_order`: one product of k × k matrices for each pair of exponents."""
    left, _, _, triples = _triangle_terms()
    return (2 * k**3 + k * k) * len(left) + 4 * k * k * (len(triples) + 2 * len(_chain_terms()))
