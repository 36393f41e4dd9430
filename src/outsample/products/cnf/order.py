"""In which order the clauses of each branch are multiplied in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Order:
    """An order of the clauses of each branch, and the time for which variables are live."""

    #: Step at which each clause is multiplied in, shape (clauses,).
    step: Indices
    #: For each clause the live variables that are not its own, shape (clauses, variables).
    others: NDArray[np.bool_]
    #: Operations, by formula.
    flops: int


def greedy_order(
    branch: Indices, variables: Indices, branches: int, count: int, keep: bool
) -> Order:
    """Order the clauses of all branches at once, so that few variables are live together.

    A variable is live from its first clause to its last.  The next clause of a branch is the one
    with the fewest variables that it makes live, less those whose last clause it is; then the one
    that makes fewest live; then the first.

    Args:
        branch: branch of each clause, ascending, shape (clauses,).
        variables: variables of each clause, padded with ``count``, shape (clauses, longest).
        branches: number of branches, some of which may have no clauses.
        count: number of variables.
        keep: keep variables live after their last clause, for their marginals.
    """
    clauses = np.bincount(branch, minlength=branches)
    fewest, most, longest = int(clauses.min()), int(clauses.max()), variables.shape[1]
    width = count + 1  # the last column is that of the padding
    place = np.arange(len(branch)) - (clauses.cumsum() - clauses)[branch]
    # Cells of tables (branches, width) that each clause touches, (longest, branches, most).
    cells = np.full((longest, branches, most), count, np.intp)
    cells[:, branch, place] = variables.T
    cells += np.arange(branches)[:, None] * width
    left = np.bincount(cells.ravel(), minlength=branches * width)
    fresh = np.ones(branches * width, np.intp)
    left[count::width] = fresh[count::width] = 0
    first = np.full(branches * width, most, np.intp)
    last = np.full(branches * width, -1, np.intp)
    unit = longest + 1
    never = 4 * unit * unit
    penalty = np.full((branches, most), never, np.intp)
    penalty[branch, place] = 0
    step = np.zeros((branches, most), np.intp)
    rows = np.arange(branches)
    for i in range(most):
        # (new - last) · unit + new is to be smallest.
        value = (unit + 1) * fresh - unit * (left == 1)
        score = value.take(cells).sum(0) + penalty
        chosen = score.argmin(1)
        if i >= fewest:  # some branches have no clause left
            rows = np.flatnonzero(penalty[np.arange(branches), chosen] == 0)
            chosen = chosen[rows]
        own = cells[:, rows, chosen]
        first[own] = np.minimum(first[own], i)
        last[own] = i
        fresh[own] = 0
        left[own] -= 1
        penalty[rows, chosen] = never
        step[rows, chosen] = i
    when = step[branch, place]
    born = first.reshape(branches, width)[branch] <= when[:, None]
    others = born if keep else born & (last.reshape(branches, width)[branch] >= when[:, None])
    np.put_along_axis(others, variables, False, axis=1)
    return Order(when, others[:, :count], most * (2 * cells.size + 4 * fresh.size) + others.size)
