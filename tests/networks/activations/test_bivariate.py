"""Covariances under the exact bivariate Gaussian."""

from collections.abc import Callable
from typing import Any

import mpmath as mp
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.networks.activations.reference import covariance as reference
from torch import Tensor

from outsample.networks.activations import Activation, ReLU, from_name, leaky_relu, polynomial
from outsample.networks.activations.bivariate import orthant, ramp


def relu(m: Any, v: Any) -> Any:
    s = mp.sqrt(v)
    return m * mp.ncdf(m / s) + s * mp.npdf(m / s) if v > 0 else max(m, mp.mpf(0))


def step(m: Any, v: Any) -> Any:
    return mp.ncdf(m / mp.sqrt(v)) if v > 0 else mp.mpf(m > 0)


#: E φ(N(m, v)), and φ's kinks.
EXACT = {
    "relu": (from_name("relu"), relu, (0,)),
    "leaky_relu": (leaky_relu(0.25), lambda m, v: (m + 3 * relu(m, v)) / 4, (0,)),
    "abs": (from_name("abs"), lambda m, v: 2 * relu(m, v) - m, (0,)),
    "hardtanh": (
        from_name("hardtanh"),
        lambda m, v: relu(m + 1, v) - relu(m - 1, v) - 1,
        (-1, 1),
    ),
    "step": (from_name("step"), step, (0,)),
    "sign": (from_name("sign"), lambda m, v: 2 * step(m, v) - 1, (0,)),
    "erf": (from_name("erf"), lambda m, v: mp.erf(m / mp.sqrt(1 + 2 * v)), (0,)),
    "sin": (from_name("sin"), lambda m, v: mp.sin(m) * mp.exp(-v / 2), ()),
    "cubic": (polynomial((1, -2, 0, 0.5)), lambda m, v: 1 - 2 * m + (m**3 + 3 * m * v) / 2, ()),
}
every_exact = pytest.mark.parametrize("name", EXACT)
PAIRS = [((0.0, 0.0), (1.0, 1.0)), ((0.4, -0.9), (1.3, 0.5)), ((1.7, 1.6), (0.8, 0.9))]


def covariance(activation: Activation, mean: Tensor, matrix: Tensor, degree: int = 8) -> Tensor:
    expansion = activation.expand(mean, matrix.diagonal())
    result, bound = activation.covariance(mean, matrix, expansion, degree)
    assert bound is None
    return result


def pair(mu: tuple[float, float], sigma: tuple[float, float], rho: float) -> tuple[Tensor, Tensor]:
    scale = torch.tensor(sigma, dtype=torch.float64)
    matrix = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
    return torch.tensor(mu, dtype=torch.float64), matrix * (scale * scale[:, None])


@every_exact
@pytest.mark.parametrize("rho", [0.0, 0.25, -0.5, 0.8, -0.93, 0.99, -0.9995, 1 - 1e-9, 1.0, -1.0])
def test_pairs(name: str, rho: float) -> None:
    activation, conditional_mean, places = EXACT[name]
    tolerance = 1e-12 if abs(rho) <= 0.99 else 1e-9
    for mu, sigma in PAIRS:
        result = covariance(activation, *pair(mu, sigma, rho))
        expected = reference(
            lambda x: conditional_mean(x, mp.mpf(0)), conditional_mean, places, mu, sigma, rho
        )
        assert float(result[0, 1]) == pytest.approx(float(expected), abs=tolerance)
        assert float(result[1, 0]) == float(result[0, 1])


@every_exact
def test_the_diagonal_is_the_variance_and_the_whole_is_definite(name: str) -> None:
    activation = EXACT[name][0]
    generator = torch.Generator().manual_seed(3)
    factor = torch.randn(30, 40, generator=generator, dtype=torch.float64)
    mean = torch.randn(30, generator=generator, dtype=torch.float64)
    matrix = factor @ factor.T / 40
    result = covariance(activation, mean, matrix)
    variance = activation.expand(mean, matrix.diagonal()).coefficient(0, 2)
    torch.testing.assert_close(result.diagonal(), variance, rtol=0, atol=0)
    assert float(torch.linalg.eigvalsh(result)[0]) > 0


