"""The method for a product when none is named."""

import math

import torch

from outsample.estimator import Estimator
from outsample.problem import Problem
from outsample.products.cnf import SatisfyingFraction
from outsample.products.halfspaces import (
    CommonDirection,
    ExpectationPropagation,
    HalfspaceIntersection,
)
from outsample.products.halfspaces.preparation import Prepared, prepare
from outsample.products.permanents import Permanent
from outsample.products.projection import Projection

#: Largest correlations of normals at which the corrections D3 and D2 are at their best.
_FOR_THIRD, _FOR_SECOND = 0.45, 0.6
#: Leading eigenvalue of the correlations that says that many normals share a direction, if it is
#: also this far beyond the largest that independent normals have (Marchenko and Pastur).
_SHARED, _BEYOND_CHANCE = 4.0, 1.2
#: Variables that a formula is conditioned on, and the rows of a matrix up to which degree 2 takes
#: well under a second.
_CONDITIONED, _QUADRATIC_ROWS = 6, 300


def recommended(problem: Problem) -> Estimator | None:
    """The mechanistic method that suits a product best; None for other problems.

    Halfspaces: ``ExpectationPropagation``, or ``CommonDirection`` where two normals are strongly
    correlated or many share a direction.  Formulas: ``Projection`` of degree 2 with up to 6
    variables conditioned on.  Permanents: ``Projection`` of degree 2, or 1 beyond 300 rows.
    """
    match problem:
        case HalfspaceIntersection():
            ready = prepare(problem)
            largest = ready.largest_correlation
            if largest > _FOR_SECOND or _share_direction(ready):
                return CommonDirection()
            return ExpectationPropagation("D3" if largest <= _FOR_THIRD else "D2")
        case SatisfyingFraction():
            return Projection(degree=2, conditioned=_CONDITIONED)
        case Permanent():
            return Projection(degree=2 if problem.size <= _QUADRATIC_ROWS else 1)
        case _:
            return None


def _share_direction(ready: Prepared) -> bool:
    k, n = ready.directions.shape
    if k == 0:
        return False
    leading = float(torch.linalg.eigvalsh(ready.gram.detach())[-1])
    return leading > max(_SHARED, _BEYOND_CHANCE * (1 + math.sqrt(k / n)) ** 2)
