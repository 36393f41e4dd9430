"""Exact variances and gradient covariances against product quadrature."""

import pytest
import torch
from tests.readout.helpers import F64, gauss_hermite, network

from outsample.networks.activations import Function, PiecewisePolynomial
from outsample.readout.kernels import second_order
from outsample.readout.nodes import half_range
from outsample.readout.problem import TwoLayer, Whitened


def by_quadrature(net: Whitened, nodes: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    """Variance and covariance of the gradient in the plane."""
    z, weights = gauss_hermite(2, nodes)
    z.requires_grad_()
    f = net.sums(z)[:, 0]
    (slope,) = torch.autograd.grad(f.sum(), z)
    f, slope = f.detach(), slope.detach()
    d = f - weights @ f
    s = slope - weights @ slope
    return weights @ (d * d), s.T @ (weights[:, None] * s)


@pytest.mark.parametrize("name", ["gelu", "erf", "tanh", "square", "sigmoid"])
@pytest.mark.parametrize("bias", [0.0, 0.6])
def test_smooth_activations(name: str, bias: float) -> None:
    net = network(2, 5, name, bias).whitened()
    found = second_order(net)
    variance, steepness = by_quadrature(net)
    assert float(found.variance) == pytest.approx(float(variance), rel=1e-8)
    # The series converges slowest for the gradient's own variance: tanh loses 2e-7 to it.
    torch.testing.assert_close(found.steepness[0], steepness, atol=1e-6, rtol=0)


@pytest.mark.parametrize("bias", [0.0, 0.6])
def test_relu_against_its_pieces(bias: float) -> None:
    """ReLU networks in the plane by angles: half-range in the radius without biases."""
    problem = network(2, 5, "relu", bias)
    net = problem.whitened()
    found = second_order(net)
    angles = 200_000
    theta = (torch.arange(angles, dtype=F64) + 0.5) * (2 * torch.pi / angles)
    ring = torch.stack((theta.cos(), theta.sin()), 1)
    if bias == 0:
        at_one = net.sums(ring)[:, 0]
        mean = at_one.mean() * (torch.pi / 2) ** 0.5
        variance = 2 * at_one.square().mean() - mean**2
        step = (ring @ net.weights.T > 0).double() * net.readouts[0]
        slopes = step @ net.weights
        spread = slopes - slopes.mean(0)
        steepness = spread.T @ spread / angles
        torch.testing.assert_close(found.steepness[0], steepness, atol=1e-5, rtol=0)
        assert float(found.variance) == pytest.approx(float(variance), abs=1e-9)
    else:
        general = PiecewisePolynomial((0.0,), ((0.0,), (0.0, 1.0)), "mine")
        other = TwoLayer(problem.weight, problem.readout, general, bias=problem.bias)
        again = second_order(other.whitened())
        z, weights = gauss_hermite(2, 120)
        f = net.sums(z)[:, 0]
        rough = weights @ (f - weights @ f).square()
        assert float(found.variance) == pytest.approx(float(rough), rel=5e-3)
        torch.testing.assert_close(found.variance, again.variance)
        torch.testing.assert_close(found.steepness, again.steepness)


def test_the_two_ways_for_relu_agree() -> None:
    problem = network(6, 40)
    tiny = torch.full((40,), 1e-13, dtype=F64)
    moved = TwoLayer(problem.weight, problem.readout, bias=tiny)
    a, b = second_order(problem.whitened()), second_order(moved.whitened())
    torch.testing.assert_close(a.variance, b.variance, atol=1e-9, rtol=0)
    torch.testing.assert_close(a.steepness, b.steepness, atol=1e-9, rtol=0)


def test_readouts_share_the_kernels() -> None:
    problem = network(4, 30, "relu", readouts=3)
    together = second_order(problem.whitened())
    for i in range(3):
        alone = second_order(TwoLayer(problem.weight, problem.readout[i]).whitened())
        torch.testing.assert_close(together.variance[i], alone.variance[0])
        torch.testing.assert_close(together.steepness[i], alone.steepness[0])


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(4, 30, "gelu", bias=0.2).whitened()
    whole = second_order(net)
    monkeypatch.setattr("outsample.readout.kernels._BLOCK", 70)
    pieces = second_order(net)
    torch.testing.assert_close(whole.variance, pieces.variance)
    torch.testing.assert_close(whole.steepness, pieces.steepness)


def test_functions_of_the_user() -> None:
    mine = Function(lambda x: torch.cos(x) * x, name="mine")
    net = network(2, 5, mine).whitened()
    variance, steepness = by_quadrature(net)
    found = second_order(net)
    assert float(found.variance) == pytest.approx(float(variance), rel=1e-8)
    torch.testing.assert_close(found.steepness[0], steepness, atol=1e-7, rtol=1e-7)


def test_half_range_rules_are_exact_to_their_degree() -> None:
    for nodes in (2, 6, 20):
        x, w = half_range(nodes)
        assert (w > 0).all()
        for power in range(0, 2 * nodes, 3):
            exact = (
                2 ** (power / 2) * torch.lgamma(torch.tensor((power + 1) / 2.0, dtype=F64)).exp()
            )
            assert (w @ x**power) == pytest.approx(float(exact) / torch.pi**0.5, rel=1e-9)
