"""Families of problems: the random contexts over which estimators are compared."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import nn

from outsample.comparison.learned_halfspaces import LearnedHalfspaces
from outsample.comparison.random_catastrophe import RandomCatastrophe
from outsample.comparison.random_cnf import RandomCNF
from outsample.comparison.random_halfspaces import RandomHalfspaces
from outsample.comparison.random_permanent import RandomPermanent
from outsample.comparison.seeds import derive_seed
from outsample.comparison.trained import TrainedMLP
from outsample.comparison.trained_readout import TrainedReadout
from outsample.distributions import Gaussian
from outsample.errors import InputError
from outsample.estimator import input_hash, positive_integer
from outsample.networks import Elementwise, NetworkMean
from outsample.problem import Family, Problem

__all__ = [
    "WEIGHT_SCALES",
    "Fixed",
    "LearnedHalfspaces",
    "RandomCNF",
    "RandomCatastrophe",
    "RandomHalfspaces",
    "RandomMLP",
    "RandomPermanent",
    "TrainedMLP",
    "TrainedReadout",
    "derive_seed",
]

_HE = math.sqrt(2.0)
#: Activation by name, and the default weight scale s, where weights are N(0, s²/fan-in): √2 for
#: functions that halve the second moment of a centred Gaussian or nearly (He), 1 for the others.
WEIGHT_SCALES: dict[str, float] = {
    "relu": _HE, "leaky_relu": _HE, "elu": _HE, "gelu": _HE, "gelu_tanh": _HE, "silu": _HE,
    "softplus": _HE, "step": _HE,
    "abs": 1.0, "erf": 1.0, "hardtanh": 1.0, "identity": 1.0, "sigmoid": 1.0, "sign": 1.0,
    "sin": 1.0, "square": 1.0, "tanh": 1.0,
}  # fmt: skip
# PyTorch's own modules where it has them: sampling is to run at its best speed.
_MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"), "silu": nn.SiLU, "softplus": nn.Softplus,
    "hardtanh": nn.Hardtanh, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh,
}  # fmt: skip


@dataclass(frozen=True)
class RandomMLP(Family):
    """Multilayer perceptrons with independent Gaussian weights, on a standard Gaussian input.

    Args:
        width: neurons in every hidden layer.
        depth: number of hidden layers.
        activation: a name in :data:`WEIGHT_SCALES`.
        outputs: outputs of the linear readout.
        readout: whether a linear readout with weights N(0, 1/width) ends the network; without it
            the network ends in the activation of the last hidden layer, with ``width`` outputs.
        input_size: number of inputs; ``width`` unless given.
        weight_scale: s, where the weights of hidden layers are N(0, s²/fan-in); by default that
            of :data:`WEIGHT_SCALES`: √2 for relu and its like, 1 for tanh and its like.
        bias_scale: standard deviation of every bias; 0 for no biases.
        dtype: ``"float32"`` or ``"float64"``; one seed gives the same network in both, up to
            rounding.

    Raises:
        InputError: for sizes below 1, scales that are negative or not finite, unknown names, or
            ``outputs`` without a readout.

    Example:
        >>> RandomMLP(width=8, depth=2, outputs=3).problem(seed=0).describe()
        'NetworkMean 8-8-relu-8-relu-3'
    """

    width: int
    depth: int
    activation: str = "relu"
    outputs: int = 1
    readout: bool = True
    input_size: int | None = None
    weight_scale: float | None = None
    bias_scale: float = 0.0
    dtype: Literal["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        for field in ("width", "depth", "outputs"):
            positive_integer("RandomMLP", field, getattr(self, field))
        if self.input_size is not None:
            positive_integer("RandomMLP", "input_size", self.input_size)
        if self.activation not in WEIGHT_SCALES:
            raise InputError(
                f"RandomMLP: activation = {self.activation!r}; expected one of "
                f"{', '.join(WEIGHT_SCALES)}"
            )
        if self.dtype not in ("float32", "float64"):
            raise InputError(f"RandomMLP: dtype = {self.dtype!r}; expected 'float32' or 'float64'")
        for field in ("weight_scale", "bias_scale"):
            scale = getattr(self, field)
            if scale is not None and not 0 <= scale < math.inf:
                raise InputError(f"RandomMLP: {field} = {scale!r}; expected a finite number >= 0")
        if not self.readout and self.outputs != 1:
            raise InputError(
                f"RandomMLP: outputs = {self.outputs} with readout=False; without a readout the "
                f"outputs are the {self.width} neurons of the last layer: leave outputs out"
            )

    def problem(self, seed: int) -> NetworkMean:
        """Return the network drawn with ``seed``, as a problem."""
        generator = torch.Generator().manual_seed(derive_seed("RandomMLP", seed))
        dtype = torch.float32 if self.dtype == "float32" else torch.float64
        scale = self.weight_scale
        if scale is None:
            scale = WEIGHT_SCALES[self.activation]
        activation = _MODULES.get(self.activation, partial(Elementwise, self.activation))
        size = self.width if self.input_size is None else self.input_size
        layers: list[nn.Module] = []
        for fan_in in (size, *[self.width] * (self.depth - 1)):
            layers += [self._linear(fan_in, self.width, scale, dtype, generator), activation()]
        if self.readout:
            layers.append(self._linear(self.width, self.outputs, 1.0, dtype, generator))
        return NetworkMean(nn.Sequential(*layers), Gaussian.standard(size))

    def _linear(
        self, fan_in: int, out: int, scale: float, dtype: torch.dtype, generator: torch.Generator
    ) -> nn.Linear:
        # Made on "meta", because nn.Linear would initialise itself from the global generator.
        linear = nn.Linear(fan_in, out, bias=self.bias_scale > 0, device="meta")

        def drawn(*shape: int, spread: float) -> nn.Parameter:
            normal = torch.randn(*shape, generator=generator, dtype=torch.float64)
            return nn.Parameter((spread * normal).to(dtype))

        linear.weight = drawn(out, fan_in, spread=scale / math.sqrt(fan_in))
        if self.bias_scale > 0:
            linear.bias = drawn(out, spread=self.bias_scale)
        return linear


@dataclass(frozen=True, init=False)
class Fixed(Family):
    """Given problems as a family: one network, or for instance one for each class of inputs.

    A comparison takes each of the problems once.  With several, verdicts are about problems like
    these; with one, about this problem.

    Args:
        problem: a problem, or a sequence of problems; seed i stands for problem i, and seeds
            beyond the last start again at the first.
        name: name of the family; by default a description with a hash of the problems' contents.

    Raises:
        InputError: for an empty sequence, or anything that is no problem.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> Fixed(NetworkMean(net, Gaussian.standard(3)), name="my network").name
        'my network'
    """

    problems: tuple[Problem, ...]
    label: str | None

    def __init__(self, problem: Problem | Sequence[Problem], name: str | None = None) -> None:
        given = cast(object, problem)
        problems = tuple(cast(Sequence[object], given)) if isinstance(given, Sequence) else (given,)
        strangers = [p for p in problems if not isinstance(p, Problem)]
        if not problems or strangers:
            shown = repr(strangers[0]) if strangers else "an empty sequence"
            raise InputError(f"Fixed: problem holds {shown}; expected a Problem, or several")
        object.__setattr__(self, "problems", problems)
        object.__setattr__(self, "label", name)

    @property
    def name(self) -> str:
        """The name given, else a description with a hash of the problems as they stand now."""
        if self.label is not None:
            return self.label
        digest = hashlib.sha256("".join(map(input_hash, self.problems)).encode()).hexdigest()
        count = "" if len(self.problems) == 1 else f"{len(self.problems)} × "
        return f"Fixed({count}{self.problems[0].describe()}, {digest[:8]})"

    @property
    def size(self) -> int:
        """Number of different problems."""
        return len(self.problems)

    def parameters(self) -> dict[str, Any]:
        """No settings: the problems themselves are what is given."""
        return {}

    def problem(self, seed: int) -> Problem:
        """Return problem number ``seed``, counted round."""
        return self.problems[seed % len(self.problems)]
