"""Propagation of a tower of cumulants through the layers of a network, at any order."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.cumulants.activation_step import Closure, activation_step, project_input
from outsample.cumulants.gaussian_input import affine_mean, dense, pushed_covariance
from outsample.cumulants.hubs import Hubs
from outsample.cumulants.symmetric import Dense, SymmetricTensor, Traced
from outsample.distributions import Gaussian
from outsample.errors import NumericalError
from outsample.networks.activations.base import Activation, Expansion
from outsample.networks.graph import Affine, Graph
from outsample.tower import CumulantTower

#: Neurons whose variance per squared weight is this many times round-off below the largest have
#: no higher cumulants: what comes out for them is noise divided by their tiny variance.
_NOISE = 100.0


class Propagated(NamedTuple):
    """Mean, covariance, and the higher cumulants if they were asked for."""

    mean: Float[Tensor, " outputs"]
    covariance: Float[Tensor, "outputs outputs"]
    higher: dict[int, SymmetricTensor]
    #: Largest share of the highest cumulant that was dropped in a layer.
    dropped: float


def propagate(
    graph: Graph,
    inputs: Gaussian | CumulantTower,
    closure: Closure,
    expand: Callable[[Activation, Tensor, Tensor], Expansion],
    note: Callable[[Tensor], None],
    tower: bool,
) -> Propagated:
    """Push the cumulants of the input through every step.

    ``expand`` gives an activation's expansion at means and covariance, ``note`` takes the mean
    after each activation; unless ``tower``, what only higher cumulants of the output need is
    left out.
    """
    law = inputs if isinstance(inputs, Gaussian) else inputs.gaussian
    mean, covariance = law.mean, law.scale
    higher = {} if isinstance(inputs, Gaussian) else project_input(closure, inputs)
    steps = graph.steps
    last = max((i for i, step in enumerate(steps) if not isinstance(step, Affine)), default=-1)
    weight: Tensor | None = None
    dropped = 0.0
    for place, step in enumerate(steps):
        if isinstance(step, Affine):
            mean = affine_mean(step, mean)
            covariance = pushed_covariance(step.weight, covariance)
            weight = step.weight if weight is None else step.weight @ weight
            continue
        covariance = dense(covariance, mean.shape[0])
        expansion = expand(step, mean, _raised(covariance))
        precision = expansion.scale.reciprocal()
        correlation = covariance * precision * precision[:, None]
        kappa = _standardised(higher, weight, covariance.diagonal(), precision)
        trace = kappa.get(closure.full_trace or 0)
        if closure.diagonal and isinstance(trace, Traced):
            kappa[trace.order] = trace.diagonal()
        kappa = {order: tensor.bound(correlation) for order, tensor in kappa.items()}
        kappa[2] = Dense(correlation)
        final = place == last and not tower
        mean, kept = activation_step(closure, kappa, expansion, final)
        if not math.isfinite(float(mean.detach().sum())):
            raise NumericalError(
                f"the cumulants of order up to {closure.order} left the range of {mean.dtype} in "
                f"step {place + 1} of {len(steps)} ('{step.name}'): the expansion in 1/width "
                "diverges on this network, or powers of its activations are too large; use a "
                "lower order, float64, or sampling"
            )
        covariance = kept.pop(2).slice((1, 1))
        higher, weight = kept, None
        dropped = max(dropped, *(k.dropped for k in kept.values() if isinstance(k, Hubs)), 0.0)
        note(mean)
    if not tower:
        higher = {}
    elif higher:
        weight = torch.eye(mean.shape[0]).to(mean) if weight is None else weight
        higher = {k: kappa.through(weight).bound(covariance) for k, kappa in higher.items()}
    return Propagated(mean, dense(covariance, mean.shape[0]), higher, dropped)


def _raised(covariance: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Negative variances raised to a little above zero, so that powers of 1/σ stay in range."""
    variance = covariance.diagonal()
    if not bool((variance < 0).any()):
        return covariance
    eps = torch.finfo(covariance.dtype).eps
    floor = variance.detach().amax().clamp_min(0) * eps**1.5
    return torch.diagonal_scatter(covariance, torch.where(variance < 0, floor, variance))


def _standardised(
    higher: dict[int, SymmetricTensor],
    weight: Tensor | None,
    variance: Float[Tensor, " n"],
    precision: Float[Tensor, " n"],
) -> dict[int, SymmetricTensor]:
    """Cumulants of the pre-activations in units of their standard deviations.

    The division is part of the linear map, which costs nothing and loses no digits.
    """
    if not higher:
        return {}
    if weight is None:  # two activations in a row
        return {order: kappa.scaled(precision) for order, kappa in higher.items()}
    with torch.no_grad():
        share = (variance / weight.square().sum(1)).nan_to_num(0.0, 0.0, 0.0)
        floor = float(share.amax()) * _NOISE * torch.finfo(share.dtype).eps
        noisy = share <= floor
    if bool(noisy.any()):
        precision = precision.masked_fill(noisy, 0.0)
    scaled = weight * precision[:, None]
    return {order: kappa.through(scaled) for order, kappa in higher.items()}
