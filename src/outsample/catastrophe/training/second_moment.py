"""The second moment of a network's outputs by covariance propagation that cannot go below 0."""

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.networks.activations import Activation
from outsample.networks.graph import Affine, Graph

#: Terms of Mehler's series; the exact variances stand for those left out.
_TERMS = 6


def second_moment(graph: Graph, inputs: int) -> Float64[Tensor, ""]:
    """E|f(z)|² for z ~ N(0, I) on ``inputs`` entries, every layer taken as Gaussian.

    Covariances are sums of entrywise powers of correlation matrices, with weights h_k(i) h_k(j),
    and a diagonal that is not negative: positive semidefinite at every layer.  A loss made of
    cumulants of higher order has no such floor, and a student finds where it is negative.

    Source: F. G. Mehler (1866) for the series; I. Schur (1911), products of positive
    semidefinite matrices entry by entry are positive semidefinite.
    """
    like = graph.affine[0].weight
    mean = like.new_zeros(inputs)
    covariance = torch.eye(inputs, dtype=like.dtype, device=like.device)
    for step in graph.steps:
        if isinstance(step, Affine):
            mean = step.weight @ mean
            mean = mean if step.bias is None else mean + step.bias
            covariance = step.weight @ covariance @ step.weight.T
        else:
            mean, covariance = _activated(step, mean, covariance)
    return mean.square().sum() + covariance.trace()


def _activated(step: Activation, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    expansion = step.expand(mean, covariance.diagonal())
    precision = expansion.scale.reciprocal()
    # A neuron that does not vary is correlated with nothing.
    precision = torch.where(covariance.diagonal() > 0, precision, 0.0)
    correlation = covariance * precision * precision[:, None]
    power, total = torch.ones_like(correlation), torch.zeros_like(correlation)
    factorial = 1.0
    for k in range(1, _TERMS + 1):
        power, factorial = power * correlation, factorial * k
        coefficient = expansion.coefficient(k)
        total = total + power * (coefficient * coefficient[:, None] / factorial)
    return expansion.mean, torch.diagonal_scatter(total, expansion.coefficient(0, 2))
