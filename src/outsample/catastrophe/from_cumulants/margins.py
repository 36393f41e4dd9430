"""Cumulants of every margin f - t of a detector, by one propagation."""

from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.catastrophe.event import Event
from outsample.cumulants.activation_step import Closure
from outsample.cumulants.tower_propagation import propagate
from outsample.distributions import Gaussian
from outsample.networks.activations.base import Activation, Expansion

#: Widest layer at which the augmented variant keeps dense tensors, as in Cumulants.
_DENSE_WIDTH = 16


class Margins(NamedTuple):
    """Cumulants of m margins, in float64."""

    mean: Float64[Tensor, " m"]
    covariance: Float64[Tensor, "m m"]
    #: κ_jjj and κ_jjjj.
    third: Float64[Tensor, " m"]
    fourth: Float64[Tensor, " m"]


def margins(event: Event, law: Gaussian, order: int) -> Margins:
    """Propagate to ``order``: augmented at orders 2 and 3, basic at 4.

    At order 3, κ_4 is what its partial trace carries; at order 2 κ_3 and κ_4 are what theirs do.
    """
    width = max(law.shape[0], *(step.weight.shape[0] for step in event.graph.affine))
    augmented = order < 4
    factored = order > 2 and (not augmented or width > _DENSE_WIDTH)
    closure = Closure(order, "augmented" if augmented else "basic", factored)
    found = propagate(event.graph, law, closure, _expand, _ignore, tower=True)
    mean = (found.mean - event.thresholds).double()
    higher = [
        found.higher[k].slice((k,)).double() if k in found.higher else torch.zeros_like(mean)
        for k in (3, 4)
    ]
    return Margins(mean, found.covariance.double(), *higher)


def _expand(step: Activation, mean: Tensor, covariance: Tensor) -> Expansion:
    return step.expand(mean, covariance.diagonal())


def _ignore(mean: Tensor) -> None:
    del mean
