"""Cumulants of a network's outputs under a tilt, jointly with the tilt's own quadratic."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.catastrophe.tilt.law import TiltedLaw
from outsample.catastrophe.tilt.order2 import Local
from outsample.cumulants.activation_step import Closure, Variant
from outsample.cumulants.tower_propagation import propagate
from outsample.distributions import Gaussian
from outsample.networks.activations.base import Activation, Expansion
from outsample.networks.graph import Graph

#: By how many of its standard deviations q moves in a finite difference.
_MOVE = 0.004


@dataclass(frozen=True)
class Response:
    """Outputs f under Q, and the quadratic q that Q is the tilt by."""

    law: TiltedLaw
    #: E f and Cov f under Q, shapes (d,) and (d, d).
    mean: Float64[Tensor, " d"]
    covariance: Float64[Tensor, "d d"]
    #: Cov(f, q) under Q, shape (d,).
    with_tilt: Float64[Tensor, " d"]

    @classmethod
    def of(cls, law: TiltedLaw, local: Local) -> Self:
        """From the outputs to second order: the covariance with q is that of the quadratics."""
        covariance = law.covariance
        step = covariance @ law.curvature @ covariance
        linear = local.gradient @ (covariance @ law.mean)
        curved = 0.5 * (local.hessian * step).sum((1, 2))
        return cls(law, local.mean, local.covariance, linear + curved)

    def chosen(self, rows: Tensor) -> "Response":
        """The same of some of the outputs."""
        covariance = self.covariance[rows][:, rows]
        return Response(self.law, self.mean[rows], covariance, self.with_tilt[rows])

    def residual(self, strength: Float64[Tensor, " d"]) -> float:
        """Half the variance of strength · f - q: the nats of log P that the remainder carries."""
        own = strength @ self.covariance @ strength - 2 * strength @ self.with_tilt
        return 0.5 * (float(own.detach()) + self.law.variance)


def respond(graph: Graph, law: TiltedLaw, closure: Closure) -> Response:
    """Cumulants of the outputs under ``law``; differentiable in the network's parameters.

    Cov(f, q) is the derivative of E f along the tilts of Q by q: a central difference, whose two
    ends also give the mean and covariance in the middle.
    """
    if law.variance == 0:
        mean, covariance = cumulants_of(graph, law, closure)
        return Response(law, mean, covariance, torch.zeros_like(mean))
    move = _MOVE / math.sqrt(law.variance)
    ahead = cumulants_of(graph, law.moved(move), closure)
    behind = cumulants_of(graph, law.moved(-move), closure)
    return Response(
        law,
        (ahead[0] + behind[0]) / 2,
        (ahead[1] + behind[1]) / 2,
        (ahead[0] - behind[0]) / (2 * move),
    )


def cumulants_of(graph: Graph, law: TiltedLaw, closure: Closure) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the outputs under ``law`` by cumulant propagation."""
    inputs = Gaussian.trusted(law.mean, law.covariance)
    found = propagate(graph, inputs, closure, _expand, _forget, tower=False)
    return found.mean, found.covariance


def expander(graph: Graph, closure: Closure) -> Callable[[TiltedLaw], Local]:
    """What expands the outputs under a law to second order by propagation of higher order."""

    def expand(law: TiltedLaw) -> Local:
        with torch.enable_grad():
            mean = law.mean.detach().requires_grad_()
            covariance = law.covariance.detach().requires_grad_()
            inputs = Gaussian.trusted(mean, covariance)
            found = propagate(graph, inputs, closure, _expand, _forget, tower=False)
            parts = [
                torch.autograd.grad(
                    value, (mean, covariance), retain_graph=True, materialize_grads=True
                )
                for value in found.mean
            ]
        gradient = torch.stack([part[0] for part in parts])
        half = torch.stack([part[1] for part in parts])
        return Local(found.mean.detach(), found.covariance.detach(), gradient, half + half.mT)

    return expand


def closure_of(order: int, variant: Variant) -> Closure:
    """The closure of an order; the highest cumulant is carried in factors."""
    return Closure(order, variant, order > 2)


def _expand(step: Activation, mean: Tensor, covariance: Tensor) -> Expansion:
    return step.expand(mean, covariance.diagonal())


def _forget(mean: Tensor) -> None:
    del mean
