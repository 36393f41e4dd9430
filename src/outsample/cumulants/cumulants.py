"""Cumulant propagation through the layers of a network."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor

from outsample.cumulants.activation_step import Closure, Variant
from outsample.cumulants.covariance_step import Traces, augmented_step, basic_step
from outsample.cumulants.estimate import CumulantEstimate, Propagation
from outsample.cumulants.expected_error import Diagnostics, Layers
from outsample.cumulants.gaussian_input import (
    affine_mean,
    dense,
    network_of,
    pushed_covariance,
    pushed_variance,
    refuse_unless_network,
    width_of,
)
from outsample.cumulants.monitor import VarianceMonitor, variance_round_off
from outsample.cumulants.symmetric import SymmetricTensor
from outsample.cumulants.tower_propagation import propagate
from outsample.distributions import Gaussian
from outsample.errors import BudgetError, InputError
from outsample.estimator import Explanation, worst_trust
from outsample.networks.activations.base import Activation, Expansion
from outsample.networks.graph import Affine, Graph
from outsample.problem import Problem
from outsample.tower import CumulantTower

Order = Literal[1, 2, 3, 4]

#: Participation ratio of a covariance below which orders 3 and 4 are not to be trusted.
_FEW_DIRECTIONS = 2.0

#: Orders and variants that keep full traces only, or a vector beside.
_DIAGONAL = ((2, "augmented"), (3, "basic"))
_ORDERS: tuple[Order, ...] = (4, 3, 2)
#: Most entries of one tensor: 4 GB in float32.
_MOST_ENTRIES = 2**30
#: Widest layer at which the augmented variant prefers dense tensors.
_DENSE_WIDTH = 16


@dataclass(frozen=True)
class Cumulants(Propagation):
    """Cumulant propagation to a given order, for networks on Gaussian inputs or given cumulants.

    Every layer's activations are described by their joint cumulants.  An affine map acts on them
    exactly; an activation step expands each activation in Hermite polynomials and keeps the
    diagrams up to a cost that the order and the variant set.

    - order 1: means; of the covariance only its trace.  Cost O(n²) a layer, as a forward pass.
    - order 2: means and covariance.  Cost O(n³) a layer: two products (basic) or three.
    - order 3: also the third cumulants.  Cost O(n³) a layer and layer before it, factored.
    - order 3, elliptical: the augmented diagrams, with κ_4 = s Sym(C ⊗ C) along the covariance C
      as in a scale mixture of Gaussians.  Not in the paper; better than both in deep networks,
      see the documentation, theory/depth.
    - order 4: also the fourth cumulants.  Cost O(n⁴) a layer and layer before it, factored; the
      augmented variant's partial trace O(n⁵) and n⁴ numbers, which is for widths up to 64.

    The basic variant has the diagrams that the order needs; the augmented one the next ones too,
    and keeps of the cumulants of the next orders their traces.  For random networks of width n
    and depth L the expected variance-normalised error is O((L / n)^order).  At order 1 both
    variants are the same.

    Args:
        order: 1, 2, 3 or 4.
        variant: ``"augmented"``, ``"basic"`` or, at order 3, ``"elliptical"``.
        factored: for orders 3 and 4, carry the highest cumulant as sums of products of matrices.
            Basic: the same answer as the dense tensor, in less time.  Augmented: leaves out the
            diagrams that do not factor.  ``"auto"`` takes dense tensors for the augmented variant
            up to width 16 and factors otherwise; ``diagnostics["factored"]`` says which it was.
        tolerance: what of the highest cumulant may be lost in a layer, as a share of the
            Frobenius norm of its entries with a repeated neuron, so that time grows with depth
            and not with its square.  Order 3: every six layers, what is more than six layers old
            goes into the leading quarter of the covariance's eigenspace.  Order 4: what has come
            down to less is dropped.  ``diagnostics["dropped"]`` gives the largest loss; 0 keeps
            everything.
        precision: ``"reduced"`` holds the factors of the highest cumulant in bfloat16.  Their
            rounding is far below the method's error; on processors with bfloat16 products deep
            networks take half the time, on others longer.
        metric: what carries the traces kept of higher cumulants to the next layer: W Wᵀ
            (``"full"``), as the mathematics has it, or its diagonal, with which orders 2 augmented
            and 3 basic err less on random networks (by 19 % and 13 % at 64 × 8, by 5 % at 64 × 4,
            by 3 % or less at 256 × 8; figures in the documentation, how-to/whestbench), because
            the projection on traces overrates correlations.
        hidden: also return the means after every activation.
        tower: also return the joint cumulants of the outputs, up to the order.

    The estimate's ``covariance`` is that of the outputs (None at order 1).  Differentiable in the
    network's parameters and the input's cumulants; what ``tolerance`` projects is projected on a
    subspace that is held fixed, so that gradients of deep networks are exact only with 0.  Where
    an activation has a kink and its pre-activation has neither mean-distance from it nor
    variance, the derivative in the variance is infinite: a warning says so.

    The input may be a :class:`~outsample.CumulantTower`, a law with third and fourth cumulants of
    its own; they enter as far as the order keeps such cumulants.

    Source: "Estimating the expected output of wide random MLPs more efficiently than sampling",
    arXiv 2605.05179 (2026); formulas in the documentation, theory/cumulants.

    Example:
        >>> import torch, outsample as ou
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> problem = ou.NetworkMean(net, ou.Gaussian.standard(8))
        >>> ou.Cumulants(order=3).estimate(problem).value.shape
        torch.Size([2])
    """

    order: Order = 2
    variant: Variant = "augmented"
    factored: bool | Literal["auto"] = "auto"
    tolerance: float = 0.05
    precision: Literal["full", "reduced"] = "full"
    metric: Literal["full", "diagonal"] = "full"
    hidden: bool = False
    tower: bool = False

    def __post_init__(self) -> None:
        if type(self.order) is not int or not 1 <= self.order <= 4:
            raise InputError(f"Cumulants: order = {self.order!r}; expected 1, 2, 3 or 4")
        if self.variant not in ("basic", "augmented", "elliptical"):
            raise InputError(
                f"Cumulants: variant = {self.variant!r}; expected 'basic', 'augmented' or "
                "'elliptical'"
            )
        if self.variant == "elliptical" and (self.order != 3 or self.factored is False):
            raise InputError(
                f"Cumulants: variant = 'elliptical' with order = {self.order!r} and factored = "
                f"{self.factored!r}; it is one of order 3, factored"
            )
        if self.precision not in ("full", "reduced"):
            raise InputError(
                f"Cumulants: precision = {self.precision!r}; expected 'full' or 'reduced'"
            )
        if self.metric not in ("full", "diagonal"):
            raise InputError(f"Cumulants: metric = {self.metric!r}; expected 'full' or 'diagonal'")
        if self.metric == "diagonal" and (self.order, self.variant) not in _DIAGONAL:
            raise InputError(
                f"Cumulants: metric = 'diagonal' with order = {self.order!r} and variant = "
                f"{self.variant!r}; it is for order 2, augmented, and order 3, basic"
            )
        if self.factored != "auto" and not isinstance(self.factored, bool):
            raise InputError(
                f"Cumulants: factored = {self.factored!r}; expected True, False or 'auto'"
            )
        if not isinstance(self.tolerance, int | float) or not 0 <= self.tolerance < 1:
            raise InputError(f"Cumulants: tolerance = {self.tolerance!r}; expected 0 <= it < 1")
        for name in ("hidden", "tower"):
            if not isinstance(getattr(self, name), bool):
                given = getattr(self, name)
                raise InputError(f"Cumulants: {name} = {given!r}; expected True or False")
        if self.order < 3 and (self.factored is True or self.precision == "reduced"):
            raise InputError(
                f"Cumulants: factored = {self.factored!r} and precision = {self.precision!r} with "
                f"order = {self.order!r}; factors are those of orders 3 and 4"
            )
        if self.order == 1 and self.tower:
            raise InputError("Cumulants: tower = True with order = 1, which keeps only means")

    @classmethod
    def at(cls, epsilon: float, problem: Problem) -> Self:
        """The largest order K with width^K ≤ 1/ε², at least 1 and at most 4.

        Raises:
            InputError: unless 0 < ε ≤ 1.
            UnsupportedProblem: if the problem is not a network.
        """
        if not isinstance(epsilon, int | float) or not 0 < epsilon <= 1:
            raise InputError(f"Cumulants.at: epsilon = {epsilon!r}; expected 0 < epsilon <= 1")
        width = width_of(network_of(problem, towers=True)[0])
        for order in _ORDERS:
            if width**order <= epsilon**-2 * (1 + 1e-9):  # 0.1^-2 is a little less than 100
                return cls(order)
        return cls(1)

    def accepts(self, problem: Problem) -> str | None:
        """Takes a NetworkMean whose input is a Gaussian or a CumulantTower."""
        return refuse_unless_network(problem, towers=True)

    def _estimate(self, problem: Problem, explanation: Explanation | None) -> CumulantEstimate:
        network, inputs = network_of(problem, towers=True)
        graph, width = network.graph(), width_of(network)
        self._refuse_beyond_memory(width, math.prod(problem.output_shape))
        run = _Run(Layers(self._closure(0).budget), [], VarianceMonitor(), {})
        law = inputs.gaussian if isinstance(inputs, CumulantTower) else inputs
        higher: dict[int, SymmetricTensor] = {}
        if self.order == 1:
            value, covariance = _order1(graph.merged(), law, run), None
        elif self.order == 2 and self.variant == "basic":
            value, covariance = _order2_basic(graph, law, run)
        elif self.order == 2 and law is inputs:
            value, covariance = _order2_augmented(graph, law, run, self.metric == "diagonal")
        else:
            closure = self._closure(width)
            run.diagnostics["factored"] = closure.factored
            value, covariance, higher, dropped = propagate(
                graph, inputs, closure, run.expand, run.hidden.append, self.tower
            )
            run.diagnostics["dropped"] = dropped
        trust, reasons, diagnostics = run.monitor.verdict()
        doubts = list(_doubts(graph, covariance, run, self.order))
        if doubts:
            trust, reasons = worst_trust(trust, "low_confidence"), (*reasons, *doubts)
        return CumulantEstimate(
            value=value.reshape(problem.output_shape),
            covariance=covariance,
            hidden=tuple(run.hidden) if self.hidden else None,
            tower=self._tower(value, covariance, higher) if self.tower else None,
            trust=trust,
            reasons=reasons,
            diagnostics=Diagnostics(diagnostics | run.diagnostics, run.layers),
            _layers=run.layers if law is inputs else None,
        )

    def _refuse_beyond_memory(self, width: int, outputs: int) -> None:
        """Raise BudgetError before any work if one tensor alone would fill the memory."""
        full = self.order > 2 and not self._closure(width).factored
        traced = self.order == 4 and self.variant == "augmented"
        for what, entries in (
            (f"a layer of width {width}", width**self.order if full or traced else 0),
            (f"the tower of {outputs} outputs", outputs**self.order if self.tower else 0),
        ):
            if entries > _MOST_ENTRIES:
                raise BudgetError(
                    f"{self!r}: {what} has {entries:.2g} cumulants of order {self.order}, more "
                    f"than {_MOST_ENTRIES:.2g}; use a lower order, factored=True with "
                    "variant='basic', or fewer outputs (output=)"
                )

    def _tower(
        self, mean: Tensor, covariance: Tensor | None, higher: dict[int, SymmetricTensor]
    ) -> CumulantTower | None:
        """The outputs' cumulants in full, up to the order."""
        if covariance is None:
            return None
        full = {order: kappa.dense() for order, kappa in higher.items() if order <= self.order}
        gaussian = Gaussian.trusted(mean, covariance)
        return CumulantTower.trusted(gaussian, full.get(3), full.get(4))

    def _closure(self, width: int) -> Closure:
        factored = self.factored
        if factored == "auto":
            factored = self.variant != "augmented" or width > _DENSE_WIDTH
        factored = bool(factored) and self.order > 2
        reduced = self.precision == "reduced"
        diagonal = self.metric == "diagonal"
        return Closure(self.order, self.variant, factored, self.tolerance, reduced, diagonal)


