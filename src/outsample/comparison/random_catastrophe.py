"""Rare events behind random networks."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from outsample.catastrophe import CatastropheProbability, output
from outsample.comparison.seeds import derive_seed
from outsample.cumulants import Cumulants
from outsample.distributions import Gaussian
from outsample.errors import InputError
from outsample.estimator import positive_integer
from outsample.networks import NetworkMean
from outsample.problem import Family


@dataclass(frozen=True)
class RandomCatastrophe(Family):
    """P(f(x) > mean + deviations · sd) for random ReLU networks f on standard normal inputs.

    Weights are He's, N(0, 2/width), the last layer's N(0, 1/width), in float64.  Mean and standard
    deviation are those of cumulant propagation of order 2: the same for every estimator, and no
    estimate of the probability.

    Args:
        width: neurons of each layer, inputs included.
        depth: hidden layers.
        deviations: how far out the threshold is; 5 to 7 give probabilities of 1e-4 to 1e-9.
        bias_scale: standard deviation of the biases; 0 for none.

    Raises:
        InputError: for sizes below 1, and scales that are negative or not finite.

    Example:
        >>> RandomCatastrophe(width=8, depth=2).problem(seed=0).describe()
        'CatastropheProbability 8-8-relu-8-relu-1: output[0] > ...'
    """

    width: int
    depth: int
    deviations: float = 5.0
    bias_scale: float = 0.0

    def __post_init__(self) -> None:
        for name in ("width", "depth"):
            positive_integer("RandomCatastrophe", name, getattr(self, name))
        for name in ("deviations", "bias_scale"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise InputError(
                    f"RandomCatastrophe: {name} = {value!r}; expected a finite number >= 0"
                )

    def problem(self, seed: int) -> CatastropheProbability:
        """Return the event behind the network drawn with ``seed``."""
        generator = torch.Generator().manual_seed(derive_seed("RandomCatastrophe", seed))
        layers: list[nn.Module] = []
        for layer in range(self.depth + 1):
            last = layer == self.depth
            given, gain = (1, 1.0) if last else (self.width, 2.0)
            # Made on "meta", because nn.Linear would initialise itself from the global generator.
            linear = nn.Linear(self.width, given, device="meta", dtype=torch.float64)
            weight, bias = (
                torch.randn(given, size, generator=generator, dtype=torch.float64)
                for size in (self.width, 1)
            )
            linear.weight = nn.Parameter(weight * math.sqrt(gain / self.width))
            linear.bias = nn.Parameter(self.bias_scale * bias[:, 0])
            layers += [linear] if last else [linear, nn.ReLU()]
        network = nn.Sequential(*layers).requires_grad_(False)
        inputs = Gaussian.standard(self.width, torch.float64)
        found = Cumulants(2).estimate(NetworkMean(network, inputs))
        if found.covariance is None:
            raise TypeError("cumulants of order 2 come with a covariance")
        deviation = float(found.covariance[0, 0].sqrt())
        threshold = float(found.value[0]) + self.deviations * deviation
        return CatastropheProbability(network, inputs, output[0] > threshold)
