"""Sum-product messages between the clauses and the variables of many formulas at once."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

#: Messages are at most so strong, or the residual factors spread too widely; and their products
#: over the clauses of one literal stay in the range of float64.
_CAP, _LOG_RANGE = 0.9, 600.0
#: Power to which messages are raised once they are found, for the same reason.
_TEMPER = 0.6
_MOST_ITERATIONS, _DAMPED_FROM, _TOLERANCE = 100, 30, 1e-4
#: Stands for 0 where products are divided by one of their factors.
_TINY = 1e-15


@dataclass(frozen=True)
class Edges:
    """Literals of all clauses of all branches, one after the other, as arrays.

    A literal has a cell in flat tables of 2 × branches × variables: for each branch its variables,
    then for each branch their negations.
    """

    #: Cell of each literal, and of its negation.
    cell: Indices
    negated: Indices
    #: First edge of each clause, the clause of each edge, and its branch.
    start: Indices
    clause: Indices
    branch: Indices
    #: Edges by cell, the cells that occur, and the first edge of each in that order.
    by_cell: Indices
    cells: Indices
    cell_start: Indices
    #: Half the size of a table: branches × variables.
    half: int

    @classmethod
    def of(
        cls, branch: Indices, literals: Indices, lengths: Indices, branches: int, variables: int
    ) -> "Edges":
        """Edges of clauses given as padded literals ±(variable + 1)."""
        clause = np.repeat(np.arange(len(lengths)), lengths)
        literal = literals[literals != 0]
        half = branches * variables
        cell = branch[clause] * variables + np.abs(literal) - 1 + half * (literal < 0)
        by_cell = np.argsort(cell, kind="stable")
        ordered = cell[by_cell]
        cell_start = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        return cls(
            cell=cell,
            negated=np.where(literal < 0, cell - half, cell + half),
            start=lengths.cumsum() - lengths,
            clause=clause,
            branch=branch[clause],
            by_cell=by_cell,
            cells=ordered[cell_start],
            cell_start=cell_start,
            half=half,
        )

    def product(self, messages: Array) -> Array:
        """Product over the clauses of each literal, shape (2 × half,)."""
        table = np.ones(2 * self.half)
        table[self.cells] = np.multiply.reduceat(messages[self.by_cell], self.cell_start)
        return table


@dataclass(frozen=True)
class Messages:
    """Where the product measure is centred, and what the messages have taken from each clause."""

    #: Message of each clause to each of its variables at the value that violates it, in (0, 1];
    #: it is 1 at the other value.  Shape (edges,).
    violating: Array
    #: P that each literal is false under the product measure, shape (2 × half,).
    false: Array
    #: Log of the measure's normaliser for each branch and variable, shape (half,).
    log_normaliser: Array
    #: Change of each message in the last iteration, shape (edges,), and the number of iterations.
    change: Array
    iterations: int
    #: Operations, by formula.
    flops: int


def uniform(edges: Edges, prior: Array) -> Messages:
    """No messages: the measure stays that of the inputs."""
    nothing = np.zeros(len(edges.cell))
    return Messages(1 - nothing, prior, np.zeros(edges.half), nothing, 0, 0)


def propagate(edges: Edges, prior: Array) -> Messages:
    """Sum-product messages, capped; damped by half from iteration 30; tempered at the end.

    The estimate is built on an identity that holds for any messages in (0, 1]: that they have
    not converged costs accuracy only.

    Args:
        edges: literals of the clauses.
        prior: P that each literal is false before any clause, shape (2 × half,).
    """
    degree = int(np.diff(edges.cell_start, append=len(edges.cell)).max())
    cap = min(_CAP, -math.expm1(-_LOG_RANGE / degree))
    odds = prior[edges.negated] / prior[edges.cell]
    eta = np.zeros(len(edges.cell))
    change, iteration = eta, 0
    for iteration in range(1, _MOST_ITERATIONS + 1):
        rest = 1 - eta
        table = edges.product(rest)
        cavity = 1 / (1 + odds * rest * table[edges.negated] / table[edges.cell])
        np.maximum(cavity, _TINY, out=cavity)
        joint = np.multiply.reduceat(cavity, edges.start)
        found = np.minimum(joint[edges.clause] / cavity, cap)
        step = found - eta
        change = np.abs(step)
        eta = found if iteration <= _DAMPED_FROM else eta + step / 2
        if change.max() < _TOLERANCE:
            break
    violating = (1 - eta) ** _TEMPER
    mass = prior * edges.product(violating)
    total = mass[: edges.half] + mass[edges.half :]
    return Messages(
        violating=violating,
        false=mass / np.concatenate([total, total]),
        log_normaliser=np.log(total),
        change=change,
        iterations=iteration,
        flops=(15 * iteration + 27) * eta.size + 14 * mass.size,
    )
