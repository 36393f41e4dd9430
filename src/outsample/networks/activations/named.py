"""Activations by name and by torch module."""

from collections.abc import Callable
from typing import Any

from torch import nn

from outsample.errors import InputError
from outsample.networks.activations.base import Activation
from outsample.networks.activations.closed import GELU, Erf, Sin
from outsample.networks.activations.piecewise import (
    PiecewisePolynomial,
    hardtanh,
    leaky_relu,
    polynomial,
)
from outsample.networks.activations.relu import ReLU
from outsample.networks.activations.smooth import ELU, GELUTanh, Sigmoid, SiLU, Softplus, Tanh

_BY_NAME: dict[str, Activation] = {
    "relu": ReLU(),
    "leaky_relu": leaky_relu(),
    "gelu": GELU(),
    "gelu_tanh": GELUTanh(),
    "silu": SiLU(),
    "tanh": Tanh(),
    "sigmoid": Sigmoid(),
    "softplus": Softplus(),
    "elu": ELU(),
    "hardtanh": hardtanh(),
    "abs": PiecewisePolynomial((0.0,), ((0.0, -1.0), (0.0, 1.0)), "abs"),
    "sign": PiecewisePolynomial((0.0,), ((-1.0,), (1.0,)), "sign"),
    "step": PiecewisePolynomial((0.0,), ((0.0,), (1.0,)), "step"),
    "erf": Erf(),
    "sin": Sin(),
    "square": polynomial((0.0, 0.0, 1.0), "square"),
    "identity": polynomial((0.0, 1.0), "identity"),
}

# By exact type: a subclass may compute something else.
_BY_MODULE: dict[type[nn.Module], Callable[[Any], Activation]] = {
    nn.ReLU: lambda _: ReLU(),
    nn.ReLU6: lambda _: hardtanh(0.0, 6.0, "relu6"),
    nn.LeakyReLU: lambda m: leaky_relu(m.negative_slope),
    nn.GELU: lambda m: GELUTanh() if m.approximate == "tanh" else GELU(),
    nn.SiLU: lambda _: SiLU(),
    nn.Tanh: lambda _: Tanh(),
    nn.Sigmoid: lambda _: Sigmoid(),
    nn.Softplus: lambda m: Softplus(float(m.beta), float(m.threshold)),
    nn.ELU: lambda m: ELU(float(m.alpha)),
    nn.Hardtanh: lambda m: hardtanh(float(m.min_val), float(m.max_val)),
}


def from_name(name: str) -> Activation:
    """The activation of that name, with its usual parameters.

    Raises:
        InputError: the name is not known; the message lists those that are.
    """
    if name not in _BY_NAME:
        raise InputError(
            f"activation '{name}' is not known; expected one of {', '.join(sorted(_BY_NAME))}, "
            "or wrap your own function: Elementwise(function, breakpoints)"
        )
    return _BY_NAME[name]


def from_torch(module: nn.Module) -> Activation | None:
    """The activation that a torch module applies, or None if it is not a known one."""
    make = _BY_MODULE.get(type(module))
    return make(module) if make else None
