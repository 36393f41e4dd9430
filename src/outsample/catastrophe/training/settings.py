"""Settings of training, and checks of them that several parts share."""

import math
from dataclasses import dataclass
from typing import cast

from outsample.catastrophe.estimate import TailEstimator
from outsample.errors import InputError
from outsample.estimator import positive_integer

_OWNER = "mechanistic_training"


def positive_number(owner: str, name: str, value: object) -> float:
    """The value as a float; refuse anything but a finite number above 0."""
    number = not isinstance(value, bool) and isinstance(value, int | float)
    if not number or not 0 < cast(float, value) < math.inf:
        raise InputError(f"{owner}: {name} = {value!r}; expected a finite number above 0")
    return float(cast(float, value))


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of the loop; :func:`mechanistic_training` says what they mean."""

    weight: float
    floor: float | None
    fall: float
    adversary_rate: float
    ascents: int
    warm_up: int
    laws: int
    renew_every: int
    check: TailEstimator
    check_every: int
    factor: float
    steps: int | None

    def __post_init__(self) -> None:
        """Check the ranges, by name."""
        for name in ("weight", "adversary_rate"):
            positive_number(_OWNER, name, getattr(self, name))
        for name in ("fall", "factor"):
            if positive_number(_OWNER, name, getattr(self, name)) <= 1:
                raise InputError(f"{_OWNER}: {name} = {getattr(self, name)}; expected more than 1")
        for name in ("ascents", "warm_up", "renew_every", "check_every"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise InputError(f"{_OWNER}: {name} = {value!r}; expected an integer of at least 0")
        positive_integer(_OWNER, "laws", self.laws)
        if self.steps is not None:
            positive_integer(_OWNER, "steps", self.steps)
        if self.floor is not None and not -math.inf < self.floor < 0:
            raise InputError(
                f"{_OWNER}: floor = {self.floor!r}; expected a finite log probability below 0"
            )
        if not isinstance(self.check, TailEstimator):
            raise InputError(
                f"{_OWNER}: check is {self.check!r}; expected an estimator of catastrophes such as "
                "SubsetSimulation()"
            )
