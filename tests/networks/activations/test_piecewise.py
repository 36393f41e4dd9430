"""Piecewise polynomials: their definition, and expansions where digits are easily lost."""

import math
from typing import Any

import mpmath as mp
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.networks.activations.reference import coefficients, relative_error

from outsample.errors import InputError, NumericalError
from outsample.networks.activations import (
    PiecewisePolynomial,
    from_name,
    hardtanh,
    leaky_relu,
    polynomial,
)


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


def test_pieces_are_taken_in_order() -> None:
    f = PiecewisePolynomial((-1, 2), ((5,), (0, 1, 1), (7, -1)))
    x = torch.tensor([-3.0, -1.0, 0.5, 1.9, 2.0, 4.0])
    assert f(x).tolist() == pytest.approx([5, 0, 0.75, 1.9 + 1.9**2, 5, 3])


def test_equal_functions_are_equal_objects() -> None:
    assert leaky_relu(0.1) == leaky_relu(0.1)
    assert leaky_relu(0.1) != leaky_relu(0.2)
    assert hash(hardtanh(0, 6, "relu6")) == hash(hardtanh(0.0, 6.0))
    assert polynomial((0, 0, 1, 0)) == from_name("square")
    # A breakpoint without a break is none.
    assert PiecewisePolynomial((0, 3), ((1, 2), (1, 2, 0), (4,))).breakpoints == (3.0,)
    assert leaky_relu(1.0) == from_name("identity")


@pytest.mark.parametrize(
    ("breakpoints", "pieces", "message"),
    [
        ((1, 0), ((1,), (2,), (3,)), r"breakpoints is \(1.0, 0.0\); expected finite, strictly"),
        ((0, 0), ((1,), (2,), (3,)), "strictly increasing"),
        ((math.nan,), ((1,), (2,)), "breakpoints is"),
        ((0,), ((1,),), "pieces has 1 polynomials for 1 breakpoints; expected 2"),
        ((0,), ((1,), ()), "at least one"),
        ((0,), ((1,), (math.inf,)), r"piece of the polynomial is \(inf,\)"),
    ],
)
def test_bad_arguments(
    breakpoints: tuple[float, ...], pieces: tuple[tuple[float, ...], ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        PiecewisePolynomial(breakpoints, pieces)


@given(ratio=st.floats(-1e8, 1e8), sigma=st.floats(1e-6, 1e6))
def test_a_square_keeps_its_digits_at_any_signal_to_noise_ratio(ratio: float, sigma: float) -> None:
    mu = ratio * sigma
    e = from_name("square").expand(one(mu), one(sigma**2))
    m, s2 = mp.mpf(mu), mp.mpf(sigma**2)
    assert float(e.mean) == pytest.approx(float(m**2 + s2), rel=1e-14)
    expected = {
        (1, 1): 2 * m * mp.sqrt(s2),
        (2, 1): 2 * s2,
        (0, 2): 4 * m**2 * s2 + 2 * s2**2,
        (0, 3): 24 * m**2 * s2**2 + 8 * s2**3,
    }
    for key, value in expected.items():
        assert float(e.coefficient(*key)) == pytest.approx(float(value), rel=1e-13, abs=1e-300)


@pytest.mark.parametrize("offset", [0.0, 0.3, -2.0])
def test_kinks_far_from_zero_lose_nothing(offset: float) -> None:
    """A small Gaussian around a kink at 1e6: the same as around 0, up to the units."""
    knot, sigma = 2.0**20, 2.0**-20
    far = PiecewisePolynomial((knot,), ((knot,), (0.0, 1.0)))
    near = leaky_relu(0.0)
    there = far.expand(one(knot + offset * sigma), one(sigma**2))
    shift = float(one(knot + offset * sigma) - knot)
    here = near.expand(one(shift), one(sigma**2))
    for k in range(5):
        for p in range(1, 5):
            value, expected = float(there.coefficient(k, p)), float(here.coefficient(k, p))
            assert value == pytest.approx(expected, abs=1e-13 * sigma**p)


@pytest.mark.parametrize("alpha", [-40.0, -30.0, -8.0, 8.0, 30.0, 40.0])
def test_tails_to_forty_standard_deviations(alpha: float) -> None:
    orders = [(1, 1), (4, 1), (0, 2), (4, 4)]
    _, values, size = coefficients(lambda x: max(x, x / 8), (0,), 2 * alpha, 2, orders, width=45)
    e = leaky_relu(0.125).expand(one(2 * alpha), one(4.0))
    for (k, p), value in zip(orders, values, strict=True):
        assert relative_error(e.coefficient(k, p), value, size, k, p) < 1e-13


def test_far_from_every_kink_the_polynomial_is_exact() -> None:
    e = hardtanh().expand(one(-1e200), one(1e300))
    assert float(e.mean) == -1
    assert float(e.coefficient(0, 2)) == 0
    wide = PiecewisePolynomial((-1, 1), ((0, 3), (3,), (1, 2)))
    assert float(wide.expand(one(1e150), one(1.0)).coefficient(1)) == 2


def test_several_knots_in_reach() -> None:
    f = PiecewisePolynomial((-1, 0, 0.5, 2), ((1,), (0, 1), (0, 0, 1), (-1,), (3, -1)))

    def exact(x: Any) -> Any:
        if x < 0:
            return mp.mpf(1) if x < -1 else x
        if x < 0.5:
            return x * x
        return mp.mpf(-1) if x < 2 else 3 - x

    orders = [(k, p) for k in (0, 1, 4) for p in (1, 2, 4)]
    for mu in (-1.5, -0.2, 0.1, 1.0, 2.6):
        _, values, size = coefficients(exact, f.breakpoints, mu, 0.8, orders)
        e = f.expand(one(mu), one(0.8**2))
        for (k, p), value in zip(orders, values, strict=True):
            assert relative_error(e.coefficient(k, p), value, size, k, p) < 1e-13


def test_overflow_is_refused() -> None:
    with pytest.raises(NumericalError, match=r"'square' leaves the range of torch\.float64"):
        from_name("square").expand(one(1e200), one(1.0))
