"""The one form in which every estimator sees a network: a chain of typed steps."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.networks.activations.base import Activation


@dataclass(frozen=True, slots=True)
class Affine:
    """z = weight · x + bias."""

    weight: Float[Tensor, "out in"]
    bias: Float[Tensor, " out"] | None = None

    def __call__(self, x: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        """Apply to a batch of rows."""
        return torch.nn.functional.linear(x, self.weight, self.bias)


#: One step of a network: an affine map, or an activation applied to every neuron.
Step = Affine | Activation


@dataclass(frozen=True, slots=True)
class Graph:
    """A network as the chain of its steps, first to last."""

    steps: tuple[Step, ...]

    def __call__(self, x: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        """Evaluate the network on a batch of rows."""
        for step in self.steps:
            x = step(x)
        return x

    @property
    def affine(self) -> tuple[Affine, ...]:
        """The affine maps, first to last."""
        return tuple(step for step in self.steps if isinstance(step, Affine))

    def merged(self) -> "Graph":
        """The same network with consecutive affine maps multiplied into one."""
        steps: list[Step] = []
        for step in self.steps:
            last = steps[-1] if steps else None
            if isinstance(step, Affine) and isinstance(last, Affine):
                bias = step.bias
                if last.bias is not None:
                    moved = step.weight @ last.bias
                    bias = moved if bias is None else moved + bias
                steps[-1] = Affine(step.weight @ last.weight, bias)
            else:
                steps.append(step)
        return Graph(tuple(steps))
