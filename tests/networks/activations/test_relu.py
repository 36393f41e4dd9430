"""The hand-written ReLU against the general closed form and exact small cases."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from outsample.networks.activations import ReLU, leaky_relu

ORDERS = [(k, p) for p in range(1, 5) for k in range(5)]


def test_at_zero_mean() -> None:
    e = ReLU().expand(torch.zeros(1, dtype=torch.float64), torch.full((1,), 4.0).double())
    pdf = 1 / math.sqrt(2 * math.pi)
    assert float(e.mean) == pytest.approx(2 * pdf, rel=1e-15)
    assert float(e.coefficient(1)) == pytest.approx(1, rel=1e-15)
    assert float(e.coefficient(2)) == pytest.approx(2 * pdf, rel=1e-15)
    assert float(e.coefficient(3)) == 0
    assert float(e.coefficient(4)) == pytest.approx(-2 * pdf, rel=1e-15)
    assert float(e.coefficient(0, 2)) == pytest.approx(4 * (0.5 - pdf**2), rel=1e-15)


@given(alpha=st.floats(-40, 40), log_sigma=st.floats(-3, 3))
def test_agrees_with_the_general_closed_form(alpha: float, log_sigma: float) -> None:
    sigma = 10.0**log_sigma
    mean = torch.tensor([alpha * sigma], dtype=torch.float64)
    variance = torch.tensor([sigma**2], dtype=torch.float64)
    ours, general = ReLU().expand(mean, variance), leaky_relu(0.0).expand(mean, variance)
    scale = max(sigma, abs(alpha * sigma))
    assert float(ours.mean) == pytest.approx(float(general.mean), rel=1e-12, abs=1e-15 * scale)
    for k, p in [*ORDERS, (5, 1), (7, 3), (2, 5), (6, 6)]:
        value, expected = float(ours.coefficient(k, p)), float(general.coefficient(k, p))
        unit = sigma**p * math.sqrt(math.factorial(k) * math.factorial(2 * p))
        assert value == pytest.approx(expected, abs=1e-13 * unit), (k, p)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_variance_is_never_negative(dtype: torch.dtype) -> None:
    """Not even where the density is about to underflow."""
    alpha = torch.linspace(-45, 45, 100_001, dtype=dtype)
    e = ReLU().expand(alpha, torch.ones_like(alpha))
    assert float(e.coefficient(0, 2).min()) >= 0
    assert float(e.mean.min()) >= -1e-30


def test_single_precision_is_accurate_to_a_few_units() -> None:
    mean = torch.linspace(-12, 12, 400)
    variance = torch.full_like(mean, 2.25)
    single = ReLU().expand(mean, variance)
    double = ReLU().expand(mean.double(), variance.double())
    for k, p in ORDERS:
        error = (single.coefficient(k, p).double() - double.coefficient(k, p)).abs().max()
        assert float(error) < 1e-6 * 1.5**p * math.sqrt(math.factorial(k) * math.factorial(2 * p))


def test_second_derivatives() -> None:
    """The table is scaled in place, which must not disturb the graph."""
    mean = torch.tensor([0.4, -1.1], dtype=torch.float64, requires_grad=True)
    variance = torch.tensor([0.7, 1.9], dtype=torch.float64, requires_grad=True)

    def some(mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        e = ReLU().expand(mean, variance)
        return torch.stack([e.mean, e.coefficient(1), e.coefficient(0, 2), e.coefficient(3, 4)])

    assert torch.autograd.gradgradcheck(some, (mean, variance))
