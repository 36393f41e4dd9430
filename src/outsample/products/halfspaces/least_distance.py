"""How far halfspaces are from the centre, and a bound on their mass: that of one halfspace."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import log_ndtr


def log_mass_bound(
    gram: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> float:
    """An upper bound on log P(lower <= y <= upper) of y ~ N(0, K), arguments as below.

    The set lies behind a hyperplane at its :func:`least_distance` δ, so that its mass is at most
    Φ(-δ); 1 if the centre is in the set.
    """
    distance = least_distance(gram, lower, upper)
    return float(log_ndtr(-distance)) if distance > 0 else 0.0


def least_distance(
    gram: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> float:
    """Distance from the centre to lower <= y <= upper, in coordinates in which y is standard.

    0 if the centre is in the set, inf if that is empty.

    Args:
        gram: K, shape (k, k).
        lower: shape (k,), -inf where there is no limit.
        upper: shape (k,), +inf where there is no limit.

    Source: C. L. Lawson and R. J. Hanson, Solving Least Squares Problems (1974), chapter 23
    (least distance programming).
    """
    values, vectors = np.linalg.eigh(gram)
    factor = vectors * np.sqrt(values.clip(0))
    below, above = lower > -np.inf, upper < np.inf
    rows = np.vstack([factor[below], -factor[above]])
    limits = np.concatenate([lower[below], -upper[above]])
    if not (limits > 0).any():
        return 0.0
    system = np.vstack([rows.T, limits])
    target = np.zeros(len(system))
    target[-1] = 1
    # The residual r of this projection has r_last = -|r|², and δ = |r_rest| / |r_last|.
    _, size = nnls(system, target)
    if size == 0:
        return np.inf
    return float(np.sqrt(max(1 / size**2 - 1, 0)))
