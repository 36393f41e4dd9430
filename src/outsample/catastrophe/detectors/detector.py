"""Detectors: events in terms of a network's outputs, and their algebra."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn

from outsample.errors import InputError

if TYPE_CHECKING:
    from outsample.catastrophe.detectors.quantity import Quantity

Relation = Literal[">", ">=", "<", "<="]

_OPPOSITE: dict[Relation, Relation] = {">": "<=", ">=": "<", "<": ">=", "<=": ">"}


class Detector(ABC):
    """An event in terms of a network's outputs and hidden units.

    ``a & b`` is both, ``a | b`` either, ``~a`` the opposite.  Which outputs there are is known
    only when a :class:`~outsample.CatastropheProbability` binds the detector to a network.

    Raises:
        InputError: where Python asks for a truth value: in ``and``, ``or``, ``not``, ``if`` and
            chained comparisons such as ``1 < output[0] < 2``.
    """

    @abstractmethod
    def opposite(self) -> "Detector":
        """The event that this one does not happen."""

    @abstractmethod
    def __repr__(self) -> str:
        """As one writes it."""

    def __and__(self, other: object) -> "Detector":
        return Conjunction(*_parts(Conjunction, "&", self, other))

    def __or__(self, other: object) -> "Detector":
        return Disjunction(*_parts(Disjunction, "|", self, other))

    __rand__ = __and__
    __ror__ = __or__

    def __invert__(self) -> "Detector":
        return self.opposite()

    def __bool__(self) -> NoReturn:
        raise InputError(
            f"detector {self!r} has no truth value: combine detectors with & | ~ instead of and, "
            "or, not, and write 1 < output[0] < 2 as (output[0] > 1) & (output[0] < 2)"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Threshold(Detector):
    """``quantity relation value``, such as ``output[3] > 2``.

    An infinite ``value`` makes the event certain or impossible.
    """

    quantity: "Quantity"
    relation: Relation
    value: float

    def opposite(self) -> Detector:
        """The other side of the threshold; what lies on it changes sides too."""
        return Threshold(self.quantity, _OPPOSITE[self.relation], self.value)

    def __repr__(self) -> str:
        return f"{self.quantity!r} {self.relation} {self.value:.6g}"


class Conjunction(Detector):
    """All of several events."""

    def __init__(self, *parts: Detector) -> None:
        """Take the events, at least one."""
        self.parts = parts

    def opposite(self) -> Detector:
        """At least one of them does not happen (De Morgan)."""
        return Disjunction(*(part.opposite() for part in self.parts))

    def __repr__(self) -> str:
        return " & ".join(f"({part!r})" for part in self.parts)


class Disjunction(Detector):
    """At least one of several events."""

    def __init__(self, *parts: Detector) -> None:
        """Take the events, at least one."""
        self.parts = parts

    def opposite(self) -> Detector:
        """None of them happens (De Morgan)."""
        return Conjunction(*(part.opposite() for part in self.parts))

    def __repr__(self) -> str:
        return " | ".join(f"({part!r})" for part in self.parts)


@dataclass(frozen=True, eq=False, repr=False)
class Negation(Detector):
    """Not ``part``, for events that are spelled out only when bound to a network."""

    part: Detector

    def opposite(self) -> Detector:
        """The event itself."""
        return self.part

    def __repr__(self) -> str:
        return f"~({self.part!r})"


def _parts(
    kind: type[Conjunction] | type[Disjunction], sign: str, first: Detector, second: object
) -> tuple[Detector, ...]:
    """Both events, or those they are made of."""
    if not isinstance(second, Detector):
        raise InputError(
            f"({first!r}) {sign} {second!r}: expected a detector, such as output[3] > 2.0"
        )
    parts: list[Detector] = []
    for detector in (first, second):
        parts += detector.parts if isinstance(detector, kind) else (detector,)
    return tuple(parts)
