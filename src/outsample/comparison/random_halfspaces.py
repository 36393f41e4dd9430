"""Families of intersections of halfspaces: random normals about a common direction."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from outsample.comparison.seeds import derive_seed
from outsample.errors import InputError
from outsample.estimator import positive_integer
from outsample.problem import Family
from outsample.products.halfspaces import HalfspaceIntersection


@dataclass(frozen=True)
class RandomHalfspaces(Family):
    """Intersections of halfspaces with independent random normals, on a standard Gaussian input.

    The normals are v = √n (m + s g) e₁ + Σ^½ z, with z standard normal, g too, and Σ diagonal
    with j^(-α) as its j-th entry, up to a factor that makes its trace n.  So they are N(0, I) by
    default, N(μ, Σ) in general, and N(μ, I + b μ μᵀ) with s in place of √b m.  They are then
    divided by their length; offsets are normal.

    Args:
        dimension: n, the size of the input.
        count: k, how many halfspaces.
        offset_scale: standard deviation of the offsets, 0 for halfspaces through the centre.
        common: m, the length of the normals' mean over √n.
        along: s, the standard deviation that they have along that mean besides, over √n.
        spectrum: α, the exponent at which the variances of the normals fall.
        dtype: ``"float32"`` or ``"float64"``; one seed gives the same halfspaces in both, up to
            rounding.

    Raises:
        InputError: for sizes below 1, scales that are negative or not finite, unknown dtypes.

    Example:
        >>> RandomHalfspaces(dimension=20, count=8).problem(seed=0).describe()
        'HalfspaceIntersection of 8 in 20 dimensions'
    """

    dimension: int
    count: int
    offset_scale: float = 0.0
    common: float = 0.0
    along: float = 0.0
    spectrum: float = 0.0
    dtype: Literal["float32", "float64"] = "float64"

    def __post_init__(self) -> None:
        for name in ("dimension", "count"):
            positive_integer("RandomHalfspaces", name, getattr(self, name))
        for name in ("offset_scale", "common", "along", "spectrum"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise InputError(
                    f"RandomHalfspaces: {name} = {value!r}; expected a finite number >= 0"
                )
        if self.dtype not in ("float32", "float64"):
            raise InputError(
                f"RandomHalfspaces: dtype = {self.dtype!r}; expected 'float32' or 'float64'"
            )

    def problem(self, seed: int) -> HalfspaceIntersection:
        """Return the intersection drawn with ``seed``."""
        generator = torch.Generator().manual_seed(derive_seed("RandomHalfspaces", seed))
        dtype = torch.float32 if self.dtype == "float32" else torch.float64
        k, n = self.count, self.dimension
        z = torch.randn(k, n + 2, generator=generator, dtype=torch.float64)
        decay = torch.arange(1, n + 1, dtype=torch.float64) ** -self.spectrum
        normals = z[:, :n] * (decay / decay.mean()).sqrt()
        normals[:, 0] += math.sqrt(n) * (self.common + self.along * z[:, n])
        normals = normals / normals.norm(dim=1, keepdim=True)
        offsets = self.offset_scale * z[:, n + 1]
        return HalfspaceIntersection(normals.to(dtype), offsets.to(dtype))
