"""Expansion by quadrature: what converges, what warns, what is refused."""

import math
from typing import Any

import mpmath as mp
import pytest
import torch
from tests.networks.activations.reference import coefficients, relative_error
from torch import Tensor

from outsample.errors import InputError, NumericalError, NumericalWarning
from outsample.networks.activations import Function, Sigmoid


def one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def test_an_undeclared_kink_warns_with_its_size() -> None:
    with pytest.warns(NumericalWarning, match=r"'kinky' has not converged for 1 neuron.*1e-10"):
        Function(torch.abs, name="kinky").expand(one(0.3), one(1.0))
    Function(torch.abs, (0.0,), name="declared").expand(one(0.3), one(1.0))


def test_fast_waves_are_resolved_or_reported() -> None:
    """On 129 nodes the wave 40 looks like 2.3, and does so on every second of them too."""
    for frequency in (10.5, 14.1, 19.0, 21.2, 40.0, 42.33, 60.0, 100.0):
        resolved = Function(lambda x, w=frequency: torch.cos(w * x)).expand(one(0.1), one(1.0))
        moments = [float(resolved.coefficient(0, p)) for p in (2, 3, 4)]
        assert moments == pytest.approx([1 / 2, 0, 3 / 8], rel=1e-12, abs=1e-12)
    with pytest.warns(NumericalWarning, match="has not converged"):
        Function(lambda x: torch.cos(3e5 * x)).expand(one(0.1), one(1.0))


def test_exponential_growth_widens_the_window() -> None:
    sigma = 2.5
    e = Function(torch.exp, name="exp").expand(one(-1.0), one(sigma**2))

    def moment(q: int) -> Any:
        return mp.exp(-q + q * q * mp.mpf(sigma) ** 2 / 2)

    m = moment(1)
    assert float(e.mean) == pytest.approx(float(m), rel=1e-13)
    for p in (2, 3, 4):
        central = sum(mp.binomial(p, q) * (-m) ** (p - q) * moment(q) for q in range(p + 1))
        assert float(e.coefficient(0, p)) == pytest.approx(float(central), rel=1e-12)


def test_singular_but_declared() -> None:
    f = Function(lambda x: x.abs().sqrt(), (0.0,), "root")
    orders = [(1, 1), (0, 2), (4, 1)]
    mean, values, size = coefficients(
        lambda x: mp.sqrt(abs(x)), (0,), 0.5, 1, orders, finest=mp.mpf(10) ** -12
    )
    e = f.expand(one(0.5), one(1.0))
    assert relative_error(e.mean, mean, size, 0, 1) < 1e-12
    for (k, p), value in zip(orders, values, strict=True):
        assert relative_error(e.coefficient(k, p), value, size, k, p) < 1e-11


def test_a_declared_jump_moves_the_mean() -> None:
    """Nodes depend on the mean, so that jumps are differentiated: d E step / dμ = density."""
    mean = one(0.4).requires_grad_()
    step = Function(lambda x: (x > 0).double(), (0.0,), "jump")
    (slope,) = torch.autograd.grad(step.expand(mean, one(2.25)).mean.sum(), mean)
    expected = math.exp(-((0.4 / 1.5) ** 2) / 2) / math.sqrt(2 * math.pi) / 1.5
    assert float(slope) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("sigma", [1e-3, 1e-5, 1e-8, 1e-30, 1e-150])
def test_small_deviations_keep_their_digits(sigma: float) -> None:
    """Var sigmoid(μ + σg) = σ² s'² + …, although the values differ by less than rounding."""
    s = 1 / (1 + math.exp(-0.8))
    first, second, third = s * (1 - s), s * (1 - s) * (1 - 2 * s), 0.0
    third = first * (1 - 6 * s + 6 * s * s)
    v = sigma**2
    e = Sigmoid().expand(one(0.8), one(v))
    expected = first**2 + v * (second**2 / 2 + first * third)
    # In between, where the Taylor polynomial does not do yet, values lose some digits.
    tolerance = 1e-12 if sigma <= 1e-5 else 1e-11
    assert float(e.coefficient(0, 2)) / v == pytest.approx(expected, rel=tolerance)
    assert float(e.coefficient(1)) / sigma == pytest.approx(first + v * third / 2, rel=tolerance)


def test_functions_torch_cannot_differentiate_still_have_values() -> None:
    def through_numpy(x: Tensor) -> Tensor:
        return torch.from_numpy(x.detach().numpy() ** 3)

    for variance in (0.0, 1e-12, 2.0):
        e = Function(through_numpy).expand(one(1.5), one(variance))
        assert float(e.mean) == pytest.approx(1.5**3 + 4.5 * variance, rel=1e-14)
        # Without derivatives the digits lost in differences at small σ stay lost.
        expected = variance * 6.75**2 + variance**2 * (4.5 * 4.5 * 2 + 6 * 6.75) + 15 * variance**3
        assert float(e.coefficient(0, 2)) == pytest.approx(expected, rel=1e-8, abs=1e-30)


def test_trained_constants_inside_the_function_get_gradients() -> None:
    slope = one(0.7).requires_grad_()
    e = Function(lambda x: torch.tanh(slope * x)).expand(one(0.2), one(1.0))
    (by_slope,) = torch.autograd.grad(e.mean.sum(), slope)
    h = 1e-5
    up, down = (
        float(Function(lambda x, c=c: torch.tanh(c * x)).expand(one(0.2), one(1.0)).mean)
        for c in (0.7 + h, 0.7 - h)
    )
    assert float(by_slope) == pytest.approx((up - down) / (2 * h), rel=1e-8)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (torch.log, NumericalError, r"'f' returned (nan|-inf) at -?\d.*expected a finite value"),
        (lambda x: 1 / (x - x), NumericalError, "'f' returned inf at 0.5"),
        (lambda x: x.sum(), InputError, r"'f' returned \(\) for a tensor of shape \(1,\)"),
        (lambda x: 1.0, InputError, "'f' returned float"),
    ],
)
def test_bad_functions_are_named(function: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Function(function, name="f").expand(one(0.5), one(1.0))
