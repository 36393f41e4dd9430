"""Propagation of means and variances, with as much of the covariance as advice names."""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from outsample.cumulants.advice import CovariancePattern, CovarianceSubspace, TrackingAdvice
from outsample.cumulants.estimate import CumulantEstimate, Propagation
from outsample.cumulants.gaussian_input import affine_mean, network_of, pushed_variance
from outsample.cumulants.laws import Law, Plain
from outsample.cumulants.monitor import VarianceMonitor, variance_round_off
from outsample.cumulants.tracking import ActivationStep, activation_layers
from outsample.distributions import Gaussian
from outsample.estimator import Explanation
from outsample.networks.graph import Affine, Graph
from outsample.problem import Problem


@dataclass(frozen=True)
class MeanPropagation(Propagation):
    """Independent neurons with their own means and variances: the cheap classic.

    Mean and variance of every activation are those at a Gaussian pre-activation, which has mean
    Wm + b and variance (W∘W)v; the covariances of a layer are forgotten.  The first layer sees
    the input's full covariance, so one hidden layer is exact.  Cost: O(n²) a layer, a few
    evaluations of the network.

    With an explanation it follows what the advice names, at the cost of what is kept:

    - :class:`~outsample.CovarianceSubspace` of rank r: O(n² r) a layer; rank n is order 2, basic,
      of :class:`~outsample.Cumulants`.
    - :class:`~outsample.CovariancePattern` of p pairs: O(n p) a layer; all pairs are order 2,
      basic, again.

    Args:
        hidden: also return the means after every activation.

    Raises:
        InputError: if the explanation does not fit the network.

    Differentiable in the network's parameters and the input's mean and covariance.

    Source: moment matching layer by layer; e.g. Frey and Hinton, "Variational learning in
    nonlinear Gaussian belief networks", Neural Computation 11 (1999).  For the advice see the
    documentation, theory/advice.

    Example:
        >>> import torch, outsample as ou
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> problem = ou.NetworkMean(net, ou.Gaussian.standard(8))
        >>> ou.MeanPropagation().estimate(problem).value.shape
        torch.Size([2])
    """

    hidden: bool = False

    explanations: ClassVar[tuple[type[Explanation], ...]] = (CovarianceSubspace, CovariancePattern)

    @classmethod
    def at(cls, epsilon: float, problem: Problem) -> Self:
        """The default settings: the cost is fixed, whatever the tolerance."""
        del epsilon, problem
        return cls()

    def _estimate(self, problem: Problem, explanation: Explanation | None) -> CumulantEstimate:
        network, inputs = network_of(problem)
        graph, hidden, monitor = network.graph(), list[Tensor](), VarianceMonitor()
        excess: list[Tensor] = []
        if isinstance(explanation, TrackingAdvice):
            value, excess = _tracked(graph, inputs, explanation, hidden, monitor)
        else:
            value = _independent(graph.merged(), inputs, hidden, monitor)
        trust, reasons, diagnostics = monitor.verdict()
        if excess:
            over = torch.cat(excess)
            diagnostics["overfull_neurons"] = int((over > variance_round_off(over.dtype)).sum())
            diagnostics["largest_excess"] = float(over.max())
        return CumulantEstimate(
            value=value.reshape(problem.output_shape),
            hidden=tuple(hidden) if self.hidden else None,
            trust=trust,
            reasons=reasons,
            diagnostics=diagnostics,
        )


def _independent(
    graph: Graph, inputs: Gaussian, hidden: list[Tensor], monitor: VarianceMonitor
) -> Tensor:
    mean, variance = inputs.mean, inputs.variance
    scale = inputs.scale
    for step in graph.steps:
        if isinstance(step, Affine):
            mean, variance = affine_mean(step, mean), pushed_variance(step.weight, scale)
        else:
            monitor.note(variance)
            expansion = step.expand(mean, variance)
            mean, variance = expansion.mean, expansion.coefficient(0, 2)
            scale = variance
            hidden.append(mean)
    return mean


def _tracked(
    graph: Graph,
    inputs: Gaussian,
    advice: TrackingAdvice,
    hidden: list[Tensor],
    monitor: VarianceMonitor,
) -> tuple[Tensor, list[Tensor]]:
    """Mean of the output, and each layer's excess."""
    layers, last = activation_layers(graph, inputs)
    advice.check(tuple(affine.weight.shape[0] for affine, _ in layers))
    mean, excess = inputs.mean, list[Tensor]()
    law: Law = Plain(inputs.scale)
    for place, (affine, activation) in enumerate(layers):
        step = ActivationStep(activation, law, affine, mean)
        monitor.note(step.incoming)
        law, over = advice.track(place, step)
        mean = step.mean
        excess.append(over)
        hidden.append(mean)
    return (mean if last is None else affine_mean(last, mean)), excess
