"""Moments of mixtures of Gaussians with sites, by dense inverses; and from z to x."""

# The truncated moments belong to the estimate of halfspaces, which the signature does not tell.
# pyright: reportAttributeAccessIssue=false

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.battery import Coin

import outsample as ou
from outsample.distributions import Sphere
from outsample.products.halfspaces.estimate import Mixture, in_coordinates

Array = NDArray[np.float64]
F64 = torch.float64


def random_mixture(components: int, r: int, k: int = 4, n: int = 6, seed: int = 0) -> Mixture:
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.1, 1, components)
    axes = rng.standard_normal((r, n))
    axes *= 0.9 / max(np.linalg.norm(axes, 2), 1e-9) if r else 1
    return Mixture(
        directions=rng.standard_normal((k, n)),
        axes=axes,
        weights=weights / weights.sum(),
        nodes=rng.standard_normal((components, r)),
        precision=rng.uniform(0, 5, (components, k)),
        shift=rng.standard_normal((components, k)),
    )


@pytest.mark.parametrize(("components", "r"), [(1, 0), (1, 1), (5, 1), (7, 3)])
def test_moments_by_dense_inverses(components: int, r: int) -> None:
    m = random_mixture(components, r)
    n = m.directions.shape[1]
    given = np.eye(n) - m.axes.T @ m.axes  # covariance of z given t
    mean, second = np.zeros(n), np.zeros((n, n))
    for q in range(components):
        precision = np.linalg.inv(given) + m.directions.T * m.precision[q] @ m.directions
        cov = np.linalg.inv(precision)
        centre = m.axes.T @ m.nodes[q] + cov @ m.directions.T @ m.shift[q]
        mean += m.weights[q] * centre
        second += m.weights[q] * (cov + np.outer(centre, centre))
    found_mean, found_cov = m.moments()
    np.testing.assert_allclose(found_mean, mean, atol=1e-11)
    np.testing.assert_allclose(found_cov, second - np.outer(mean, mean), atol=1e-11)
    assert np.array_equal(found_cov, found_cov.T)


def test_all_variance_along_an_axis() -> None:
    """t = z_1 itself: nothing is left of it given t, and inverses would not exist."""
    m = Mixture(
        directions=np.eye(2),
        axes=np.eye(2)[:1],
        weights=np.array([0.25, 0.75]),
        nodes=np.array([[1.0], [-1.0]]),
        precision=np.array([[2.0, 1.0], [3.0, 1.0]]),
        shift=np.zeros((2, 2)),
    )
    mean, cov = m.moments()
    np.testing.assert_allclose(mean, [-0.5, 0], atol=1e-14)
    np.testing.assert_allclose(cov, np.diag([0.75, 0.5]), atol=1e-14)


def test_coordinates_of_a_gaussian() -> None:
    rng = np.random.default_rng(1)
    root, mean = rng.standard_normal((3, 3)), rng.standard_normal(3)
    cov = root @ root.T
    law = ou.Gaussian(mean, cov)
    problem = ou.HalfspaceIntersection(rng.standard_normal((1, 3)).astype(np.float32), None, law)
    z = torch.zeros(3, dtype=F64), torch.eye(3, dtype=F64)
    found_mean, found_cov = in_coordinates(problem, *z)
    assert found_mean.dtype == torch.float32
    np.testing.assert_allclose(found_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(found_cov, cov, rtol=1e-4, atol=1e-5)


def test_coordinates_of_a_singular_gaussian() -> None:
    problem = ou.HalfspaceIntersection(
        np.array([[1.0, 0.0]]), None, ou.Gaussian(np.ones(2), np.ones((2, 2)))
    )
    found = ou.ExpectationPropagation().estimate(problem)  # x = 1 + g (1, 1), g >= -1
    assert found.truncated_mean is not None
    first, second = found.truncated_mean.tolist()
    assert first == pytest.approx(second, abs=1e-7)
    density, mass = np.exp(-0.5) / np.sqrt(2 * np.pi), float(found.value)
    assert first == pytest.approx(1 + density / mass, rel=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 50])
def test_coordinates_of_a_sphere(n: int) -> None:
    """The whole sphere has mean 0 and covariance I / n, half of it a mean along the normal."""
    v = torch.eye(n, dtype=F64)[:1]
    problem = ou.HalfspaceIntersection(v, None, Sphere(n, F64))
    none, whole = in_coordinates(problem, torch.zeros(n, dtype=F64), torch.eye(n, dtype=F64))
    assert bool((none == 0).all())
    torch.testing.assert_close(whole, torch.eye(n, dtype=F64) / n)
    found = ou.ExpectationPropagation().estimate(problem)
    assert found.truncated_mean is not None
    assert found.truncated_covariance is not None
    heights = {1: 1.0, 2: 2 / np.pi, 3: 0.5}  # of half a circle and half a globe
    if n in heights:
        assert float(found.truncated_mean[0]) == pytest.approx(heights[n], rel=1e-9)
    second = found.truncated_covariance[0, 0] + found.truncated_mean[0] ** 2
    assert float(second) == pytest.approx(1 / n, rel=1e-9)


def test_other_problems_have_none() -> None:
    with pytest.raises(TypeError):
        in_coordinates(Coin(), torch.zeros(1), torch.eye(1))
