"""Covariances of all pairs of hidden units: the variance of a readout, and its steep directions.

With R_ij = u_i · u_j the kernel of the activations is K_ij = Cov(φ_i, φ_j) and that of the
gradients is D_ij = Cov(s_i φ'_i, s_j φ'_j).  Then Var f = vᵀ K v to all degrees at once, and
N = Cov(∇f) = Σ_ij v_i v_j D_ij u_i u_jᵀ has the directions along which f is least linear as its
leading eigenvectors.  The kernels are shared by all readouts.

Sources: arc-cosine kernels of Y. Cho and L. K. Saul (NeurIPS 2009) for ReLU without biases;
F. G. Mehler's series for smooth activations.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.networks.activations import Activation, PiecewisePolynomial, ReLU
from outsample.readout.coefficients import hermite_coefficients
from outsample.readout.problem import Whitened

#: Terms of Mehler's series, for activations whose pairs have no closed form.
TERMS = 60
#: Entries of a block of rows of the kernels.
_BLOCK = 1 << 19

#: Rows ``a:b`` of K and D in the columns from a on, each of shape (b - a, m - a).
_Blocks = Callable[[int, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class SecondOrder:
    """Second-order facts of k readouts, exact but for Mehler's series where that is used."""

    #: Var f, shape (k,).
    variance: Float[Tensor, " k"]
    #: N, the covariance of the gradient of f, shape (k, n, n).
    steepness: Float[Tensor, "k n n"]


def second_order(net: Whitened) -> SecondOrder:
    """Variances and gradient covariances of the readouts of ``net``, from the kernels."""
    own = net.activation.expand(net.means, net.lengths.square()).coefficient(0, 2)
    blocks = _blocks(net)
    n, m = net.size
    v, u = net.readouts, net.directions
    variance = v.new_zeros(len(v))
    steep = v.new_zeros(len(v), n, n)
    height = max(1, _BLOCK // m)
    for start in range(0, m, height):
        stop = min(start + height, m)
        units, slopes = blocks(start, stop)
        # On the diagonal series converge slowest, and the variance of a unit is known.
        units.diagonal().copy_(own[start:stop])
        twice = torch.full((m - start,), 2.0, dtype=v.dtype, device=v.device)
        twice[: stop - start] = 1.0
        variance += ((v[:, start:stop] @ units) * v[:, start:] * twice).sum(1)
        for i, readout in enumerate(v):
            left = readout[start:stop, None] * u[start:stop]
            steep[i] += left.T @ (slopes @ ((readout[start:] * twice)[:, None] * u[start:]))
    return SecondOrder(variance, (steep + steep.mT) / 2)


def _blocks(net: Whitened) -> _Blocks:
    activation = net.activation
    if isinstance(activation, ReLU) and net.centred:
        return _centred_relu(net)
    derivative = _derivative(activation)
    if derivative is not None:
        return _piecewise_linear(net, derivative)
    return _mehler(net)


def _centred_relu(net: Whitened) -> _Blocks:
    """K = s_i s_j (sqrt(1 - R²) + R (π/2 + asin R) - 1) / 2π and D = s_i s_j asin R / 2π."""
    u, s = net.directions, net.lengths

    def block(start: int, stop: int) -> tuple[Tensor, Tensor]:
        r = (u[start:stop] @ u[start:].T).clamp_(-1, 1)
        size = (s[start:stop, None] / (2 * math.pi)) * s[start:]
        angle = torch.asin(r)
        root = torch.addcmul(torch.ones_like(r), r, r, value=-1).sqrt_().sub_(1)
        units = torch.addcmul(root, r, angle + math.pi / 2).mul_(size)
        return units, angle.mul_(size)

    return block


def _piecewise_linear(net: Whitened, derivative: Activation) -> _Blocks:
    """Exact pairs of kinked units and of their steps, whatever the means."""
    s = net.lengths
    covariance = net.weights @ net.weights.T
    variance = covariance.diagonal()
    units = net.activation.covariance(
        net.means, covariance, net.activation.expand(net.means, variance), 0
    )[0]
    slopes = derivative.covariance(
        net.means, covariance, derivative.expand(net.means, variance), 0
    )[0]

    def block(start: int, stop: int) -> tuple[Tensor, Tensor]:
        size = s[start:stop, None] * s[start:]
        return units[start:stop, start:].clone(), slopes[start:stop, start:] * size

    return block


def _mehler(net: Whitened) -> _Blocks:
    """K = Σ_{d≥1} e_d(i) e_d(j) R^d / d! and D = Σ_{d≥1} e_{d+1}(i) e_{d+1}(j) R^d / d!."""
    e = hermite_coefficients(net.activation, net.means, net.lengths, TERMS + 1)
    u = net.directions

    def block(start: int, stop: int) -> tuple[Tensor, Tensor]:
        r = u[start:stop] @ u[start:].T
        power = torch.ones_like(r)
        units, slopes = torch.zeros_like(r), torch.zeros_like(r)
        for d in range(1, TERMS + 1):
            power *= r
            scale = math.exp(-0.5 * math.lgamma(d + 1))
            a, b = e[d] * scale, e[d + 1] * scale
            units += (a[start:stop, None] * a[start:]) * power
            slopes += (b[start:stop, None] * b[start:]) * power
        return units, slopes

    return block


def _derivative(activation: Activation) -> Activation | None:
    """The derivative of a continuous piecewise linear function with kinks, else None."""
    if isinstance(activation, ReLU):
        return PiecewisePolynomial((0.0,), ((0.0,), (1.0,)), "step")
    if not isinstance(activation, PiecewisePolynomial) or not activation.breakpoints:
        return None
    if max(map(len, activation.pieces)) > 2:
        return None
    slopes = tuple((piece[1] if len(piece) > 1 else 0.0,) for piece in activation.pieces)
    for i, point in enumerate(activation.breakpoints):
        values = [sum(c * point**r for r, c in enumerate(activation.pieces[j])) for j in (i, i + 1)]
        if abs(values[1] - values[0]) > 1e-12 * (1 + abs(values[0])):
            return None
    return PiecewisePolynomial(activation.breakpoints, slopes, "derivative")
