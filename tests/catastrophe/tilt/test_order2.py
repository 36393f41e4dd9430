"""The reverse pass of order 2 against automatic differentiation, and what it says of quadratics."""

import pytest
import torch
from tests.battery import gaussian, mlp
from torch import Tensor, nn

import outsample as ou
from outsample.catastrophe.tilt.order2 import local
from outsample.networks.graph import Affine, Graph


def _graph(net: nn.Module, n: int) -> Graph:
    return ou.NetworkMean(net.requires_grad_(False), ou.Gaussian.standard(n)).graph()


def _means(graph: Graph, mean: Tensor, covariance: Tensor) -> Tensor:
    """The same propagation, written for automatic differentiation."""
    for step in graph.steps:
        if isinstance(step, Affine):
            mean = step(mean[None])[0]
            covariance = step.weight @ covariance @ step.weight.T
            continue
        expansion = step.expand(mean, covariance.diagonal())
        first, second = (expansion.coefficient(k) / expansion.scale**k for k in (1, 2))
        off = covariance * torch.outer(first, first)
        off = off + covariance.square() * torch.outer(second, second) / 2
        covariance = torch.diagonal_scatter(off, expansion.coefficient(0, 2))
        mean = expansion.mean
    return mean


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Tanh], ids=lambda a: a.__name__)
@pytest.mark.parametrize("widths", [(5, 3), (5, 6, 2), (5, 6, 4, 7, 3)], ids=str)
def test_gradients_and_hessians_are_those_of_the_means(
    widths: tuple[int, ...], activation: type[nn.Module]
) -> None:
    graph = _graph(mlp(*widths, activation=activation), 5)
    law = gaussian(5)
    mean, covariance = law.mean.requires_grad_(), law.covariance.requires_grad_()
    found = local(graph, mean.detach(), covariance.detach())
    means = _means(graph, mean, covariance)
    torch.testing.assert_close(found.mean, means, atol=1e-14, rtol=1e-13)
    for j, value in enumerate(means):
        gradient, half = torch.autograd.grad(
            value, (mean, covariance), retain_graph=True, materialize_grads=True
        )
        torch.testing.assert_close(found.gradient[j], gradient, atol=1e-12, rtol=1e-9)
        torch.testing.assert_close(found.hessian[j], half + half.T, atol=1e-12, rtol=1e-9)


def test_a_quadratic_is_exact() -> None:
    net = nn.Sequential(nn.Linear(4, 6), ou.Elementwise("square"), nn.Linear(6, 1)).double()
    graph, law = _graph(net, 4), gaussian(4)
    found = local(graph, law.mean, law.covariance)
    inner, outer = net[0].weight, net[2].weight[0]
    hessian = 2 * inner.T @ torch.diag(outer) @ inner
    torch.testing.assert_close(found.hessian[0], hessian)
    gradient = 2 * inner.T @ (outer * (inner @ law.mean + net[0].bias))
    torch.testing.assert_close(found.gradient[0], gradient)
    variance = gradient @ law.covariance @ gradient
    curved = hessian @ law.covariance
    torch.testing.assert_close(found.covariance[0, 0], variance + (curved @ curved).trace() / 2)


def test_neurons_that_do_not_vary_do_no_harm() -> None:
    net = mlp(5, 6, 6, 2)
    with torch.no_grad():
        net[0].weight[2] = 0.0
    found = local(_graph(net, 5), *_moments(5))
    assert all(bool(torch.isfinite(part).all()) for part in found)


def _moments(n: int) -> tuple[Tensor, Tensor]:
    law = gaussian(n)
    return law.mean, law.covariance
