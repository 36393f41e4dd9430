"""Hermite coefficients of hidden units against mpmath, and reflections."""

import math

import mpmath
import pytest
import torch

from outsample.networks.activations import from_name
from outsample.readout.coefficients import hermite_coefficients, local_coefficients, reflection

F64 = torch.float64
NAMES = ("relu", "gelu", "erf", "tanh", "silu", "elu", "leaky_relu", "square", "sigmoid", "sin")
_EXACT = {
    "relu": lambda x: max(x, 0),
    "gelu": lambda x: x * mpmath.ncdf(x),
    "erf": mpmath.erf,
    "tanh": mpmath.tanh,
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "elu": lambda x: x if x > 0 else mpmath.expm1(x),
}


@pytest.mark.parametrize("name", _EXACT)
@pytest.mark.parametrize(("mean", "scale"), [(0.0, 0.3), (-0.7, 0.9), (0.4, 2.0)])
def test_coefficients_are_the_integrals(name: str, mean: float, scale: float) -> None:
    found = hermite_coefficients(
        from_name(name), torch.tensor([mean], dtype=F64), torch.tensor([scale], dtype=F64), 6
    )[:, 0]
    mpmath.mp.dps = 25
    for d in (0, 1, 2, 3, 6):

        def integrand(g, d=d):
            hermite = mpmath.mpf(2) ** (-mpmath.mpf(d) / 2) * mpmath.hermite(d, g / mpmath.sqrt(2))
            return _EXACT[name](mean + scale * g) * hermite * mpmath.npdf(g)

        exact = mpmath.quad(integrand, [-14, -4, -mean / scale, 4, 14])
        assert float(found[d]) == pytest.approx(float(exact), abs=1e-10 * math.sqrt(720))


def test_closed_forms_of_the_theory() -> None:
    s = torch.tensor([0.3, 1.0, 2.0], dtype=F64)
    zero = torch.zeros_like(s)
    hermite_at_zero = {0: 1.0, 2: -1.0, 4: 3.0, 6: -15.0}
    p0 = 1 / math.sqrt(2 * math.pi)
    relu = hermite_coefficients(from_name("relu"), zero, s, 8)
    gelu = hermite_coefficients(from_name("gelu"), zero, s, 8)
    q = torch.sqrt(1 + s * s)
    for d in (2, 4, 6, 8):
        h = hermite_at_zero[d - 2]
        torch.testing.assert_close(relu[d], p0 * h * s, atol=1e-14, rtol=1e-12)
        expected = s**d * q ** (1 - d) * p0 * h * (d - (d - 1) * s**2 / q**2)
        torch.testing.assert_close(gelu[d], expected, atol=1e-13, rtol=1e-12)
    erf = hermite_coefficients(from_name("erf"), zero, s, 7)
    r = torch.sqrt(0.5 + s * s)
    for d in (1, 3, 5, 7):
        torch.testing.assert_close(
            erf[d], 2 * hermite_at_zero[d - 1] * p0 * (s / r) ** d, atol=1e-13, rtol=1e-12
        )


@pytest.mark.parametrize("name", NAMES)
def test_local_coefficients_agree(name: str) -> None:
    activation = from_name(name)
    mean = torch.linspace(-2, 2, 12, dtype=F64).reshape(3, 4)
    scale = torch.tensor([0.2, 0.9, 1.3, 0.0], dtype=F64)
    found = torch.stack(local_coefficients(activation, mean, scale))
    for row in range(3):
        expected = hermite_coefficients(activation, mean[row], scale, 2)
        torch.testing.assert_close(found[:, row], expected, atol=3e-9, rtol=0)


@pytest.mark.parametrize("name", ["relu", "gelu", "silu", "gelu_tanh", "erf", "tanh", "sin"])
def test_reflections(name: str) -> None:
    activation = from_name(name)
    symmetry = reflection(activation)
    assert symmetry is not None
    x = torch.linspace(-3, 3, 13, dtype=F64)
    expected = -activation(x) if symmetry.odd else activation(x) - symmetry.slope * x
    torch.testing.assert_close(activation(-x), expected, atol=1e-14, rtol=1e-13)


def test_no_reflection_is_claimed_where_there_is_none() -> None:
    assert reflection(from_name("sigmoid")) is None
    assert reflection(from_name("elu")) is None
