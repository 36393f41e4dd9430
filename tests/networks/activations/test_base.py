"""The default covariance, by Mehler's series, and its bound."""

import pytest
import torch
from torch import Tensor

from outsample.networks.activations import Activation, from_name, hardtanh, polynomial
from outsample.networks.activations.base import positive, standard_deviation

EXACT = ["relu", "abs", "hardtanh", "step", "erf", "sin"]


def layer(rho: float = 0.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(12, 9, generator=generator, dtype=torch.float64)
    factor[:, 0] += rho
    mean = torch.randn(12, generator=generator, dtype=torch.float64)
    return mean, factor @ factor.T / 9


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("rho", [0.0, 3.0])
def test_the_bound_holds(name: str, rho: float) -> None:
    activation = from_name(name)
    mean, matrix = layer(rho)
    e = activation.expand(mean, matrix.diagonal())
    exact, none = activation.covariance(mean, matrix, e, 3)
    assert none is None
    previous = 1.0
    for degree in (1, 2, 3, 5, 8):
        series, bound = Activation.covariance(activation, mean, matrix, e, degree)
        assert bound is not None and bound.shape == ()
        deviation = e.coefficient(0, 2).sqrt()
        error = ((series - exact) / deviation / deviation[:, None]).abs().max()
        assert float(error) <= float(bound) + 1e-14
        assert float(bound) <= previous
        previous = float(bound)


def test_the_bound_is_attained_by_identical_neurons_at_degree_zero() -> None:
    tanh = from_name("tanh")
    mean, matrix = torch.tensor([0.3, 0.3]).double(), torch.ones(2, 2).double()
    e = tanh.expand(mean, matrix.diagonal())
    series, bound = tanh.covariance(mean, matrix, e, 0)
    assert float(series[0, 1]) == 0
    assert bound is not None and float(bound) == pytest.approx(1, rel=1e-12)


def test_smooth_activations_converge_fast() -> None:
    tanh = from_name("tanh")
    mean, matrix = layer()
    e = tanh.expand(mean, matrix.diagonal())
    result, bound = tanh.covariance(mean, matrix, e, 30)
    assert bound is not None and 0 < float(bound) < 1e-4
    assert float(torch.linalg.eigvalsh(result)[0]) > 0
    torch.testing.assert_close(result.diagonal(), e.coefficient(0, 2), rtol=0, atol=0)


def test_neurons_without_variance_do_not_spoil_the_bound() -> None:
    tanh = from_name("tanh")
    mean, matrix = torch.tensor([0.3, 1.0]).double(), torch.diag(torch.tensor([1.0, 0.0]).double())
    result, bound = tanh.covariance(mean, matrix, tanh.expand(mean, matrix.diagonal()), 4)
    assert bound is not None and float(bound) == 0
    assert bool(torch.isfinite(result).all())


def test_gradients_of_the_series() -> None:
    mean, matrix = layer()
    mean, factor = mean[:3].requires_grad_(), torch.linalg.cholesky(matrix[:3, :3]).requires_grad_()

    def run(mean: Tensor, factor: Tensor) -> Tensor:
        tanh, cov = from_name("tanh"), factor @ factor.T
        return tanh.covariance(mean, cov, tanh.expand(mean, cov.diagonal()), 5)[0]

    assert torch.autograd.gradcheck(run, (mean, factor))


def test_where_the_exact_form_would_cancel_the_series_takes_over() -> None:
    mean, matrix = layer()
    narrow = hardtanh(-1e-5, 1e-5)
    _, bound = narrow.covariance(mean, matrix, narrow.expand(mean, matrix.diagonal()), 6)
    assert bound is not None
    quartic = polynomial((0, 0, 0, 0, 1.0))
    _, bound = quartic.covariance(mean, matrix, quartic.expand(mean, matrix.diagonal()), 1)
    assert bound is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standard_deviation_is_positive_and_differentiable_at_zero(dtype: torch.dtype) -> None:
    v = torch.tensor([0.0, -1e-30, 4.0], dtype=dtype, requires_grad=True)
    sigma = standard_deviation(v)
    assert bool((sigma > 0).all())
    assert sigma.detach().tolist() == standard_deviation(v.detach()).tolist()
    (grad,) = torch.autograd.grad((sigma * sigma * 3).sum(), v)
    assert grad.tolist() == pytest.approx([3.0, 3.0, 3.0])
    assert float(positive(v.detach())[2]) == 4
