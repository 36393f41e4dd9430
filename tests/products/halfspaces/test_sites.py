"""The fixed point of expectation propagation, against the textbook's one-by-one iteration."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_ndtr
from tests.products.halfspaces.oracles import textbook_propagation

from outsample.products.halfspaces.sites import (
    SETTLED,
    SWEEPS,
    TOLERANCE,
    FixedPoint,
    cavities,
    covariance,
    fixed_point,
    log_normaliser,
    matched_sites,
    tilt,
)
from outsample.products.halfspaces.truncated_normal import truncated

Array = NDArray[np.float64]
INF = math.inf


def random_gram(k: int, n: int, seed: int, common: float = 0.0) -> Array:
    v = np.random.default_rng(seed).standard_normal((k, n))
    v[:, 0] += common * math.sqrt(n)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    return v @ v.T


def iterate(gram: Array, lower: Array, upper: Array | None = None) -> FixedPoint:
    lower = np.atleast_2d(lower)
    upper = np.full_like(lower, INF) if upper is None else np.atleast_2d(upper)
    return fixed_point(gram, lower, upper, np.zeros_like(lower), np.zeros_like(lower))


def log_value(gram: Array, lower: Array, upper: Array, at: FixedPoint) -> Array:
    cavity = cavities(gram, at.precision, at.shift)
    return log_normaliser(gram, at.precision, cavity, tilt(cavity, lower, upper))


@pytest.mark.parametrize(("k", "n", "common"), [(2, 5, 0), (5, 10, 0), (8, 20, 0.5), (9, 4, 0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_textbook_has_the_same_fixed_point(k: int, n: int, common: float, seed: int) -> None:
    gram = random_gram(k, n, seed, common)
    lower = 0.5 * np.random.default_rng(seed).standard_normal(k) - (0.5 if k > n else 0)
    log_p, precision, shift = textbook_propagation(gram, lower)
    found = iterate(gram, lower)
    np.testing.assert_allclose(found.precision[0], precision, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(found.shift[0], shift, rtol=1e-7, atol=1e-8)
    value = log_value(gram, lower[None], np.full((1, k), INF), found)
    assert value[0] == pytest.approx(log_p, abs=1e-9)


def test_moments_match_at_the_fixed_point() -> None:
    """The Gaussian has each tilted law's mean and variance: c_1 = c_2 = 0."""
    gram = random_gram(6, 12, 3)
    lower = np.array([-1.0, 0.2, -INF, 1.5, -0.3, 0.0])
    upper = np.array([1.0, INF, 0.4, 1.6, 2.0, INF])
    found = iterate(gram, lower, upper)
    assert found.change[0] < TOLERANCE
    cavity = cavities(gram, found.precision, found.shift)
    law = tilt(cavity, lower, upper)
    s = covariance(gram, found.precision, cavity.inverse)[0]
    expected = cavity.mean + np.sqrt(cavity.variance) * law.mean
    np.testing.assert_allclose(cavity.posterior_mean, expected, atol=1e-8)
    np.testing.assert_allclose(s.diagonal(), (cavity.variance * law.variance)[0], rtol=1e-8)


def test_cavities_by_definition() -> None:
    """Take one site out of the Gaussian, by dense inverses."""
    rng = np.random.default_rng(4)
    gram = random_gram(5, 8, 4)
    tau, nu = rng.uniform(0, 3, 5), rng.standard_normal(5)
    found = cavities(gram, tau, nu)
    for i in range(5):
        rest = np.diag(np.where(np.arange(5) == i, 0, tau))
        s = np.linalg.inv(np.linalg.inv(gram) + rest)
        assert found.variance[i] == pytest.approx(s[i, i], rel=1e-12)
        assert found.mean[i] == pytest.approx(
            (s @ np.where(np.arange(5) == i, 0, nu))[i], rel=1e-11
        )
    whole = np.linalg.inv(np.linalg.inv(gram) + np.diag(tau))
    np.testing.assert_allclose(found.posterior_mean, whole @ nu, atol=1e-12)
    np.testing.assert_allclose(covariance(gram, tau, found.inverse), whole, atol=1e-12)


