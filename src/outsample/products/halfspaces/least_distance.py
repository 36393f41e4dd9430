"""A bound on the mass of halfspaces far from the centre: no more than that of one halfspace."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import log_ndtr


def log_mass_bound(
    gram: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> float:
    """An upper bound on log P(lower <= y <= upper) of y ~ N(0, K).

    With δ the distance from the centre to the set, in the coordinates in which y is standard, the
    set lies behind a hyperplane at distance δ, so that its mass is at most Φ(-δ).

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
        return 0.0  # the centre is in the set
    system = np.vstack([rows.T, limits])
    target = np.zeros(len(system))
    target[-1] = 1
    # The residual r of this projection has r_last = -|r|², and δ = |r_rest| / |r_last|.
    _, size = nnls(system, target)
    if size == 0:
        return -np.inf
    return float(log_ndtr(-np.sqrt(max(1 / size**2 - 1, 0))))
