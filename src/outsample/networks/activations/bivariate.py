"""Covariances of kinked activations of correlated Gaussians, exact for every pair."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from outsample.networks.activations.base import Expansion, off_diagonal_correlation
from outsample.networks.activations.gaussian import HORIZON, density, upper_tail

#: Pairs worked on at once; some ten temporaries of this size exist at a time.
_BLOCK = 1 << 16


def kinked_covariance(
    mean: Float[Tensor, " n"],
    covariance: Float[Tensor, "n n"],
    expansion: Expansion,
    knots: Sequence[float],
    jumps: Sequence[float],
    order: int,
) -> Float[Tensor, "n n"]:
    r"""Covariance of φ(Z) where the derivative of φ of that order is a step function.

    Order 0: φ is piecewise constant and jumps by ``jumps`` at ``knots``.  Order 1: φ is
    continuous and piecewise linear, its slope jumps.  By Price's theorem the derivative in ρ of
    order (order + 1) of Cov(φ(Z_i), φ(Z_j)) is a sum of bivariate densities at pairs of knots,
    and is integrated back.
    """
    scale = expansion.scale
    correlation = off_diagonal_correlation(covariance, scale)
    points = torch.tensor(knots, dtype=mean.dtype, device=mean.device)[:, None]
    x = ((points - mean) * scale.reciprocal()).clamp(-HORIZON, HORIZON)
    if order == 0:
        result = sum_over_pairs(orthant, x, jumps, correlation)
    else:
        slope = expansion.coefficient(1)
        result = sum_over_pairs(ramp, x, jumps, correlation) * (scale[:, None] * scale)
        result = result + correlation * (slope[:, None] * slope)
    return torch.diagonal_scatter(result, expansion.coefficient(0, 2))


def sum_over_pairs(
    kernel: Callable[[Tensor, Tensor, Tensor], Tensor],
    x: Float[Tensor, "m n"],
    jumps: Sequence[float],
    correlation: Float[Tensor, "n n"],
) -> Float[Tensor, "n n"]:
    """Σ_ab jumps[a] jumps[b] kernel(x[a, i], x[b, j], ρ_ij) off the diagonal, zero on it."""
    n = correlation.shape[0]
    step = max(1, _BLOCK // n)
    rows: list[Tensor] = []
    for start in range(0, n, step):
        rho = correlation[start : start + step, start:]
        block = torch.zeros_like(rho)
        for a, jump_a in enumerate(jumps):
            for b, jump_b in enumerate(jumps):
                left = x[a, start : start + step, None].expand_as(rho)
                right = x[b, start:].expand_as(rho)
                block = block + jump_a * jump_b * kernel(left, right, rho)
        rows.append(torch.nn.functional.pad(block, (start, 0)))
    upper = torch.cat(rows).triu(1)
    return upper + upper.T


def orthant(
    x: Float[Tensor, "*shape"], y: Float[Tensor, "*shape"], rho: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """P(g > x, h > y) − P(g > x) P(h > y) for standard normal g, h of correlation rho."""
    return _Orthant.apply(x, y, rho)  # type: ignore[no-any-return]


def ramp(
    x: Float[Tensor, "*shape"], y: Float[Tensor, "*shape"], rho: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Cov((g − x)_+, (h − y)_+) less its first-order term rho P(g > x) P(h > y)."""
    return _Ramp.apply(x, y, rho)  # type: ignore[no-any-return]


