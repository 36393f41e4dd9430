"""Hermite moments of a standard normal cut to a half-line or an interval."""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.products.halfspaces.legendre import legendre_rule

#: Intervals narrower than this, or than this over their distance from 0, are integrated: a
#: difference of two tails would cancel.
_NARROW = 0.5
#: Further than this beyond the nearer limit there is nothing.
_REACH = 100.0


def hermite_moments(
    lower: Float64[Tensor, " k"], upper: Float64[Tensor, " k"], order: int
) -> tuple[Float64[Tensor, "k orders"], Float64[Tensor, " k"]]:
    """E[He_m(z) | l <= z <= u] for m = 0 … order, and log P(l <= z <= u), z a standard normal.

    As He_m φ is the derivative of -He_(m-1) φ, the moments are differences of He_(m-1) φ at the
    two limits, over the probability.  Nothing underflows however far out the limits lie.

    Args:
        lower: limits l, shape (k,), which may be -inf.
        upper: limits u > l, shape (k,), which may be inf.
        order: the highest moment, at least 0.

    Returns:
        Moments of shape (k, order + 1), and logarithms of shape (k,).
    """
    flip = lower + upper < 0  # turned round, both limits lie in the thinner tail, or about 0
    near = torch.where(flip, -upper, lower).clamp_min(-_REACH)
    far = torch.where(flip, -lower, upper)
    log_mass = torch.special.log_ndtr(-near)
    if not bool((far < torch.inf).any()):
        moments = _boundary_terms(near, log_mass, order)
    else:
        far = torch.minimum(far, near.detach() + _REACH)
        ratio = (torch.special.log_ndtr(-far) - log_mass).exp()
        narrow = ((far - near) * near.clamp_min(1)).detach() < _NARROW
        log_mass = log_mass + torch.log1p(-torch.where(narrow, 0.0, ratio))
        moments = _boundary_terms(near, log_mass, order) - _boundary_terms(far, log_mass, order)
        if bool(narrow.any()):
            width = torch.where(narrow, far - near, 1.0)
            integrals, log_integral = _integrated(near, width, order)
            moments = torch.where(narrow[:, None], integrals, moments)
            log_mass = torch.where(narrow, log_integral, log_mass)
    signs = torch.where(flip, -1.0, 1.0)[:, None] ** torch.arange(1, order + 1, device=flip.device)
    return torch.cat([torch.ones_like(near)[:, None], moments * signs], 1), log_mass


def hermite_polynomials(z: Tensor, order: int) -> Tensor:
    """He_0(z) … He_order(z), in a new last dimension."""
    he = [torch.ones_like(z), z]
    for m in range(1, order):
        he.append(z * he[m] - m * he[m - 1])
    return torch.stack(he[: order + 1], -1)


def _boundary_terms(limit: Tensor, log_mass: Tensor, order: int) -> Tensor:
    """He_(m-1)(limit) φ(limit) / mass for m = 1 … order."""
    density = (-limit * limit / 2 - math.log(2 * math.pi) / 2 - log_mass).exp()
    return density[:, None] * hermite_polynomials(limit, order)[:, :order]


def _integrated(start: Tensor, width: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Moments for m = 1 … order, and log mass, by Gauss and Legendre's rule."""
    x, weights = legendre_rule(start.device)
    nodes = start[:, None] + width[:, None] * (1 + x) / 2
    exponents = weights.log() - nodes * nodes / 2
    moments = torch.softmax(exponents, 1)[:, :, None] * hermite_polynomials(nodes, order)
    log_mass = exponents.logsumexp(1) + (width / 2).log() - math.log(2 * math.pi) / 2
    return moments.sum(1)[:, 1:], log_mass
