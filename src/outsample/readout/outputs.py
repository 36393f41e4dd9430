"""Output functions σ: what is done to the sum of a two-layer network, and its Gaussian integrals.

Every estimator here ends in integrals of σ against a normal density times Hermite polynomials.
Hinges and thresholds have them in closed form; any other function is summed on a grid.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.errors import InputError, NumericalError
from outsample.networks.activations.gaussian import density, hermite, upper_tail

#: Degrees of the Hermite polynomials of a fourth-order Edgeworth expansion.
DEGREES = (0, 3, 4, 6)
#: Points of the finest grid.
_MOST = 801
#: Standard deviations that the grid covers on either side.
_WIDTH = 8.0
#: Share of an integral that the ends of the grid may have.
_END = 1e-3
#: Beyond this many standard deviations nothing counts.
_FAR = 38.0

Built = Literal["identity", "sigmoid", "relu", "step"]


class Output(ABC):
    """A function of one variable that ends a network."""

    #: Whether σ is continuous: a jump needs more nodes wherever the rest is narrow.
    continuous: bool = True

    @abstractmethod
    def __call__(self, f: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""

    def integrals(
        self, mean: Float[Tensor, " q"], scale: Float[Tensor, " q"]
    ) -> Float[Tensor, "4 q"]:
        r"""∫ σ(mean + scale z) φ(z) He_k(z) dz for k = 0, 3, 4 and 6, shape (4, q).

        Args:
            mean: shape (q,).
            scale: standard deviations, shape (q,); zeros give (σ(mean), 0, 0, 0).
        """
        z, weights = _grid(self._points(scale))
        values = self(torch.addcmul(mean[:, None], scale[:, None], z))
        if values.shape != (len(mean), len(z)):
            raise InputError(
                f"output function returned shape {tuple(values.shape)} for "
                f"{(len(mean), len(z))}; expected a function applied to every entry"
            )
        if not math.isfinite(float(values.sum())):
            raise NumericalError(
                "output function is not finite within 8 standard deviations of the network's "
                "sum; it must be finite and grow no faster than a polynomial"
            )
        values = values.to(mean)
        sums = values @ weights
        ends = values[:, (0, -1)].abs().amax(1)
        most = float((values.abs() @ weights[:, 0]).max())
        if float(ends.max() * weights[-1].abs().max()) > _END * most and self._explodes(
            mean, scale, ends
        ):
            raise NumericalError(
                "output function grows so fast that what lies beyond 8 standard deviations "
                "counts; it must grow no faster than a polynomial: take the expectation of its "
                "logarithm, or bound it"
            )
        return sums.T

    def _explodes(self, mean: Tensor, scale: Tensor, ends: Tensor) -> bool:
        """Whether σ grows faster than any polynomial of degree 16 beyond the grid."""
        beyond = self(torch.cat((mean - 2 * _WIDTH * scale, mean + 2 * _WIDTH * scale))).abs()
        return not bool((beyond <= (2.0**16 * ends.repeat(2)).clamp_min(1e6)).all())

    def _points(self, scale: Float[Tensor, " q"]) -> int:
        """Points of the grid: as many as kinks and jumps want, unless σ is known to be smooth."""
        del scale
        return _MOST


@dataclass(frozen=True)
class Identity(Output):
    """σ(f) = f: the plain mean."""

    def __call__(self, f: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""
        return f

    def integrals(
        self, mean: Float[Tensor, " q"], scale: Float[Tensor, " q"]
    ) -> Float[Tensor, "4 q"]:
        """See the base class: the mean, and zeros."""
        zero = torch.zeros_like(mean)
        return torch.stack((mean, zero, zero, zero))


@dataclass(frozen=True)
class Sigmoid(Output):
    """σ(f) = 1 / (1 + exp(-slope (f - shift)))."""

    slope: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        _finite("Sigmoid", slope=self.slope, shift=self.shift)

    def __call__(self, f: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""
        return torch.sigmoid((f - self.shift) * self.slope)

    def _points(self, scale: Float[Tensor, " q"]) -> int:
        """A quarter of the distance to its poles is a step that leaves an error of 1e-11."""
        distance = math.pi / max(abs(self.slope) * float(scale.max()), 1e-300)
        wanted = 2 * _WIDTH / (0.25 * distance)
        return next(p for p in (81, 161, 321, _MOST) if p >= min(wanted + 1, _MOST))


@dataclass(frozen=True)
class Hinge(Output):
    """σ(f) = slope · max(f - shift, 0): a ReLU on the output."""

    shift: float = 0.0
    slope: float = 1.0

    def __post_init__(self) -> None:
        _finite("Hinge", slope=self.slope, shift=self.shift)

    def __call__(self, f: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""
        return torch.relu(f - self.shift) * self.slope

    def integrals(
        self, mean: Float[Tensor, " q"], scale: Float[Tensor, " q"]
    ) -> Float[Tensor, "4 q"]:
        """See the base class; by parts, ∫ (z - c)₊ φ He_k = φ(c) He_{k-2}(c) for k ≥ 2."""
        c = _standardised(self.shift - mean, scale)
        pdf, above = density(c), upper_tail(c)
        first = torch.where(c < -_FAR / 2, mean - self.shift, scale * (pdf - c * above))
        others = [scale * pdf * hermite(k - 2, c) for k in DEGREES[1:]]
        return self.slope * torch.stack((first, *others))


@dataclass(frozen=True)
class Threshold(Output):
    """σ(f) = 1 if f > level, else 0: a tail probability."""

    level: float = 0.0
    continuous = False

    def __post_init__(self) -> None:
        _finite("Threshold", level=self.level)

    def __call__(self, f: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""
        return (f > self.level).to(f.dtype)

    def integrals(
        self, mean: Float[Tensor, " q"], scale: Float[Tensor, " q"]
    ) -> Float[Tensor, "4 q"]:
        """See the base class: ∫_c^∞ φ He_k = φ(c) He_{k-1}(c) for k ≥ 1."""
        c = _standardised(self.level - mean, scale)
        pdf = density(c)
        return torch.stack((upper_tail(c), *(pdf * hermite(k - 1, c) for k in DEGREES[1:])))


@dataclass(frozen=True)
class Function(Output):
    """Any function of one variable, given as torch code that works entry by entry.

    Args:
        function: from a float64 tensor to a tensor of the same shape; at most of polynomial
            growth.
        continuous: False if it jumps.
    """

    function: Callable[[Tensor], Tensor]
    continuous: bool = True

    def __call__(self, f: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""
        value = self.function(f)
        return value if value.is_floating_point() else value.to(f.dtype)


def as_output(given: Output | Built | Callable[[Tensor], Tensor]) -> Output:
    """The output function that a name, a callable or an :class:`Output` stands for.

    Raises:
        InputError: for a name that is not known, or anything that cannot be called.
    """
    if isinstance(given, Output):
        return given
    if isinstance(given, str):
        if given not in _BUILT:
            raise InputError(
                f"output = {given!r}; expected one of {', '.join(_BUILT)}, an Output such as "
                "Threshold(2.0), or a function of a tensor"
            )
        return _BUILT[given]
    if not callable(cast(object, given)):
        raise InputError(f"output = {given!r}; expected a name, an Output or a function")
    return Function(given)


def _finite(owner: str, **settings: float) -> None:
    for name, value in settings.items():
        if not math.isfinite(value):
            raise InputError(f"{owner}: {name} = {value!r}; expected a finite number")


def _standardised(distance: Tensor, scale: Tensor) -> Tensor:
    """Distance in standard deviations, kept within what the density can be told apart from 0."""
    return (distance / scale.clamp_min(1e-300)).clamp(-_FAR, _FAR)


_BUILT: dict[str, Output] = {
    "identity": Identity(),
    "sigmoid": Sigmoid(),
    "relu": Hinge(),
    "step": Threshold(),
}


@lru_cache(maxsize=8)
def _grid(points: int) -> tuple[Tensor, Tensor]:
    """Trapezoidal nodes z and the weights of each Hermite degree, shapes (p,) and (p, 4)."""
    z = torch.linspace(-_WIDTH, _WIDTH, points, dtype=torch.float64)
    weight = density(z)
    weight = weight / weight.sum()
    return z, torch.stack([weight * hermite(k, z) for k in DEGREES], 1)