@every_exact
def test_blocks_join(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mean, matrix = torch.linspace(-1, 1, 7).double(), torch.full((7, 7), 0.3).double()
    matrix = matrix + torch.diag(torch.linspace(0.5, 2, 7).double())
    whole = covariance(EXACT[name][0], mean, matrix)
    monkeypatch.setattr("outsample.networks.activations.bivariate._BLOCK", 14)
    torch.testing.assert_close(
        covariance(EXACT[name][0], mean, matrix), whole, rtol=1e-15, atol=1e-16
    )


@every_exact
def test_gradients(name: str) -> None:
    activation = EXACT[name][0]
    generator = torch.Generator().manual_seed(1)
    factor = torch.randn(3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    mean = torch.tensor([0.3, -0.5, 1.1], dtype=torch.float64, requires_grad=True)

    def run(mean: Tensor, factor: Tensor) -> Tensor:
        return covariance(activation, mean, factor @ factor.T)

    assert torch.autograd.gradcheck(run, (mean, factor))


@pytest.mark.parametrize("kernel", [orthant, ramp])
def test_second_derivatives(kernel: Callable[..., Tensor]) -> None:
    x = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0.2, 0.7, -1.5], dtype=torch.float64, requires_grad=True)
    rho = torch.tensor([0.95, -0.4, 0.1], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(kernel, (x, y, rho))


coordinates, correlations = st.floats(-6, 6), st.floats(-1, 1)


@given(x=coordinates, y=coordinates, rho=correlations)
def test_reflections(x: float, y: float, rho: float) -> None:
    """P(g > x, h > y) + P(g > x, h < y) = P(g > x), and (g − x)_+ − (x − g)_+ = g − x."""
    a, b, r = (torch.tensor([t], dtype=torch.float64) for t in (x, y, rho))
    assert float(orthant(a, b, r) + orthant(a, -b, -r)) == pytest.approx(0, abs=1e-15)
    assert float(ramp(a, b, r) - ramp(a, -b, -r)) == pytest.approx(0, abs=1e-15)
    assert float(orthant(a, b, r)) == pytest.approx(float(orthant(b, a, r)), abs=1e-15)


@given(rho=correlations)
def test_the_arc_sine_law(rho: float) -> None:
    zero, r = torch.zeros(1, dtype=torch.float64), torch.tensor([rho], dtype=torch.float64)
    expected = float(torch.asin(r)) / (2 * torch.pi)
    assert float(orthant(zero, zero, r)) == pytest.approx(expected, abs=1e-10)


def test_a_duplicated_neuron_has_its_variance_and_a_gradient() -> None:
    mean = torch.tensor([0.3, 0.3], dtype=torch.float64, requires_grad=True)
    matrix = torch.full((2, 2), 0.9, dtype=torch.float64, requires_grad=True)
    result = covariance(ReLU(), mean, matrix)
    assert float(result[0, 1].detach()) == pytest.approx(float(result[0, 0].detach()), rel=1e-13)
    grads = torch.autograd.grad(result.sum(), (mean, matrix))
    assert all(bool(torch.isfinite(g).all()) for g in grads)
    cdf = 0.5 * (1 + float(torch.erf(torch.tensor(0.3 / (2 * 0.9) ** 0.5))))
    (slope,) = torch.autograd.grad(covariance(ReLU(), mean, matrix)[0, 1], matrix)
    assert float(slope[0, 1]) == pytest.approx(cdf, rel=1e-6)  # E φ'(Z)²


@every_exact
def test_a_neuron_without_variance_covaries_with_nothing(name: str) -> None:
    mean = torch.tensor([0.3, 0.7, -30.0], dtype=torch.float64, requires_grad=True)
    matrix = torch.tensor(
        [[1.0, 0, 0.5], [0, 0, 0], [0.5, 0, 1.0]], dtype=torch.float64, requires_grad=True
    )
    result = covariance(EXACT[name][0], mean, matrix)
    assert result[1].abs().max() < 1e-30
    grads = torch.autograd.grad(result.sum(), (mean, matrix))
    assert all(bool(torch.isfinite(g).all()) for g in grads)


@pytest.mark.parametrize("size", [1e-150, 1e150])
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "abs", "step", "sign", "erf", "sin"])
def test_extreme_scales(name: str, size: float) -> None:
    """Homogeneous functions scale; erf is a sign far out and linear close to zero."""
    mean, matrix = pair((0.4, -0.9), (1.3, 0.5), 0.6)
    far = covariance(EXACT[name][0], mean * size, matrix * size * size)
    assert bool(torch.isfinite(far).all())
    if name in ("relu", "leaky_relu", "abs"):
        near = covariance(EXACT[name][0], mean, matrix)
        torch.testing.assert_close(far / size / size, near, rtol=1e-12, atol=0)
    elif name in ("step", "sign"):
        near = covariance(EXACT[name][0], mean, matrix)
        torch.testing.assert_close(far, near, rtol=1e-12, atol=0)
    elif name == "erf" and size > 1:
        near = covariance(EXACT["sign"][0], mean, matrix)
        torch.testing.assert_close(far, near, rtol=1e-12, atol=0)
    elif size < 1:
        linear = matrix * size * size * (4 / torch.pi if name == "erf" else 1.0)
        torch.testing.assert_close(far, linear, rtol=1e-12, atol=0)


def test_single_precision() -> None:
    mean, matrix = pair((0.4, -0.9), (1.3, 0.5), 0.97)
    for activation, _, _ in EXACT.values():
        single = covariance(activation, mean.float(), matrix.float())
        assert single.dtype == torch.float32
        double = covariance(activation, mean, matrix)
        torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=2e-6)
