"""Hermite moments of cut normals, against mpmath."""

import mpmath
import pytest
import torch
from torch import Tensor

from outsample.products.halfspaces.hermite_moments import hermite_moments

F64 = torch.float64
LIMITS = [
    (-1.0, torch.inf),
    (0.0, torch.inf),
    (3.0, torch.inf),
    (50.0, torch.inf),
    (-30.0, torch.inf),
    (-torch.inf, 0.7),
    (-torch.inf, -20.0),
    (-1.0, 2.0),
    (-2.0, 1.0),
    (-0.2, 0.1),
    (-1e-6, 2e-6),
    (1.0, 1.4),
    (6.0, 6.01),
    (-40.0, -39.9),
    (20.0, 30.0),
    (-3.0, 60.0),
    (700.0, 700.3),
]


def truth(low: float, high: float, order: int) -> tuple[list[float], float]:
    """By recursion in 60 digits, exact however much cancels."""
    with mpmath.workdps(600):
        low, high = (mpmath.mpf(x) for x in (low, high))
        if low + high < 0:
            moments, log_mass = truth(float(-high), float(-low), order)
            return [(-1) ** m * value for m, value in enumerate(moments)], log_mass

        def polynomial(m: int, x: mpmath.mpf) -> mpmath.mpf:
            before, now = mpmath.mpf(0), mpmath.mpf(1)
            for j in range(m):
                before, now = now, x * now - j * before
            return now

        def boundary(m: int, x: mpmath.mpf) -> mpmath.mpf:
            return polynomial(m - 1, x) * mpmath.npdf(x) if mpmath.isfinite(x) else mpmath.mpf(0)

        mass = (mpmath.erfc(low / mpmath.sqrt(2)) - mpmath.erfc(high / mpmath.sqrt(2))) / 2
        moments = [(boundary(m, low) - boundary(m, high)) / mass for m in range(1, order + 1)]
        return [1.0, *map(float, moments)], float(mpmath.log(mass))


@pytest.mark.parametrize(("low", "high"), LIMITS)
def test_moments(low: float, high: float) -> None:
    moments, log_mass = hermite_moments(
        torch.tensor([low, -0.5], dtype=F64), torch.tensor([high, torch.inf], dtype=F64), 8
    )
    expected, log_expected = truth(low, high, 8)
    torch.testing.assert_close(moments[0].tolist(), expected, rtol=1e-10, atol=1e-12)
    assert float(log_mass[0]) == pytest.approx(log_expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_few_moments(order: int) -> None:
    zero = torch.zeros(3, dtype=F64)
    moments, _ = hermite_moments(zero, zero + torch.inf, order)
    assert moments.shape == (3, order + 1)
    expected = [1.0, (2 / torch.pi) ** 0.5, 0.0][: order + 1]
    torch.testing.assert_close(moments[2].tolist(), expected)


def test_no_factors() -> None:
    nothing = torch.zeros(0, dtype=F64)
    moments, log_mass = hermite_moments(nothing, nothing, 4)
    assert moments.shape == (0, 5)
    assert log_mass.shape == (0,)


def test_gradients() -> None:
    low = torch.tensor([-1.0, 0.3, -0.1, 2.0, -3.0], dtype=F64, requires_grad=True)
    high = torch.tensor([torch.inf, 1.2, 0.1, 2.05, -2.0], dtype=F64)
    finite = high.isfinite()

    def value(low: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        return hermite_moments(low, torch.where(finite, high + shift, high), 4)

    shift = torch.zeros(5, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(value, (low, shift), atol=1e-7)
