"""Plans against the sets of variables themselves, named one by one."""

import itertools
import math

import numpy as np
import pytest
from tests.products.cnf import oracles

from outsample.products.cnf.order import Order, greedy_order
from outsample.products.cnf.plan import Plan, columns, entries, make_plan, sets_of

N = 7
Indices = np.ndarray[tuple[int, ...], np.dtype[np.intp]]
Set = frozenset[int]


class Prepared:
    """Clauses of many branches, ordered and planned."""

    def __init__(self, formulas: list[list[list[int]]], degree: int, keep: bool = False) -> None:
        self.degree, self.branches = degree, len(formulas)
        clauses = [c for f in formulas for c in f]
        self.branch: Indices = np.repeat(np.arange(self.branches), [len(f) for f in formulas])
        self.lengths: Indices = np.array([len(c) for c in clauses], np.intp)
        self.variables: Indices = np.full((len(clauses), int(self.lengths.max())), N, np.intp)
        for row, clause in zip(self.variables, clauses, strict=True):
            row[: len(clause)] = sorted(abs(x) - 1 for x in clause)
        self.order: Order = greedy_order(self.branch, self.variables, self.branches, N, keep)
        self.plan: Plan = make_plan(self.order, self.branch, self.variables, self.lengths, degree)
        self.names: list[Set] = numbered(degree)

    def own(self, clause: int) -> list[int]:
        return self.variables[clause, : self.lengths[clause]].tolist()

    def live(self, clause: int) -> list[int]:
        return np.flatnonzero(self.order.others[clause]).tolist()

    def each(self) -> list[tuple[int, int, Indices]]:
        """(clause, t, indices) of all updates, in the order of the plan."""
        return [
            (int(clause), t, update[i])
            for step in self.plan.steps
            for t, update in enumerate(step.updates)
            for i, clause in enumerate(self.plan.groups[step.length][step.clauses])
        ]

    def named(self, clause: int, index: int) -> Set:
        return self.names[index - int(self.branch[clause]) * self.plan.size]


def numbered(degree: int) -> list[Set]:
    """Sets of at most ``degree`` variables, by size and then colexicographically."""
    return [
        frozenset(s)
        for size in range(degree + 1)
        for s in sorted(itertools.combinations(range(N), size), key=lambda s: s[::-1])
    ]


def mixed(seed: int) -> list[list[list[int]]]:
    """Three branches with clauses of 2 to 4 literals, of different numbers."""
    return [oracles.random_clauses(N, m, 10 * seed + m) for m in (6, 2, 9)]


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("degree", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_every_coefficient_is_the_set_it_stands_for(seed: int, degree: int, keep: bool) -> None:
    """Rows are sets T of t other live variables, columns T + U for the sets U of the clause."""
    prepared = Prepared(mixed(seed), degree, keep)
    assert prepared.plan.size == len(prepared.names)
    spare = prepared.branches * prepared.plan.size
    for clause, t, update in prepared.each():
        own = prepared.own(clause)
        inner = [frozenset(own[i] for i in s) for s in sets_of(len(own), degree - t)]
        found: list[Set] = []
        for row in update:
            if t and (row < 0).all():  # another clause of the step has more sets
                continue
            assert ((row >= 0) & (row < spare)).all()
            members = [prepared.named(clause, int(i)) for i in row]
            assert members == [members[0] | u for u in inner]
            found.append(members[0])
        wanted = {frozenset(s) for s in itertools.combinations(prepared.live(clause), t)}
        assert set(found) == wanted
        assert len(found) == len(wanted)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_clauses_come_once_and_in_order(degree: int) -> None:
    prepared = Prepared(mixed(7), degree)
    seen = [clause for clause, t, _ in prepared.each() if t == 0]
    assert sorted(seen) == list(range(len(prepared.branch)))
    steps = prepared.order.step[seen]
    assert (np.diff(steps) >= 0).all()
    for step in prepared.plan.steps:
        clauses = prepared.plan.groups[step.length][step.clauses]
        assert (prepared.lengths[clauses] == step.length).all()
        assert len(set(prepared.order.step[clauses].tolist())) == 1
        assert len(set(prepared.branch[clauses].tolist())) == len(clauses)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_a_step_writes_no_coefficient_twice(degree: int) -> None:
    """Coefficients are read and written together: a double would lose one of the updates."""
    for step in Prepared(mixed(3), degree).plan.steps:
        written = np.concatenate([update.ravel() for update in step.updates])
        written = written[written >= 0]
        assert len(np.unique(written)) == len(written)


def test_degree_0_changes_nothing() -> None:
    plan = Prepared(mixed(1), 0).plan
    assert plan.size == 1
    assert all(step.updates == () for step in plan.steps)


def test_colexicographic_numbers() -> None:
    """One clause on all of seven variables: its columns, by hand for pairs of the first four."""
    prepared = Prepared([[[1, 2, 3, 4, 5, 6, 7]]], 2)
    (_, _, empty), (_, t, _) = prepared.each()
    assert t == 1
    assert empty.shape == (1, columns(7, 2))
    place = {s: int(i) for s, i in zip(sets_of(7, 2), empty[0], strict=True)}
    assert [place[s] for s in [(), (0,), (6,)]] == [0, 1, 7]
    pairs = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (0, 4)]
    assert [place[s] for s in pairs] == list(range(8, 15))
    assert place[5, 6] == prepared.plan.size - 1 == 28


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_entries_are_counted_by_branch(degree: int, keep: bool) -> None:
    """The head, and for each clause C(live, t) sets T times the sets U of its own."""
    prepared = Prepared(mixed(2), degree, keep)
    found = entries(prepared.order, prepared.branch, prepared.lengths, prepared.branches, degree)
    expected = np.full(prepared.branches, float(prepared.plan.size))
    for clause, branch in enumerate(prepared.branch):
        live, length = len(prepared.live(clause)), int(prepared.lengths[clause])
        sets = (math.comb(live, t) * len(sets_of(length, degree - t)) for t in range(degree))
        expected[branch] += sum(sets)
    assert found.tolist() == expected.tolist()


def test_operations_grow_with_degree() -> None:
    flops = [Prepared(mixed(4), degree).plan.flops for degree in (0, 1, 2, 3)]
    assert flops[0] == 0
    assert flops[1] > 0
    assert flops == sorted(set(flops))