class _Orthant(torch.autograd.Function):
    """Keeps its three arguments only, not the nodes; the gradient is closed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, rho: Tensor) -> Tensor:
        ctx.save_for_backward(x, y, rho)
        return _integrate(x, y, rho, ramp=False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, y, rho = ctx.saved_tensors
        (grad,) = grads
        above_y, above_x = _conditional(x, y, rho), _conditional(y, x, rho)
        return (
            grad * density(x) * (upper_tail(y) - above_y),
            grad * density(y) * (upper_tail(x) - above_x),
            grad * _density(x, y, rho),
        )


class _Ramp(torch.autograd.Function):
    """As above."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, rho: Tensor) -> Tensor:
        ctx.save_for_backward(x, y, rho)
        return _integrate(x, y, rho, ramp=True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, y, rho = ctx.saved_tensors
        (grad,) = grads
        both = orthant(x, y, rho)
        above_y, above_x = _conditional(x, y, rho), _conditional(y, x, rho)
        fx, fy, tail_x, tail_y = density(x), density(y), upper_tail(x), upper_tail(y)
        return (
            grad * (y * both - fy * (above_x - tail_x) - rho * fx * (above_y - tail_y)),
            grad * (x * both - fx * (above_y - tail_y) - rho * fy * (above_x - tail_x)),
            grad * both,
        )


def _root(rho: Tensor) -> Tensor:
    """sqrt(1 − ρ²), kept above zero."""
    return ((1 - rho) * (1 + rho)).clamp_min(torch.finfo(rho.dtype).eps ** 2).sqrt()


def _conditional(x: Tensor, y: Tensor, rho: Tensor) -> Tensor:
    """P(h > y | g = x)."""
    return upper_tail((y - rho * x) / _root(rho))


def _density(x: Tensor, y: Tensor, rho: Tensor) -> Tensor:
    """The bivariate normal density."""
    return density(x) * density((y - rho * x) / _root(rho)) / _root(rho)


def _integrate(x: Tensor, y: Tensor, rho: Tensor, *, ramp: bool) -> Tensor:
    """∫_0^ρ p(x, y; r) dr, or with ``ramp`` ∫_0^ρ (ρ − r) p(x, y; r) dr.

    In r = sin θ the integrand is smooth but for |r| → 1, where it lives on the scale |x − y| of
    π/2 − θ, however small: there the nodes are spread evenly in its logarithm.
    """
    result = torch.full_like(rho, math.nan)
    size = rho.abs()
    sign = torch.where(rho < 0, -1.0, 1.0).to(rho)
    lower = -1.0
    for upper, rule, nodes in _RULES:
        chosen = (size > lower) & (size <= upper)
        lower = upper
        if bool(chosen.any()):
            s = sign[chosen]
            value = rule(x[chosen], y[chosen] * s, size[chosen], nodes, ramp)
            result[chosen] = value if ramp else value * s
    return result


def _plain(x: Tensor, y: Tensor, rho: Tensor, nodes: int, ramp: bool) -> Tensor:
    return _up_to(torch.asin(rho), x, y, rho, nodes, ramp)


def _graded(x: Tensor, y: Tensor, rho: Tensor, nodes: int, ramp: bool) -> Tensor:
    """The plain rule up to |r| = 0.9; beyond, ψ = π/2 − θ shrinks until it cannot matter."""
    start = math.acos(0.9)
    total = _up_to(torch.full_like(rho, math.pi / 2 - start), x, y, rho, 18, ramp)
    end = (2 * torch.asin(((1 - rho) / 2).sqrt())).clamp_min(1e-10)
    length = torch.log(start / end)
    product, squares = x * y, (x - y).square() / 2
    tail = torch.zeros_like(rho)
    for node, weight in _gauss_legendre(nodes):
        psi = start * torch.exp(-length * node)
        term = psi * torch.exp(-squares / torch.sin(psi).square() - product / (1 + torch.cos(psi)))
        if ramp:
            term = term * 2 * torch.sin((psi + end) / 2) * torch.sin((psi - end) / 2)
        tail += weight * term
    return total + tail * length / (2 * math.pi)


def _up_to(theta: Tensor, x: Tensor, y: Tensor, rho: Tensor, nodes: int, ramp: bool) -> Tensor:
    """The integral over angles from 0 to ``theta``, by Gauss-Legendre."""
    product, squares = x * y, (x * x + y * y) / 2
    total = torch.zeros_like(rho)
    for node, weight in _gauss_legendre(nodes):
        r = torch.sin(theta * node)
        term = torch.exp((product * r - squares) / (1 - r * r))
        total += weight * (term * (rho - r) if ramp else term)
    return total * theta / (2 * math.pi)


#: Rules up to a |ρ|, with the number of nodes that makes their error 1e-14 in float64.
_RULES = (
    (0.3, _plain, 6),
    (0.7, _plain, 12),
    (0.9, _plain, 18),
    (0.9999, _graded, 34),
    (1, _graded, 160),
)


@lru_cache(maxsize=16)
def _gauss_legendre(nodes: int) -> tuple[tuple[float, float], ...]:
    """Nodes and weights on [0, 1]."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    return tuple(zip(((x + 1) / 2).tolist(), (w / 2).tolist(), strict=True))
