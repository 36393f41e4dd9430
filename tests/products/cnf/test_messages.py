"""Messages re-centre the product measure; residual factors undo what they did, exactly."""

import itertools

import numpy as np
import pytest
from tests.products.cnf import oracles

from outsample.products.cnf.branches import split
from outsample.products.cnf.formula import Formula
from outsample.products.cnf.messages import Edges, propagate, uniform

N = 7


def prepared(clauses: list[list[int]], weights: oracles.Array) -> tuple[Edges, oracles.Array]:
    formula = Formula.clean([tuple(c) for c in clauses], N)
    assert not formula.fixed
    whole = split(formula, weights, 0)
    assert whole.variables == tuple(range(1, N + 1))
    edges = Edges.of(whole.branch, whole.literals, whole.lengths, 1, N)
    return edges, np.concatenate([1 - weights, weights])


def formula(seed: int) -> list[list[int]]:
    return [*oracles.random_clauses(N, 9, seed, (2, 3)), [1, 2, 3, 4], [-5, 6, -7]]


@pytest.mark.parametrize("seed", range(8))
def test_the_identity_holds_for_any_messages(seed: int) -> None:
    """P = (product of normalisers) times E of residual factors under the new measure."""
    clauses, weights = formula(seed), oracles.random_weights(N, seed)
    edges, prior = prepared(clauses, weights)
    sent = propagate(edges, prior)
    assert (sent.violating > 0).all()
    assert (sent.violating < 1).any()
    assert sent.false[:N] + sent.false[N:] == pytest.approx(np.ones(N), abs=1e-14)
    measure = oracles.chances(sent.false[N:])  # P(negation is false) is P(x_j = 1)
    given = [list(c) for c in Formula.clean([tuple(c) for c in clauses], N).clauses]
    held = oracles.satisfied(given, N)
    # 1 at a value that satisfies the clause, the message at one that violates it.
    spread = np.ones(2**N)
    rows = oracles.cube(N)
    for cell, message in zip(edges.cell, sent.violating, strict=True):
        violates = rows[:, cell % N] == (0 if cell < N else 1)
        spread *= np.where(violates, message, 1)
    total = np.exp(sent.log_normaliser.sum()) * (measure * held / spread).sum()
    assert total == pytest.approx(oracles.fraction(clauses, weights), rel=1e-12)


def test_one_clause() -> None:
    edges, prior = prepared([list(range(1, N + 1))], np.full(N, 0.5))
    sent = propagate(edges, prior)
    eta = 0.5 ** (N - 1)
    assert sent.violating == pytest.approx(np.full(N, (1 - eta) ** 0.6), rel=1e-12)
    assert sent.change.max() < 1e-12


def test_uniform_sends_nothing() -> None:
    weights = oracles.random_weights(N, 1)
    edges, prior = prepared(formula(1), weights)
    sent = uniform(edges, prior)
    assert (sent.violating == 1).all()
    assert (sent.false[N:] == weights).all()
    assert not sent.log_normaliser.any()


def test_many_clauses_on_one_literal_do_not_underflow() -> None:
    clauses = [[1, 2 + i % 6] for i in range(6)] + [[1, -(2 + i)] for i in range(6)]
    clauses += [[1, s * a, t * b] for a, b in itertools.combinations(range(2, 8), 2)
                for s in (1, -1) for t in (1, -1)]  # fmt: skip
    edges, prior = prepared(clauses, np.full(N, 0.5))
    sent = propagate(edges, prior)
    for values in (sent.violating, sent.false, sent.log_normaliser):
        assert np.isfinite(values).all()
