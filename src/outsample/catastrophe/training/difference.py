"""Two networks side by side as one that computes the difference of their outputs."""

from typing import NamedTuple

import torch
from torch import Tensor

from outsample.errors import UnsupportedProblem
from outsample.networks.activations import Activation, Carried
from outsample.networks.graph import Affine, Graph, Step


class _Chain(NamedTuple):
    """Hidden layers, each an affine map and its activation, and the last affine map."""

    hidden: list[tuple[Affine, Activation]]
    last: Affine


def difference(first: Graph, second: Graph, inputs: int) -> Graph:
    """The network first(x) - second(x); the hidden layers of both are one layer's neurons.

    What the shallower of the two computes is carried past the layers that it lacks.

    Args:
        first: a network of ``inputs`` numbers.
        second: another, with as many outputs.
        inputs: how many numbers they take.

    Raises:
        UnsupportedProblem: if two layers that come together have different activations.
    """
    chains = _chain(first, inputs), _chain(second, inputs)
    swapped = len(chains[1].hidden) > len(chains[0].hidden)
    long, short = chains[::-1] if swapped else chains
    steps: list[Step] = []
    for place, (affine, activation) in enumerate(long.hidden):
        if place < len(short.hidden):
            other, act = short.hidden[place]
            if act != activation:
                raise UnsupportedProblem(
                    f"hidden layers {place} have the activations {activation.name} and "
                    f"{act.name}; networks side by side need the same"
                )
        else:
            width = short.hidden[-1][0].weight.shape[0] if short.hidden else inputs
            other, act = Affine(torch.eye(width).to(affine.weight)), Carried(activation, width)
        steps += [_beside(affine, other, shared=place == 0), act]
    sign = -1.0 if swapped else 1.0
    ends = Affine(sign * long.last.weight, _scaled(long.last.bias, sign))
    other = Affine(-sign * short.last.weight, _scaled(short.last.bias, -sign))
    weight = torch.cat((ends.weight, other.weight), 1) if steps else ends.weight + other.weight
    return Graph((*steps, Affine(weight, _sum(ends.bias, other.bias))))


def _chain(graph: Graph, inputs: int) -> _Chain:
    hidden: list[tuple[Affine, Activation]] = []
    steps = graph.merged().steps
    like = next((step.weight for step in steps if isinstance(step, Affine)), torch.zeros(()))
    waiting: Affine | None = None
    width = inputs
    for step in steps:
        if isinstance(step, Affine):
            waiting, width = step, step.weight.shape[0]
        else:
            hidden.append((waiting or Affine(torch.eye(width).to(like)), step))
            waiting = None
    return _Chain(hidden, waiting or Affine(torch.eye(width).to(like)))


def _beside(one: Affine, other: Affine, shared: bool) -> Affine:
    """Both maps, of the same numbers if ``shared``, else each of its own."""
    if shared:
        weight = torch.cat((one.weight, other.weight))
    else:
        weight = torch.block_diag(one.weight, other.weight)
    if one.bias is None and other.bias is None:
        return Affine(weight)
    biases = [
        step.weight.new_zeros(step.weight.shape[0]) if step.bias is None else step.bias
        for step in (one, other)
    ]
    return Affine(weight, torch.cat(biases))


def _scaled(bias: Tensor | None, factor: float) -> Tensor | None:
    return None if bias is None else factor * bias


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
