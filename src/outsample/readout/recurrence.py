"""Gradient descent as a linear recurrence: where each gradient of a window has got to."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Recurrence:
    """Coefficients of position and momentum buffer in what a window began with and its gradients.

    Stochastic gradient descent with momentum, weight decay, dampening and Nesterov's variant is
    linear in (position, buffer) and the gradients.  Whatever is a linear function of the position
    follows the same recurrence, and so need not be touched at every step.
    """

    def __init__(self, started: bool = False) -> None:
        #: Rows: position, buffer.  Columns: position and buffer at the start, then gradients.
        self.coefficients: Tensor = torch.eye(2, dtype=torch.float64)
        #: Whether there is a momentum buffer yet.
        self.started = started

    @property
    def steps(self) -> int:
        """How many gradients there are."""
        return self.coefficients.shape[1] - 2

    def step(self, settings: Mapping[str, Any]) -> None:
        """Append a gradient and move, as ``torch.optim.SGD`` does with these settings."""
        old = torch.nn.functional.pad(self.coefficients, (0, 1))
        gradient = torch.zeros_like(old[0])
        gradient[-1] = -1.0 if settings.get("maximize", False) else 1.0
        gradient = gradient + float(settings["weight_decay"]) * old[0]
        momentum = float(settings["momentum"])
        if momentum:
            fresh = gradient if not self.started else (1 - float(settings["dampening"])) * gradient
            buffer = momentum * old[1] + fresh if self.started else fresh
            self.started = True
            move = gradient + momentum * buffer if settings["nesterov"] else buffer
        else:
            buffer, move = old[1], gradient
        self.coefficients = torch.stack((old[0] - float(settings["lr"]) * move, buffer))

    def restart(self) -> None:
        """Begin a new window where this one ended."""
        self.coefficients = torch.eye(2, dtype=torch.float64)
