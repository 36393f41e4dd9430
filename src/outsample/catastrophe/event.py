"""One conjunction of thresholds as a network of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.catastrophe.detectors.normal_form import Line
from outsample.catastrophe.detectors.quantity import Unit
from outsample.networks.activations import Carried
from outsample.networks.graph import Affine, Graph, Step


@dataclass(frozen=True, slots=True)
class Event:
    """All of several thresholds: ``graph(x) > thresholds`` in every entry.

    The graph's last step is affine and reads out one quantity for each threshold; it holds the
    network's own parameters, so that gradients reach them.  Without thresholds the event is
    certain.
    """

    graph: Graph
    thresholds: Float[Tensor, " d"]

    def __call__(self, x: Float[Tensor, "batch n"]) -> Float[Tensor, "batch d"]:
        """By how much each quantity exceeds its threshold, at rows of inputs."""
        return self.graph(x) - self.thresholds


def read_out(graph: Graph, rows: Sequence[Line], like: Tensor) -> Graph:
    """The network that computes the given functionals of its outputs and hidden units.

    Units of early layers are carried past the later ones (:class:`Carried`).

    Args:
        graph: the network.
        rows: the functionals, d of them.
        like: a vector of the inputs' size, dtype and device.
    """
    wanted = sorted({unit for row in rows for unit, _ in row if unit.layer is not None})
    chain = graph.merged().steps
    last = chain[-1] if isinstance(chain[-1], Affine) else None
    carried: list[Unit] = []
    fresh: list[Unit] = []  # of the last activation, not yet in the carried part
    steps: list[Step] = []
    width, layer = like.shape[0], 0
    for step in chain if last is None else chain[:-1]:
        if isinstance(step, Affine):
            steps.append(_extended(step, len(carried), fresh))
            carried, fresh, width = carried + fresh, [], step.weight.shape[0]
            continue
        if fresh:  # two activations in a row
            eye = torch.eye(width, dtype=like.dtype, device=like.device)
            steps.append(_extended(Affine(eye), len(carried), fresh))
            carried, fresh = carried + fresh, []
        steps.append(Carried(step, len(carried)) if carried else step)
        fresh = [unit for unit in wanted if unit.layer == layer]
        layer += 1
    direct = like.new_zeros(len(rows), width)
    kept = like.new_zeros(len(rows), len(carried))
    outputs = direct if last is None else like.new_zeros(len(rows), last.weight.shape[0])
    for place, row in enumerate(rows):
        for unit, weight in row:
            if unit.layer is None:
                outputs[place, unit.place] += weight
            elif unit in fresh:
                direct[place, unit.place] += weight
            else:
                kept[place, carried.index(unit)] = weight
    bias = None
    if last is not None:
        direct = direct + outputs @ last.weight if fresh else outputs @ last.weight
        bias = None if last.bias is None else outputs @ last.bias
    weight = torch.cat((direct, kept), 1) if carried else direct
    return Graph((*steps, Affine(weight, bias)))


def _extended(step: Affine, carried: int, fresh: Sequence[Unit]) -> Affine:
    """The affine map beside the identity on ``carried`` numbers, and copies of fresh units."""
    if not carried and not fresh:
        return step
    weight, bias = step.weight, step.bias
    given, taken = weight.shape
    top = torch.cat((weight, weight.new_zeros(given, carried)), 1)
    below = weight.new_zeros(carried + len(fresh), taken + carried)
    for place in range(carried):
        below[place, taken + place] = 1.0
    for place, unit in enumerate(fresh, start=carried):
        below[place, unit.place] = 1.0
    if bias is not None:
        bias = torch.cat((bias, bias.new_zeros(carried + len(fresh))))
    return Affine(torch.cat((top, below)), bias)
