"""Which output is the largest, as a detector."""

import math
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from outsample.catastrophe.detectors.detector import Detector, Negation
from outsample.errors import InputError


class Argmax:
    """The place of the largest output, which ``==`` and ``!=`` compare with a class."""

    def __init__(self, margin: float) -> None:
        """Take the margin by which it must be the largest."""
        self._margin = margin

    def __eq__(self, other: object) -> Detector:  # pyright: ignore[reportIncompatibleMethodOverride]
        if isinstance(other, bool) or not isinstance(other, int | np.integer):
            raise InputError(f"{self!r} == {other!r}: expected a class, an integer")
        return ArgmaxIs(int(other), self._margin)

    def __ne__(self, other: object) -> Detector:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ~(self == other)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __bool__(self) -> NoReturn:
        raise InputError(f"{self!r} has no truth value: compare it, as in argmax() == 7")

    def __repr__(self) -> str:
        return f"argmax({f'margin={self._margin:.6g}' if self._margin else ''})"


@dataclass(frozen=True, eq=False, repr=False)
class ArgmaxIs(Detector):
    """Output ``place`` exceeds every other by more than ``margin``."""

    place: int
    margin: float

    def opposite(self) -> Detector:
        """Some other output comes within the margin."""
        return Negation(self)

    def __repr__(self) -> str:
        return f"{Argmax(self.margin)!r} == {self.place}"


def argmax(margin: float = 0.0) -> Argmax:
    """The place of the largest output: ``argmax(margin=2) == 7`` is a detector.

    It says that output 7 exceeds every other by more than ``margin``.

    Args:
        margin: at least 0, in units of the outputs.

    Raises:
        InputError: for a margin that is negative, infinite or no number.

    Example:
        >>> argmax(margin=2) == 7
        argmax(margin=2) == 7
    """
    if isinstance(margin, bool) or not isinstance(margin, int | float | np.integer | np.floating):
        raise InputError(f"argmax: margin = {margin!r}; expected a number of at least 0")
    if not 0 <= margin < math.inf:
        raise InputError(f"argmax: margin = {margin}; expected a finite number of at least 0")
    return Argmax(float(margin))
