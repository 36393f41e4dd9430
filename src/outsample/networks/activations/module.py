"""An activation as a torch module, and back."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.errors import InputError
from outsample.networks.activations.base import Activation
from outsample.networks.activations.named import from_name, from_torch
from outsample.networks.activations.piecewise import polynomial
from outsample.networks.activations.smooth import Function


class Elementwise(torch.nn.Module):
    """Any activation this library knows, or any function of one variable, in ``nn.Sequential``.

    Args:
        function: a name such as ``"abs"`` or ``"erf"``, the coefficients of a polynomial, lowest
            degree first, an activation, or a callable from a tensor to a tensor of the same
            shape that works entry by entry.
        breakpoints: for a callable, the places where it jumps, kinks or is otherwise not
            analytic (see :class:`Function`).
        name: for a callable or a polynomial, how messages call it; default: its own name.

    Raises:
        InputError: an unknown name, breakpoints for something whose own are known, or arguments
            that :class:`Function` refuses.

    Example:
        >>> layers = torch.nn.Linear(4, 8), Elementwise("sin"), torch.nn.Linear(8, 1)
        >>> net = torch.nn.Sequential(*layers)
    """

    def __init__(
        self,
        function: str | Sequence[float] | Activation | Callable[[Tensor], Tensor],
        breakpoints: Sequence[float] = (),
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.activation = _activation(function, breakpoints, name)

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the activation entrywise."""
        return self.activation(x)

    def extra_repr(self) -> str:
        """The activation's name."""
        return self.activation.name


def _activation(
    function: str | Sequence[float] | Activation | Callable[[Tensor], Tensor],
    breakpoints: Sequence[float],
    name: str | None,
) -> Activation:
    known = isinstance(function, (str, Activation, Sequence))
    if known and len(breakpoints):
        raise InputError(
            f"breakpoints={tuple(breakpoints)} given for {function!r}, whose own are known; "
            "give them with a callable only"
        )
    if isinstance(function, str):
        return from_name(function)
    if isinstance(function, Activation):
        return function
    if isinstance(function, Sequence):
        return polynomial(function, name or "polynomial")
    label = name or getattr(function, "__name__", type(function).__name__)
    return Function(function, tuple(breakpoints), label)


def from_module(module: torch.nn.Module) -> Activation | None:
    """The activation that a module applies, or None if it is not a known one."""
    return module.activation if isinstance(module, Elementwise) else from_torch(module)
