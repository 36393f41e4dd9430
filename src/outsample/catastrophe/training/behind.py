"""Detectors of a network that has been put behind another."""

from outsample.catastrophe.detectors.detector import (
    Conjunction,
    Detector,
    Disjunction,
    Negation,
    Threshold,
)
from outsample.catastrophe.detectors.quantity import Quantity, Unit


def behind(detector: Detector, layers: int) -> Detector:
    """The same detector where ``layers`` activation steps of another network come first."""
    match detector:
        case Threshold():
            terms = tuple(
                (_moved(unit, layers), weight) for unit, weight in detector.quantity.terms
            )
            quantity = Quantity(terms, detector.quantity.constant)
            return Threshold(quantity, detector.relation, detector.value)
        case Conjunction():
            return Conjunction(*(behind(part, layers) for part in detector.parts))
        case Disjunction():
            return Disjunction(*(behind(part, layers) for part in detector.parts))
        case Negation():
            return Negation(behind(detector.part, layers))
        case _:  # compares outputs
            return detector


def _moved(unit: Unit, layers: int) -> Unit:
    """The unit's place in the longer chain; layers counted from the end keep theirs."""
    if unit.layer is None or unit.layer < 0:
        return unit
    return Unit(unit.layer + layers, unit.place)
