"""Nodes for the few directions that are integrated over: half-range Gauss rules, mirrored.

ReLU networks without biases bend at zero along every direction; a rule for each half of the axis
does not mind.
"""

from functools import lru_cache
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

#: Discretisation of the half-normal weight that the recurrence is computed on.
_POINTS, _END = 400, 12.0
#: Nodes of less weight are dropped.
_LEAST = 1e-12


@lru_cache(maxsize=32)
def half_range(nodes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gauss nodes and weights for the half-normal law on [0, ∞); weights sum to 1.

    By Lanczos' recurrence with full reorthogonalisation on a Gauss-Legendre grid (W. Gautschi,
    Orthogonal Polynomials, 2004, section 2.2).
    """
    x, w = np.polynomial.legendre.leggauss(_POINTS)
    x = (x + 1) * _END / 2
    w = w * np.exp(-x * x / 2)
    w /= w.sum()
    basis = np.zeros((nodes + 1, _POINTS))
    basis[0] = np.sqrt(w)
    diagonal, off = np.zeros(nodes), np.zeros(nodes)
    for k in range(nodes):
        new = x * basis[k]
        diagonal[k] = basis[k] @ new
        for _ in range(2):
            new -= basis[: k + 1].T @ (basis[: k + 1] @ new)
        off[k] = np.linalg.norm(new)
        basis[k + 1] = new / off[k]
    jacobi = np.diag(diagonal) + np.diag(off[:-1], 1) + np.diag(off[:-1], -1)
    values, vectors = np.linalg.eigh(jacobi)
    return values, vectors[0] ** 2


@lru_cache(maxsize=32)
def half_grid(directions: int, nodes: int) -> tuple[Float[Tensor, "q r"], Float[Tensor, " q"]]:
    """Nodes y of one of every pair ±y, and weights of both together, for N(0, I) in r dimensions.

    Args:
        directions: r; 0 gives the single node of no coordinates.
        nodes: per axis, even.

    Returns:
        nodes (q, r) and weights (q,) of sum 1, those of less than 1e-12 left out.
    """
    if directions == 0:
        return torch.zeros(1, 0, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    x, w = half_range(nodes // 2)
    both, weights = np.concatenate((-x[::-1], x)), np.concatenate((w[::-1], w)) / 2
    # The first coordinate positive: the other half is the reflection.
    axes = [x, *[both] * (directions - 1)]
    masses = [w, *[weights] * (directions - 1)]
    points = np.array(list(product(*axes)))
    mass = np.array([np.prod(p) for p in product(*masses)])
    kept = mass > _LEAST
    return torch.tensor(points[kept]), torch.tensor(mass[kept] / mass[kept].sum())
