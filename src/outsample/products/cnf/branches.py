"""Conditioning: a tree over the heaviest variables, unit clauses propagated in every branch."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from outsample.products.cnf.formula import Formula

Indices = NDArray[np.intp]

#: Weight of a variable: the sum over its open clauses of this to the power of their free literals.
_BASE = 0.25


@dataclass(frozen=True)
class Branches:
    """Partial assignments that split the cube, and what each leaves of the formula.

    Branches in which propagation meets a contradiction hold no models and are left out.
    """

    #: Log-probability of each branch, shape (branches,), without that of the formula's units.
    log_chance: NDArray[np.float64]
    #: 1 for true, -1 for false, 0 for free; shape (branches, variables), by ``columns``.
    values: NDArray[np.int8]
    #: Variables of the formula.
    variables: tuple[int, ...]
    #: Branch of each clause that is left, in order; shape (clauses,).
    branch: Indices
    #: Literals of each clause, ±(column + 1), padded with 0; shape (clauses, longest).
    literals: Indices
    #: Number of literals of each clause, at least 2; shape (clauses,).
    lengths: Indices
    #: Operations so far, by formula.
    flops: int

    def part(self, start: int, stop: int) -> "Branches":
        """Branches ``start`` to ``stop``, at no cost."""
        first, last = np.searchsorted(self.branch, [start, stop])
        return replace(
            self,
            log_chance=self.log_chance[start:stop],
            values=self.values[start:stop],
            branch=self.branch[first:last] - start,
            literals=self.literals[first:last],
            lengths=self.lengths[first:last],
            flops=0,
        )


def split(formula: Formula, weights: NDArray[np.float64], conditioned: int) -> Branches:
    """Set ``conditioned`` variables, one after the other, to both values in all branches.

    Each branch sets its own heaviest variable (the sum of 4^-length over its clauses), simplifies
    and propagates unit clauses.  A branch without clauses is split no further.
    """
    variables = tuple(sorted({abs(x) for clause in formula.clauses for x in clause}))
    tree = _Tree(formula, variables)
    for _ in range(conditioned):
        if not tree.grow():
            break
    chance = weights[np.array(variables, np.intp) - 1]
    values = tree.values[:, :-1]
    log_chance: NDArray[np.float64] = (values > 0).astype(float) @ np.log(chance)
    log_chance += (values < 0).astype(float) @ np.log1p(-chance)
    branch, literals, lengths = tree.clauses()
    return Branches(
        log_chance=log_chance,
        values=values,
        variables=variables,
        branch=branch,
        literals=literals,
        lengths=lengths,
        flops=tree.flops + 4 * values.size,
    )


class _Tree:
    """The leaves of the tree so far, as rows of arrays."""

    def __init__(self, formula: Formula, variables: tuple[int, ...]) -> None:
        column = {v: i for i, v in enumerate(variables)}
        longest = max((len(c) for c in formula.clauses), default=1)
        # Short clauses are padded with literals of one more column, which are always false.
        self._place = np.full((longest, len(formula.clauses)), len(variables), np.intp)
        self._sign = np.ones(self._place.shape, np.int8)
        for i, clause in enumerate(formula.clauses):
            for j, x in enumerate(clause):
                self._place[j, i] = column[abs(x)]
                self._sign[j, i] = 1 if x > 0 else -1
        self.values = np.zeros((1, len(variables) + 1), np.int8)
        self.values[:, -1] = -1
        self.flops = 0
        self._look()

    def grow(self) -> bool:
        """Split the branches that have open clauses; False if there are none."""
        leaves, columns = self.values.shape
        growing = (self._free > 0).any(1)
        if not growing.any():
            return False
        weight = np.where(self._free > 0, _BASE**self._free, 0.0)
        index = np.arange(leaves)[:, None, None] * columns + self._place
        loads = np.where(self._truth == 0, weight[:, None], 0.0)
        heavy = np.bincount(index.ravel(), loads.ravel(), leaves * columns)
        chosen = heavy.reshape(leaves, columns).argmax(1)
        self.flops += 3 * loads.size
        true, false = self.values[growing], self.values[growing]
        rows = np.arange(len(true))
        true[rows, chosen[growing]] = 1
        false[rows, chosen[growing]] = -1
        self.values = np.concatenate([self.values[~growing], true, false])
        self._propagate()
        return True

    def clauses(self) -> tuple[Indices, Indices, Indices]:
        """Branch, literals and length of the open clauses, free of repetitions."""
        branch, clause = np.nonzero(self._free > 0)
        free = self._truth[branch, :, clause] == 0
        literals = np.where(free, (self._sign * (self._place + 1)).T[clause], 0)
        if self.values[:, :-1].any():  # also if contradictions left a single branch
            # Variables are in order within clauses: free literals first, and equal are equal.
            literals = np.take_along_axis(literals, np.argsort(~free, axis=1, kind="stable"), 1)
            order = np.lexsort((*literals.T, branch))
            literals, branch = literals[order], branch[order]
            same = (literals[1:] == literals[:-1]).all(1) & (branch[1:] == branch[:-1])
            kept = np.concatenate([[True], ~same])[: len(branch)]
            literals, branch = literals[kept], branch[kept]
        return branch, literals, (literals != 0).sum(1)

    def _propagate(self) -> None:
        """Set the literals of unit clauses until there are none."""
        while True:
            self._look()
            branch, clause = np.nonzero(self._free == 1)
            if not len(branch):
                return
            position = (self._truth[branch, :, clause] == 0).argmax(1)
            # Of two units that contradict each other one stays: the next look finds it false.
            self.values[branch, self._place[position, clause]] = self._sign[position, clause]

    def _look(self) -> None:
        """Evaluate all literals; drop the branches in which a clause is false."""
        #: 1, -1 or 0 for true, false and free literals, shape (leaves, longest, clauses).
        self._truth = self.values.take(self._place, axis=1) * self._sign
        satisfied = (self._truth > 0).any(1)
        #: Free literals of each clause, -1 of those that are satisfied, shape (leaves, clauses).
        self._free = (self._truth == 0).sum(1, dtype=np.int16)
        self._free[satisfied] = -1
        self.flops += 3 * self._truth.size
        alive = (self._free != 0).all(1)
        if not alive.all():
            self.values, self._truth = self.values[alive], self._truth[alive]
            self._free = self._free[alive]
