"""One conjunction of thresholds as a network of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.catastrophe.detectors.normal_form import Line
from outsample.catastrophe.detectors.quantity import Unit
from outsample.networks.activations import Carried
from outsample.networks.activations.relu import ReLU
from outsample.networks.activations.smooth import Sigmoid, Tanh
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
    pending: Affine | None = None
    width, layer = like.shape[0], 0
    for step in chain if last is None else chain[:-1]:
        if isinstance(step, Affine):
            pending, width = step, step.weight.shape[0]
            continue
        below = [unit for unit in wanted if unit.layer == layer and unit.before]
        if pending is None and (fresh or below):  # two activations in a row, or one at first
            pending = Affine(torch.eye(width, dtype=like.dtype, device=like.device))
        if pending is not None:
            steps.append(_extended(pending, len(carried), fresh, below))
            carried, fresh, pending = carried + fresh + below, [], None
        steps.append(Carried(step, len(carried)) if carried else step)
        fresh = [unit for unit in wanted if unit.layer == layer and not unit.before]
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


def before_activations(
    graph: Graph, rows: Sequence[Line], limits: Float[Tensor, " d"]
) -> tuple[list[Line], Float[Tensor, " d"]]:
    """The same thresholds, on what enters an activation where they are on what leaves it.

    max(z, 0) > t is z > t for t >= 0, and tanh z > t is z > artanh t: the quantity is nearer to
    a Gaussian before it is bent.  For rows of a single hidden unit; others are left alone.
    """
    activations = [step for step in graph.merged().steps if not isinstance(step, Affine)]
    moved, values = [*rows], limits.clone()
    for place, row in enumerate(rows):
        (unit, weight), *rest = row
        if rest or unit.layer is None:
            continue
        value = limits[place] / weight
        activation = activations[unit.layer]
        inverse = value
        if isinstance(activation, Tanh):
            inverse = torch.atanh(value.double()).to(value)
        elif isinstance(activation, Sigmoid):
            inverse = torch.logit(value.double()).to(value)
        elif not isinstance(activation, ReLU) or value < 0 or weight < 0:
            # Below a threshold a ReLU's kink is part of the event, and part of what else reads it.
            continue
        if bool(torch.isfinite(inverse)):
            moved[place] = ((unit._replace(before=True), weight),)
            values[place] = weight * inverse
    return moved, values


def _extended(step: Affine, carried: int, fresh: Sequence[Unit], below: Sequence[Unit]) -> Affine:
    """The affine map beside the identity on ``carried`` numbers and copies of units.

    ``fresh`` are copies of what it takes, ``below`` of what it gives.
    """
    if not carried and not fresh and not below:
        return step
    weight, bias = step.weight, step.bias
    given, taken = weight.shape
    top = torch.cat((weight, weight.new_zeros(given, carried)), 1)
    beside = weight.new_zeros(carried + len(fresh), taken + carried)
    for place in range(carried):
        beside[place, taken + place] = 1.0
    for place, unit in enumerate(fresh, start=carried):
        beside[place, unit.place] = 1.0
    copies = [unit.place for unit in below]
    if bias is not None:
        bias = torch.cat((bias, bias.new_zeros(carried + len(fresh)), bias[copies]))
    return Affine(torch.cat((top, beside, top[copies])), bias)
