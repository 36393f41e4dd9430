"""The matching sampling principle as a test: its statements, judged on random problems."""

from outsample.comparison.principle.average import Average
from outsample.comparison.principle.check import check_principle
from outsample.comparison.principle.report import PrincipleReport
from outsample.comparison.principle.statements import Condition, Finding, Statement, Step

__all__ = [
    "Average",
    "Condition",
    "Finding",
    "PrincipleReport",
    "Statement",
    "Step",
    "check_principle",
]
