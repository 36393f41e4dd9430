"""Two-layer networks with a trained readout; the output function is the context."""

import dataclasses
import math
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from outsample.comparison.seeds import derive_seed
from outsample.comparison.trained import TrainedFamily, TrainedProblem, Training
from outsample.errors import InputError
from outsample.estimator import positive_integer
from outsample.networks.activations import Activation, from_name
from outsample.readout import TwoLayer
from outsample.readout.outputs import Hinge, Output, Sigmoid

#: Trained networks kept: the methods of a comparison take turns on one problem.
_KEPT = 4
#: Share of the largest stable rate of descent, and the inputs that find that rate.
_SHARE, _FIRST = 0.4, 2048
#: Slope of the sigmoid, in inverse standard deviations of the network's sum.
_SLOPE = 3.0

Target = Literal["ridge", "xor", "max"]


class TrainedTwoLayer(TwoLayer, TrainedProblem):
    """E[σ(f(x))] for a trained readout, and an output function σ that training did not know."""

    def __init__(self, training: Training, network: TwoLayer, output: Output) -> None:
        super().__init__(network.weight, network.readout, network.activation, output)
        self.training = training


@dataclass(frozen=True)
class TrainedReadout(TrainedFamily):
    """Wide two-layer networks whose readout was trained by stochastic gradient descent.

    Hidden weights are N(0, 1/n) and stay; the readout starts at zero and descends on the squared
    error, on fresh standard normal inputs.  The context, of which training knows nothing, is the
    output function: a sigmoid, or a hinge, at a random place.

    Args:
        inputs: n.
        width: hidden units m.
        activation: by name.
        target: ``"ridge"``, tanh(3 (|x_1| - 1)); ``"xor"``, sign(x_1 x_2); ``"max"``, max x_i.
        output: ``"sigmoid"`` or ``"relu"``.
        steps: steps of gradient descent.
        batch: inputs of one step.
        network: seed of the one training run that all problems share; by default every problem
            has a run of its own.

    Raises:
        InputError: for sizes below 1, fewer than 2 inputs, unknown names, a negative seed.

    Example:
        >>> problem = TrainedReadout(inputs=4, width=32, steps=20).problem(seed=0)
        >>> problem.describe(), problem.training.size
        ('TwoLayer 4-32-relu, output Sigmoid', 161)
    """

    inputs: int = 16
    width: int = 1024
    activation: str = "relu"
    target: Target = "ridge"
    output: Literal["sigmoid", "relu"] = "sigmoid"
    steps: int = 1000
    batch: int = 64
    network: int | None = None

    def __post_init__(self) -> None:
        for name in ("inputs", "width", "steps", "batch"):
            positive_integer("TrainedReadout", name, getattr(self, name))
        if self.inputs < 2:
            raise InputError("TrainedReadout: inputs = 1; expected at least 2")
        from_name(self.activation)
        for name, known in (("target", ("ridge", "xor", "max")), ("output", ("sigmoid", "relu"))):
            if getattr(self, name) not in known:
                raise InputError(
                    f"TrainedReadout: {name} = {getattr(self, name)!r}; expected one of "
                    f"{', '.join(known)}"
                )
        if self.network is not None and (type(self.network) is not int or self.network < 0):
            raise InputError(
                f"TrainedReadout: network = {self.network!r}; expected an integer >= 0, or None"
            )

    def with_network(self, network: int) -> "TrainedReadout":
        """The family whose problems share the readout trained with seed ``network``."""
        return dataclasses.replace(self, network=network)

    def problem(self, seed: int) -> TrainedTwoLayer:
        """Return the network and the output function drawn with ``seed``."""
        run = seed if self.network is None else self.network
        alike = dataclasses.replace(self, output="sigmoid", network=None)
        network, training, mean, deviation = _trained(alike, run)
        generator = torch.Generator().manual_seed(derive_seed("TrainedReadout context", seed))
        place = mean + deviation * float(torch.randn((), generator=generator))
        if self.output == "relu":
            return TrainedTwoLayer(training, network, Hinge(place))
        return TrainedTwoLayer(training, network, Sigmoid(_SLOPE / deviation, place))


@lru_cache(maxsize=_KEPT)
def _trained(family: TrainedReadout, seed: int) -> tuple[TwoLayer, Training, float, float]:
    """A trained network, its training, and roughly the mean and deviation of its sum."""
    generator = torch.Generator().manual_seed(derive_seed("TrainedReadout training", seed))
    n, m = family.inputs, family.width
    activation = from_name(family.activation)
    weight = torch.randn(m, n, generator=generator) / math.sqrt(n)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(count, n, generator=generator)
        return x, _label(family.target, x)

    start = time.perf_counter()
    first = activation(draw(_FIRST)[0] @ weight.T)
    rate = _SHARE * _FIRST / float(torch.linalg.matrix_norm(first, 2)) ** 2
    readout = torch.zeros(m)
    for _ in range(family.steps):
        x, y = draw(family.batch)
        _descend(activation, weight, readout, x, y, rate)
    seconds = time.perf_counter() - start
    flops = family.steps * family.batch * (2 * n * m + 6 * m)
    network = TwoLayer(weight, readout, activation)
    sums = first @ readout
    mean, deviation = float(sums.mean()), max(float(sums.std()), 1e-6)
    return network, Training(network, network.parameters, seconds, flops), mean, deviation


def _descend(
    activation: Activation, weight: Tensor, readout: Tensor, x: Tensor, y: Tensor, rate: float
) -> None:
    """One step on the squared error, in place."""
    hidden = activation(x @ weight.T)
    readout -= rate / len(x) * (hidden.T @ (hidden @ readout - y))


def _label(target: Target, x: Tensor) -> Tensor:
    if target == "ridge":
        return torch.tanh(3 * (x[:, 0].abs() - 1))
    if target == "xor":
        return torch.sign(x[:, 0] * x[:, 1])
    return x.amax(1)
