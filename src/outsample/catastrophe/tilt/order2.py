"""Means, covariances, gradients and expected Hessians of a network's outputs, at order 2.

Cumulant propagation of order 2 with exact variances and two terms of Mehler's series off the
diagonal, and its reverse pass written out: a tilt is found by dozens of these, which must not
cost more than their matrix products.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.cumulants.gaussian_input import affine_mean, pushed_covariance
from outsample.networks.activations.base import Activation
from outsample.networks.graph import Affine, Graph


class Local(NamedTuple):
    """What a network's d outputs look like to second order under N(mean, covariance)."""

    mean: Float[Tensor, " d"]
    covariance: Float[Tensor, "d d"]
    #: E[∇f_j] and E[∇²f_j], shapes (d, n) and (d, n, n).
    gradient: Float[Tensor, "d n"]
    hessian: Float[Tensor, "d n n"]


class _Layer(NamedTuple):
    """One activation step: derivatives of its outputs' cumulants in those of its inputs.

    With z the pre-activations, c_k = E[φ^(k)(z)]; ``slope`` is the derivative of Cov φ(z) in
    Cov z entry by entry, off the diagonal; ``variance_in_mean`` and ``variance_in_variance`` are
    the derivatives of Var φ(z).
    """

    covariance: Float[Tensor, "n n"]
    slope: Float[Tensor, "n n"]
    c: tuple[Tensor, Tensor, Tensor, Tensor]
    variance_in_mean: Float[Tensor, " n"]
    variance_in_variance: Float[Tensor, " n"]


def local(graph: Graph, mean: Float[Tensor, " n"], covariance: Float[Tensor, "n n"]) -> Local:
    """Outputs of ``graph`` to second order under N(mean, covariance)."""
    mean, covariance, layers = _propagated(graph, mean, covariance)
    d = mean.shape[0]
    to_mean = torch.eye(d, dtype=mean.dtype, device=mean.device)
    to_covariance: Tensor | None = None
    for layer in reversed(layers):
        if not isinstance(layer, Tensor):
            to_mean, to_covariance = _backward(layer, to_mean, to_covariance)
            continue
        to_mean = to_mean @ layer
        if to_covariance is not None:
            to_covariance = layer.T @ to_covariance @ layer
    if to_covariance is None:
        to_covariance = mean.new_zeros(d, to_mean.shape[1], to_mean.shape[1])
    return Local(mean, covariance, to_mean, 2 * to_covariance)


def moments(
    graph: Graph, mean: Float[Tensor, " n"], covariance: Float[Tensor, "n n"]
) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    """Mean and covariance of the outputs alone."""
    return _propagated(graph, mean, covariance)[:2]


def skewness(
    graph: Graph, mean: Float[Tensor, " n"], covariance: Float[Tensor, "n n"]
) -> Float[Tensor, " d"]:
    """Third cumulants of the outputs over their deviations cubed, shape (d,).

    As far as they are those of the last activations one by one: what few units, or units that are
    rarely on, leave of them in sums that order 2 takes for Gaussian.
    """
    own: Tensor | None = None
    for place, step in enumerate(graph.steps[:-1]):
        if isinstance(step, Affine):
            mean, covariance, _ = _propagated(Graph((step,)), mean, covariance)
        else:
            if place == len(graph.steps) - 2:
                own = step.expand(mean, covariance.diagonal()).coefficient(0, 3)
            mean, covariance, _ = _forward(step, mean, covariance)
    last = graph.steps[-1]
    if own is None or not isinstance(last, Affine):
        return mean.new_zeros(graph.affine[-1].weight.shape[0])
    variance = ((last.weight @ covariance) * last.weight).sum(1)
    return (last.weight.pow(3) @ own) / variance.clamp_min(1e-300).pow(1.5)


def _propagated(
    graph: Graph, mean: Tensor, covariance: Tensor
) -> tuple[Tensor, Tensor, list[_Layer | Tensor]]:
    layers: list[_Layer | Tensor] = []
    for step in graph.steps:
        if isinstance(step, Affine):
            mean = affine_mean(step, mean)
            covariance = pushed_covariance(step.weight, covariance)
            layers.append(step.weight)
        else:
            mean, covariance, layer = _forward(step, mean, covariance)
            layers.append(layer)
    return mean, covariance, layers


def _forward(step: Activation, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor, _Layer]:
    variance = covariance.diagonal()
    expansion = step.expand(mean, variance)
    # A neuron that reads only constants has no curvature to speak of, but round-off / 0.
    precision = expansion.scale.reciprocal().masked_fill(variance <= 0, 0.0)
    square = precision * precision
    powers = (precision, square, square * precision, square * square)
    c1, c2, c3, c4 = (expansion.coefficient(k + 1) * power for k, power in enumerate(powers))
    slope, double = torch.outer(c1, c1), torch.outer(c2, c2).mul_(covariance)
    out = torch.add(slope, double, alpha=0.5).mul_(covariance)
    out.diagonal().copy_(expansion.coefficient(0, 2))
    in_mean = expansion.coefficient(1, 2) * precision
    in_variance = expansion.coefficient(2, 2) * square * 0.5
    layer = _Layer(covariance, slope.add_(double), (c1, c2, c3, c4), in_mean, in_variance)
    return expansion.mean, out, layer


def _backward(
    layer: _Layer, to_mean: Float[Tensor, "d n"], to_covariance: Float[Tensor, "d n n"] | None
) -> tuple[Float[Tensor, "d n"], Float[Tensor, "d n n"]]:
    """Derivatives in the pre-activations' mean and covariance from those in the activations'.

    Without ``to_covariance``, it is zero.
    """
    c1, c2, c3, c4 = layer.c
    if to_covariance is None:
        return to_mean * c1, torch.diag_embed(0.5 * to_mean * c2)
    own = to_covariance.diagonal(dim1=1, dim2=2)
    weighted = to_covariance * layer.covariance
    weighted.diagonal(dim1=1, dim2=2).zero_()
    by_c1 = 2 * (weighted @ c1)
    by_c2 = weighted.mul_(layer.covariance) @ c2
    mean = (to_mean * c1).addcmul_(by_c1, c2).addcmul_(by_c2, c3)
    mean.addcmul_(own, layer.variance_in_mean)
    diagonal = (to_mean * c2).addcmul_(by_c1, c3).addcmul_(by_c2, c4).mul_(0.5)
    diagonal.addcmul_(own, layer.variance_in_variance)
    out = to_covariance * layer.slope
    out.diagonal(dim1=1, dim2=2).copy_(diagonal)
    return mean, out
