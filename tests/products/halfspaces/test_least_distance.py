"""The bound on masses far out."""

import numpy as np
import pytest
from scipy.special import log_ndtr
from scipy.stats import multivariate_normal

from outsample.products.halfspaces.least_distance import decay_rates, log_mass_bound


def test_one_halfspace_is_exact() -> None:
    for b in (0.5, 3.0, 40.0):
        bound = log_mass_bound(np.eye(1), np.array([b]), np.array([np.inf]))
        assert bound == pytest.approx(log_ndtr(-b), rel=1e-6)
        bound = log_mass_bound(4 * np.eye(1), np.array([-np.inf]), np.array([-2 * b]))
        assert bound == pytest.approx(log_ndtr(-b), rel=1e-6)


def test_a_corner_is_as_far_as_it_is() -> None:
    bound = log_mass_bound(np.eye(2), np.array([3.0, 4.0]), np.full(2, np.inf))
    assert bound == pytest.approx(log_ndtr(-5.0))


def test_the_centre_inside_says_nothing() -> None:
    assert log_mass_bound(np.eye(2), np.array([-1.0, -np.inf]), np.array([np.inf, 2.0])) == 0


def test_rates_lead_to_the_nearest_point() -> None:
    lower, upper = np.array([3.0, -np.inf, -1.0]), np.array([np.inf, -4.0, 1.0])
    gram = np.array([[1.0, 0.3, 0.2], [0.3, 1.0, 0.1], [0.2, 0.1, 1.0]])
    rates = decay_rates(gram, lower, upper)
    np.testing.assert_allclose((gram @ rates)[:2], [3.0, -4.0])
    assert rates[2] == 0
    assert not decay_rates(gram, np.full(3, -1.0), upper + 9).any()


def test_contradictions_have_no_mass() -> None:
    gram = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert log_mass_bound(gram, np.array([0.5, 0.5]), np.full(2, np.inf)) < -1e6


@pytest.mark.parametrize("seed", range(5))
def test_it_bounds_the_mass(seed: int) -> None:
    rng = np.random.default_rng(seed)
    v = rng.standard_normal((4, 6))
    gram, lower = v @ v.T, rng.standard_normal(4) + 2
    mass = multivariate_normal.cdf(-lower, cov=gram, rng=np.random.default_rng(1))
    bound = log_mass_bound(gram, lower, np.full(4, np.inf))
    assert np.log(mass) < bound < 0
