"""Closed forms of catastrophes of networks without activations: Gaussian halfspaces."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from outsample.catastrophe.event import Event
from outsample.distributions import Gaussian, GaussianMixture
from outsample.networks.graph import Affine
from outsample.products import HalfspaceIntersection

#: Events whose intersections are summed by inclusion and exclusion.
_MOST_EVENTS = 3


def exact_probability(events: Sequence[Event], inputs: Gaussian | GaussianMixture) -> Tensor | None:
    """Probability of a union of events, shape (), where halfspaces give it; None elsewhere."""
    if not events:
        return inputs.mean.new_zeros(())
    if any(len(event.thresholds) == 0 for event in events):
        return inputs.mean.new_ones(())
    maps = [event.graph.steps[0] for event in events if len(event.graph.steps) == 1]
    linear = [step for step in maps if isinstance(step, Affine)]
    if len(linear) < len(events) or len(events) > _MOST_EVENTS:
        return None
    limits = [e.thresholds - _bias(step) for e, step in zip(events, linear, strict=True)]
    total = inputs.mean.new_zeros(())
    for count in range(1, len(events) + 1):
        for chosen in itertools.combinations(range(len(events)), count):
            normals = torch.cat([linear[i].weight for i in chosen])
            offsets = torch.cat([limits[i] for i in chosen])
            found = _intersection(normals, offsets, inputs)
            if found is None:
                return None
            total = total - found if count % 2 == 0 else total + found
    return total


def _bias(step: Affine) -> Tensor:
    return step.weight.new_zeros(step.weight.shape[0]) if step.bias is None else step.bias


def _intersection(
    normals: Tensor, offsets: Tensor, inputs: Gaussian | GaussianMixture
) -> Tensor | None:
    """P(normals · x > offsets)."""
    # What does not vary is decided here: halfspaces include their boundary, thresholds do not.
    constant = (normals.detach() == 0).all(1)
    if bool((offsets.detach()[constant] >= 0).any()):
        return offsets.new_zeros(())
    normals, offsets = normals[~constant], offsets[~constant]
    if isinstance(inputs, Gaussian):
        return HalfspaceIntersection(normals, offsets, inputs).exact()
    total = offsets.new_zeros(())
    for weight, law in zip(inputs.weights, inputs.components, strict=True):
        found = HalfspaceIntersection(normals, offsets, law).exact()
        if found is None:
            return None
        total = total + weight * found
    return total
