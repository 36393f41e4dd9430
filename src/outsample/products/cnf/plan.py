"""Which coefficients of the head each clause changes, for all branches in lockstep."""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import comb

from outsample.products.cnf.order import Order

Indices = NDArray[np.intp]

#: Stands for numbers of sets that no memory holds and no float may.
_ENOUGH = 2.0**100


@dataclass(frozen=True)
class Step:
    """Clauses of one length, each of another branch, that are multiplied in together."""

    length: int
    #: Which of the clauses of that length, in the plan's order.
    clauses: slice
    #: For each t < degree the coefficients f_{T+U} that change, shape (clauses, sets T, sets U):
    #: T are sets of t other live variables, U are sets of the clause's own.  Where a branch has
    #: fewer sets T than another, the rest stand for a coefficient that is 0 and stays 0.
    updates: tuple[Indices, ...]


@dataclass(frozen=True)
class Plan:
    """One pass over the clauses of all branches.

    The head of a branch has a coefficient for each set of at most ``degree`` of its variables,
    numbered by size and then colexicographically; the branches lie one after the other, and the
    coefficient that stays 0 after them.
    """

    #: Clauses of each length, in the order in which they are multiplied in.
    groups: dict[int, Indices]
    steps: tuple[Step, ...]
    #: Coefficients of one branch.
    size: int
    #: Operations of the pass, by formula.
    flops: int


def sets_of(length: int, degree: int) -> list[tuple[int, ...]]:
    """Sets of at most ``degree`` of a clause's positions, by size."""
    sizes = range(min(length, degree) + 1)
    return [s for size in sizes for s in combinations(range(length), size)]


def columns(length: int, degree: int) -> int:
    """Number of :func:`sets_of`."""
    return sum(math.comb(length, size) for size in range(min(length, degree) + 1))


def entries(
    order: Order, branch: Indices, lengths: Indices, branches: int, degree: int
) -> NDArray[np.float64]:
    """Coefficients and indices that each branch takes, shape (branches,)."""
    count = order.others.shape[1]
    sets = np.minimum(comb(np.arange(count + 1), np.arange(degree + 1)[:, None]), _ENOUGH)
    others = order.others.sum(1)
    taken = np.zeros(len(branch))
    for length in np.unique(lengths).tolist():
        mine = lengths == length
        for t in range(degree):
            taken[mine] += sets[t, others[mine]] * columns(length, degree - t)
    return np.bincount(branch, taken, branches) + sets[:, count].sum()


def make_plan(
    order: Order, branch: Indices, variables: Indices, lengths: Indices, degree: int
) -> Plan:
    """Number the coefficients that each clause changes.

    Args:
        order: of the clauses.
        branch: branch of each clause, ascending from 0, shape (clauses,).
        variables: ascending in each clause, padded; shape (clauses, longest).
        lengths: number of variables of each clause.
        degree: of the head.
    """
    count = order.others.shape[1]
    binomials = np.array(
        [[math.comb(n, size) for n in range(count + 1)] for size in range(degree + 1)], np.intp
    )
    size = int(binomials[:, count].sum())
    groups: dict[int, Indices] = {}
    steps: list[tuple[int, Step]] = []
    flops = 0
    for length in np.unique(lengths).tolist():
        mine = np.flatnonzero(lengths == length)
        mine = groups[length] = mine[np.argsort(order.step[mine], kind="stable")]
        when, starts, counts = np.unique(order.step[mine], return_index=True, return_counts=True)
        others, most = _listed(order.others[mine], starts, counts)
        origin = branch[mine] * size
        updates: list[list[Indices]] = [[] for _ in when]
        for t in range(degree):
            rows = np.array([math.comb(n, t) for n in most])
            clause, rest = _rows(others, np.repeat(rows, counts), t)
            index = _numbers(rest, variables[mine, :length][clause], degree - t, binomials)
            index += origin[clause][:, None]
            if t:
                index[rest[:, -1] == count] = -1  # the coefficient after all branches
            flops += 2 * index.shape[0] * index.shape[1] ** 2
            parts = np.split(index, (counts * rows).cumsum()[:-1])
            for update, part, n in zip(updates, parts, counts.tolist(), strict=True):
                update.append(part.reshape(n, -1, index.shape[1]))
        slices = zip(starts.tolist(), (starts + counts).tolist(), strict=True)
        made = (
            Step(length, slice(*ends), tuple(u)) for ends, u in zip(slices, updates, strict=True)
        )
        steps += zip(when.tolist(), made, strict=True)
    steps.sort(key=lambda timed: timed[0])
    return Plan(groups, tuple(step for _, step in steps), size, flops)


def _listed(
    others: NDArray[np.bool_], starts: Indices, counts: Indices
) -> tuple[Indices, list[int]]:
    """Other live variables of each clause, padded; and the most of any clause of each step."""
    clause, variable = np.nonzero(others)
    live = others.sum(1)
    most = np.maximum.reduceat(live, starts)
    listed = np.full((len(others), int(most.max())), others.shape[1], np.intp)
    listed[clause, np.arange(len(clause)) - (live.cumsum() - live)[clause]] = variable
    return listed, most.tolist()


def _rows(listed: Indices, counts: Indices, size: int) -> tuple[Indices, Indices]:
    """The first ``counts`` sets of ``size`` variables listed for each clause: clause, set."""
    sets = _colex(listed.shape[1], size)
    total = int(counts.sum())
    clause = np.repeat(np.arange(len(counts)), counts)
    which = np.arange(total) - (counts.cumsum() - counts)[clause]
    return clause, listed[clause[:, None], sets[which]]


def _numbers(others: Indices, own: Indices, most: int, binomials: Indices) -> Indices:
    """Numbers of the sets T + U with |U| <= most, for each row T of others and its clause."""
    t = others.shape[1]
    found: list[Indices] = []
    for size in range(min(own.shape[1], most) + 1):
        chosen = list(combinations(range(own.shape[1]), size))
        members = [others[:, i : i + 1] for i in range(t)]
        members += [own[:, [c[j] for c in chosen]] for j in range(size)]
        for end in range(len(members) - 1, 0, -1):  # sorted by exchanges
            for i in range(end):
                members[i], members[i + 1] = (
                    np.minimum(members[i], members[i + 1]),
                    np.maximum(members[i], members[i + 1]),
                )
        number = np.full((len(others), len(chosen)), binomials[: t + size, -1].sum(), np.intp)
        for i, member in enumerate(members):
            number += binomials[i + 1].take(member)
        found.append(number)
    return np.concatenate(found, axis=1)


def _colex(count: int, size: int) -> Indices:
    """Sets of ``size`` of ``count`` numbers; those of the first numbers are a prefix."""
    if size == 0:
        return np.zeros((1, 0), np.intp)
    smaller = _colex(count, size - 1)
    parts = [
        np.column_stack([smaller[: math.comb(j, size - 1)], np.full(math.comb(j, size - 1), j)])
        for j in range(size - 1, count)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, size), np.intp)
