"""A detector bound to a network: a disjunction of conjunctions of linear thresholds."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from outsample.catastrophe.detectors.argmax import ArgmaxIs
from outsample.catastrophe.detectors.detector import (
    Conjunction,
    Detector,
    Disjunction,
    Negation,
    Threshold,
)
from outsample.catastrophe.detectors.quantity import Unit, output
from outsample.errors import InputError, UnsupportedProblem

#: Conjunctions that a detector may amount to, when simplified.
MOST_CONJUNCTIONS = 64
#: Decimal digits to which two functionals must agree to be taken for multiples of each other.
_DIGITS = 12

#: Σ weight · unit with largest |weight| 1 and the first weight positive.
Line = tuple[tuple[Unit, float], ...]


class Widths(NamedTuple):
    """What a network has to offer: numbers of outputs and of units after each activation."""

    outputs: int
    hidden: tuple[int, ...]


@dataclass(frozen=True)
class LinearThreshold:
    """Σ weight · unit > value, or >= unless ``strict``."""

    row: Line
    value: float
    strict: bool


@dataclass(frozen=True)
class _Axis:
    """A line, equal to others that agree with it to twelve digits."""

    rounded: Line
    line: Line = field(compare=False)

    @classmethod
    def of(cls, line: Line) -> Self:
        """The axis of a line."""
        rounded = tuple((unit, float(f"{weight:.{_DIGITS}g}")) for unit, weight in line)
        return cls(rounded, line)


class _Interval(NamedTuple):
    """Which values of a line are meant: between the limits, without those that are strict."""

    lower: float = -math.inf
    above: bool = True
    upper: float = math.inf
    below: bool = True

    def within(self, other: "_Interval") -> bool:
        """Whether every value in this interval lies in the other."""
        return self.meet(other) == self

    def meet(self, other: "_Interval") -> "_Interval":
        """The values in both."""
        lower, above = max((self.lower, self.above), (other.lower, other.above))
        upper, below = max((-self.upper, self.below), (-other.upper, other.below))
        return _Interval(lower, above, -upper, below)

    @property
    def empty(self) -> bool:
        """Whether there is no such value."""
        if self.lower == self.upper:
            return self.above or self.below
        return self.lower > self.upper

    def covers_with(self, other: "_Interval") -> bool:
        """Whether every number lies in this interval, which has no lower end, or in the other."""
        if self.lower > -math.inf or other.upper < math.inf:
            return False
        if self.upper == other.lower:
            return not (self.below and other.above)
        return self.upper > other.lower


#: One conjunction: the interval of every axis that it restricts.
_Box = dict[_Axis, _Interval]


def normal_form(detector: Detector, widths: Widths) -> tuple[tuple[LinearThreshold, ...], ...]:
    """Conjunctions whose union is the event; none if it is impossible, an empty one if certain.

    Multiples of one functional are compared with each other: duplicates, thresholds that others
    imply, contradictions and conjunctions within others are left out.

    Raises:
        InputError: for outputs, layers or units that the network does not have, or an argmax of
            a single output.
        UnsupportedProblem: if more than 64 conjunctions are left.
    """
    boxes = _boxes(detector, widths, detector)
    return tuple(tuple(_thresholds(box)) for box in boxes)


def _thresholds(box: _Box) -> Iterator[LinearThreshold]:
    for axis, interval in box.items():
        line = axis.line
        if interval.lower > -math.inf:
            yield LinearThreshold(line, interval.lower, interval.above)
        if interval.upper < math.inf:
            opposite = tuple((unit, -weight) for unit, weight in line)
            yield LinearThreshold(opposite, -interval.upper + 0.0, interval.below)  # never -0


def _boxes(detector: Detector, widths: Widths, whole: Detector) -> list[_Box]:
    match detector:
        case Threshold():
            return _box_of(detector, widths)
        case ArgmaxIs():
            return _boxes(_spelled_out(detector, widths), widths, whole)
        case Negation(ArgmaxIs() as part):
            return _boxes(_spelled_out(part, widths).opposite(), widths, whole)
        case Disjunction():
            found = (box for part in detector.parts for box in _boxes(part, widths, whole))
            return _simplified(found, whole)
        case Conjunction():
            boxes: list[_Box] = [{}]
            for part in detector.parts:
                more = _boxes(part, widths, whole)
                both = (_intersection(one, other) for one in boxes for other in more)
                boxes = _simplified((box for box in both if box is not None), whole)
            return boxes
        case _:
            raise InputError(
                f"detector {detector!r} ({type(detector).__name__}) is of no known kind; combine "
                "thresholds and argmax with & | ~"
            )


def _intersection(one: _Box, other: _Box) -> _Box | None:
    """The conjunction of two, None if it is a contradiction."""
    both = dict(one)
    for axis, interval in other.items():
        both[axis] = both.get(axis, _Interval()).meet(interval)
        if both[axis].empty:
            return None
    return both


def _simplified(boxes: Iterable[_Box], whole: Detector) -> list[_Box]:
    """The same union without conjunctions that lie within others."""
    kept: list[_Box] = []
    for box in boxes:
        if any(_within(box, other) for other in kept):
            continue
        kept = [other for other in kept if not _within(other, box)]
        if any(_complete(box, other) or _complete(other, box) for other in kept):
            return [{}]
        kept.append(box)
        if len(kept) > MOST_CONJUNCTIONS:
            raise UnsupportedProblem(
                f"the detector {_shortened(whole)} amounts to a union of more than "
                f"{MOST_CONJUNCTIONS} conjunctions of thresholds; put a detector network behind "
                "the network instead (torch.nn.Sequential(network, detector)), or estimate parts "
                "of it"
            )
    return kept


def _within(one: _Box, other: _Box) -> bool:
    return all(axis in one and one[axis].within(wanted) for axis, wanted in other.items())


def _complete(one: _Box, other: _Box) -> bool:
    """Whether two half-lines cover the whole line."""
    if len(one) != 1 or one.keys() != other.keys():
        return False
    (axis,) = one
    return one[axis].covers_with(other[axis])


def _box_of(threshold: Threshold, widths: Widths) -> list[_Box]:
    """No conjunction, one without thresholds, or one of a single threshold."""
    weights: dict[Unit, float] = {}
    for unit, weight in threshold.quantity.terms:
        place = _resolved(unit, widths)
        weights[place] = weights.get(place, 0.0) + weight
    terms = sorted(
        ((unit, weight) for unit, weight in weights.items() if weight != 0),
        key=lambda term: (-1 if term[0].layer is None else term[0].layer, term[0].place),
    )
    strict = threshold.relation in (">", "<")
    upwards = threshold.relation in (">", ">=")
    if not terms or math.isinf(threshold.value):
        value = threshold.value if upwards else -threshold.value
        return [{}] if value < 0 or (value == 0 and not strict) else []
    size = math.copysign(max(abs(weight) for _, weight in terms), terms[0][1])
    axis = _Axis.of(tuple((unit, weight / size) for unit, weight in terms))
    value = threshold.value / size
    if upwards == (size > 0):
        interval = _Interval(lower=value, above=strict)
    else:
        interval = _Interval(upper=value, below=strict)
    return [{axis: interval}]


def _resolved(unit: Unit, widths: Widths) -> Unit:
    """The unit with indices counted from the front; refuses those beyond the network."""
    layer, width = None, widths.outputs
    if unit.layer is not None:
        depth = len(widths.hidden)
        if not -depth <= unit.layer < depth:
            count = f"{depth} activation step" + ("" if depth == 1 else "s")
            raise InputError(f"{unit}: the network has {count}; hidden[0] is the first")
        layer = unit.layer % depth
        width = widths.hidden[layer]
    if not -width <= unit.place < width:
        kind = "outputs" if layer is None else "units in that layer"
        raise InputError(f"{unit}: the network has {width} {kind}")
    return Unit(layer, unit.place % width)


def _spelled_out(detector: ArgmaxIs, widths: Widths) -> Conjunction:
    """Thresholds on differences between outputs."""
    if widths.outputs < 2:
        raise InputError(f"{detector!r}: the network has one output; expected at least 2")
    place = _resolved(Unit(None, detector.place), widths).place
    return Conjunction(
        *(
            output[place] - output[other] > detector.margin
            for other in range(widths.outputs)
            if other != place
        )
    )


def _shortened(detector: Detector) -> str:
    shown = repr(detector)
    return shown if len(shown) < 80 else shown[:76] + " ..."