def _doubts(graph: Graph, covariance: Tensor | None, run: "_Run", order: int) -> Iterator[str]:
    """Reasons not to trust the answer that cost next to nothing to find."""
    if covariance is not None and (negative := _negative(covariance)):
        yield f"{negative} of the outputs' variances came out negative"
    kinds = [isinstance(step, Affine) for step in graph.steps]
    if any(not one and not other for one, other in itertools.pairwise(kinds)):
        yield (
            "two activations in a row: what the second one reads is far from Gaussian; write "
            "them as one (Elementwise takes any function)"
        )
    if order > 2 and (directions := run.layers.fewest_directions()) < _FEW_DIRECTIONS:
        yield (
            f"a layer's covariance has only {directions:.2g} independent directions; the "
            "expansion is in their inverse number"
        )


def _negative(covariance: Tensor) -> int:
    """How many variances are negative beyond round-off."""
    variance = covariance.detach().diagonal()
    low, high = torch.aminmax(variance)
    if float(low) >= 0:
        return 0
    return int((variance < -variance_round_off(variance.dtype) * high.abs()).sum())


class _Run(NamedTuple):
    """What a propagation leaves behind besides its answer."""

    layers: Layers
    hidden: list[Tensor]
    monitor: VarianceMonitor
    diagnostics: dict[str, Any]

    def expand(self, step: Activation, mean: Tensor, covariance: Tensor) -> Expansion:
        """Expansion at a layer's means and covariance, or only its variances."""
        variance = covariance if covariance.dim() == 1 else covariance.diagonal()
        self.monitor.note(variance)
        expansion = step.expand(mean, variance)
        if covariance.dim() == 2:
            self.layers.note(step, mean, covariance)
        return expansion


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
            expansion = run.expand(step, mean, covariance)
            mean, covariance = expansion.mean, basic_step(covariance, expansion)
            run.hidden.append(mean)
    return mean, dense(covariance, mean.shape[0])


def _order2_augmented(
    graph: Graph, inputs: Gaussian, run: _Run, diagonal: bool
) -> tuple[Tensor, Tensor]:
    """Means, covariance, and the traces of the third and fourth cumulants."""
    mean, covariance = inputs.mean, inputs.scale
    traces: Traces | None = None
    for step in graph.merged().steps if diagonal else graph.steps:
        if isinstance(step, Affine):
            mean = affine_mean(step, mean)
            covariance = pushed_covariance(step.weight, covariance)
            if traces is not None:
                push = traces.through_diagonal if diagonal else traces.through
                traces = push(step.weight)
        else:
            covariance = dense(covariance, mean.shape[0])
            expansion = run.expand(step, mean, covariance)
            mean, covariance, traces = augmented_step(covariance, traces, expansion)
            run.hidden.append(mean)
    return mean, dense(covariance, mean.shape[0])
