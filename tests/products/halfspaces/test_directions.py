"""Common directions: as an explanation, and found from correlations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import outsample as ou
from outsample.products.halfspaces.directions import Directions, common_factors, loadings_of

Array = NDArray[np.float64]
F64 = torch.float64


def unit_rows(v: Array) -> Array:
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def left_over(gram: Array, loadings: Array) -> tuple[float, float]:
    """Largest correlation and smallest eigenvalue of what the factors leave."""
    rest = gram - loadings @ loadings.T
    scale = np.sqrt(rest.diagonal())
    off = rest / np.outer(scale, scale) - np.eye(len(gram))
    return float(abs(off).max()), float(np.linalg.eigvalsh(rest)[0])


class TestExplanation:
    def test_it_goes_through_tensors(self) -> None:
        advice = Directions(torch.randn(2, 5, generator=torch.Generator().manual_seed(0)))
        assert advice.size == 10
        again = Directions.from_tensors(advice.tensors())
        assert torch.equal(again.directions, advice.directions)
        assert again.signature() == advice.signature()
        assert advice.signature() != Directions(torch.ones(1, 5)).signature()

    @pytest.mark.parametrize(
        "given",
        [
            torch.ones(3), torch.ones(0, 3), torch.ones(1, 2, 3), np.ones((1, 3)),
            torch.ones(1, 3, dtype=torch.int64), torch.tensor([[1.0, torch.nan]]),
            torch.tensor([[1.0, torch.inf]]),
        ],
    )  # fmt: skip
    def test_refusals(self, given: object) -> None:
        with pytest.raises(ou.InputError, match="Directions"):
            Directions(given)  # type: ignore[arg-type]


class TestLoadings:
    def test_they_are_covariances_with_the_directions(self) -> None:
        rng = np.random.default_rng(0)
        v, d = unit_rows(rng.standard_normal((4, 6))), rng.standard_normal((1, 6))
        found = loadings_of(Directions(torch.from_numpy(d)), torch.eye(6, dtype=F64), v, v @ v.T)
        expected = v @ d[0] / np.linalg.norm(d)
        np.testing.assert_allclose(found[:, 0] * np.sign(found[0, 0] * expected[0]), expected)

    def test_scale_and_basis_do_not_matter(self) -> None:
        rng = np.random.default_rng(1)
        v, d = unit_rows(rng.standard_normal((4, 6))), rng.standard_normal((2, 6))
        mixed = np.vstack([rng.standard_normal((2, 2)) @ d * 1e5, d[:1], np.zeros((1, 6))])
        found = [
            loadings_of(Directions(torch.from_numpy(x)), torch.eye(6, dtype=F64), v, v @ v.T)
            for x in (d, mixed)
        ]
        assert found[1].shape == (4, 2)
        np.testing.assert_allclose(found[0] @ found[0].T, found[1] @ found[1].T, atol=1e-9)

    def test_in_the_coordinates_of_x(self) -> None:
        """y = V z, x = F z: the direction d of x is Fᵀ d of z."""
        rng = np.random.default_rng(2)
        v, d, root = (
            unit_rows(rng.standard_normal((4, 5))),
            rng.standard_normal(5),
            rng.random((5, 5)),
        )
        advice = Directions(torch.from_numpy(d[None]))
        found = loadings_of(advice, torch.from_numpy(root), v, v @ v.T)[:, 0]
        expected = v @ root.T @ d / np.linalg.norm(root.T @ d)
        np.testing.assert_allclose(found * np.sign(found @ expected), expected, atol=1e-12)

    def test_normals_along_a_direction_keep_some_variance(self) -> None:
        v = np.eye(3)
        found = loadings_of(Directions(torch.eye(3, dtype=F64)[:1]), torch.eye(3, dtype=F64), v, v)
        assert 0.9 < (found * found).sum(axis=1).max() < 1

    def test_another_length(self) -> None:
        v = np.eye(3)
        with pytest.raises(ou.InputError, match="2 entries, x has 3"):
            loadings_of(Directions(torch.ones(1, 2)), torch.eye(3, dtype=F64), v, v)


class TestFactors:
    @pytest.mark.parametrize("r", [0.1, 0.5, 0.9])
    @pytest.mark.parametrize("k", [3, 8, 50])
    def test_equal_correlations_have_one_factor(self, r: float, k: int) -> None:
        gram = np.full((k, k), r) + (1 - r) * np.eye(k)
        loadings = common_factors(gram, 1)
        np.testing.assert_allclose(abs(loadings[:, 0]), r**0.5, rtol=0.03)
        largest, lowest = left_over(gram, loadings)
        assert lowest > 0
        assert largest < 0.05

    def test_signs_follow_the_normals(self) -> None:
        signs = np.array([1.0, -1, 1, 1, -1])
        gram = np.outer(signs, signs) * 0.6 + 0.4 * np.eye(5)
        loadings = common_factors(gram, 1)[:, 0]
        assert abs(np.sign(loadings) @ signs) == 5

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_they_find_what_was_planted(self, count: int) -> None:
        rng = np.random.default_rng(count)
        planted = rng.uniform(-1, 1, (12, count))
        planted *= 0.85 / np.linalg.norm(planted, axis=1, keepdims=True)
        gram = planted @ planted.T
        np.fill_diagonal(gram, 1)
        before = abs(gram - np.eye(12)).max()
        largest, lowest = left_over(gram, common_factors(gram, count))
        assert lowest > -1e-12
        assert largest < 0.25 * before

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 8), st.integers(1, 3))
    def test_what_they_leave_is_a_covariance(self, seed: int, k: int, n: int, count: int) -> None:
        rng = np.random.default_rng(seed)
        v = unit_rows(rng.standard_normal((k, n)) + rng.choice([0.0, 3.0]) * rng.standard_normal(n))
        gram = v @ v.T
        loadings = common_factors(gram, count)
        assert loadings.shape == (k, min(count, k))
        assert (loadings * loadings).sum(axis=1).max() < 1
        rest = gram - loadings @ loadings.T
        assert np.linalg.eigvalsh(rest)[0] > -1e-9

    def test_the_order_of_normals_does_not_matter(self) -> None:
        v = unit_rows(np.random.default_rng(3).standard_normal((6, 9)) + 1)
        order = np.array([4, 0, 5, 2, 1, 3])
        first, second = common_factors(v @ v.T, 2), common_factors(v[order] @ v[order].T, 2)
        np.testing.assert_allclose(first[order] @ first[order].T, second @ second.T, atol=1e-9)
