"""Formulas against what they converge to, and against second implementations."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, stats

from outsample.catastrophe.from_cumulants import formulas
from outsample.catastrophe.from_cumulants.maximum_entropy import maximum_entropy
from outsample.catastrophe.from_cumulants.tail import Standardised, Tail, deviate

Formula = Callable[[Standardised], Tail]
ALL: list[Formula] = [
    formulas.gaussian,
    formulas.edgeworth,
    formulas.gram_charlier,
    formulas.cornish_fisher,
    formulas.lugannani_rice,
    maximum_entropy,
]


def law(z: float, skewness: float, kurtosis: float) -> Standardised:
    return Standardised(*(torch.tensor(v, dtype=torch.float64) for v in (z, skewness, kurtosis)))


def value(formula: Formula, *figures: float) -> float:
    tail = formula(law(*figures))
    assert tail.failure is None
    return float(tail.log_value.exp())


@pytest.mark.parametrize("formula", ALL, ids=lambda f: f.__name__)
@pytest.mark.parametrize("z", [0.0, 1e-5, 0.5, 2.0, 6.0])
def test_without_higher_cumulants_all_are_normal(formula: Formula, z: float) -> None:
    # A grid of points 0.005 apart has its own error in the tail.
    rel = 5e-3 if formula is maximum_entropy else 1e-9
    assert value(formula, z, 0.0, 0.0) == pytest.approx(stats.norm.sf(z), rel=rel)


@pytest.mark.parametrize("formula", ALL[1:], ids=lambda f: f.__name__)
def test_chi_square_of_many_degrees_near_the_middle(formula: Formula) -> None:
    n = 200
    for z in (0.3, 1.0):
        exact = stats.chi2.sf(n + z * math.sqrt(2 * n), n)
        found = value(formula, z, math.sqrt(8 / n), 12 / n)
        # The normal law is 3 % off at 0.3; series A has no term of λ_3².
        assert found == pytest.approx(exact, rel=6e-3)


def test_series_are_those_of_the_textbook() -> None:
    z, l3, l4 = 1.7, 0.3, 0.2
    q, phi = stats.norm.sf(z), stats.norm.pdf(z)
    series = q + phi * (l3 * (z**2 - 1) / 6 + l4 * (z**3 - 3 * z) / 24)
    assert value(formulas.gram_charlier, z, l3, l4) == pytest.approx(series)
    more = series + phi * l3**2 * (z**5 - 10 * z**3 + 15 * z) / 72
    assert value(formulas.edgeworth, z, l3, l4) == pytest.approx(more)


@pytest.mark.parametrize(("z", "l3", "l4"), [(2.0, 0.4, 0.3), (0.1, 0.9, 0.5), (3.0, -0.2, 0.3)])
def test_cornish_fisher_solves_its_equation(z: float, l3: float, l4: float) -> None:
    def image(w: float) -> float:
        cubic = l3**2 * (2 * w**3 - 5 * w) / 36
        return w + l3 * (w**2 - 1) / 6 + l4 * (w**3 - 3 * w) / 24 - cubic

    w = optimize.brentq(lambda w: image(w) - z, -4, 4)
    assert value(formulas.cornish_fisher, z, l3, l4) == pytest.approx(stats.norm.sf(w))


@pytest.mark.parametrize(("z", "l3", "l4"), [(2.0, 0.4, 0.3), (4.0, 0.6, 0.5), (1.5, -0.3, 0.2)])
def test_lugannani_and_rice_from_a_second_implementation(z: float, l3: float, l4: float) -> None:
    def cgf(b: float) -> float:
        return b**2 / 2 + l3 * b**3 / 6 + l4 * b**4 / 24

    b = optimize.brentq(lambda b: b + l3 * b**2 / 2 + l4 * b**3 / 6 - z, 0, 6)
    w = math.sqrt(2 * (b * z - cgf(b)))
    u = b * math.sqrt(1 + l3 * b + l4 * b**2 / 2)
    expected = stats.norm.sf(w) + stats.norm.pdf(w) * (1 / u - 1 / w)
    assert value(formulas.lugannani_rice, z, l3, l4) == pytest.approx(expected, rel=1e-9)


def test_lugannani_and_rice_are_continuous_at_the_mean() -> None:
    for l3, l4 in ((0.5, 0.3), (-0.5, 0.3)):
        below, above = (value(formulas.lugannani_rice, z, l3, l4) for z in (0.9e-4, 1.1e-4))
        assert below == pytest.approx(above, abs=2e-5)
        assert below == pytest.approx(0.5 - l3 / 6 / math.sqrt(2 * math.pi), abs=1e-4)


@pytest.mark.parametrize(("l3", "l4"), [(0.0, -1.2), (0.3, -0.1), (-0.4, 0.0)])
def test_maximum_entropy_has_the_moments_and_the_form(l3: float, l4: float) -> None:
    """Against Newton's method of SciPy on powers and adaptive quadrature."""

    def moments(theta: np.ndarray) -> np.ndarray:
        def density(x: float, power: int) -> float:
            return x**power * math.exp(sum(t * x**k for k, t in enumerate(theta, start=1)))

        return np.array([integrate.quad(density, -9, 9, args=(k,), limit=200)[0] for k in range(5)])

    def miss(theta: np.ndarray) -> np.ndarray:
        m = moments(theta)
        return m[1:] / m[0] - np.array([0, 1, l3, l4 + 3])

    theta = optimize.fsolve(miss, [0.0, -0.4, 0.0, -0.02], xtol=1e-10)
    assert np.abs(miss(theta)).max() < 1e-7
    total = moments(theta)[0]

    def density(x: float) -> float:
        return math.exp(sum(t * x**k for k, t in enumerate(theta, start=1))) / total

    for z in (0.5, 2.0):
        expected = integrate.quad(density, z, 9)[0]
        assert value(maximum_entropy, z, l3, l4) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(
    ("formula", "figures", "message"),
    [
        (formulas.gram_charlier, (4.0, -1.0, 0.0), "negative probability"),
        (formulas.edgeworth, (2.0, 0.0, 400.0), "above 1"),
        (formulas.cornish_fisher, (4.0, 2.0, 0.0), "stops rising"),
        (formulas.lugannani_rice, (4.0, -0.5, 0.0), "no saddlepoint"),
        (maximum_entropy, (15.0, 0.0, 0.0), "beyond the grid"),
        (maximum_entropy, (1.0, 2.0, 0.5), "no law has"),
    ],
)
def test_failures_are_said_and_stay_probabilities(
    formula: Formula, figures: tuple[float, float, float], message: str
) -> None:
    tail = formula(law(*figures))
    assert tail.failure is not None
    assert message in tail.failure
    assert tail.log_value.exp() in (0, 1)


def test_deviates_invert_the_tail_far_out_and_have_its_derivative() -> None:
    for z in (-2.0, 0.0, 5.0, 40.0, 200.0):
        log_p = torch.tensor(stats.norm.logsf(z), dtype=torch.float64, requires_grad=True)
        found = deviate(log_p)
        found.backward()
        assert found.item() == pytest.approx(z, rel=1e-10, abs=1e-10)
        slope = -math.exp(stats.norm.logpdf(z) - stats.norm.logsf(z))
        assert float(log_p.grad) == pytest.approx(1 / slope, rel=1e-6)
