"""Normal laws."""

from typing import Self, cast

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from outsample.distributions.arrays import ArrayLike, as_tensor
from outsample.errors import InputError
from outsample.problem import Distribution


class Gaussian(Distribution):
    """Normal law N(mean, covariance) on n real numbers.

    Args:
        mean: shape (n,).
        covariance: shape (n, n), symmetric and positive semidefinite; or (n,), the variances of
            independent entries; or a scalar, their common variance.  The structure is kept: a
            scalar or diagonal covariance is never expanded by methods that can do without.

    Tensors keep their dtype, device and gradient history; NumPy arrays keep their dtype.

    Raises:
        InputError: for integer or non-finite entries, shapes that do not fit, a negative
            variance, a covariance that is not symmetric (to 1e-6 of its largest entry in
            float32, 1e-12 in float64) or not positive semidefinite, mixed dtypes or devices.

    Example:
        >>> x = Gaussian(torch.zeros(3), 0.25)
        >>> x.covariance.diagonal()
        tensor([0.2500, 0.2500, 0.2500])
    """

    def __init__(
        self,
        mean: Float[Tensor, " n"] | ArrayLike,
        covariance: Float[Tensor, "n n"] | Float[Tensor, " n"] | ArrayLike = 1.0,
    ) -> None:
        mu = as_tensor("mean", mean, None)
        cov = as_tensor("covariance", covariance, mu)
        if mu.dim() != 1 or mu.numel() == 0:
            raise InputError(
                f"Gaussian: mean has shape {tuple(mu.shape)}; expected a vector (n,) with n >= 1 "
                "(flatten images first)"
            )
        n = mu.shape[0]
        if tuple(cov.shape) not in ((), (n,), (n, n)):
            raise InputError(
                f"Gaussian: covariance has shape {tuple(cov.shape)}; expected (), ({n},) or "
                f"({n}, {n}) to fit the mean of shape ({n},)"
            )
        _check_positive(cov.detach())
        self._mean = mu
        #: The covariance as given: a scalar, the variances (n,), or the matrix (n, n).
        self.scale: Tensor = cov
        self.shape = (n,)
        self.latent_size = n
        self._factor: tuple[int, Tensor] | None = None

    @classmethod
    def trusted(cls, mean: Tensor, scale: Tensor) -> Self:
        """Build without validation from parts that passed it already."""
        new = cls.__new__(cls)
        new._mean, new.scale, new._factor = mean, scale, None
        new.shape, new.latent_size = (mean.shape[0],), mean.shape[0]
        return new

    @classmethod
    def standard(cls, n: int, dtype: torch.dtype | None = None) -> Self:
        """N(0, I) on n entries, in ``dtype`` (default: torch's default dtype)."""
        if n < 1:
            raise InputError(f"Gaussian.standard: n = {n}; expected a positive size")
        return cls(torch.zeros(n, dtype=dtype), torch.ones((), dtype=dtype))

    @classmethod
    def fit(
        cls, data: Float[Tensor, "samples n"] | ArrayLike, shrinkage: float | None = None
    ) -> Self:
        """Gaussian fitted to the rows of ``data``.

        The covariance is (1 - s) S + s (tr S / n) I, S the sample covariance (divisor: number
        of rows); the shrinkage s is that of Ledoit and Wolf (J. Multivariate Anal. 88, 2004),
        through scikit-learn, unless given.

        Args:
            data: shape (samples, n), at least two rows.
            shrinkage: between 0 (sample covariance) and 1 (a multiple of the identity).

        Raises:
            InputError: for NaN or infinite entries, fewer than two rows, or a shrinkage
                outside [0, 1].
        """
        x = as_tensor("data", data, None).detach()
        if x.dim() != 2 or x.shape[0] < 2 or x.shape[1] == 0:
            raise InputError(
                f"Gaussian.fit: data has shape {tuple(x.shape)}; expected (samples, n) with at "
                "least 2 samples"
            )
        if shrinkage is not None and not 0.0 <= shrinkage <= 1.0:
            raise InputError(f"Gaussian.fit: shrinkage = {shrinkage}; expected 0 to 1, or None")
        from sklearn.covariance import ledoit_wolf, shrunk_covariance  # slow to import

        rows = x.double().cpu().numpy()
        mean = rows.mean(axis=0)
        if shrinkage is None:
            covariance = cast(NDArray[np.float64], ledoit_wolf(rows)[0])
        else:
            centred = rows - mean
            covariance = shrunk_covariance(centred.T @ centred / len(rows), shrinkage)
        covariance = (covariance + covariance.T) / 2
        return cls(torch.from_numpy(mean).to(x), torch.from_numpy(covariance).to(x))

    @property
    def mean(self) -> Float[Tensor, " n"]:
        """Mean, shape (n,)."""
        return self._mean

    @property
    def covariance(self) -> Float[Tensor, "n n"]:
        """Covariance matrix, shape (n, n), whatever structure was given."""
        if self.scale.dim() == 2:
            return self.scale
        return torch.diag(self.scale.expand(self.shape[0]))

    @property
    def variance(self) -> Float[Tensor, " n"]:
        """Variances of the entries, shape (n,)."""
        return self.scale.diagonal() if self.scale.dim() == 2 else self.scale.expand(self.shape[0])

    def to(self, dtype: torch.dtype, device: torch.device) -> "Gaussian":
        """Return this law cast to ``dtype`` on ``device``."""
        if self._mean.dtype == dtype and self._mean.device == device:
            return self
        return self.trusted(self._mean.to(device, dtype), self.scale.to(device, dtype))

    def tensors(self) -> list[Tensor]:
        """Mean, and covariance in the structure it was given."""
        return [self._mean, self.scale]

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "samples n"]:
        """Draw ``n`` inputs, shape (n, *shape)."""
        if n < 1:
            raise InputError(f"Gaussian.sample: n = {n}; expected at least 1")
        return self.from_normal(
            torch.randn(
                n, self.latent_size, generator=generator, dtype=self.dtype, device=self.device
            )
        )

    def from_normal(self, z: Float[Tensor, "samples n"]) -> Float[Tensor, "samples n"]:
        """Map rows of independent standard normals to draws: mean + F z, F Fᵀ = covariance."""
        if self.scale.dim() == 2:
            return torch.addmm(self._mean, z, self._factor_of_scale().T)
        return torch.addcmul(self._mean, z, self.scale.sqrt())

    def square_root(self) -> Float[Tensor, "n n"]:
        """F with F Fᵀ = covariance, shape (n, n): what :meth:`from_normal` multiplies with."""
        if self.scale.dim() == 2:
            return self._factor_of_scale()
        return torch.diag(self.scale.expand(self.shape[0]).sqrt())

    def _factor_of_scale(self) -> Tensor:
        """Cholesky factor, or one by eigenvalues where the covariance is singular."""
        keep = not (self.scale.requires_grad or self.scale.is_inference())
        version = self.scale._version if keep else 0
        if keep and self._factor is not None and self._factor[0] == version:
            return self._factor[1]
        factor, failed = torch.linalg.cholesky_ex(self.scale)
        if int(failed):
            values, vectors = torch.linalg.eigh(self.scale)
            factor = vectors * values.clamp_min(0).sqrt()
        if keep:
            self._factor = (version, factor)
        return factor

    def __repr__(self) -> str:
        kind = ("scalar", "diagonal", "dense")[self.scale.dim()]
        return f"Gaussian(n={self.shape[0]}, covariance={kind}, dtype={self.dtype})"


