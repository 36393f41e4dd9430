"""Intersections of halfspaces: the problem, its polynomial head, expectation propagation, Genz."""

from outsample.products.halfspaces.common_direction import CommonDirection
from outsample.products.halfspaces.directions import Directions
from outsample.products.halfspaces.estimate import HalfspaceEstimate
from outsample.products.halfspaces.expectation_propagation import ExpectationPropagation
from outsample.products.halfspaces.genz import Genz
from outsample.products.halfspaces.learned import DirectionExplainer, ObservedIntersection
from outsample.products.halfspaces.problem import HalfspaceIntersection

__all__ = [
    "CommonDirection",
    "DirectionExplainer",
    "Directions",
    "ExpectationPropagation",
    "Genz",
    "HalfspaceEstimate",
    "HalfspaceIntersection",
    "ObservedIntersection",
]
