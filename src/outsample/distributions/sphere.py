"""The uniform law on the unit sphere."""

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.errors import InputError
from outsample.estimator import positive_integer
from outsample.problem import Distribution


class Sphere(Distribution):
    """Uniform law on the unit sphere of R^n: the direction of a standard normal.

    Args:
        n: dimension of the space, so that the sphere has dimension n - 1.
        dtype: floating-point type of the draws; torch's default unless given.
        device: where the draws live.

    Raises:
        InputError: for n below 1 or a dtype that is not floating point.

    Example:
        >>> Sphere(3).covariance.diagonal()
        tensor([0.3333, 0.3333, 0.3333])
    """

    def __init__(
        self, n: int, dtype: torch.dtype | None = None, device: torch.device | None = None
    ) -> None:
        positive_integer("Sphere", "n", n)
        dtype = torch.get_default_dtype() if dtype is None else dtype
        if not dtype.is_floating_point:
            raise InputError(f"Sphere: dtype = {dtype}; expected floating point")
        self.shape = (n,)
        self.latent_size = n
        self._mean = torch.zeros(n, dtype=dtype, device=device)

    @property
    def mean(self) -> Float[Tensor, " n"]:
        """Zero, shape (n,)."""
        return self._mean

    @property
    def covariance(self) -> Float[Tensor, "n n"]:
        """I / n, shape (n, n)."""
        n = self.shape[0]
        return torch.eye(n, dtype=self.dtype, device=self.device) / n

    def to(self, dtype: torch.dtype, device: torch.device) -> "Sphere":
        """Return this law with draws of ``dtype`` on ``device``."""
        return Sphere(self.shape[0], dtype, device)

    def tensors(self) -> list[Tensor]:
        """The mean, whose shape and dtype say everything."""
        return [self._mean]

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "samples n"]:
        """Draw ``n`` points, shape (n, *shape)."""
        if n < 1:
            raise InputError(f"Sphere.sample: n = {n}; expected at least 1")
        return self.from_normal(
            torch.randn(
                n, self.latent_size, generator=generator, dtype=self.dtype, device=self.device
            )
        )

    def from_normal(self, z: Float[Tensor, "samples n"]) -> Float[Tensor, "samples n"]:
        """Map rows of independent standard normals to draws: z / |z|."""
        return z / torch.linalg.vector_norm(z, dim=1, keepdim=True)

    def __repr__(self) -> str:
        return f"Sphere(n={self.shape[0]}, dtype={self.dtype})"
