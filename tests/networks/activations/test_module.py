"""Activations as torch modules and by name."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from outsample.errors import InputError
from outsample.networks.activations import (
    ELU,
    GELU,
    Elementwise,
    Function,
    GELUTanh,
    ReLU,
    Softplus,
    from_module,
    from_name,
    hardtanh,
    leaky_relu,
)

NAMES = [
    *("relu", "leaky_relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid", "softplus", "elu"),
    *("hardtanh", "abs", "sign", "step", "erf", "sin", "square", "identity"),
]
MODULES = [
    *(nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(), nn.LeakyReLU(0.3), nn.GELU(), nn.GELU("tanh")),
    *(nn.SiLU(), nn.Tanh(), nn.Sigmoid(), nn.Softplus(), nn.Softplus(2.0, 5.0), nn.ELU()),
    *(nn.ELU(0.4), nn.Hardtanh(), nn.Hardtanh(-0.5, 2.0), nn.ReLU(inplace=True)),
]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_and_its_activation_agree(module: nn.Module) -> None:
    activation = from_module(module)
    assert activation is not None
    x = torch.linspace(-30, 30, 1001, dtype=torch.float64)
    torch.testing.assert_close(activation(x), module(x.clone()), rtol=1e-14, atol=1e-15)
    assert activation == from_module(module)
    assert hash(activation) == hash(from_module(module))


def test_modules_map_to_the_same_objects_as_names() -> None:
    assert from_module(nn.ReLU()) == from_name("relu") == ReLU()
    assert from_module(nn.LeakyReLU()) == from_name("leaky_relu")
    assert from_module(nn.GELU()) == GELU() != GELUTanh()
    assert from_module(nn.ReLU6()) == hardtanh(0, 6)
    assert from_module(nn.Softplus(2)) == Softplus(2.0)
    assert from_module(nn.ELU(0.5)) == ELU(0.5) != ELU()


def test_other_modules_are_not_activations() -> None:
    class Shifted(nn.ReLU):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input - 1)

    for module in (nn.Linear(2, 2), nn.PReLU(), nn.Softmax(-1), nn.Dropout(), Shifted()):
        assert from_module(module) is None


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    activation = from_name(name)
    assert activation.name == name
    assert activation == from_name(name)
    assert pickle.loads(pickle.dumps(activation)) == activation
    with pytest.raises(AttributeError):  # frozen
        activation.name = "other"
    module = nn.Sequential(nn.Linear(3, 4), Elementwise(name), nn.Linear(4, 1))
    assert module(torch.zeros(5, 3)).shape == (5, 1)
    assert from_module(module[1]) == activation


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"activation 'mish' is not known; expected one of abs, "):
        from_name("mish")
    with pytest.raises(InputError, match="'swish'"):
        Elementwise("swish")


def test_elementwise_takes_functions_polynomials_and_activations() -> None:
    assert Elementwise((0, 0, 1)).activation == from_name("square")
    assert Elementwise([1.0, 2.0], name="line").activation.name == "line"
    assert Elementwise(leaky_relu(0.2)).activation == leaky_relu(0.2)
    x = torch.tensor([-1.0, 0.5])
    module = Elementwise(torch.cosh)
    assert torch.equal(module(x), torch.cosh(x))
    assert module.activation == Function(torch.cosh, (), "cosh")
    kinked = Elementwise(lambda x: x.clamp_min(-1), breakpoints=[-1], name="cut")
    assert kinked.activation.name == "cut"
    assert isinstance(kinked.activation, Function)
    assert kinked.activation.breakpoints == (-1.0,)
    assert repr(kinked) == "Elementwise(cut)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("abs", (0.0,)), r"breakpoints=\(0.0,\) given for 'abs', whose own are known"),
        ((torch.sin, (1.0, 0.0)), r"breakpoints is \(1.0, 0.0\)"),
        ((3,), "function is 3; expected a callable"),
        (((),), "at least one"),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Elementwise(*arguments)


@pytest.mark.parametrize(
    "make",
    [
        *(lambda: Softplus(0.0), lambda: Softplus(-1.0), lambda: Softplus(1.0, float("inf"))),
        *(lambda: ELU(float("nan")), lambda: hardtanh(1.0, -1.0), lambda: leaky_relu(float("inf"))),
    ],
)
def test_bad_parameters(make: Callable[[], object]) -> None:
    with pytest.raises(InputError, match="expected"):
        make()
