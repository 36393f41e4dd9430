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
    size, _ = _project(gram, lower, upper)
    if size == 0:
        return np.inf
    return float(np.sqrt(max(1 / size**2 - 1, 0)))


def decay_rates(
    gram: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How fast the density falls off behind each limit, at the set's point nearest the centre.

    The nearest point is Σ_i r_i (row i of a root of K), with rates r_i >= 0 where y_i is at its
    lower limit, <= 0 at its upper limit, and 0 where it is at neither; shape (k,).  All 0 where
    the centre is in the set, or the set is empty.
    """
    size, weights = _project(gram, lower, upper)
    rates = np.zeros(len(lower))
    if 0 < size < 1:
        below, above = lower > -np.inf, upper < np.inf
        cut = below.sum()
        rates[below] = weights[:cut] / size**2
        rates[above] -= weights[cut:] / size**2
    return rates


def _project(
    gram: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """The residual's size, and the weights, of the least-squares problem that holds the answer.

    With residual r, r_last = -|r|², and the distance is |r_rest| / |r_last|; a size of 1 says that
    the centre is in the set, 0 that the set is empty.
    """
    values, vectors = np.linalg.eigh(gram)
    factor = vectors * np.sqrt(values.clip(0))
    below, above = lower > -np.inf, upper < np.inf
    rows = np.vstack([factor[below], -factor[above]])
    limits = np.concatenate([lower[below], -upper[above]])
    if not (limits > 0).any():
        return 1.0, np.zeros(len(limits))
    system = np.vstack([rows.T, limits])
    target = np.zeros(len(system))
    target[-1] = 1
    weights, size = nnls(system, target)
    return float(size), weights
