"""Several laws of one adversary, which take turns: each holds the model to what another found."""

import copy
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from outsample.catastrophe.detectors import Detector
from outsample.catastrophe.tilt import Tilt
from outsample.catastrophe.training.adversary import Adversary
from outsample.catastrophe.training.objective import Objective, Terms


class Attacker:
    """One law, with its optimiser and the tilts found under it."""

    def __init__(
        self,
        adversary: Adversary,
        rate: float,
        detector: Detector,
        anomaly: Detector | None,
        tilt: Tilt,
    ) -> None:
        """Start from where ``adversary`` stands, which is left alone."""
        self.adversary, self._rate = copy.deepcopy(adversary), rate
        self._first = {key: value.clone() for key, value in adversary.state_dict().items()}
        self.objective = Objective(detector, anomaly, tilt)
        self._optimizer = torch.optim.Adam(self.adversary.parameters(), lr=rate)
        #: log p at its last turn.
        self.reached = -math.inf

    def terms(self, model: nn.Module) -> Terms:
        """The objective on the model as it is now."""
        terms = self.objective(partial(self.adversary.problem, model))
        self.reached = float(terms.total.detach())
        return terms

    def ascend(self, model: nn.Module, steps: int) -> None:
        """Raise the objective."""
        for _ in range(steps):
            self.adversary.ascend(self.terms(model), self._optimizer)

    def renew(self) -> None:
        """Back to where it started, with nothing learnt."""
        self.adversary.load_state_dict(self._first)
        self._optimizer = torch.optim.Adam(self.adversary.parameters(), lr=self._rate)
        self.objective.restart()

    def state_dict(self) -> dict[str, Any]:
        """All that changes; :meth:`load_state_dict` takes it back."""
        return {
            "adversary": self.adversary.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "tilts": self.objective.state_dict(),
            "reached": self.reached,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned."""
        self.adversary.load_state_dict(state["adversary"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.objective.load_state_dict(state["tilts"])
        self.reached = state["reached"]
