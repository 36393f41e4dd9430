"""The order of the clauses against the rule that makes it, followed step by step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.products.cnf import oracles

from outsample.products.cnf.order import Order, greedy_order

Clauses = list[list[int]]
SEEDS = st.integers(0, 10**6)


def order_of(formulas: list[Clauses], n: int, keep: bool = False) -> Order:
    """Order of the clauses of many branches, given as lists of literals."""
    longest = max(len(c) for f in formulas for c in f)
    branch = np.repeat(np.arange(len(formulas)), [len(f) for f in formulas])
    variables = np.full((len(branch), longest), n, np.intp)
    for i, clause in enumerate(c for f in formulas for c in f):
        variables[i, : len(clause)] = sorted(abs(x) - 1 for x in clause)
    return greedy_order(branch, variables, len(formulas), n, keep)


def slow_order(clauses: Clauses) -> list[int]:
    """Step of each clause, by the rule itself."""
    members = [{abs(x) for x in c} for c in clauses]
    left = list(range(len(clauses)))
    seen: set[int] = set()
    steps = [0] * len(clauses)
    for step in range(len(clauses)):

        def score(i: int) -> tuple[int, int, int]:
            new = members[i] - seen  # noqa: B023 (called at once)
            others = [members[j] for j in left if j != i]
            ended = members[i] - set().union(*others)
            return len(new) - len(ended), len(new), i

        chosen = min(left, key=score)
        left.remove(chosen)
        seen |= members[chosen]
        steps[chosen] = step
    return steps


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 14))
def test_the_rule(seed: int, m: int) -> None:
    """Fewest new variables less those that end; then fewest new; then the first."""
    clauses = oracles.random_clauses(8, m, seed)
    assert order_of([clauses], 8).step.tolist() == slow_order(clauses)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_branches_do_not_mix(seed: int, keep: bool) -> None:
    """Branches of different lengths, one of them without clauses, as if each were alone."""
    formulas = [oracles.random_clauses(8, m, 10 * seed + m) for m in (5, 1, 9)]
    together = order_of([formulas[0], [], *formulas[1:]], 8, keep)
    apart = [order_of([f], 8, keep) for f in formulas]
    assert together.step.tolist() == [s for a in apart for s in a.step.tolist()]
    np.testing.assert_array_equal(together.others, np.concatenate([a.others for a in apart]))


@pytest.mark.parametrize("seed", range(4))
def test_variables_that_are_kept_stay_live(seed: int) -> None:
    clauses = oracles.random_clauses(9, 14, seed)
    dropped, kept = order_of([clauses], 9), order_of([clauses], 9, keep=True)
    assert (dropped.step == kept.step).all()
    assert (dropped.others <= kept.others).all()
    last = int(kept.step.argmax())
    mentioned = {abs(x) for c in clauses for x in c} - {abs(x) for x in clauses[last]}
    assert set(np.flatnonzero(kept.others[last]) + 1) == mentioned
    assert not dropped.others[last].any()


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_signs_and_names_do_not_matter(seed: int) -> None:
    """Ties go to the first clause: names of variables play no part."""
    rng = np.random.default_rng(seed)
    clauses, names = oracles.random_clauses(8, 11, seed), rng.permutation(8) + 1
    renamed = [[-int(names[abs(x) - 1]) for x in c] for c in clauses]
    before, after = order_of([clauses], 8), order_of([renamed], 8)
    assert (before.step == after.step).all()
    np.testing.assert_array_equal(before.others, after.others[:, names - 1])


def test_clauses_apart_leave_nothing_live() -> None:
    found = order_of([[[1, 2], [3, 4, 5], [6, 7]]], 7)
    assert not found.others.any()
    assert found.step.tolist() == [0, 2, 1], "all end at once: fewest new variables, then the first"


def test_a_shuffled_tree_needs_few_live_variables() -> None:
    """A path of thirty links in any order: at most one variable waits at a time."""
    links = [[i, i + 1] for i in range(1, 31)]
    for seed in range(5):
        shuffled = [links[i] for i in np.random.default_rng(seed).permutation(30)]
        assert order_of([shuffled], 31).others.sum(1).max() <= 1


def test_one_clause_is_an_order() -> None:
    found = order_of([[[2, -4]]], 5, keep=True)
    assert found.step.tolist() == [0]
    assert found.others.shape == (1, 5)
    assert not found.others.any()
    assert found.flops > 0
