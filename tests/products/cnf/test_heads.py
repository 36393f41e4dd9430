"""The head of low degree against the same multiplied out on the whole cube."""

import math

import numpy as np
import pytest
from tests.products.cnf import oracles

from outsample.errors import BudgetError
from outsample.products.cnf import heads as module
from outsample.products.cnf.branches import Branches, split
from outsample.products.cnf.formula import Formula
from outsample.products.cnf.heads import run_heads
from outsample.products.cnf.order import Order, greedy_order
from outsample.products.cnf.plan import columns, entries, make_plan, sets_of

N = 6


def branches_of(clauses: list[list[int]], weights: oracles.Array, conditioned: int = 0) -> Branches:
    formula = Formula.clean([tuple(c) for c in clauses], len(weights))
    assert not formula.fixed
    found = split(formula, weights, conditioned)
    assert len(found.variables) == len(weights)
    return found


def ordered(branches: Branches, count: int, keep: bool = False) -> tuple[Order, oracles.Array]:
    variables = np.where(branches.literals == 0, count, np.abs(branches.literals) - 1)
    number = len(branches.log_chance)
    return greedy_order(branches.branch, variables, number, count, keep), variables


def slow_head(clauses: list[list[int]], weights: oracles.Array, degree: int) -> oracles.Array:
    """Coefficients after each clause in turn was multiplied in and high degrees projected away."""
    n = len(weights)
    sets = sets_of(n, n)
    basis = (oracles.cube(n) - weights) / np.sqrt(weights * (1 - weights))
    functions = np.stack([basis[:, list(s)].prod(1) for s in sets], axis=1)
    measure, low = oracles.chances(weights), np.array([len(s) <= degree for s in sets])
    head = np.ones(2**n)
    coefficients = np.zeros(len(sets))
    for clause in clauses:
        head = head * oracles.satisfied([clause], n)
        coefficients = np.where(low, functions.T @ (measure * head), 0)
        head = functions @ coefficients
    return coefficients


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 6])
@pytest.mark.parametrize("seed", range(5))
def test_against_the_whole_cube(seed: int, degree: int) -> None:
    clauses = oracles.random_clauses(N, 10, seed, (2, 3))
    weights = oracles.random_weights(N, seed)
    branches = branches_of(clauses, weights)
    order, _ = ordered(branches, N)
    given = [[int(x) for x in row if x] for row in branches.literals[np.argsort(order.step)]]
    expected = slow_head(given, weights, degree)
    found = run_heads(branches, weights, degree, messages=False)
    value = float(np.exp(found.log_scale[0]) * found.constant[0])
    assert value == pytest.approx(expected[0], rel=1e-11, abs=1e-14)
    kept = run_heads(branches, weights, degree, messages=False, keep=True)
    first = np.exp(kept.log_scale[0]) * kept.first[0]
    singles = expected[1 : 1 + N] if degree else np.zeros(N)
    slow = slow_head(
        [
            [int(x) for x in row if x]
            for row in branches.literals[np.argsort(ordered(branches, N, True)[0].step)]
        ],
        weights, degree,
    )  # fmt: skip
    singles = slow[1 : 1 + N] if degree else np.zeros(N)
    wanted = slow[0] * weights + singles * np.sqrt(weights * (1 - weights))
    np.testing.assert_allclose(first, wanted, rtol=1e-10, atol=1e-13)


def test_the_norm_of_the_highest_degree() -> None:
    weights = np.full(N, 0.5)
    clauses = [[1, 2, 3, 4, 5, 6]]
    for degree in (1, 2, 3):
        found = run_heads(branches_of(clauses, weights), weights, degree, messages=False)
        # Every coefficient of one clause on n fair bits is 2^-n in size.
        wanted = math.sqrt(math.comb(N, degree)) * 2.0**-N / (1 - 2.0**-N)
        assert found.highest[0] == pytest.approx(wanted, rel=1e-12)
    assert run_heads(branches_of(clauses, weights), weights, N, messages=False).highest[0] == 0


@pytest.mark.parametrize("messages", [True, False])
def test_branches_apart_and_together(messages: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    clauses = oracles.random_clauses(12, 24, 1)
    weights = oracles.random_weights(12, 1)
    branches = branches_of(clauses, weights, 4)
    together = run_heads(branches, weights, 2, messages)
    monkeypatch.setattr(module, "_ENTRIES_TOGETHER", 1000)
    apart = run_heads(branches, weights, 2, messages)
    for name in ("log_scale", "constant", "highest", "first"):
        a, b = getattr(together, name), getattr(apart, name)
        np.testing.assert_allclose(a, b, rtol=1e-3 if messages else 1e-12, atol=1e-9)


def test_memory_is_looked_at_first() -> None:
    clauses = oracles.random_clauses(300, 900, 0)
    weights = np.full(300, 0.5)
    formula = Formula.clean([tuple(c) for c in clauses], 300)
    branches = split(formula, weights, 0)
    with pytest.raises(BudgetError, match="lower the degree"):
        run_heads(branches, weights[: len(branches.variables)], 5, messages=True)


class TestOrder:
    @pytest.mark.parametrize("keep", [False, True])
    @pytest.mark.parametrize("conditioned", [0, 2])
    def test_live_variables(self, conditioned: int, keep: bool) -> None:
        weights = np.full(10, 0.5)
        branches = branches_of(oracles.random_clauses(10, 18, 4), weights, conditioned)
        order, variables = ordered(branches, 10, keep)
        for branch in np.unique(branches.branch):
            mine = np.flatnonzero(branches.branch == branch)
            assert sorted(order.step[mine]) == list(range(len(mine)))
            own = {int(order.step[i]): set(variables[i]) - {10} for i in mine}
            for i in mine:
                now = int(order.step[i])
                born = set().union(*(v for t, v in own.items() if t <= now))
                needed = set().union(*(v for t, v in own.items() if t >= now))
                live = (born if keep else born & needed) - own[now]
                assert set(np.flatnonzero(order.others[i])) == live

    def test_a_chain_is_walked_along(self) -> None:
        links = [[3, 4], [1, 2], [5, 6], [2, 3], [4, 5]]
        branches = branches_of(links, np.full(6, 0.5))
        assert ordered(branches, 6)[0].others.sum(1).max() <= 1


def test_sets() -> None:
    assert sets_of(3, 2) == [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]
    for length in range(6):
        for degree in range(5):
            assert columns(length, degree) == len(sets_of(length, degree))


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_entries_bound_the_plan(degree: int) -> None:
    weights = np.full(10, 0.5)
    branches = branches_of(oracles.random_clauses(10, 18, 5), weights, 2)
    order, variables = ordered(branches, 10)
    number = len(branches.log_chance)
    needed = entries(order, branches.branch, branches.lengths, number, degree)
    plan = make_plan(order, branches.branch, variables, branches.lengths, degree)
    assert plan.size == sum(math.comb(10, t) for t in range(degree + 1))
    used = sum(int((index >= 0).all(2).sum()) for step in plan.steps for index in step.updates)
    assert 0 < used <= needed.sum()
    assert max(int(i.max(initial=0)) for s in plan.steps for i in s.updates) < number * plan.size