def test_steep_sites_keep_their_digits() -> None:
    """Sites of precision 1e12: variances near 1e-12 that differences of K would lose."""
    gram = random_gram(3, 6, 5)
    tau = np.array([1e12, 3e12, 0.5])
    found = cavities(gram, tau, np.zeros(3))
    s = covariance(gram, tau, found.inverse)
    assert s[0, 0] == pytest.approx(1e-12, rel=1e-9)
    assert s[1, 1] == pytest.approx(1e-12 / 3, rel=1e-9)
    np.testing.assert_allclose(s, s.T, rtol=1e-6)
    # Without its own steep site, y_0 has what the other two leave it.
    other = np.linalg.inv(gram[1:, 1:] + np.diag([1 / 3e12, 2.0]))
    assert found.variance[0] == pytest.approx(1 - gram[0, 1:] @ other @ gram[1:, 0], rel=1e-4)


def test_matched_sites_undo_themselves() -> None:
    gram = random_gram(4, 9, 6)
    tau, nu = np.array([0.4, 1.0, 2.0, 0.0]), np.array([0.2, -1.0, 0.5, 0.0])
    cavity = cavities(gram, tau, nu)
    s = covariance(gram, tau, cavity.inverse).diagonal()
    scale = np.sqrt(cavity.variance)
    wide = truncated(np.full(4, -INF), np.full(4, INF))
    law = wide._replace(mean=(cavity.posterior_mean - cavity.mean) / scale, variance=s / scale**2)
    found = matched_sites(cavity, law)
    np.testing.assert_allclose(found, [tau, nu], atol=1e-12)


def test_no_limit_no_site() -> None:
    found = iterate(random_gram(3, 5, 0), np.full(3, -INF))
    np.testing.assert_allclose(found.precision, 0, atol=1e-12)
    np.testing.assert_allclose(found.shift, 0, atol=1e-12)


def test_one_factor_is_exact() -> None:
    for lower in (-30.0, -1.0, 0.0, 3.0, 40.0, 1e4):
        found = iterate(np.ones((1, 1)), np.array([lower]))
        value = log_value(np.ones((1, 1)), np.array([[lower]]), np.array([[INF]]), found)
        assert value[0] == pytest.approx(float(log_ndtr(-lower)), rel=1e-12, abs=2e-14)


def test_problems_of_a_batch_do_not_feel_each_other() -> None:
    gram = random_gram(5, 10, 7)
    lower = (
        np.random.default_rng(7).standard_normal((6, 5)) * np.array([0.1, 1, 3, 5, 0, 20])[:, None]
    )
    together = iterate(gram, lower)
    assert bool((together.change < SETTLED).all())
    for row in range(6):
        alone = iterate(gram, lower[row])
        np.testing.assert_allclose(
            together.precision[row], alone.precision[0], rtol=1e-6, atol=1e-8
        )
        np.testing.assert_allclose(together.shift[row], alone.shift[0], rtol=1e-6, atol=1e-8)
    assert together.work >= together.sweeps


def test_the_start_is_kept_and_helps() -> None:
    gram = random_gram(5, 10, 8)
    lower = np.full((1, 5), 0.2)
    cold = iterate(gram, lower)
    start = cold.precision.copy(), cold.shift.copy()
    warm = fixed_point(gram, lower, np.full((1, 5), INF), *start)
    assert np.array_equal(start[0], cold.precision)
    assert warm.sweeps <= 2 < cold.sweeps < 30
    np.testing.assert_allclose(warm.precision, cold.precision, rtol=1e-8)


