"""Estimators side by side at equal cost: families, the runner, verdicts, tables and figures."""

from outsample.comparison import families
from outsample.comparison.cells import Cell, Method, Truth, find_truth, run_cell
from outsample.comparison.families import Fixed, RandomMLP
from outsample.comparison.mechanistic import forbid_randomness
from outsample.comparison.principle import PrincipleReport, check_principle
from outsample.comparison.result import Comparison
from outsample.comparison.runner import compare
from outsample.comparison.scores import Ratio, Sampling, Score

__all__ = [
    "Cell",
    "Comparison",
    "Fixed",
    "Method",
    "PrincipleReport",
    "RandomMLP",
    "Ratio",
    "Sampling",
    "Score",
    "Truth",
    "check_principle",
    "compare",
    "families",
    "find_truth",
    "forbid_randomness",
    "run_cell",
]
