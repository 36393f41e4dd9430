"""Every activation of the library beside its definition in mpmath."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import torch

from outsample.networks.activations import (
    ELU,
    Activation,
    Function,
    PiecewisePolynomial,
    Softplus,
    from_name,
    hardtanh,
    leaky_relu,
    polynomial,
)


@dataclass(frozen=True)
class Case:
    """An activation, the same function of one mpf, its kinks and sharp bends, and its accuracy."""

    activation: Activation
    function: Callable[[Any], Any]
    places: tuple[float, ...] = ()
    tolerance: float = 1e-12
    smooth: bool = True


def _clip(low: float, high: float) -> Callable[[Any], Any]:
    return lambda x: min(max(x, mp.mpf(low)), mp.mpf(high))


def _softplus(x: Any) -> Any:
    return x if 1.5 * x > 4 else mp.log1p(mp.exp(1.5 * x)) / 1.5


def _pieces(x: Any) -> Any:
    if x < -0.5:
        return 1 + 2 * x
    return x * x if x < 1 else 2 - x + x * x / 2 - x**3 / 8


def _cubic(x: Any) -> Any:
    return 1 - 2 * x + x * x / 2 + x**3 / 4


CLOSED = {
    "relu": Case(from_name("relu"), lambda x: max(x, mp.mpf(0)), (0,), smooth=False),
    "leaky_relu": Case(leaky_relu(0.125), lambda x: max(x, x / 8), (0,), smooth=False),
    "abs": Case(from_name("abs"), abs, (0,), smooth=False),
    "sign": Case(from_name("sign"), mp.sign, (0,), smooth=False),
    "step": Case(from_name("step"), lambda x: mp.mpf(x > 0), (0,), smooth=False),
    "hardtanh": Case(from_name("hardtanh"), _clip(-1, 1), (-1, 1), smooth=False),
    "relu6": Case(hardtanh(0, 6), _clip(0, 6), (0, 6), smooth=False),
    "identity": Case(from_name("identity"), lambda x: x),
    "square": Case(from_name("square"), lambda x: x * x),
    "cubic": Case(polynomial((1, -2, 0.5, 0.25)), _cubic),
    "pieces": Case(
        PiecewisePolynomial((-0.5, 1), ((1, 2), (0, 0, 1), (2, -1, 0.5, -0.125))),
        _pieces,
        (-0.5, 1),
        smooth=False,
    ),
}
QUADRATURE = {
    "gelu": Case(from_name("gelu"), lambda x: x * mp.ncdf(x), (0,), 1e-11),
    "gelu_tanh": Case(
        from_name("gelu_tanh"),
        lambda x: x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3))),
        (0,),
        1e-11,
    ),
    "silu": Case(from_name("silu"), lambda x: x / (1 + mp.exp(-x)), (0,), 1e-11),
    "tanh": Case(from_name("tanh"), mp.tanh, (0,), 1e-11),
    "sigmoid": Case(from_name("sigmoid"), lambda x: 1 / (1 + mp.exp(-x)), (0,), 1e-11),
    "softplus": Case(Softplus(1.5, 4.0), _softplus, (0, mp.mpf(8) / 3), 1e-11),
    "elu": Case(ELU(1.5), lambda x: x if x > 0 else 1.5 * mp.expm1(x), (0,), 1e-11, smooth=False),
    "erf": Case(from_name("erf"), mp.erf, (0,), 1e-11),
    "sin": Case(from_name("sin"), mp.sin, (), 1e-11),
    "laplace": Case(
        Function(lambda x: torch.exp(-x.abs()), (0,), "laplace"),
        lambda x: mp.exp(-abs(x)),
        (0,),
        1e-11,
        smooth=False,
    ),
    "rational": Case(
        Function(lambda x: x / (1 + x * x), (0,), "rational"),
        lambda x: x / (1 + x * x),
        (0,),
        1e-11,
    ),
}
ALL = CLOSED | QUADRATURE