@pytest.mark.parametrize("r", [0.3, 0.9, 0.99, 0.9999])
def test_it_converges_where_normals_are_alike(r: float) -> None:
    k = 20
    gram = np.full((k, k), r) + (1 - r) * np.eye(k)
    found = iterate(gram, np.linspace(-1, 1, k))
    assert found.change[0] < SETTLED
    assert found.sweeps < SWEEPS


def test_singular_gram_matrices() -> None:
    """More factors than dimensions, and a polygon of 40 sides."""
    t = np.linspace(0, 2 * np.pi, 41)[:-1]
    v = np.column_stack([np.cos(t), np.sin(t)])
    found = iterate(v @ v.T, np.full(40, -1.0))
    assert found.change[0] < SETTLED
    assert bool((found.precision >= 0).all())


def test_a_failure_is_told() -> None:
    """Contradictory conditions have no fixed point: the last change says so, without warnings."""
    v = np.array([[1.0, 0], [-1, 0]])
    found = iterate(v @ v.T, np.array([0.5, 0.5]))
    assert not found.change[0] < SETTLED
    assert found.sweeps == SWEEPS


def test_overflow_is_stepped_back_from() -> None:
    """A wedge far from the centre, of 22 sides: plain steps overflow on the way."""
    rng = np.random.default_rng(57)
    t = rng.uniform(-1.2, 1.2, 22)
    v = np.column_stack([np.cos(t), np.sin(t)])
    found = iterate(v @ v.T, 5 + rng.standard_normal(22))
    assert found.change[0] < SETTLED


@pytest.mark.parametrize("offset", [2.0, 5.0, 20.0])
def test_the_nearest_point_helps_where_the_centre_does_not(offset: float) -> None:
    """Such wedges again, a batch of them; from the centre most do not converge."""
    rng = np.random.default_rng(3)
    t = rng.uniform(-1.2, 1.2, 40)
    v = np.column_stack([np.cos(t), np.sin(t)])
    lower = offset + rng.standard_normal((30, 40))
    batch = iterate(v @ v.T, lower)
    assert (batch.change < SETTLED).all()
    alone = [iterate(v @ v.T, row) for row in lower]
    assert max(found.sweeps for found in alone) > SWEEPS
    for i, found in enumerate(alone):
        np.testing.assert_allclose(batch.precision[i], found.precision[0], rtol=1e-6, atol=1e-6)


def test_the_nearest_point_of_upper_limits() -> None:
    """What holds for y >= b holds for -y <= -b, with the mirrored sites."""
    rng = np.random.default_rng(2)
    t = rng.uniform(-1.2, 1.2, 22)
    v = np.column_stack([np.cos(t), np.sin(t)])
    limit, open_end, none = 5 + rng.standard_normal(22), np.full((1, 22), np.inf), np.zeros((1, 22))
    below = fixed_point(v @ v.T, limit[None], open_end, none, none)
    above = fixed_point(v @ v.T, -open_end, -limit[None], none, none)
    assert below.sweeps > SWEEPS
    np.testing.assert_allclose(above.precision, below.precision, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(above.shift, -below.shift, rtol=1e-6, atol=1e-9)


def test_tensors_give_what_arrays_give() -> None:
    gram = random_gram(4, 9, 9)
    rng = np.random.default_rng(9)
    tau, nu = rng.uniform(0, 3, (2, 4)), rng.standard_normal((2, 4))
    lower, upper = np.full((2, 4), -0.5), np.full((2, 4), 1.5)
    results = []
    for xp, turn in ((np, np.asarray), (torch, torch.from_numpy)):
        g, t, s, a, b = (turn(x) for x in (gram, tau, nu, lower, upper))
        cavity = cavities(g, t, s, xp)
        law = tilt(cavity, a, b, xp)
        results.append(
            [*matched_sites(cavity, law, xp), covariance(g, t, cavity.inverse, xp),
             log_normaliser(g, t, cavity, law, xp)]
        )  # fmt: skip
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, np.asarray(b), rtol=1e-11, atol=1e-12)
