"""Uniform random permutations."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from outsample.errors import InputError
from outsample.estimator import positive_integer
from outsample.problem import Distribution


class Permutations(Distribution):
    """Uniform law on the permutations of n things: row i goes to column x[i].

    Args:
        n: number of things.
        dtype: floating-point type of mean and covariance, and of the problem; the draws
            themselves are int64.  Torch's default unless given.
        device: where the draws live.

    Raises:
        InputError: for n below 1 or a dtype that is not floating point.

    Example:
        >>> x = Permutations(3).sample(2, torch.Generator().manual_seed(0))
        >>> x.sort(dim=1).values.tolist() == 2 * [[0, 1, 2]]
        True
    """

    def __init__(
        self, n: int, dtype: torch.dtype | None = None, device: torch.device | None = None
    ) -> None:
        positive_integer("Permutations", "n", n)
        dtype = torch.get_default_dtype() if dtype is None else dtype
        if not dtype.is_floating_point:
            raise InputError(f"Permutations: dtype = {dtype}; expected floating point")
        self.shape = (n,)
        self.latent_size = n
        self._mean = torch.full((n,), (n - 1) / 2, dtype=dtype, device=device)

    @property
    def mean(self) -> Float[Tensor, " n"]:
        """(n - 1) / 2 in every entry, shape (n,)."""
        return self._mean

    @property
    def covariance(self) -> Float[Tensor, "n n"]:
        """(n + 1)(n I - 1 1ᵀ) / 12, shape (n, n)."""
        n = self.shape[0]
        eye = torch.eye(n, dtype=self.dtype, device=self.device)
        return (n + 1) * (n * eye - 1) / 12

    def to(self, dtype: torch.dtype, device: torch.device) -> "Permutations":
        """Return this law with moments of ``dtype``, on ``device``."""
        return Permutations(self.shape[0], dtype, device)

    def tensors(self) -> list[Tensor]:
        """The mean, whose shape and dtype say everything."""
        return [self._mean]

    def sample(self, n: int, generator: torch.Generator) -> Int64[Tensor, "samples n"]:
        """Draw ``n`` permutations, shape (n, *shape), int64."""
        if n < 1:
            raise InputError(f"Permutations.sample: n = {n}; expected at least 1")
        # Ties of float64 numbers are rarer than 1e-10 for n = 1000 and favour no answer we see.
        keys = torch.rand(
            n, self.shape[0], generator=generator, dtype=torch.float64, device=self.device
        )
        return keys.argsort(dim=1)

    def __repr__(self) -> str:
        return f"Permutations(n={self.shape[0]}, dtype={self.dtype})"
