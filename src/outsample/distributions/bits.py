"""Independent random bits."""

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.distributions.arrays import ArrayLike, as_tensor
from outsample.errors import InputError
from outsample.estimator import positive_integer
from outsample.problem import Distribution


class Bits(Distribution):
    """Law of n independent bits, 0 or 1.

    Args:
        n: number of bits.
        probabilities: P(x_j = 1), shape (n,); 1/2 each unless given.
        dtype: floating-point type of the draws; that of ``probabilities``, else torch's default.

    Raises:
        InputError: for n below 1, a dtype that is not floating point, probabilities outside
            [0, 1] or of another shape.

    Example:
        >>> Bits(3).covariance.diagonal()
        tensor([0.2500, 0.2500, 0.2500])
    """

    def __init__(
        self,
        n: int,
        probabilities: Float[Tensor, " n"] | ArrayLike | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        positive_integer("Bits", "n", n)
        if dtype is not None and not dtype.is_floating_point:
            raise InputError(f"Bits: dtype = {dtype}; expected floating point")
        if probabilities is None:
            given = torch.full((n,), 0.5, dtype=dtype)
        else:
            given = as_tensor("probabilities", probabilities, None, "Bits")
            given = given if dtype is None else given.to(dtype)
        if tuple(given.shape) != (n,):
            raise InputError(
                f"Bits: probabilities has shape {tuple(given.shape)}; expected ({n},), one for "
                "each bit"
            )
        low, high = float(given.detach().min()), float(given.detach().max())
        if low < 0 or high > 1:
            raise InputError(
                f"Bits: probabilities lie between {low:.6g} and {high:.6g}; expected 0 to 1"
            )
        self.shape = (n,)
        self.latent_size = n
        #: P(x_j = 1), shape (n,).
        self.probabilities: Tensor = given
        self._fair = low == high == 0.5

    @property
    def mean(self) -> Float[Tensor, " n"]:
        """P(x_j = 1), shape (n,)."""
        return self.probabilities

    @property
    def covariance(self) -> Float[Tensor, "n n"]:
        """Diagonal, p (1 - p), shape (n, n)."""
        return torch.diag(self.probabilities * (1 - self.probabilities))

    def to(self, dtype: torch.dtype, device: torch.device) -> "Bits":
        """Return this law with draws of ``dtype`` on ``device``."""
        return Bits(self.shape[0], self.probabilities.to(device, dtype))

    def tensors(self) -> list[Tensor]:
        """The probabilities."""
        return [self.probabilities]

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "samples n"]:
        """Draw ``n`` rows of bits, shape (n, *shape)."""
        if n < 1:
            raise InputError(f"Bits.sample: n = {n}; expected at least 1")
        size = (n, self.shape[0])
        if self._fair:
            return torch.empty(size, dtype=self.dtype, device=self.device).random_(
                2, generator=generator
            )
        uniform = torch.rand(size, generator=generator, dtype=self.dtype, device=self.device)
        return (uniform < self.probabilities).to(self.dtype)

    def __repr__(self) -> str:
        return f"Bits(n={self.shape[0]}, dtype={self.dtype})"
