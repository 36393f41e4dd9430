"""Empty sets are seen, sets with an interior never taken for empty."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

from outsample.products.halfspaces.feasibility import is_empty

Array = NDArray[np.float64]
INF = math.inf
ROOT = 3**0.5 / 2
FAN = np.array([[1.0, 0.0], [-0.5, ROOT], [-0.5, -ROOT]])


def empty(v: Array, lower: Array, upper: Array | None = None) -> bool:
    v = v / np.linalg.norm(v, axis=1, keepdims=True)
    return is_empty(v, v @ v.T, lower, np.full(len(v), INF) if upper is None else upper)


def largest_margin(v: Array, lower: Array) -> float:
    """Largest s <= 1 with v · x >= lower + s for some x, by linear programming."""
    k, n = v.shape
    found = linprog(
        np.r_[np.zeros(n), -1.0],
        A_ub=np.column_stack([-v, np.ones(k)]),
        b_ub=-lower,
        bounds=[(None, None)] * n + [(None, 1)],
    )
    return float(-found.fun)


def test_opposite_normals() -> None:
    v = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert empty(v, np.array([0.5, 0.5]))
    assert empty(v, np.array([0.5, -0.5]))  # a line has no mass
    assert not empty(v, np.array([0.5, -0.6]))
    assert not empty(v, np.array([-0.5, -0.5]))


@pytest.mark.parametrize(("offset", "answer"), [(0.2, True), (0.0, True), (-0.2, False)])
def test_a_fan_whose_normals_add_up_to_zero(offset: float, answer: bool) -> None:
    assert empty(FAN, np.full(3, offset)) is answer


def test_only_the_sum_of_the_offsets_of_a_fan_counts() -> None:
    assert empty(FAN, np.array([5.0, -2.0, -2.9]))
    assert not empty(FAN, np.array([5.0, -2.0, -3.1]))


def test_a_simplex_in_many_dimensions() -> None:
    n = 30
    v = np.vstack([np.eye(n), -np.ones((1, n)) / math.sqrt(n)])
    # x >= 0.1 and sum x <= c: room exactly if c > 0.1 n.
    for c, answer in ((2.9, True), (3.1, False)):
        assert empty(v, np.r_[np.full(n, 0.1), -c / math.sqrt(n)]) is answer


def test_intervals() -> None:
    box = np.eye(2)
    low, high = np.array([1.0, 2.0]), np.array([1.5, 2.5])
    corner = np.array([[1.0, 1.0]]) / math.sqrt(2)
    v = np.vstack([box, corner])
    for limit, answer in ((4.1, True), (3.9, False)):
        lower = np.r_[low, limit / math.sqrt(2)]
        assert is_empty(v, v @ v.T, lower, np.r_[high, INF]) is answer
    only_above = np.array([-INF, -INF, 4.1 / math.sqrt(2)])
    assert is_empty(v, v @ v.T, only_above, np.r_[high, INF])
    assert not is_empty(v, v @ v.T, only_above, np.r_[[INF, 2.5], INF])


def test_no_limit_at_all() -> None:
    v = np.vstack([FAN, FAN[:1]])
    assert not is_empty(v, v @ v.T, np.full(4, -INF), np.full(4, INF))


def test_independent_normals_need_no_programme() -> None:
    v = np.eye(4)
    assert not empty(v, np.full(4, 1e6))
    assert not empty(v[:, :4], np.array([1e300, -1e300, 0, 0]))


@pytest.mark.parametrize("size", [1e-12, 1e-6, 1.0, 1e6, 1e12, 1e100])
def test_the_unit_of_length_does_not_matter(size: float) -> None:
    assert empty(FAN, size * np.array([5.0, -2.0, -2.9]))
    assert not empty(FAN, size * np.array([5.0, -2.0, -3.1]))


@pytest.mark.parametrize("angle", [1e-2, 1e-6, 1e-9, 1e-11])
def test_a_slim_wedge_is_not_empty(angle: float) -> None:
    v = np.array([[1.0, 0.0], [-math.cos(angle), math.sin(angle)]])
    assert not empty(v, np.zeros(2))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 20))
def test_against_linear_programming(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    v = rng.standard_normal((k, n))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    lower = rng.standard_normal(k) - 0.4
    margin = largest_margin(v, lower)
    if abs(margin) > 1e-6:
        assert empty(v, lower) is (margin < 0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 8), st.floats(-6, 0))
def test_a_small_gap_or_a_small_room(seed: int, n: int, exponent: float) -> None:
    """n + 1 normals in general position, whose offsets leave a gap or a room of that size."""
    rng = np.random.default_rng(seed)
    v = rng.standard_normal((n + 1, n))
    weights = rng.uniform(0.2, 1, n)
    v[n] = -weights @ v[:n]
    size = np.linalg.norm(v, axis=1)
    lower = v @ rng.standard_normal(n)  # all meet in one point
    gap = 10**exponent
    for sign, answer in ((1, True), (-1, False)):
        moved = lower + sign * gap * size
        assert (
            is_empty(
                v / size[:, None],
                (v @ v.T) / np.outer(size, size),
                moved / size,
                np.full(n + 1, INF),
            )
            is answer
        )
