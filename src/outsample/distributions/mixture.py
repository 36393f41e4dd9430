"""Mixtures of normal laws."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.distributions.arrays import ArrayLike, as_tensor
from outsample.distributions.gaussian import Gaussian
from outsample.errors import InputError
from outsample.problem import Distribution

_OWNER = "GaussianMixture"
#: What the sum of weights may differ from 1 by: float32's round-off of a few hundred weights.
_SLACK = 1e-6


class GaussianMixture(Distribution):
    """Law of x that is drawn from ``components[i]`` with probability ``weights[i]``.

    Args:
        weights: shape (k,), not negative, of sum 1.
        components: k Gaussians on the same number of entries, of one dtype and device.

    Tensors keep their gradient history.

    Raises:
        InputError: for weights that are negative, do not add up to 1 (to 1e-6) or are not as many
            as the components; for components that are no Gaussians or do not fit together.

    Example:
        >>> near, far = Gaussian(torch.zeros(2)), Gaussian(torch.full((2,), 4.0))
        >>> GaussianMixture(torch.tensor([0.75, 0.25]), [near, far]).mean
        tensor([1., 1.])
    """

    def __init__(
        self, weights: Float[Tensor, " k"] | ArrayLike, components: Sequence[Gaussian]
    ) -> None:
        laws = tuple(components)
        for place, law in enumerate(laws):
            if not isinstance(law, Gaussian):
                raise InputError(
                    f"{_OWNER}: components[{place}] is {type(law).__name__}; expected a Gaussian"
                )
            first = laws[0]
            if (law.shape, law.dtype, law.device) != (first.shape, first.dtype, first.device):
                raise InputError(
                    f"{_OWNER}: components[{place}] has shape {law.shape}, {law.dtype} on "
                    f"{law.device}, but components[0] has {first.shape}, {first.dtype} on "
                    f"{first.device}; give all the same"
                )
        if not laws:
            raise InputError(f"{_OWNER}: components is empty; expected at least one Gaussian")
        given = as_tensor("weights", weights, None, _OWNER).to(laws[0].device, laws[0].dtype)
        if tuple(given.shape) != (len(laws),):
            raise InputError(
                f"{_OWNER}: weights has shape {tuple(given.shape)}; expected ({len(laws)},), one "
                "for each component"
            )
        total, lowest = float(given.detach().sum()), float(given.detach().min())
        if lowest < 0 or abs(total - 1) > _SLACK:
            raise InputError(
                f"{_OWNER}: weights have sum {total:.12g} and smallest entry {lowest:.6g}; "
                "expected probabilities, of sum 1"
            )
        #: Probabilities of the components, shape (k,), and the components.
        self.weights: Tensor = given
        self.components = laws
        self.shape = laws[0].shape
        self.latent_size = laws[0].latent_size

    @property
    def mean(self) -> Float[Tensor, " n"]:
        """Mean, shape (n,)."""
        return self.weights @ torch.stack([law.mean for law in self.components])

    @property
    def covariance(self) -> Float[Tensor, "n n"]:
        """Covariance within the components and between their means, shape (n, n)."""
        step = torch.stack([law.mean for law in self.components]) - self.mean
        within = torch.stack([law.covariance for law in self.components])
        return torch.tensordot(self.weights, within, 1) + step.T @ (self.weights[:, None] * step)

    def to(self, dtype: torch.dtype, device: torch.device) -> "GaussianMixture":
        """Return this law cast to ``dtype`` on ``device``."""
        if self.dtype == dtype and self.device == device:
            return self
        new = GaussianMixture.__new__(GaussianMixture)
        new.weights = self.weights.to(device, dtype)
        new.components = tuple(law.to(dtype, device) for law in self.components)
        new.shape, new.latent_size = self.shape, self.latent_size
        return new

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the draws."""
        return self.weights.dtype

    @property
    def device(self) -> torch.device:
        """Device the draws live on."""
        return self.weights.device

    def tensors(self) -> list[Tensor]:
        """The weights, then every component's mean and covariance."""
        return [self.weights, *(t for law in self.components for t in law.tensors())]

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "samples n"]:
        """Draw ``n`` inputs, shape (n, *shape)."""
        if n < 1:
            raise InputError(f"{_OWNER}.sample: n = {n}; expected at least 1")
        return self.given(self.labels(n, generator), generator)

    def labels(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw which component each of ``n`` inputs comes from, shape (n,), integers."""
        edges = self.weights.detach().double().cumsum(0)
        uniform = torch.rand(n, generator=generator, dtype=edges.dtype, device=self.device)
        # Scaled by the last edge, so that round-off in the sum leaves no gap; components of
        # weight 0 have no room between two edges.
        found = torch.searchsorted(edges, uniform * edges[-1], right=True)
        return found.clamp_max(len(edges) - 1)

    def given(self, labels: Tensor, generator: torch.Generator) -> Float[Tensor, "samples n"]:
        """Draw one input for each label, from the component that it names."""
        z = torch.randn(
            len(labels),
            self.latent_size,
            generator=generator,
            dtype=self.dtype,
            device=self.device,
        )
        x = torch.empty_like(z)
        for label, law in enumerate(self.components):
            rows = labels == label
            x[rows] = law.from_normal(z[rows])
        return x

    def __repr__(self) -> str:
        k, n = len(self.components), self.shape[0]
        return f"GaussianMixture(components={k}, n={n}, dtype={self.dtype})"
