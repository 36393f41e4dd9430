"""An activation that lets some neurons pass: how values of early layers reach a later read-out."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.errors import InputError
from outsample.networks.activations.base import Activation, Expansion, standard_deviation
from outsample.networks.activations.piecewise import PiecewisePolynomial

_IDENTITY = PiecewisePolynomial((), ((0.0, 1.0),), "identity")


@dataclass(frozen=True)
class Carried(Activation):
    """``activation`` on all neurons but the last ``count``, which it leaves as they are.

    Raises:
        InputError: unless ``count`` is an integer of at least 1.
    """

    activation: Activation
    count: int
    name: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Check the count and take the activation's name."""
        if type(self.count) is not int or self.count < 1:
            raise InputError(f"Carried: count = {self.count!r}; expected an integer of at least 1")
        object.__setattr__(self, "name", f"{self.activation.name}+{self.count}")

    def __call__(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Apply to the neurons, which are the last axis."""
        carried = x[..., x.shape[-1] - self.count :]
        return torch.cat((self.activation(x[..., : -self.count]), carried), -1)

    def expand(self, mean: Float[Tensor, " n"], variance: Float[Tensor, " n"]) -> Expansion:
        """The activation's expansion, followed by that of the identity."""
        m, v = self._split(mean), self._split(variance)
        first = self.activation.expand(m[0], v[0])
        return _Joined(first, _IDENTITY.expand(m[1], v[1]), variance)

    def covariance(
        self,
        mean: Float[Tensor, " n"],
        covariance: Float[Tensor, "n n"],
        expansion: Expansion,
        degree: int,
    ) -> tuple[Float[Tensor, "n n"], Float[Tensor, ""] | None]:
        """The activation's own covariance; exact between and among the neurons carried.

        Cov(φ(Z_i), Z_j) = E[φ'(Z_i)] C_ij by Stein's identity.
        """
        cut = mean.shape[0] - self.count
        inner, carried = covariance[:cut, :cut], covariance[cut:, cut:]
        first = (
            expansion.first
            if isinstance(expansion, _Joined)
            else self.activation.expand(mean[:cut], inner.diagonal())
        )
        own, bound = self.activation.covariance(mean[:cut], inner, first, degree)
        slope = first.coefficient(1) * first.scale.reciprocal()
        cross = slope[:, None] * covariance[:cut, cut:]
        return torch.cat((torch.cat((own, cross), 1), torch.cat((cross.T, carried), 1))), bound

    def _split(self, values: Float[Tensor, " n"]) -> tuple[Tensor, Tensor]:
        return values[: -self.count], values[-self.count :]


class _Joined(Expansion):
    """Two expansions, one after the other."""

    def __init__(self, first: Expansion, last: Expansion, variance: Float[Tensor, " n"]) -> None:
        self.first = first
        self._last = last
        self.mean = torch.cat((first.mean, last.mean))
        self.scale = standard_deviation(variance)

    def coefficient(self, degree: int, power: int = 1) -> Float[Tensor, " n"]:
        """See the base class."""
        parts = (part.coefficient(degree, power) for part in (self.first, self._last))
        return torch.cat(tuple(parts))
