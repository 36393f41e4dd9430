"""Exact permanents against brute force in fractions, closed forms, and extreme scales."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.products.permanents import oracles

from outsample.products.permanents.dynamic_programming import Scaled, permanent


def value(found: Scaled) -> float:
    return math.ldexp(found.mantissa, found.exponent)


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("kind", oracles.matrices(1))
def test_brute_force(n: int, kind: str) -> None:
    for seed in range(1 if n == 8 else 4):
        matrix = oracles.matrices(n, seed)[kind]
        scale = float(oracles.permanent(np.abs(matrix)))
        exact = float(oracles.permanent(matrix))
        assert value(permanent(matrix)) == pytest.approx(exact, abs=1e-14 * scale, rel=1e-14)


@pytest.mark.parametrize("n", [9, 14, 20, 21])
def test_all_ones(n: int) -> None:
    assert value(permanent(np.ones((n, n)))) == pytest.approx(math.factorial(n), rel=1e-14)


@pytest.mark.parametrize("t", [0.5, -1.0, 3.0])
def test_ones_and_a_diagonal(t: float) -> None:
    n = 18
    exact = sum(math.comb(n, k) * t**k * math.factorial(n - k) for k in range(n + 1))
    matrix = np.ones((n, n)) + t * np.eye(n)
    assert value(permanent(matrix)) == pytest.approx(exact, rel=1e-13)


def test_low_rank_in_closed_form() -> None:
    # perm(u vᵀ) = n! Π u_i v_i.
    draws = np.random.default_rng(3)
    u, v = np.exp(draws.standard_normal((2, 16)))
    exact = math.log(math.factorial(16)) + np.log(u).sum() + np.log(v).sum()
    assert permanent(np.outer(u, v)).log() == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize("power", [-300, -150, 150, 300])
def test_extreme_entries_stay_in_range(power: int) -> None:
    matrix = oracles.matrices(7)["uniform"]
    found = permanent(matrix * 10.0**power)
    exact = math.log(float(oracles.permanent(matrix))) + 7 * power * math.log(10)
    assert found.log() == pytest.approx(exact, rel=1e-13)


def test_rows_and_columns_of_many_orders_of_magnitude() -> None:
    matrix = oracles.matrices(8)["uniform"]
    powers = np.array([-280, -140, -70, 0, 0, 70, 140, 280])
    scaled = matrix * np.exp2(powers)[:, None] * np.exp2(powers[::-1])
    plain, found = permanent(matrix), permanent(scaled)
    assert found.log() == pytest.approx(plain.log(), rel=1e-13)


def test_a_zero_row_gives_zero() -> None:
    matrix = np.ones((5, 5))
    matrix[2] = 0
    found = permanent(matrix)
    assert found.mantissa == 0
    assert found.log() == -math.inf


@given(
    hnp.arrays(np.float64, (6, 6), elements=st.floats(-4, 4, width=16)),
    st.permutations(range(6)),
    st.permutations(range(6)),
)
def test_order_and_transposition_do_not_matter(
    matrix: np.ndarray, rows: list[int], columns: list[int]
) -> None:
    scale = value(permanent(np.abs(matrix)))
    straight = value(permanent(matrix))
    for other in (matrix.T, matrix[rows][:, columns]):
        assert value(permanent(other)) == pytest.approx(straight, abs=1e-13 * scale)
