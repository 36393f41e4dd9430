"""Exact answers, where a problem has one."""

from dataclasses import dataclass
from typing import ClassVar

from outsample.estimator import Estimate, Estimator, Explanation
from outsample.problem import Problem


@dataclass(frozen=True)
class Exact(Estimator):
    """The expectation itself, for problems that know it (closed form or enumeration)."""

    mechanistic: ClassVar[bool] = True

    def accepts(self, problem: Problem) -> str | None:
        """Takes problems that have an exact answer."""
        if not problem.has_exact():
            return (
                "it has no exact answer; use the estimator of its kind (outsample.estimate picks "
                "one), or MonteCarlo for any problem"
            )
        return None

    def _estimate(self, problem: Problem, explanation: Explanation | None) -> Estimate:
        value = problem.exact()
        if value is None:
            raise TypeError("accepts() lets only problems with an exact answer in")
        return Estimate(value=value)
