"""Activation functions: values, Hermite coefficients and Gaussian covariances."""

from outsample.networks.activations.base import Activation, Expansion, standard_deviation
from outsample.networks.activations.carried import Carried
from outsample.networks.activations.closed import GELU, Erf, Sin
from outsample.networks.activations.module import Elementwise, from_module
from outsample.networks.activations.named import from_name
from outsample.networks.activations.piecewise import (
    PiecewisePolynomial,
    hardtanh,
    leaky_relu,
    polynomial,
)
from outsample.networks.activations.relu import ReLU
from outsample.networks.activations.smooth import (
    ELU,
    Function,
    GELUTanh,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)

__all__ = [
    "ELU",
    "GELU",
    "Activation",
    "Carried",
    "Elementwise",
    "Erf",
    "Expansion",
    "Function",
    "GELUTanh",
    "PiecewisePolynomial",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Sin",
    "Softplus",
    "Tanh",
    "from_module",
    "from_name",
    "hardtanh",
    "leaky_relu",
    "polynomial",
    "standard_deviation",
]
