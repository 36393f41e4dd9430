"""The method for a product when none is named."""

from outsample.estimator import Estimator
from outsample.problem import Problem
from outsample.products.cnf import SatisfyingFraction
from outsample.products.halfspaces import (
    CommonDirection,
    ExpectationPropagation,
    HalfspaceIntersection,
)
from outsample.products.halfspaces.preparation import prepare
from outsample.products.permanents import Permanent
from outsample.products.projection import Projection

#: Largest correlations of normals at which the corrections D3 and D2 are at their best.
_FOR_THIRD, _FOR_SECOND = 0.45, 0.6
#: Variables that a formula is conditioned on, and the rows of a matrix up to which degree 2 takes
#: well under a second.
_CONDITIONED, _QUADRATIC_ROWS = 6, 300


def recommended(problem: Problem) -> Estimator | None:
    """The mechanistic method that suits a product best; None for other problems.

    Halfspaces: ``ExpectationPropagation``, or ``CommonDirection`` where normals are strongly
    correlated.  Formulas: ``Projection`` of degree 2 with up to 6 variables conditioned on.
    Permanents: ``Projection`` of degree 2, or 1 beyond 300 rows.
    """
    match problem:
        case HalfspaceIntersection():
            largest = prepare(problem).largest_correlation
            if largest > _FOR_SECOND:
                return CommonDirection()
            return ExpectationPropagation("D3" if largest <= _FOR_THIRD else "D2")
        case SatisfyingFraction():
            return Projection(degree=2, conditioned=_CONDITIONED)
        case Permanent():
            return Projection(degree=2 if problem.size <= _QUADRATIC_ROWS else 1)
        case _:
            return None
