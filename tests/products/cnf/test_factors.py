"""Matrices of single clauses: multiplication by what messages leave of a clause."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.products.cnf import oracles

from outsample.products.cnf.factors import residual_flops, residuals
from outsample.products.cnf.messages import Edges, Messages, uniform
from outsample.products.cnf.plan import sets_of

Array = oracles.Array
SEEDS = st.integers(0, 10**6)


def edges_of(clauses: list[list[int]], n: int) -> Edges:
    """Clauses of one length, all in one branch."""
    literals = np.array(clauses)
    lengths = np.full(len(clauses), literals.shape[1])
    return Edges.of(np.zeros(len(clauses), np.intp), literals, lengths, 1, n)


def measure_of(chances: Array, sent: Array) -> Messages:
    """Any messages beside any product measure: the matrices need not come from propagation."""
    n = len(chances)
    false = np.concatenate([1 - chances, chances])
    return Messages(sent, false, np.zeros(n), np.zeros(len(sent)), 0, 0)


def basis(chances: Array, sets: list[tuple[int, ...]]) -> Array:
    rows = oracles.cube(len(chances))
    single = np.where(
        rows == 1, np.sqrt((1 - chances) / chances), -np.sqrt(chances / (1 - chances))
    )
    return np.stack([single[:, list(s)].prod(1) for s in sets], axis=1)


def residual(clause: list[int], n: int, sent: Array) -> Array:
    """The clause over its messages at each assignment, not normalised."""
    rows = oracles.cube(n)
    values = oracles.satisfied([clause], n).astype(float)
    for x, message in zip(clause, sent, strict=True):
        values /= np.where(rows[:, abs(x) - 1] == (x > 0), 1, message)
    return values


def one_clause(
    length: int, seed: int, degree: int | None = None
) -> tuple[Array, float, Array, Array]:
    """Matrix, log of the normaliser, measure of the cube and residual of a random clause."""
    rng = np.random.default_rng(seed)
    clause = [int(s) * (j + 1) for j, s in enumerate(rng.choice([-1, 1], length))]
    chances, sent = rng.uniform(0.05, 0.95, length), rng.uniform(0.2, 1.0, length)
    matrices, log_scale = residuals(
        edges_of([clause], length),
        measure_of(chances, sent),
        np.zeros(1, np.intp),
        length,
        length if degree is None else degree,
    )
    pi, r = oracles.chances(chances), residual(clause, length, sent)
    functions = basis(chances, sets_of(length, length if degree is None else degree))
    scale = (pi * r).sum()
    expected = functions.T @ ((pi * r / scale)[:, None] * functions)
    np.testing.assert_allclose(matrices[0], expected, rtol=1e-11, atol=1e-12)
    return matrices[0], float(log_scale[0]), pi, r


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(2, 5), st.integers(0, 5))
def test_any_messages_and_any_measure(seed: int, length: int, degree: int) -> None:
    matrix, log_scale, pi, r = one_clause(length, seed, degree)
    assert log_scale == pytest.approx(np.log((pi * r).sum()), abs=1e-13)
    assert matrix[0, 0] == pytest.approx(1, abs=1e-14)
    assert (matrix == matrix.T).all()


@pytest.mark.parametrize("length", [2, 3, 4])
def test_at_full_degree_the_eigenvalues_are_the_values(length: int) -> None:
    """Multiplication by r on all functions of a cube is diagonal, with r(x) for each x."""
    matrix, log_scale, _, r = one_clause(length, 11 * length)
    found = np.linalg.eigvalsh(matrix)
    np.testing.assert_allclose(found, np.sort(r) / np.exp(log_scale), rtol=1e-10, atol=1e-11)
    assert (r == 0).sum() == 1


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_lower_degrees_are_corners_of_higher(degree: int) -> None:
    low, high = one_clause(4, 5, degree)[0], one_clause(4, 5)[0]
    np.testing.assert_allclose(low, high[: len(low), : len(low)], rtol=1e-14, atol=1e-15)


def test_clauses_do_not_mix() -> None:
    """Clauses of one length together, apart, and in another order."""
    clauses = [[1, -2, 3], [-2, -3, 4], [1, 4, 5], [-3, -4, -5]]
    rng = np.random.default_rng(0)
    edges, sent = (
        edges_of(clauses, 5),
        measure_of(rng.uniform(0.1, 0.9, 5), rng.uniform(0.3, 1, 12)),
    )
    together, scales = residuals(edges, sent, np.arange(4), 3, 2)
    for order in ([0], [1], [2], [3], [3, 1], [2, 0, 1, 3]):
        apart, each = residuals(edges, sent, np.array(order), 3, 2)
        np.testing.assert_array_equal(apart, together[order])
        np.testing.assert_array_equal(each, scales[order])


@pytest.mark.parametrize("length", [2, 3, 6])
def test_fair_bits(length: int) -> None:
    """Without messages: the clause fails at one of 2^length assignments, φ are signs."""
    clause = [j + 1 for j in range(length)]
    edges = edges_of([clause], length)
    sent = uniform(edges, np.full(2 * length, 0.5))
    matrices, log_scale = residuals(edges, sent, np.zeros(1, np.intp), length, 1)
    share = 2.0**-length
    assert log_scale[0] == pytest.approx(np.log1p(-share), abs=1e-14)
    # E[r φ_j] is minus the violating corner, whose signs are all -1: + share / (1 - share).
    expected = np.full((length + 1, length + 1), -share / (1 - share))
    expected[0, 1:] = expected[1:, 0] = share / (1 - share)
    np.fill_diagonal(expected, 1)
    np.testing.assert_allclose(matrices[0], expected, rtol=1e-13)


@pytest.mark.parametrize("literal", [1, -1])
@pytest.mark.parametrize("chance", [1e-12, 1 - 1e-12])
def test_a_nearly_certain_variable(chance: float, literal: int) -> None:
    """1 - V is a sum of positive terms: nothing cancels where a clause nearly never holds."""
    chances, sent = np.array([chance, chance]), np.ones(2)
    edges = edges_of([[literal, 2 * literal]], 2)
    _, log_scale = residuals(edges, measure_of(chances, sent), np.zeros(1, np.intp), 2, 0)
    true = chance if literal > 0 else 1 - chance
    assert log_scale[0] == pytest.approx(np.log(true) + np.log(2 - true), rel=1e-12, abs=1e-14)


def test_operations_grow_with_everything() -> None:
    few = residual_flops(10, 3, 1)
    assert 0 < few < residual_flops(10, 3, 2) < residual_flops(10, 4, 2)
    assert residual_flops(20, 3, 1) == 2 * few
