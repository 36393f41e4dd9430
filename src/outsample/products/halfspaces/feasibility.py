"""Whether any open set of points meets all conditions: decides p = 0 exactly."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

#: The conditions are contradictory if a combination of them vanishes up to this.
_VANISHES = 1e-13
#: A Gram matrix whose Cholesky factor has no smaller pivot has independent normals.
_INDEPENDENT = 1e-4


def is_empty(
    directions: NDArray[np.float64],
    gram: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
) -> bool:
    """True if no z has lower < directions · z < upper in every entry.

    Conditions on independent normals are never contradictory, nor are those that zero meets with
    room to spare; both are seen at once.  Else Gordan's theorem of the alternative decides: the
    conditions r_i · (z, 1) > 0 are contradictory exactly if nonnegative weights, not all zero,
    combine the rows r_i and the row of "1 > 0" to zero.  Nonnegative least squares finds the
    weights of sum 1 that come closest (Lawson and Hanson, 1974, chapter 23).

    Args:
        directions: unit normals, shape (k, n).
        gram: their products, shape (k, k).
        lower: shape (k,), -inf where there is no limit.
        upper: shape (k,), +inf where there is no limit.
    """
    if bool((lower < 0).all() and (upper > 0).all()) or _independent(gram, directions.shape[1]):
        return False
    below, above = lower > -np.inf, upper < np.inf
    size = max(abs(lower[below]).max(initial=0), abs(upper[above]).max(initial=0)) or 1.0
    lower, upper = lower / size, upper / size  # a change of the unit of length
    rows = np.concatenate(
        [
            np.column_stack([directions[below], -lower[below]]),
            np.column_stack([-directions[above], upper[above]]),
            np.eye(directions.shape[1] + 1)[-1:],
        ]
    )
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    system = np.vstack([rows.T, np.ones(len(rows))])
    target = np.zeros(len(system))
    target[-1] = 1
    _, distance = nnls(system, target)
    return bool(distance < _VANISHES)


def _independent(gram: NDArray[np.float64], dimensions: int) -> bool:
    if len(gram) > dimensions:
        return False
    try:
        pivots = np.linalg.cholesky(gram).diagonal()
    except np.linalg.LinAlgError:
        return False
    return bool(pivots.min() > _INDEPENDENT)
