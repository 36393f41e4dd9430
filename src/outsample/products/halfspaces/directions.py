"""Directions that many normals share: as an explanation, and found from the Gram matrix."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from outsample.errors import InputError
from outsample.estimator import Explanation

#: Iterations of the factor analysis.
ITERATIONS = 10
#: Largest share of a normal's variance that common directions may take, and the largest where
#: normals are nearly parallel: integration meets a step where a normal is a common direction.
_LARGEST_SHARE = (0.98, 0.9995)


@dataclass(frozen=True, eq=False)
class Directions(Explanation):
    """A few directions that the normals of an intersection of halfspaces have in common.

    Args:
        directions: shape (r, n), in the coordinates of the normals v_i (those of x); scale and
            basis of their span do not matter.  If v_i ~ N(μ, aI + b μ μᵀ), it is μ.

    Raises:
        InputError: unless it is a matrix of finite numbers with at least one row.
    """

    directions: Float[Tensor, "r n"]

    def __post_init__(self) -> None:
        d = self.directions
        fits = isinstance(d, Tensor) and d.dim() == 2 and d.shape[0] > 0 and d.is_floating_point()
        if not fits or not bool(d.isfinite().all()):
            raise InputError(
                f"Directions: directions = {d!r}; expected a tensor (r, n) of finite numbers, one "
                "direction a row"
            )

    @property
    def size(self) -> int:
        """Length of the advice, r n."""
        return self.directions.numel()

    def tensors(self) -> dict[str, Tensor]:
        """``{"directions": (r, n)}``."""
        return {"directions": self.directions}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild from :meth:`tensors`."""
        return cls(tensors["directions"])


def loadings_of(
    advice: Directions,
    root: Tensor,
    normals: NDArray[np.float64],
    gram: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Loadings A (k, r) of whitened unit normals on the directions, A Aᵀ <= V Vᵀ.

    Args:
        advice: directions in the coordinates of x = m + F z.
        root: F, shape (n, n).
        normals: V, shape (k, n), in the coordinates of z.
        gram: V Vᵀ.

    Raises:
        InputError: for directions of another length than the normals.
    """
    given = advice.directions.detach().to(root)
    if given.shape[1] != root.shape[0]:
        raise InputError(
            f"CommonDirection: the directions have {given.shape[1]} entries, x has "
            f"{root.shape[0]}; expected as many"
        )
    axes, sizes, _ = np.linalg.svd((given @ root).numpy().T, full_matrices=False)
    axes = axes[:, sizes > 1e-12 * max(float(sizes.max()), 1e-300)]
    return _shrunk(normals @ axes, _largest_share(gram))


def common_factors(gram: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Loadings A (k, r) that explain most of the correlations, leaving the variances alone.

    Factor analysis: A Aᵀ fits the off-diagonal entries of K, for these are what makes conditions
    depend on each other, weighted by what it leaves of each variance, for what will matter are
    the correlations of K - A Aᵀ.  Then A is shrunk until that is a covariance.

    Source: principal factors with the weights of maximum likelihood: K. G. Jöreskog,
    Psychometrika 32 (1967).
    """
    k = len(gram)
    count = min(count, k)
    off = gram - np.eye(k)
    most = _largest_share(gram)
    shares = abs(off).max(axis=1).clip(0, most) if k > 1 else np.full(1, most)
    loadings = np.zeros((k, count))
    for _ in range(ITERATIONS):
        scale = np.sqrt(1 - shares)
        values, vectors = np.linalg.eigh((off + np.diag(shares)) / np.outer(scale, scale))
        loadings = vectors[:, -count:] * np.sqrt(values[-count:].clip(0)) * scale[:, None]
        shares = (loadings * loadings).sum(axis=1).clip(0, most)
    values, vectors = np.linalg.eigh(gram)
    sound = values > 1e-10 * values[-1]
    whitened = (vectors.T @ loadings)[sound] / np.sqrt(values[sound])[:, None]
    left, sizes, right = np.linalg.svd(whitened, full_matrices=False)
    whitened = (left * np.minimum(sizes, 1)) @ right
    return _shrunk(vectors[:, sound] * np.sqrt(values[sound]) @ whitened, most)


def _shrunk(loadings: NDArray[np.float64], most: float) -> NDArray[np.float64]:
    """A itself, or a multiple of it that leaves every normal some variance of its own."""
    largest = float((loadings * loadings).sum(axis=1).max())
    return loadings * min(1.0, (most / max(largest, 1e-300)) ** 0.5)


def _largest_share(gram: NDArray[np.float64]) -> float:
    """Near-duplicates are worth the many nodes that a nearly common direction needs."""
    largest = float(abs(gram - np.eye(len(gram))).max())
    return min(max(largest, _LARGEST_SHARE[0]), _LARGEST_SHARE[1])


def factor_flops(k: int) -> int:
    """FLOPs of :func:`common_factors`."""
    return 9 * k**3 * (ITERATIONS + 1) + 20 * k**3
