"""Studies of many cells: files that describe them, the runner, and the store of results."""

from outsample.comparison.sweeps.runner import Outcome, sweep
from outsample.comparison.sweeps.store import Store
from outsample.comparison.sweeps.study import AtBudget, Study

__all__ = ["AtBudget", "Outcome", "Store", "Study", "sweep"]
