"""Expectations of products of random factors: halfspaces, formulas and permanents.

One idea serves all three: multiply in one factor exactly, project on low degree, repeat.
"""

from outsample.products.cnf import SatisfyingEstimate, SatisfyingFraction
from outsample.products.halfspaces import (
    CommonDirection,
    DirectionExplainer,
    Directions,
    ExpectationPropagation,
    Genz,
    HalfspaceEstimate,
    HalfspaceIntersection,
    ObservedIntersection,
)
from outsample.products.permanents import (
    Permanent,
    PermanentEstimate,
    SampledPermanent,
    SequentialImportanceSampling,
)
from outsample.products.projection import Projection
from outsample.products.recommended import recommended

__all__ = [
    "CommonDirection",
    "DirectionExplainer",
    "Directions",
    "ExpectationPropagation",
    "Genz",
    "HalfspaceEstimate",
    "HalfspaceIntersection",
    "ObservedIntersection",
    "Permanent",
    "PermanentEstimate",
    "Projection",
    "SampledPermanent",
    "SatisfyingEstimate",
    "SatisfyingFraction",
    "SequentialImportanceSampling",
    "recommended",
]
