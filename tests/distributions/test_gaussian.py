import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from outsample.distributions import Gaussian
from outsample.errors import InputError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "covariance",
    [2.0, torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[2.0, 1, 0], [1, 2, 0], [0, 0, 1]])],
)
def test_moments_of_a_large_sample(covariance: object) -> None:
    law = Gaussian(torch.tensor([1.0, -2.0, 0.5]), covariance)
    x = law.sample(200_000, generator()).double()
    torch.testing.assert_close(x.mean(0), law.mean.double(), atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(x.T), law.covariance.double(), atol=0.05, rtol=0)
    torch.testing.assert_close(law.covariance.diagonal(), law.variance)


def test_structure_is_kept() -> None:
    assert Gaussian(torch.zeros(3), 2.0).scale.shape == ()
    assert Gaussian(torch.zeros(3), torch.ones(3)).scale.shape == (3,)
    assert Gaussian.standard(4).scale.shape == ()


def test_numpy_keeps_its_dtype() -> None:
    assert Gaussian(np.zeros(2), np.eye(2)).dtype == torch.float64
    assert Gaussian(np.zeros(2, np.float32), np.eye(2, dtype=np.float32)).dtype == torch.float32


def test_singular_covariance_is_sampled_on_its_support() -> None:
    direction = torch.tensor([1.0, 2.0, -1.0]).double()
    law = Gaussian(torch.zeros(3).double(), torch.outer(direction, direction))
    x = law.sample(1000, generator())
    torch.testing.assert_close(x[:, 1], 2 * x[:, 0], atol=1e-6, rtol=0)
    assert float(x[:, 0].var()) == pytest.approx(1, abs=0.2)


def test_zero_covariance_is_a_point() -> None:
    law = Gaussian(torch.ones(2), torch.zeros(2, 2))
    assert torch.equal(law.sample(5, generator()), torch.ones(5, 2))


@given(seed=st.integers(0, 10_000), n=st.integers(1, 6))
def test_normals_are_mapped_to_the_right_covariance(seed: int, n: int) -> None:
    """F Fᵀ = C: the map of the unit vectors gives F."""
    factor = torch.randn(n, n, generator=generator(seed), dtype=torch.float64)
    law = Gaussian(torch.zeros(n).double(), factor @ factor.T)
    columns = law.from_normal(torch.eye(n).double())
    torch.testing.assert_close(columns.T @ columns, law.covariance, atol=1e-9, rtol=1e-9)


def test_changes_in_place_are_seen() -> None:
    law = Gaussian(torch.zeros(2), torch.eye(2))
    law.sample(1, generator())
    law.scale.mul_(4)
    torch.testing.assert_close(law.from_normal(torch.eye(2)), 2 * torch.eye(2))


def test_a_draw_without_gradients_does_not_lose_them_later() -> None:
    factor = torch.eye(2, dtype=torch.float64, requires_grad=True)
    law = Gaussian(torch.zeros(2).double(), factor @ factor.T)
    with torch.no_grad():
        law.sample(1, generator())
    assert law.from_normal(torch.ones(1, 2).double()).requires_grad


def test_gradients_reach_mean_and_covariance() -> None:
    mean = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    factor = torch.eye(2, dtype=torch.float64, requires_grad=True)
    law = Gaussian(mean, factor @ factor.T)
    law.from_normal(torch.ones(1, 2).double()).sum().backward()
    assert mean.grad is not None and factor.grad is not None


def test_cast() -> None:
    law = Gaussian.standard(3)
    assert law.to(torch.float32, torch.device("cpu")) is law
    cast = law.to(torch.float64, torch.device("cpu"))
    assert cast.dtype == torch.float64 and cast.scale.dtype == torch.float64


def test_fit_shrinks_between_the_sample_covariance_and_a_sphere() -> None:
    data = torch.randn(50, 4, generator=generator(), dtype=torch.float64) @ torch.diag(
        torch.tensor([1.0, 2, 3, 4]).double()
    )
    sample = torch.cov(data.T, correction=0)
    torch.testing.assert_close(Gaussian.fit(data, shrinkage=0.0).covariance, sample)
    sphere = torch.eye(4).double() * sample.trace() / 4
    torch.testing.assert_close(Gaussian.fit(data, shrinkage=1.0).covariance, sphere)
    fitted = Gaussian.fit(data)
    torch.testing.assert_close(fitted.mean, data.mean(0))
    share = (fitted.covariance - sample).norm() / (sphere - sample).norm()
    assert 0 < float(share) < 0.5


def test_fit_of_constant_columns_is_accepted() -> None:
    data = torch.rand(20, 3, generator=generator())
    data[:, 1] = 0.5
    assert Gaussian.fit(data, shrinkage=0.0).variance[1] == 0


INDEFINITE = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
BAD = [
    (lambda: Gaussian(torch.zeros(2), INDEFINITE), "indefinite.*eigenvalue is -1"),
    (lambda: Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]])), "not symmetric"),
    (lambda: Gaussian(torch.zeros(2), torch.eye(3)), r"shape \(3, 3\)"),
    (lambda: Gaussian(torch.zeros(2, 2), 1.0), r"shape \(2, 2\)"),
    (lambda: Gaussian(torch.zeros(0), 1.0), "n >= 1"),
    (lambda: Gaussian(torch.zeros(2), -1.0), "negative variance -1"),
    (lambda: Gaussian(torch.zeros(2), torch.tensor([1.0, -0.1])), "negative variance -0.1"),
    (lambda: Gaussian(torch.zeros(2, dtype=torch.int64), 1.0), "torch.int64"),
    (lambda: Gaussian(np.zeros(2, dtype=int), 1.0), "int64"),
    (lambda: Gaussian(np.array(["a", "b"]), 1.0), "dtype"),
    (lambda: Gaussian(torch.tensor([0.0, float("nan")]), 1.0), r"non-finite.*\(1,\).*nan"),
    (lambda: Gaussian(torch.zeros(2), float("inf")), "non-finite"),
    (lambda: Gaussian(torch.zeros(2), torch.eye(2).double()), "float64.*float32"),
    (lambda: Gaussian.standard(0), "n = 0"),
    (lambda: Gaussian.standard(2).sample(0, generator()), "n = 0"),
    (lambda: Gaussian.fit(torch.tensor([[1.0, float("nan")], [1.0, 2.0]])), "non-finite"),
    (lambda: Gaussian.fit(torch.zeros(1, 3)), r"shape \(1, 3\)"),
    (lambda: Gaussian.fit(torch.zeros(5, 3), shrinkage=1.5), "shrinkage = 1.5"),
]


@pytest.mark.parametrize(("build", "message"), BAD, ids=range(len(BAD)))
def test_bad_input(build: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()  # type: ignore[operator]
