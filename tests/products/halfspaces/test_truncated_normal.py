"""Truncated normal moments against mpmath, into both tails; Hermite coefficients by definition."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.products.halfspaces.oracles import truncated_moments

from outsample.products.halfspaces.truncated_normal import hermite_coefficients, truncated

INF = math.inf
HALF_LINES = [(z, INF) for z in (-40, -9, -1, 0, 0.3, 3, 9, 25, 40, 75, 1e3, 1e6)]
INTERVALS = [
    (-1, 2), (0, 1e-3), (-1e-9, 1e-9), (-9, 9), (-40, 40), (-3, 40), (-50, 0.1), (-40, -39),
    (5, 5.5), (8, 8 + 1e-6), (30, 31), (39.9, 40.1), (40, 90), (-30, 70), (-90, 80),
    (100, 100 + 1e-4), (500, 600),
]  # fmt: skip


@pytest.mark.parametrize(("lower", "upper"), HALF_LINES + INTERVALS)
@pytest.mark.parametrize("mirrored", [False, True])
def test_moments(lower: float, upper: float, mirrored: bool) -> None:
    if mirrored:
        lower, upper = -upper, -lower
    log_mass, mean, variance = truncated_moments(lower, upper)
    law = truncated(np.array([lower], dtype=float), np.array([upper], dtype=float))
    # Limits are what they are in double precision: z differs by round-off, and z² / 2 by z times
    # that; so does the width of a tiny interval.
    width = np.spacing(abs(lower) if abs(lower) < INF else 0) / min(upper - lower, 1)
    assert law.log_mass[0] == pytest.approx(log_mass, rel=4e-15, abs=2e-13 + 4 * width)
    assert law.mean[0] == pytest.approx(mean, rel=1e-13, abs=1e-13 * math.sqrt(variance))
    assert law.variance[0] == pytest.approx(variance, rel=1e-12 + 4 * width)


@settings(max_examples=20, deadline=None)
@given(st.floats(-45, 45), st.floats(-9, 2))
@example(-30.0, 2.0)
def test_any_interval(lower: float, exponent: float) -> None:
    upper = lower + 10**exponent
    log_mass, mean, variance = truncated_moments(lower, upper)
    law = truncated(np.array([lower]), np.array([upper]))
    assert law.log_mass[0] == pytest.approx(log_mass, abs=1e-12 * (1 + abs(log_mass)))
    assert law.mean[0] == pytest.approx(mean, abs=1e-12 * (1 + abs(mean)))
    assert law.variance[0] == pytest.approx(variance, rel=1e-6 if exponent < -6 else 1e-9)


def test_the_half_line_of_the_textbook() -> None:
    law = truncated(np.zeros(1), np.full(1, INF))
    assert law.log_mass[0] == pytest.approx(-math.log(2), abs=3e-14)
    assert law.mean[0] == pytest.approx(math.sqrt(2 / math.pi), abs=3e-14)
    assert law.variance[0] == pytest.approx(1 - 2 / math.pi, abs=3e-14)


def test_the_whole_line() -> None:
    law = truncated(np.full(1, -INF), np.full(1, INF))
    assert law.log_mass[0] == pytest.approx(0, abs=1e-14)
    assert law.mean[0] == pytest.approx(0, abs=1e-15)
    assert law.variance[0] == pytest.approx(1, abs=1e-14)
    torch.testing.assert_close(
        torch.from_numpy(hermite_coefficients(law, 8)),
        torch.zeros(6, 1).double(),
        atol=1e-12,
        rtol=0,
    )


def test_out_at_a_hundred_million() -> None:
    law = truncated(np.array([1e8]), np.array([INF]))
    assert law.variance[0] == pytest.approx(1e-16, rel=1e-12)
    assert law.mean[0] == pytest.approx(1e8 + 1e-8, rel=2e-16)
    assert law.log_mass[0] == pytest.approx(-5e15, rel=1e-14)


def test_entries_do_not_feel_their_neighbours() -> None:
    lower = np.array([[-3.0, 0.0, 20.0], [-INF, 5.0, -1.0]])
    upper = np.array([[INF, 0.1, INF], [-7.0, 6.0, 1.0]])
    whole = truncated(lower, upper)
    for place in np.ndindex(2, 3):
        alone = truncated(lower[place][None], upper[place][None])
        for name in ("log_mass", "mean", "variance"):
            assert getattr(whole, name)[place] == getattr(alone, name)[0]


def test_tensors_give_what_arrays_give() -> None:
    lower, upper = np.array([-1.0, 5.0, -1e9]), np.array([1.0, 1e9, -20.0])
    by_numpy = truncated(lower, upper)
    by_torch = truncated(torch.from_numpy(lower), torch.from_numpy(upper), torch)
    for a, b in zip(by_numpy, by_torch, strict=True):
        torch.testing.assert_close(torch.from_numpy(a), b, rtol=1e-14, atol=1e-15)


def test_derivatives() -> None:
    lower = torch.tensor([-0.5, 3.0, -4.0, 0.2], dtype=torch.float64, requires_grad=True)
    upper = torch.tensor([1.5, 1e9, -3.5, 0.3], dtype=torch.float64, requires_grad=True)

    def moments(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        law = truncated(a, b, torch)
        return law.log_mass, law.mean, law.variance

    assert torch.autograd.gradcheck(moments, (lower, upper), eps=1e-7, atol=1e-6)
    log_mass, _, _ = moments(lower, upper)
    slope = torch.autograd.grad(log_mass.sum(), lower)[0]
    hazard = [
        float(mpmath.npdf(a) / mpmath.exp(m))
        for a, m in zip(lower.tolist(), log_mass.tolist(), strict=True)
    ]
    torch.testing.assert_close(
        slope, -torch.tensor(hazard, dtype=torch.float64), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize(("lower", "upper"), [(0, INF), (-1, 2), (10, INF), (-0.5, -0.4), (40, 41)])
def test_hermite_coefficients(lower: float, upper: float) -> None:
    """E[He_l(w)] / sqrt(l!), of the standardised law, by mpmath."""
    log_mass, mean, variance = truncated_moments(lower, upper)
    del log_mass
    with mpmath.workdps(40):
        end = min(upper, lower + 12) if lower >= 0 else upper
        cuts = [lower + (end - lower) * mpmath.mpf(i) / 12 for i in range(13)]
        height = mpmath.mpf(max(lower, 0)) ** 2 / 2

        def weight(z: mpmath.mpf) -> mpmath.mpf:
            return mpmath.exp(height - z * z / 2)

        mass = mpmath.quad(weight, cuts)
        # The mean is known to round-off of z only, which is much in units of a small deviation.
        mean = mpmath.quad(lambda z: z * weight(z), cuts) / mass
        variance = mpmath.quad(lambda z: (z - mean) ** 2 * weight(z), cuts) / mass
        scale = mpmath.sqrt(variance)
        truth = [
            float(
                mpmath.quad(lambda z, n=n: hermite(n, (z - mean) / scale) * weight(z), cuts)
                / mass
                / mpmath.sqrt(mpmath.factorial(n))
            )
            for n in range(3, 9)
        ]
    law = truncated(np.array([float(lower)]), np.array([float(upper)]))
    found = hermite_coefficients(law, 8)[:, 0]
    np.testing.assert_allclose(found, truth, rtol=1e-8, atol=1e-11)


def hermite(n: int, x: mpmath.mpf) -> mpmath.mpf:
    before, now = mpmath.mpf(1), x
    for p in range(1, n):
        before, now = now, x * now - p * before
    return now


def test_far_out_the_law_is_exponential() -> None:
    """Coefficients of 1 + w ~ Exp(1): E[w³] = 2, so c_3 = 2 / sqrt(6)."""
    law = truncated(np.array([1e6]), np.array([INF]))
    assert hermite_coefficients(law, 3)[0, 0] == pytest.approx(2 / math.sqrt(6), rel=1e-9)
