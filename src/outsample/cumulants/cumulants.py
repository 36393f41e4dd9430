"""Cumulant propagation through the layers of a network."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

from torch import Tensor

from outsample.cumulants.covariance_step import Traces, augmented_step, basic_step
from outsample.cumulants.estimate import CumulantEstimate, Propagation
from outsample.cumulants.gaussian_input import (
    affine_mean,
    dense,
    network_of,
    pushed_covariance,
    pushed_variance,
    width_of,
)
from outsample.cumulants.monitor import VarianceMonitor
from outsample.distributions import Gaussian
from outsample.errors import InputError
from outsample.estimator import Explanation
from outsample.networks.activations.base import Activation, Expansion
from outsample.networks.graph import Affine, Graph
from outsample.problem import Problem


@dataclass(frozen=True)
class Cumulants(Propagation):
    """Cumulant propagation to a given order, for networks with a Gaussian input.

    Every layer's activations are described by their joint cumulants.  An affine map acts on them
    exactly; an activation step expands each activation in Hermite polynomials and keeps the
    diagrams up to a cost that the order sets.

    - order 1: means; of the covariance only its trace.  Cost O(n²) a layer, as a forward pass.
    - order 2, basic: means and covariance; exact variances.  Two n × n products a layer.
    - order 2, augmented: also the next diagrams, with third and fourth cumulants kept through
      their traces.  Three n × n products a layer.

    For random networks of width n and depth L the expected variance-normalised error is
    O((L / n)^order).  At order 1 both variants are the same.

    Args:
        order: 1 or 2.
        variant: ``"augmented"`` or ``"basic"``.
        hidden: also return the means after every activation.

    The estimate's ``covariance`` is that of the outputs (order 2; None at order 1).
    Differentiable in the network's parameters and the input's mean and covariance.  Where an
    activation has a kink and its pre-activation has neither mean-distance from it nor variance,
    the derivative in the variance is infinite: a warning says so.

    Source: "Estimating the expected output of wide random MLPs more efficiently than sampling",
    arXiv 2605.05179 (2026); formulas in the documentation, theory/cumulants.

    Example:
        >>> import torch, outsample as ou
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> problem = ou.NetworkMean(net, ou.Gaussian.standard(8))
        >>> ou.Cumulants(order=2).estimate(problem).value.shape
        torch.Size([2])
    """

    order: Literal[1, 2] = 2
    variant: Literal["basic", "augmented"] = "augmented"
    hidden: bool = False

    def __post_init__(self) -> None:
        if self.order not in (1, 2) or isinstance(self.order, bool):
            raise InputError(f"Cumulants: order = {self.order!r}; expected 1 or 2")
        if self.variant not in ("basic", "augmented"):
            raise InputError(
                f"Cumulants: variant = {self.variant!r}; expected 'basic' or 'augmented'"
            )

    @classmethod
    def at(cls, epsilon: float, problem: Problem) -> Self:
        """The largest order K with width^K ≤ 1/ε², at least 1 and at most 2.

        Raises:
            InputError: unless 0 < ε ≤ 1.
            UnsupportedProblem: if the problem is not a network.
        """
        if not 0 < epsilon <= 1:
            raise InputError(f"Cumulants.at: epsilon = {epsilon!r}; expected 0 < epsilon <= 1")
        network, _ = network_of(problem)
        return cls(2 if width_of(network) ** 2 <= epsilon**-2 else 1)

    def _estimate(self, problem: Problem, explanation: Explanation | None) -> CumulantEstimate:
        network, inputs = network_of(problem)
        run = _Run([], VarianceMonitor())
        if self.order == 1:
            value, covariance = _order1(network.graph().merged(), inputs, run), None
        elif self.variant == "basic":
            value, covariance = _order2_basic(network.graph(), inputs, run)
        else:
            value, covariance = _order2_augmented(network.graph(), inputs, run)
        trust, reasons, diagnostics = run.monitor.verdict()
        return CumulantEstimate(
            value=value.reshape(problem.output_shape),
            covariance=covariance,
            hidden=tuple(run.hidden) if self.hidden else None,
            trust=trust,
            reasons=reasons,
            diagnostics=diagnostics,
        )


class _Run(NamedTuple):
    """What a propagation leaves behind besides its answer."""

    hidden: list[Tensor]
    monitor: VarianceMonitor

    def expand(self, step: Activation, mean: Tensor, variance: Tensor) -> Expansion:
        self.monitor.note(variance)
        return step.expand(mean, variance)


def _order1(graph: Graph, inputs: Gaussian, run: _Run) -> Tensor:
    """Means, and of each layer's covariance only its trace spread evenly over the neurons."""
    mean, scale, variance = inputs.mean, inputs.scale, inputs.variance
    for step in graph.steps:
        if isinstance(step, Affine):
            mean = affine_mean(step, mean)
            variance = pushed_variance(step.weight, scale)
        else:
            expansion = run.expand(step, mean, variance)
            mean, scale = expansion.mean, expansion.coefficient(0, 2).mean()
            variance = scale.expand(mean.shape[0])
            run.hidden.append(mean)
    return mean


def _order2_basic(graph: Graph, inputs: Gaussian, run: _Run) -> tuple[Tensor, Tensor]:
    """Means and covariance; a covariance keeps the input's structure until it meets a matrix."""
    mean, covariance = inputs.mean, inputs.scale
    for step in graph.steps:
        if isinstance(step, Affine):
            mean = affine_mean(step, mean)
            covariance = pushed_covariance(step.weight, covariance)
        else:
            covariance = dense(covariance, mean.shape[0])
            expansion = run.expand(step, mean, covariance.diagonal())
            mean, covariance = expansion.mean, basic_step(covariance, expansion)
            run.hidden.append(mean)
    return mean, dense(covariance, mean.shape[0])


def _order2_augmented(graph: Graph, inputs: Gaussian, run: _Run) -> tuple[Tensor, Tensor]:
    """Means, covariance, and the traces of the third and fourth cumulants."""
    mean, covariance = inputs.mean, inputs.scale
    traces: Traces | None = None
    for step in graph.steps:
        if isinstance(step, Affine):
            mean = affine_mean(step, mean)
            covariance = pushed_covariance(step.weight, covariance)
            traces = traces and traces.through(step.weight)
        else:
            covariance = dense(covariance, mean.shape[0])
            expansion = run.expand(step, mean, covariance.diagonal())
            mean, covariance, traces = augmented_step(covariance, traces, expansion)
            run.hidden.append(mean)
    return mean, dense(covariance, mean.shape[0])
