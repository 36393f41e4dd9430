"""Row and column factors that are taken out of a matrix before its permanent is estimated."""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import maximum_bipartite_matching
from torch import Tensor

Scaling = Literal["shrunk", "full", "none"]


class Balanced(NamedTuple):
    """perm(A) = exp(``log_factor``) · perm(``rows``), where rows have mean modulus 1."""

    #: Array or tensor of shape (n, n).
    rows: Any
    #: A number or a tensor of shape ().
    log_factor: Any
    #: How much of the columns' unevenness was taken out: 0 none, 1 all of it.
    shrinkage: float


def balance(matrix: Any, scaling: Scaling) -> Balanced:
    """Take out row factors, and of a nonnegative matrix column factors.

    Columns of a matrix with exchangeable entries are best left alone, since their means differ by
    chance; uneven columns must be evened out.  ``"shrunk"`` divides column j by
    mean(μ) + s (μ_j - mean(μ)), where μ are the means of columns after rows have mean 1, and s is
    the part of their variance that sampling noise within columns does not explain.

    Args:
        matrix: array or tensor of shape (n, n), float64, without zero rows and columns.
        scaling: ``"shrunk"``, ``"full"`` (s = 1) or ``"none"``.
    """
    plain = plain_array(matrix)
    heights = np.maximum(plain.max(1), -plain.min(1))
    rows, log = matrix / _like(matrix, heights[:, None]), _log_sum(heights)
    if scaling == "none" or len(plain) == 1 or plain.min() < 0:
        sizes = np.abs(plain_array(rows)).mean(1)
        return Balanced(rows / _like(matrix, sizes[:, None]), log + _log_sum(sizes), 0.0)
    divisors, shrinkage = _column_divisors(rows, full=scaling == "full")
    # The last row factors are mere scale: constants, which no derivative has to pass.
    sizes = plain_array(rows) @ (1 / plain_array(divisors)) / len(plain)
    rows = rows * (1 / _like(matrix, sizes[:, None])) / divisors
    logs = torch.log(divisors) if isinstance(divisors, Tensor) else np.log(divisors)
    return Balanced(rows, log + _log_sum(sizes) + logs.sum(), shrinkage)


def has_perfect_matching(matrix: Float64[NDArray[np.float64], "n n"]) -> bool:
    """Whether some permutation meets no zero; the permanent is exactly 0 if none does."""
    if matrix.all():
        return True
    support = sparse.csr_array(matrix != 0)
    return bool((maximum_bipartite_matching(support, "column") >= 0).all())


def plain_array(matrix: Any) -> Float64[NDArray[np.float64], "n n"]:
    """The entries as a float64 array, without gradients."""
    if isinstance(matrix, Tensor):
        return matrix.detach().cpu().double().numpy()
    return matrix


def _column_divisors(rows: Any, full: bool) -> tuple[Any, float]:
    """Divisors of columns, and their shrinkage s; no array of n² entries is made."""
    n = rows.shape[0]
    scale = 1 / rows.mean(1)
    means = scale @ rows / n
    if full:
        return means, 1.0
    middle = means.mean()
    einsum: Any = torch.einsum if isinstance(rows, Tensor) else np.einsum
    squares = (einsum("ij,ij->i", rows, rows) * scale**2).sum()
    noise = (squares / n - (means**2).sum()) / (n * (n - 1))
    spread = ((means - middle) ** 2).sum() / (n - 1)
    if _number(noise) >= _number(spread):
        return 0 * means + middle, 0.0
    rest = noise / spread if _number(noise) > 0 else 0 * spread
    # Columns of very small entries would cancel in middle + (1 - rest) (means - middle).
    return rest * middle + (1 - rest) * means, 1 - _number(rest)


def _number(value: Any) -> float:
    return float(plain_array(value))


def _like(matrix: Any, values: NDArray[np.float64]) -> Any:
    if isinstance(matrix, Tensor):
        return torch.from_numpy(values).to(matrix)
    return values


def _log_sum(values: NDArray[np.float64]) -> float:
    return math.fsum(map(math.log, values.tolist()))
