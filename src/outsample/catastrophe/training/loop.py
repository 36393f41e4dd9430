"""The loop of mechanistic training: one ascent of the adversary, one descent of the model."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from outsample.catastrophe.detectors import Detector
from outsample.catastrophe.training.adversary import Adversary
from outsample.catastrophe.training.check import Check, checked
from outsample.catastrophe.training.objective import Objective, Terms
from outsample.catastrophe.training.settings import TrainingSettings
from outsample.errors import InputError, NumericalError
from outsample.estimator import Trust

_OWNER = "mechanistic_training"


@dataclass(frozen=True)
class TrainingStep:
    """What one step of training found; log probabilities are natural logarithms."""

    #: Steps done, this one included.
    step: int
    #: The task's loss before the step.
    task_loss: float
    #: log P(C or A) under the adversary after its ascents, before the model's step; log P(C)
    #: if there is no anomaly.
    log_probability: float
    #: log P(C), and log P(A and not C): None without an anomaly.
    log_catastrophe: float
    log_anomaly: float | None
    #: Below this log probability nothing is lowered.
    floor: float
    #: How much of the adversary's budget is used, in nats.
    divergence: float
    trust: Trust
    reasons: tuple[str, ...]
    #: The estimate after the step beside an independent one, where it was this step's turn.
    check: Check | None = None
    #: Why training stops with this step; None while it goes on.
    stopped: str | None = None


class MechanisticTraining(Iterator[TrainingStep]):
    """The loop that :func:`mechanistic_training` makes: one step at a time, and resumable."""

    def __init__(
        self,
        model: nn.Module,
        task: Callable[[int], Tensor],
        detector: Detector,
        adversary: Adversary,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        settings: TrainingSettings,
    ) -> None:
        """Take what :func:`mechanistic_training` has checked."""
        self.model, self.task, self.detector, self.adversary = model, task, detector, adversary
        self.optimizer = optimizer
        self.adversary_optimizer = torch.optim.Adam(
            adversary.parameters(), lr=settings.adversary_rate
        )
        self.settings = settings
        #: Steps done, the floor once it is known, and why training stopped, if it did.
        self.step, self.floor = 0, settings.floor
        self.stopped: str | None = None
        self._objective = objective

    def __iter__(self) -> Self:
        """The loop itself: what was done is not done again."""
        return self

    def __next__(self) -> TrainingStep:
        """Let the adversary ascend and the model descend once.

        Numerical trouble and failed checks stop the loop and are reported in the last step; they
        are not raised, and leave model and adversary as they are.

        Raises:
            StopIteration: after the last step, or once the loop has stopped.
            InputError: if the task's loss is no finite number or does not depend on the model.
        """
        if self.stopped is not None or self.step == self.settings.steps:
            raise StopIteration
        if self.step == 0:
            failed = self._warm_up()
            if failed is not None:
                return failed
        for _ in range(self.settings.ascents):
            terms = self._terms()
            if isinstance(terms, str):
                return self._failed(terms)
            self.adversary.ascend(terms, self.adversary_optimizer)
        terms = self._terms()
        if isinstance(terms, str):
            return self._failed(terms)
        task_loss = self._descend(terms)
        self.step += 1
        check = None
        if self.settings.check_every and self.step % self.settings.check_every == 0:
            check = self._check()
            if isinstance(check, str):
                return self._failed(check)
            if check.agrees is False:
                self.stopped = (
                    f"log p = {check.log_probability:.4g} but the check has "
                    f"{check.log_checked:.4g}: they part by more than a factor "
                    f"{self.settings.factor:.4g}"
                )
        return self._report(task_loss, terms, check)

    def state_dict(self) -> dict[str, Any]:
        """All that the loop needs to go on from here, for ``torch.save``.

        A task that has ``state_dict`` and ``load_state_dict`` of its own is included.
        """
        state = {
            "step": self.step,
            "floor": self.floor,
            "stopped": self.stopped,
            "model": self.model.state_dict(),
            "adversary": self.adversary.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "adversary_optimizer": self.adversary_optimizer.state_dict(),
            "tilts": self._objective.state_dict(),
        }
        own = getattr(self.task, "state_dict", None)
        return state if own is None else {**state, "task": own()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where :meth:`state_dict` was called, in a loop made with the same settings.

        Raises:
            InputError: for a state with something missing, by name.
        """
        parts = ("step", "floor", "stopped", "model", "adversary", "optimizer")
        missing = {*parts, "adversary_optimizer", "tilts"} - state.keys()
        if missing:
            raise InputError(f"{_OWNER}: the state lacks {', '.join(sorted(missing))}")
        self.step, self.floor, self.stopped = state["step"], state["floor"], state["stopped"]
        self.model.load_state_dict(state["model"])
        self.adversary.load_state_dict(state["adversary"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.adversary_optimizer.load_state_dict(state["adversary_optimizer"])
        self._objective.load_state_dict(state["tilts"])
        if "task" in state:
            self.task.load_state_dict(state["task"])  # pyright: ignore[reportFunctionMemberAccess]

    def _warm_up(self) -> TrainingStep | None:
        """The adversary's first ascents, and the floor that follows from where they lead."""
        for _ in range(self.settings.warm_up):
            terms = self._terms()
            if isinstance(terms, str):
                return self._failed(terms)
            self.adversary.ascend(terms, self.adversary_optimizer)
        if self.floor is None:
            terms = self._terms()
            if isinstance(terms, str):
                return self._failed(terms)
            self.floor = float(terms.total.detach()) - math.log(self.settings.fall)
        return None

    def _terms(self) -> Terms | str:
        """The objective now, or what went wrong with it."""
        try:
            return self._objective(partial(self.adversary.problem, self.model))
        except NumericalError as error:
            return str(error)

    def _descend(self, terms: Terms) -> float:
        """One step of the model down task + weight · relu(log p - floor)."""
        loss = self.task(self.step)
        if not isinstance(loss, Tensor) or loss.dim() > 0 or not loss.requires_grad:
            raise InputError(
                f"{_OWNER}: task({self.step}) returned {loss!r}; expected a scalar tensor that "
                "depends on the model's parameters"
            )
        if not math.isfinite(float(loss.detach())):
            raise InputError(f"{_OWNER}: task({self.step}) is {float(loss.detach())}")
        excess = (terms.total - (self.floor or 0.0)).clamp_min(0).to(loss)
        groups = self.optimizer.param_groups
        parameters = [p for group in groups for p in group["params"] if p.requires_grad]
        whole = loss + self.settings.weight * excess if float(excess.detach()) > 0 else loss
        slopes = torch.autograd.grad(whole, parameters, allow_unused=True)
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.grad = slope
        self.optimizer.step()
        return float(loss.detach())

    def _check(self) -> Check | str:
        """The estimate as it stands after the step, beside an independent one."""
        self._objective.restart()  # other tilts may have become the likelier ones
        with torch.no_grad():
            terms = self._terms()
            if isinstance(terms, str):
                return terms
            problem = self.adversary.problem(self.model, self._objective.event)
            value = float(terms.total)
            settings = self.settings
            return checked(problem, value, settings.check, self.step, settings.factor)

    def _report(self, task_loss: float, terms: Terms, check: Check | None) -> TrainingStep:
        return TrainingStep(
            self.step,
            task_loss,
            float(terms.total.detach()),
            terms.catastrophe,
            terms.anomaly,
            math.nan if self.floor is None else self.floor,
            float(self.adversary.divergence().detach()),
            terms.trust,
            terms.reasons,
            check,
            self.stopped,
        )

    def _failed(self, reason: str) -> TrainingStep:
        """The last step of a loop whose estimate left the range of floating point."""
        self.stopped = reason
        nothing = Terms(torch.tensor(math.nan), math.nan, None, "unreliable", (reason,))
        return self._report(math.nan, nothing, None)
