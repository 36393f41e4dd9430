"""The loop of mechanistic training: one ascent of the adversary, one descent of the model."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from outsample.catastrophe.training.adversary import Adversary
from outsample.catastrophe.training.check import Check, checked
from outsample.catastrophe.training.objective import Terms
from outsample.catastrophe.training.pool import Attacker
from outsample.catastrophe.training.settings import TrainingSettings
from outsample.errors import InputError, NumericalError
from outsample.estimator import Trust

_OWNER = "mechanistic_training"
#: What is known of log p where the estimate left the range of floating point.
_NOTHING = Terms(torch.tensor(math.nan), math.nan, None, "unreliable", ())


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
    #: What the descent adds to the estimate: by how much checks so far found log p above it.
    offset: float
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
        adversary: Adversary,
        attackers: Sequence[Attacker],
        optimizer: torch.optim.Optimizer,
        settings: TrainingSettings,
    ) -> None:
        """Take what :func:`mechanistic_training` has checked."""
        self.model, self.task, self.optimizer = model, task, optimizer
        #: The law that was the strongest at its last turn.
        self.adversary = adversary
        self.settings = settings
        #: Steps done, the floor once it is known, and why training stopped, if it did.
        self.step, self.floor = 0, settings.floor
        #: By how much checks found log p above its estimates, the last ones most.
        self.offset = 0.0
        self.stopped: str | None = None
        self._attackers = attackers

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
        try:
            attacker = self._prepare()
            attacker.ascend(self.model, self.settings.ascents)
            terms = attacker.terms(self.model)
        except NumericalError as error:
            self.stopped = str(error)
            return self._report(math.nan, _NOTHING)
        task_loss = self._descend(terms)
        self.step += 1
        strongest = max(self._attackers, key=lambda one: one.reached)
        self.adversary.load_state_dict(strongest.adversary.state_dict())
        check = None
        if self.settings.check_every and self.step % self.settings.check_every == 0:
            try:
                check = self._check(strongest)
            except NumericalError as error:
                self.stopped = str(error)
        return self._report(task_loss, terms, check)

    def state_dict(self) -> dict[str, Any]:
        """All that the loop needs to go on from here, for ``torch.save``.

        A task that has ``state_dict`` and ``load_state_dict`` of its own is included.
        """
        state = {
            "step": self.step,
            "floor": self.floor,
            "offset": self.offset,
            "stopped": self.stopped,
            "model": self.model.state_dict(),
            "adversary": self.adversary.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "attackers": [attacker.state_dict() for attacker in self._attackers],
        }
        own = getattr(self.task, "state_dict", None)
        return state if own is None else {**state, "task": own()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where :meth:`state_dict` was called, in a loop made with the same settings.

        Raises:
            InputError: for a state with something missing, by name.
        """
        own = {"step", "floor", "offset", "stopped"}
        missing = (own | {"model", "adversary", "optimizer", "attackers"}) - state.keys()
        if missing:
            raise InputError(f"{_OWNER}: the state lacks {', '.join(sorted(missing))}")
        if len(state["attackers"]) != len(self._attackers):
            raise InputError(
                f"{_OWNER}: the state has {len(state['attackers'])} laws, this loop "
                f"{len(self._attackers)}; make it with the same settings"
            )
        self.step, self.floor, self.stopped = state["step"], state["floor"], state["stopped"]
        self.offset = state["offset"]
        self.model.load_state_dict(state["model"])
        self.adversary.load_state_dict(state["adversary"])
        self.optimizer.load_state_dict(state["optimizer"])
        for attacker, kept in zip(self._attackers, state["attackers"], strict=True):
            attacker.load_state_dict(kept)
        if "task" in state:
            self.task.load_state_dict(state["task"])  # pyright: ignore[reportFunctionMemberAccess]

    def _prepare(self) -> Attacker:
        """Whose turn it is, after the first ascents of those that start."""
        settings, attackers = self.settings, self._attackers
        every = settings.renew_every or math.inf
        if self.step == 0:
            attackers[0].ascend(self.model, settings.warm_up)
        elif self.step % every == 0:
            attacker = attackers[int(self.step // every) % len(attackers)]
            attacker.renew()
            attacker.ascend(self.model, settings.warm_up)
        if self.floor is None:
            reached = float(attackers[0].terms(self.model).total.detach())
            self.floor = reached - math.log(settings.fall)
        begun = 1 + int(self.step // every)
        return attackers[self.step % min(begun, len(attackers))]

    def _descend(self, terms: Terms) -> float:
        """One step of the model down task + weight · relu(log p + offset - floor)."""
        loss = self.task(self.step)
        if not isinstance(loss, Tensor) or loss.dim() > 0 or not loss.requires_grad:
            raise InputError(
                f"{_OWNER}: task({self.step}) returned {loss!r}; expected a scalar tensor that "
                "depends on the model's parameters"
            )
        if not math.isfinite(float(loss.detach())):
            raise InputError(f"{_OWNER}: task({self.step}) is {float(loss.detach())}")
        excess = (terms.total + self.offset - (self.floor or 0.0)).clamp_min(0).to(loss)
        groups = self.optimizer.param_groups
        parameters = [p for group in groups for p in group["params"] if p.requires_grad]
        whole = loss + self.settings.weight * excess if float(excess.detach()) > 0 else loss
        slopes = torch.autograd.grad(whole, parameters, allow_unused=True)
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.grad = slope
        self.optimizer.step()
        return float(loss.detach())

    def _check(self, attacker: Attacker) -> Check:
        """The estimate as it stands after the step, beside an independent one."""
        settings, objective = self.settings, attacker.objective
        objective.restart()  # other tilts may have become the likelier ones
        with torch.no_grad():
            value = float(attacker.terms(self.model).total)
            problem = attacker.adversary.problem(self.model, objective.event)
            check = checked(problem, value, settings.check, self.step, settings.factor)
        if check.agrees is False:
            self.stopped = (
                f"log p = {value:.4g} but the check has {check.log_checked:.4g}: they part by "
                f"more than a factor {settings.factor:.4g}"
            )
        if check.agrees:
            # What the descent gains where the estimate errs low is no gain.
            self.offset = (self.offset + check.log_checked - check.log_probability) / 2
        return check

    def _report(self, task_loss: float, terms: Terms, check: Check | None = None) -> TrainingStep:
        trust, reasons = terms.trust, terms.reasons
        if terms is _NOTHING and self.stopped is not None:
            reasons = (self.stopped,)
        return TrainingStep(
            self.step,
            task_loss,
            float(terms.total.detach()),
            terms.catastrophe,
            terms.anomaly,
            math.nan if self.floor is None else self.floor,
            self.offset,
            float(self.adversary.divergence().detach()),
            trust,
            reasons,
            check,
            self.stopped,
        )
