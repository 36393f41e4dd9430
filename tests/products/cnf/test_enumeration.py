"""Exact fractions against the plainest way to find them."""

import numpy as np
import pytest
from tests.products.cnf import oracles

import outsample as ou
from outsample.products.cnf.enumeration import MOST_VARIABLES, enumerable, enumerate_models
from outsample.products.cnf.formula import Formula


def clean(clauses: list[list[int]], n: int) -> Formula:
    return Formula.clean([tuple(c) for c in clauses], n)


@pytest.mark.parametrize("n", [4, 5, 6, 7, 8, 12, 14])
@pytest.mark.parametrize("seed", range(4))
def test_against_all_assignments(n: int, seed: int) -> None:
    clauses = oracles.random_clauses(n, 2 * n, seed)
    for weights in (np.full(n, 0.5), oracles.random_weights(n, seed)):
        found = enumerate_models(clean(clauses, n), weights)
        assert found == pytest.approx(oracles.fraction(clauses, weights), rel=1e-13, abs=1e-16)


def test_counts_are_integers() -> None:
    clauses = oracles.random_clauses(20, 50, 0)
    models = enumerate_models(clean(clauses, 20), np.full(20, 0.5)) * 2**20
    assert models == round(models) > 0


def test_components_multiply() -> None:
    """Twenty pairs: as one component they would be beyond enumeration."""
    formula = clean([[2 * i + 1, 2 * i + 2] for i in range(20)], 40)
    assert enumerable(formula)
    assert enumerate_models(formula, np.full(40, 0.5)) == pytest.approx(0.75**20, rel=1e-14)


def test_the_largest_component() -> None:
    chain = [[i, i + 1] for i in range(1, MOST_VARIABLES)]
    assert enumerable(clean(chain, MOST_VARIABLES))
    longer = [*chain, [MOST_VARIABLES, MOST_VARIABLES + 1]]
    problem = ou.SatisfyingFraction(longer)
    assert not enumerable(problem.formula)
    assert problem.exact() is None
    with pytest.raises(ou.UnsupportedProblem):
        ou.Exact().estimate(problem)


def test_no_models() -> None:
    every = [[a, b] for a in (1, -1) for b in (2, -2)]
    assert enumerate_models(clean(every, 2), np.full(2, 0.5)) == 0.0
    assert enumerate_models(clean([[1], [-1]], 1), np.full(1, 0.5)) == 0.0
