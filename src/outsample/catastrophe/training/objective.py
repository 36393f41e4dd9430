"""The log probability that training lowers and its adversary raises."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.catastrophe.detectors import Detector
from outsample.catastrophe.problem import CatastropheProbability
from outsample.catastrophe.tilt.tilt import Tilt, log_probability
from outsample.catastrophe.tilt.union import LogProbability
from outsample.catastrophe.tilt.warm import WarmStarts
from outsample.errors import NumericalError
from outsample.estimator import Trust

#: What makes a problem of a detector: a network and a law of its inputs.
MakeProblem = Callable[[Detector], CatastropheProbability]


@dataclass(frozen=True)
class Terms:
    """Log probabilities of a catastrophe C, and of an anomaly A where there is no catastrophe."""

    #: log P(C or A), or log P(C) without an anomaly; differentiable.
    total: Float64[Tensor, ""]
    catastrophe: float
    #: log P(A and not C), -inf if nothing is left of it; None without an anomaly.
    anomaly: float | None
    trust: Trust
    reasons: tuple[str, ...]


class Objective:
    """log E[max(C, A)], with solves that start from the last tilts.

    C is 1 in a catastrophe and A in an anomaly: E[max(C, A)] = P(C) + P(A and not C).
    """

    def __init__(self, detector: Detector, anomaly: Detector | None, tilt: Tilt) -> None:
        """Take the two events and how to estimate them."""
        self.detector, self.anomaly, self.tilt = detector, anomaly, tilt
        self.event = detector if anomaly is None else detector | anomaly
        self._whole, self._part = WarmStarts(), WarmStarts()

    def __call__(self, make: MakeProblem) -> Terms:
        """Evaluate on the network and inputs that ``make`` binds detectors to."""
        total = self._log_probability(make(self.event), self._whole)
        value = float(total.value.detach())
        if self.anomaly is None:
            return Terms(total.value, value, None, total.trust, total.reasons)
        with torch.no_grad():
            part = self._log_probability(make(self.detector), self._part)
        catastrophe = min(float(part.value), value)
        rest = torch.tensor(catastrophe - value, dtype=torch.float64).expm1().neg().log()
        return Terms(total.value, catastrophe, value + float(rest), total.trust, total.reasons)

    def restart(self) -> None:
        """Look for the tilts anew at the next evaluation, from the inputs' own law."""
        self._whole.forget()
        self._part.forget()

    def state_dict(self) -> dict[str, Any]:
        """The tilts; :meth:`load_state_dict` takes them back."""
        return {"whole": self._whole.state_dict(), "part": self._part.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned."""
        self._whole.load_state_dict(state["whole"])
        self._part.load_state_dict(state["part"])

    def _log_probability(self, problem: CatastropheProbability, warm: WarmStarts) -> LogProbability:
        settings = self.tilt.settings
        if not warm:
            return log_probability(problem, settings, warm)[0]
        try:
            # Further starts are for solves from nothing: near a tilt they find the others anew.
            return log_probability(problem, replace(settings, starts=1), warm)[0]
        except NumericalError:
            warm.forget()
            return log_probability(problem, settings, warm)[0]
