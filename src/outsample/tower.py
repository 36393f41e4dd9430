"""Laws known by their joint cumulants."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from outsample.distributions import ArrayLike, Gaussian, as_tensor
from outsample.errors import InputError, UnsupportedProblem
from outsample.problem import Distribution

#: Draws ``n`` rows with an explicit generator.
Sampler = Callable[[int, torch.Generator], Tensor | NDArray[np.floating]]


class CumulantTower(Distribution):
    """A law of n real numbers given by its joint cumulants up to order 4.

    As an input it says how a non-Gaussian x enters a network; as ``Estimate.tower`` it is what
    propagation knows of the output.

    Args:
        mean: shape (n,).
        covariance: as in :class:`Gaussian`: (n, n), (n,) or a scalar.
        third: κ_ijk, shape (n, n, n) and symmetric; or (n,), the third cumulants of independent
            entries; or None for zero.
        fourth: κ_ijkl, shape (n, n, n, n) and symmetric; or (n,); or None for zero.
        sampler: takes a number of rows and a generator and returns draws, one a row, for the
            estimators that sample; without it the law cannot be sampled, since cumulants do not
            determine it.

    Raises:
        InputError: for what :class:`Gaussian` refuses, shapes that do not fit, non-finite entries
            or tensors that are not symmetric (to 1e-5 of the largest entry in float32, 1e-10 in
            float64).

    Example:
        >>> centred_exponentials = CumulantTower(torch.zeros(3), 1.0, torch.full((3,), 2.0))
        >>> centred_exponentials.third.shape
        torch.Size([3])
    """

    def __init__(
        self,
        mean: Float[Tensor, " n"] | ArrayLike,
        covariance: Float[Tensor, "n n"] | Float[Tensor, " n"] | ArrayLike = 1.0,
        third: Float[Tensor, "n n n"] | Float[Tensor, " n"] | ArrayLike | None = None,
        fourth: Float[Tensor, "n n n n"] | Float[Tensor, " n"] | ArrayLike | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        if sampler is not None and not callable(sampler):
            raise InputError(
                f"CumulantTower: sampler is {type(sampler).__name__}; expected a function of the "
                "number of rows and a torch.Generator"
            )
        #: The Gaussian with the same mean and covariance.
        self.gaussian = Gaussian(mean, covariance)
        self.third = _cumulant("third", third, 3, self.gaussian.mean)
        self.fourth = _cumulant("fourth", fourth, 4, self.gaussian.mean)
        self._sampler = sampler
        self.shape = self.gaussian.shape
        self.latent_size = self.gaussian.latent_size

    @classmethod
    def trusted(
        cls,
        gaussian: Gaussian,
        third: Tensor | None,
        fourth: Tensor | None,
        sampler: Sampler | None = None,
    ) -> "CumulantTower":
        """Build without validation from parts that passed it already."""
        new = cls.__new__(cls)
        new.gaussian, new.third, new.fourth, new._sampler = gaussian, third, fourth, sampler
        new.shape, new.latent_size = gaussian.shape, gaussian.latent_size
        return new

    @property
    def mean(self) -> Float[Tensor, " n"]:
        """Mean, shape (n,)."""
        return self.gaussian.mean

    @property
    def covariance(self) -> Float[Tensor, "n n"]:
        """Covariance matrix, shape (n, n)."""
        return self.gaussian.covariance

    def to(self, dtype: torch.dtype, device: torch.device) -> "CumulantTower":
        """Return this law cast to ``dtype`` on ``device``; draws are cast as well."""
        if self.dtype == dtype and self.device == device:
            return self
        third, fourth = (
            None if t is None else t.to(device, dtype) for t in (self.third, self.fourth)
        )
        return self.trusted(self.gaussian.to(dtype, device), third, fourth, self._sampler)

    def tensors(self) -> list[Tensor]:
        """Mean, covariance, and the higher cumulants that were given."""
        higher = [t for t in (self.third, self.fourth) if t is not None]
        return self.gaussian.tensors() + higher

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "samples n"]:
        """Draw ``n`` rows with the sampler given.

        Raises:
            UnsupportedProblem: if there is none.
            InputError: if its draws have another shape.
        """
        if self._sampler is None:
            raise UnsupportedProblem(
                "CumulantTower: cumulants alone do not say how to draw; pass sampler= to use "
                "estimators that sample"
            )
        if n < 1:
            raise InputError(f"CumulantTower.sample: n = {n}; expected at least 1")
        x = self._sampler(n, generator)
        if not isinstance(x, Tensor | np.ndarray):
            raise InputError(
                f"CumulantTower: the sampler returned {type(x).__name__}; expected a tensor"
            )
        x = torch.as_tensor(x)
        if tuple(x.shape) != (n, *self.shape):
            raise InputError(
                f"CumulantTower: the sampler returned shape {tuple(x.shape)}; expected "
                f"{(n, *self.shape)}"
            )
        return x.to(self.device, self.dtype)

    def __repr__(self) -> str:
        orders = [2, *(k for k, t in ((3, self.third), (4, self.fourth)) if t is not None)]
        return f"CumulantTower(n={self.shape[0]}, orders up to {orders[-1]}, dtype={self.dtype})"


def _cumulant(
    name: str, value: Tensor | ArrayLike | None, order: int, mean: Tensor
) -> Tensor | None:
    """Validate a cumulant of ``order``: full and symmetric, or the diagonal of one."""
    if value is None:
        return None
    tensor, n = as_tensor(name, value, mean, owner="CumulantTower"), mean.shape[0]
    if tuple(tensor.shape) not in ((n,), (n,) * order):
        raise InputError(
            f"CumulantTower: {name} has shape {tuple(tensor.shape)}; expected {(n,) * order}, or "
            f"({n},) for independent entries"
        )
    if tensor.dim() == order:
        eps = torch.finfo(tensor.dtype).eps
        size = tensor.detach().abs().max()
        for axis in range(order - 1):
            skew = (tensor - tensor.transpose(axis, axis + 1)).detach().abs().max()
            if bool(skew > max(1e-10, 80 * eps) * size):
                raise InputError(
                    f"CumulantTower: {name} is not symmetric in axes {axis} and {axis + 1}: they "
                    f"differ by {skew.item():.3g} where the largest entry is {size.item():.3g}"
                )
    return tensor
