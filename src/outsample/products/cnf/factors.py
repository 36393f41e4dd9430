"""Clauses as matrices on the head: multiplication by one clause, projected to low degree."""

import numpy as np
from numpy.typing import NDArray

from outsample.products.cnf.messages import Edges, Messages
from outsample.products.cnf.plan import sets_of

Array = NDArray[np.float64]
Indices = NDArray[np.intp]


def residuals(
    edges: Edges, messages: Messages, clauses: Indices, length: int, degree: int
) -> tuple[Array, Array]:
    r"""Matrices of what is left of clauses once messages have taken their share.

    The residual of a clause on A is r(x) = 1(clause holds) / Π_j g_j(x_j) / Z, with messages g
    that are 1 at values that satisfy it, and Z such that E r = 1 under the product measure π.  In
    the basis φ_U = Π_{j∈U} φ_j of functions orthonormal under π, its matrix is

        M_{UU'} = E[r φ_U φ_{U'}] = (Π_{UΔU'} β_j Π_{U∩U'} χ_j - V φ_U(v) φ_{U'}(v)) / (1 - V)

    where v violates the clause, V is its probability under π / g, and β_j = E φ_j, χ_j = E φ_j²
    under π_j / g_j.  1 - V is found as a sum of positive terms.

    Args:
        edges: literals of all clauses.
        messages: to these literals.
        clauses: clauses of one length.
        length: their number of literals.
        degree: largest size of U and U'.

    Returns:
        Matrices, shape (clauses, sets U, sets U'), and log Z, shape (clauses,).
    """
    place = edges.start[clauses] + np.arange(length)[:, None]
    cell = edges.cell[place]
    false, true = messages.false[cell], messages.false[edges.negated[place]]
    gain = 1 / messages.violating[place]
    tilted = false * gain + true
    violated, held = false * gain / tilted, true / tilted
    joint, some = violated[0], held[0]
    for j in range(1, length):
        some = some + joint * held[j]
        joint = joint * violated[j]
    log_scale = np.log(tilted).sum(0) + np.log(some)
    # φ_j is positive at 1: a variable violates its clause at 0, its negation at 1.
    sign = np.where(cell < edges.half, -1.0, 1.0)
    mean = sign * np.sqrt(true * false) * (gain - 1) / tilted
    square = (true * gain + false) / tilted
    outer = sign * np.sqrt(true / false)

    sets = sets_of(length, degree)
    member = np.zeros((len(sets), length), np.intp)
    for i, s in enumerate(sets):
        member[i, list(s)] = 1
    rows, columns = np.triu_indices(len(sets))
    powers = np.stack([np.ones_like(mean), mean, square])
    corner = np.stack([powers[0], outer])
    both = member[rows] + member[columns]
    whole, at_corner = powers[both[:, 0], 0], corner[member[:, 0], 0]
    for j in range(1, length):
        whole *= powers[both[:, j], j]
        at_corner *= corner[member[:, j], j]
    whole -= joint * at_corner[rows] * at_corner[columns]
    whole /= some
    full = np.empty((len(sets), len(sets)), np.intp)
    full[rows, columns] = full[columns, rows] = np.arange(len(rows))
    return np.ascontiguousarray(whole.T)[:, full], log_scale


def residual_flops(clauses: int, length: int, degree: int) -> int:
    """Operations of :func:`residuals`, by formula."""
    sets = len(sets_of(length, degree))
    return clauses * (45 * length + 10 + (length + 4) * sets * (sets + 1) // 2)
