r"""Hermite coefficients of the hidden units, and what a reflection of the input does to them.

For unit j the pre-activation is :math:`\beta_j + s_j g`, g standard normal, and

.. math:: e_d(j) = s_j^d c_d(j) = s_j^d E[\varphi^{(d)}(\beta_j + s_j g)]
          = E[\varphi(\beta_j + s_j g) He_d(g)].

The power of s is kept in: a unit that does not see the input then has e_d = 0 for d ≥ 1.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.networks.activations import (
    GELU,
    Activation,
    Erf,
    GELUTanh,
    PiecewisePolynomial,
    ReLU,
    Sigmoid,
    SiLU,
    Sin,
    Tanh,
)
from outsample.networks.activations.gaussian import HORIZON, density, upper_tail

#: Step of the trapezoidal rule, in units of the pre-activation and in standard deviations.
_FINE, _COARSE = 0.42, 0.6
_WIDTH = 6.6
#: Values of the activation held at once.
_HELD = 1 << 22


def hermite_coefficients(
    activation: Activation, mean: Float[Tensor, " m"], scale: Float[Tensor, " m"], degree: int
) -> Float[Tensor, "degrees m"]:
    """e_0 … e_degree of every unit, shape (degree + 1, m).

    Closed forms for piecewise polynomials, GELU, erf and sine, quadrature to 1e-10 for others.

    Args:
        activation: φ.
        mean: β, shape (m,).
        scale: s ≥ 0, shape (m,).
        degree: largest d.
    """
    if isinstance(activation, ReLU):
        return _relu(mean, scale, degree)
    found = activation.expand(mean, scale.square())
    return torch.stack([found.mean, *(found.coefficient(d) for d in range(1, degree + 1))])


def _relu(
    mean: Float[Tensor, " m"], scale: Float[Tensor, " m"], degree: int
) -> Float[Tensor, "degrees m"]:
    """The same for ReLU: e_d = (-1)^d s He_{d-2}(β/s) φ(β/s) for d ≥ 2, with few operations."""
    ratio = (mean / scale.clamp_min(1e-300)).clamp(-HORIZON, HORIZON)
    pdf, cdf = scale * density(ratio), upper_tail(-ratio)
    found = [torch.addcmul(pdf, mean, cdf), scale * cdf]
    previous, current = torch.zeros_like(ratio), torch.ones_like(ratio)
    for d in range(2, degree + 1):
        found.append(pdf * current)
        previous, current = current, -ratio * current - (d - 2) * previous
    return torch.stack(found[: degree + 1])


def local_coefficients(
    activation: Activation, mean: Float[Tensor, "q m"], scale: Float[Tensor, " m"]
) -> tuple[Float[Tensor, "q m"], Float[Tensor, "q m"], Float[Tensor, "q m"]]:
    """e_0, e_1 and e_2 at q sets of means, each of shape (q, m), with few operations.

    Args:
        activation: φ.
        mean: β at every node, shape (q, m).
        scale: s ≥ 0 of every unit, shape (m,), the same at all nodes.
    """
    if isinstance(activation, ReLU):
        # In place: this is where most of the time of an estimate goes.
        limit = HORIZON * math.sqrt(0.5)
        argument = (mean * (-math.sqrt(0.5) / scale.clamp_min(1e-300))).clamp_(-limit, limit)
        cdf = torch.erfc(argument).mul_(0.5)
        pdf = argument.square_().neg_().exp_().mul_(scale / math.sqrt(2 * math.pi))
        return torch.addcmul(pdf, mean, cdf), cdf.mul_(scale), pdf
    if isinstance(activation, GELU | Erf | PiecewisePolynomial):
        flat = mean.reshape(-1)
        found = activation.expand(flat, scale.square().expand_as(mean).reshape(-1))
        e0, e1, e2 = (
            t.reshape(mean.shape) for t in (found.mean, found.coefficient(1), found.coefficient(2))
        )
        return e0, e1, e2
    if isinstance(activation, GELUTanh | Sigmoid | SiLU | Sin | Tanh):
        return _by_trapezoid(activation, mean, scale)
    e = hermite_coefficients(activation, mean.reshape(-1), scale.repeat(len(mean)), 2)
    e0, e1, e2 = (t.reshape(mean.shape) for t in e)
    return e0, e1, e2


def _by_trapezoid(
    activation: Activation, mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The trapezoidal rule, to 1e-9 for functions analytic within π/2 of the real axis."""
    step = min(_COARSE, _FINE / max(float(scale.max()), 1e-300))
    half = min(math.ceil(_WIDTH / step), 2048)
    g = torch.linspace(-_WIDTH, _WIDTH, 2 * half + 1, dtype=mean.dtype, device=mean.device)
    weight = density(g)
    weight = weight / weight.sum()
    square = g * g - (weight * g * g).sum()
    rules = torch.stack((weight, weight * g, weight * square), 1)
    offsets = scale[:, None] * g
    rows = max(1, _HELD // offsets.numel())
    parts = [activation(chunk[:, :, None] + offsets) @ rules for chunk in mean.split(rows)]
    e0, e1, e2 = torch.cat(parts).unbind(-1)
    return e0, e1, e2


@dataclass(frozen=True)
class Reflection:
    """What φ(-x) is: ``constant + slope · x - φ(x)`` if odd, ``φ(x) - slope · x`` if even.

    Reflected nodes then need no evaluation of their own.
    """

    odd: bool
    slope: float = 0.0


def reflection(activation: Activation) -> Reflection | None:
    """The symmetry of an activation under x → -x, or None if it has none that is used."""
    if isinstance(activation, Erf | Tanh | Sin):
        return Reflection(odd=True)
    if isinstance(activation, ReLU | GELU | GELUTanh | SiLU):
        return Reflection(odd=False, slope=1.0)
    return None