def _check_positive(cov: Tensor) -> None:
    """Refuse a covariance that is not symmetric positive semidefinite."""
    if cov.dim() < 2:
        if bool((cov < 0).any()):
            raise InputError(
                f"Gaussian: covariance has a negative variance {cov.min().item():.6g}; "
                "expected variances >= 0"
            )
        return
    size = cov.abs().max()
    eps = torch.finfo(cov.dtype).eps
    skew = (cov - cov.T).abs().max()
    if bool(skew > max(1e-12, 8 * eps) * size):
        raise InputError(
            f"Gaussian: covariance is not symmetric: largest |C - C^T| is {skew.item():.3g} with "
            f"largest entry {size.item():.3g}; symmetrise it with (C + C.T) / 2 if that is meant"
        )
    # A shift at round-off size lets singular covariances pass; Cholesky is the fast yes.
    shift = cov.shape[0] * eps * size
    shifted = cov + shift * torch.eye(cov.shape[0], dtype=cov.dtype, device=cov.device)
    if int(torch.linalg.cholesky_ex(shifted)[1]) == 0:
        return
    lowest = torch.linalg.eigvalsh(cov)[0]
    if bool(lowest < -8 * shift):
        raise InputError(
            f"Gaussian: covariance is indefinite: its smallest eigenvalue is {lowest.item():.6g}; "
            "expected a positive semidefinite matrix"
        )
