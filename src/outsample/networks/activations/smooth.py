"""Smooth activations, and any function of one variable, expanded by quadrature."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from outsample.errors import InputError
from outsample.networks.activations import quadrature
from outsample.networks.activations.base import Activation, Expansion
from outsample.networks.activations.kinks import check_breakpoints


class Smooth(Activation):
    """An activation expanded from its values, analytic between its breakpoints."""

    @property
    def _breakpoints(self) -> tuple[float, ...]:
        return ()

    def expand(self, mean: Float[Tensor, " n"], variance: Float[Tensor, " n"]) -> Expansion:
        """Expansion by quadrature in float64; raises and warns as ``quadrature.expand``."""
        return quadrature.expand(self, self.name, mean, variance, self._breakpoints, centre=0.0)


@dataclass(frozen=True)
class Tanh(Smooth):
    """Hyperbolic tangent."""

    name: str = field(default="tanh", init=False)

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""
        return torch.tanh(x)


@dataclass(frozen=True)
class Sigmoid(Smooth):
    """1 / (1 + exp(-x))."""

    name: str = field(default="sigmoid", init=False)

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""
        return torch.sigmoid(x)


@dataclass(frozen=True)
class SiLU(Smooth):
    """x / (1 + exp(-x))."""

    name: str = field(default="silu", init=False)

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""
        return functional.silu(x)


@dataclass(frozen=True)
class GELUTanh(Smooth):
    """The tanh approximation of GELU, x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2.

    Here (1 + tanh(y)) / 2 is computed as 1 / (1 + exp(-2y)), which keeps its digits.
    """

    name: str = field(default="gelu_tanh", init=False)

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""
        y = x.clamp(-20, 20)  # it is 0 or x there; the cube and its gradient must not overflow
        return x * torch.sigmoid(math.sqrt(8 / math.pi) * (y + 0.044715 * y * y * y))


@dataclass(frozen=True)
class Softplus(Smooth):
    """log(1 + exp(beta x)) / beta, and x itself where beta x > threshold, as in torch.

    Raises:
        InputError: beta not positive or an argument not finite.
    """

    beta: float = 1.0
    threshold: float = 20.0
    name: str = field(default="softplus", init=False)

    def __post_init__(self) -> None:
        """Check the arguments."""
        if not (0 < self.beta < math.inf and math.isfinite(self.threshold)):
            raise InputError(
                f"softplus got beta={self.beta}, threshold={self.threshold}; expected a positive "
                "beta and finite numbers"
            )

    @property
    def _breakpoints(self) -> tuple[float, ...]:
        return (self.threshold / self.beta,)

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""
        return functional.softplus(x, self.beta, self.threshold)


@dataclass(frozen=True)
class ELU(Smooth):
    """X above zero, alpha (exp(x) - 1) below.

    Raises:
        InputError: alpha not finite.
    """

    alpha: float = 1.0
    name: str = field(default="elu", init=False)

    def __post_init__(self) -> None:
        """Check the argument."""
        if not math.isfinite(self.alpha):
            raise InputError(f"elu got alpha={self.alpha}; expected a finite number")

    @property
    def _breakpoints(self) -> tuple[float, ...]:
        return (0.0,)

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""
        return functional.elu(x, self.alpha)


@dataclass(frozen=True)
class Function(Activation):
    """Any function of one variable, given as torch code that works entry by entry.

    Declare as ``breakpoints`` every place where it jumps, kinks or is otherwise not analytic:
    the quadrature is split there.  A place where it bends sharply on the scale of the Gaussian
    may be added.  It is called with float64 tensors of any shape; gradients flow if torch can
    differentiate it.  Two of them are equal if function, breakpoints and name are.

    Raises:
        InputError: the function is not callable or mixes entries, or the breakpoints are not
            finite and increasing.
    """

    function: Callable[[Tensor], Tensor]
    breakpoints: tuple[float, ...] = ()
    name: str = "function"

    def __post_init__(self) -> None:
        """Check the arguments."""
        if not callable(self.function):
            raise InputError(
                f"function is {self.function!r}; expected a callable from a tensor to a tensor "
                "of the same shape"
            )
        object.__setattr__(self, "breakpoints", check_breakpoints(self.breakpoints))
        probe = torch.linspace(-1.5, 1.5, 4, dtype=torch.float64)
        with torch.no_grad():
            try:
                together, alone = self.function(probe), self.function(probe[:1])
            except RuntimeError:  # it may need another device; the first use will tell
                return
        shaped = isinstance(together, Tensor) and together.shape == probe.shape
        if shaped and not torch.allclose(together[:1], alone, equal_nan=True):
            raise InputError(
                f"function '{self.name}' does not work entry by entry: at {probe[0].item()} it "
                f"gives {float(alone[0]):.6g} alone and {float(together[0]):.6g} beside other "
                "entries; expected a function of one variable"
            )

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""
        return self.function(x)

    def expand(self, mean: Float[Tensor, " n"], variance: Float[Tensor, " n"]) -> Expansion:
        """Expansion by quadrature in float64; raises and warns as ``quadrature.expand``."""
        return quadrature.expand(self.function, self.name, mean, variance, self.breakpoints)
