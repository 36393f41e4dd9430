"""Satisfying fractions of CNF formulas: the problem, its Fourier head and exact enumeration."""

from outsample.products.cnf.estimate import SatisfyingEstimate
from outsample.products.cnf.problem import SatisfyingFraction

__all__ = ["SatisfyingEstimate", "SatisfyingFraction"]
