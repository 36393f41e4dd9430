"""Distillation of one network into another without running either on data."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from outsample.catastrophe.tilt.conjunction import detached
from outsample.catastrophe.tilt.events import whitened
from outsample.catastrophe.tilt.law import TiltedLaw
from outsample.catastrophe.tilt.response import closure_of, cumulants_of
from outsample.catastrophe.training.difference import difference
from outsample.catastrophe.training.second_moment import second_moment
from outsample.cumulants.activation_step import Variant
from outsample.distributions import Gaussian
from outsample.errors import InputError, NumericalError
from outsample.estimator import positive_integer
from outsample.networks import NetworkMean

_OWNER = "mechanistic_distillation"


@dataclass(frozen=True)
class DistillationStep:
    """What one step of distillation found."""

    #: Steps done, this one included.
    step: int
    #: E|student(x) - teacher(x)|² before the step, by propagation.
    loss: float
    #: The same over the variance of the teacher's outputs.
    relative_loss: float


class MechanisticDistillation(Iterator[DistillationStep]):
    """The loop that :func:`mechanistic_distillation` makes: one step at a time, and resumable."""

    def __init__(
        self,
        student: NetworkMean,
        teacher: NetworkMean,
        inputs: Gaussian,
        order: int,
        variant: Variant,
        optimizer: torch.optim.Optimizer,
        steps: int | None,
    ) -> None:
        """Take what :func:`mechanistic_distillation` has checked."""
        self._student, self._teacher, self._inputs = student, teacher, inputs
        self._closure = closure_of(order, "augmented" if order == 2 else variant)
        self.optimizer = optimizer
        self.step, self.steps = 0, steps
        with torch.no_grad():
            graph = whitened(teacher.graph(), inputs)
            _, covariance = cumulants_of(graph, self._base, self._closure)
        self._spread = float(covariance.trace())
        if not self._spread > 0:
            raise InputError(
                f"{_OWNER}: the teacher's outputs have variance {self._spread:.3g} on the inputs; "
                "expected a teacher that varies"
            )

    def __iter__(self) -> Self:
        """The loop itself: what was done is not done again."""
        return self

    def __next__(self) -> DistillationStep:
        """One step of the student down the expected squared difference.

        Raises:
            StopIteration: after the last step.
            NumericalError: if the cumulants diverge; the student is as before the step.
        """
        if self.step == self.steps:
            raise StopIteration
        loss = self.loss()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NumericalError(f"{_OWNER}: the loss is {value}; use a lower order")
        groups = self.optimizer.param_groups
        parameters = [p for group in groups for p in group["params"] if p.requires_grad]
        slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.grad = slope
        self.optimizer.step()
        self.step += 1
        return DistillationStep(self.step, value, value / self._spread)

    def loss(self) -> Float[Tensor, ""]:
        """E|student(x) - teacher(x)|² now; differentiable in the student's parameters."""
        teacher = detached(self._teacher.graph())
        inputs = self._inputs.shape[0]
        graph = whitened(difference(self._student.graph(), teacher, inputs), self._inputs)
        gaussian = second_moment(graph, inputs)
        if self._closure.order == 2:
            return gaussian
        mean, covariance = cumulants_of(graph, self._base, self._closure)
        return torch.maximum(gaussian, mean.square().sum() + covariance.trace())

    def state_dict(self) -> dict[str, Any]:
        """All that the loop needs to go on from here, for ``torch.save``."""
        return {
            "step": self.step,
            "student": self._student.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where :meth:`state_dict` was called, in a loop made with the same settings.

        Raises:
            InputError: for a state with something missing, by name.
        """
        missing = {"step", "student", "optimizer"} - state.keys()
        if missing:
            raise InputError(f"{_OWNER}: the state lacks {', '.join(sorted(missing))}")
        self.step = state["step"]
        self._student.module.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])

    @property
    def _base(self) -> TiltedLaw:
        return TiltedLaw.untilted(self._inputs.mean.detach().double())


def mechanistic_distillation(
    student: nn.Module,
    teacher: nn.Module,
    inputs: Gaussian,
    *,
    order: Literal[2, 3] = 3,
    variant: Variant = "augmented",
    optimizer: torch.optim.Optimizer | None = None,
    steps: int | None = None,
) -> MechanisticDistillation:
    """Train a student to compute what a teacher computes, without running either on data.

    The networks are put side by side, as one that computes the difference of their outputs, and
    each step descends E|student(x) - teacher(x)|², which is the squared mean plus the variance
    of the difference.  Only the student is changed.

    At order 2 every layer is taken as Gaussian, with a covariance that is positive semidefinite
    by construction; at order 3 the loss is the larger of that one and the one with third
    cumulants.  Without such a floor a student soon finds where the estimate is negative, and
    runs there.

    Measure the result on samples: the loss is an estimate, and as the student learns to make it
    small it also learns where the estimate is wrong.  In our measurements gradient descent on
    fresh samples is the better method at equal time (the documentation,
    how-to/train-catastrophes-away, has the figures).

    Args:
        student: a chain of layers, see :class:`~outsample.NetworkMean`.
        teacher: another with as many outputs and the same activations; depths may differ.
        inputs: law of the inputs.
        order: of the cumulant propagation, 2 or 3.
        variant: of the propagation of order 3, see :class:`~outsample.Cumulants`.
        optimizer: of the student's parameters; Adam with rate 1e-3 unless given.
        steps: after which the iterator ends; without end unless given.

    Returns:
        An iterator of :class:`DistillationStep` with ``state_dict`` and ``load_state_dict``.

    Raises:
        InputError: for settings out of range, networks with different numbers of outputs, and
            what NetworkMean refuses.
        UnsupportedProblem: for layers that are not known, and different activations.

    Source: the Alignment Research Center's "Competing with sampling" (2025) names the use.

    Example:
        >>> import torch, outsample as ou
        >>> student, teacher = torch.nn.Linear(4, 1), torch.nn.Linear(4, 1)
        >>> law = ou.Gaussian.standard(4)
        >>> loss = [step.loss for step in mechanistic_distillation(student, teacher, law, steps=9)]
        >>> loss[-1] < loss[0]
        True
    """
    if not isinstance(inputs, Gaussian):
        raise InputError(f"{_OWNER}: inputs is {type(inputs).__name__}; expected a Gaussian")
    if type(order) is not int or order not in (2, 3):
        raise InputError(f"{_OWNER}: order = {order!r}; expected 2 or 3")
    if variant not in ("basic", "augmented", "elliptical"):
        raise InputError(
            f"{_OWNER}: variant = {variant!r}; expected 'augmented', 'basic' or 'elliptical'"
        )
    if steps is not None:
        positive_integer(_OWNER, "steps", steps)
    learner, model = NetworkMean(student, inputs), NetworkMean(teacher, inputs)
    if learner.output_shape != model.output_shape:
        raise InputError(
            f"{_OWNER}: the student has {learner.output_shape[0]} outputs, the teacher "
            f"{model.output_shape[0]}; expected as many"
        )
    if optimizer is None:
        optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
    law = inputs.to(torch.float64, learner.device)
    loop = MechanisticDistillation(learner, model, law, order, variant, optimizer, steps)
    with torch.no_grad():
        loop.loss()  # refuses networks that cannot stand side by side
    return loop
