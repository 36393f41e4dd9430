"""Writing a submission: an estimator on ``flopscope.numpy`` that WhestBench runs and meters."""

import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from outsample.cumulants import Cumulants
from outsample.errors import InputError, UnsupportedProblem
from outsample.estimator import Estimator
from outsample.files import write_atomically

#: Module, function and further arguments in the package that is shipped, by the estimator.
_FUNCTIONS = {
    Cumulants(2, "basic"): ("order2", "basic", ""),
    Cumulants(2): ("order2", "augmented", ""),
    Cumulants(2, metric="diagonal"): ("order2", "augmented", ", diagonal=True"),
    Cumulants(3, "basic"): ("order3", "basic", ""),
    Cumulants(3, "basic", metric="diagonal"): ("order3", "basic", ", diagonal=True"),
    Cumulants(3, "elliptical"): ("order3", "elliptical", ""),
}
_MODULES = ("__init__.py", "relu.py", "layer.py", "order2.py", "order3.py")

_ENTRY = '''"""{title}, as `outsample whestbench export` wrote it."""

from typing import Any

from cumulant_propagation.{module} import {function}
from whestbench import BaseEstimator


class Estimator(BaseEstimator):
    """Mean activations without sampling: joint cumulants are pushed through the layers."""

    def predict(self, mlp: Any, budget: int) -> Any:
        """Means after every layer, shape (depth, width); the cost does not depend on the budget."""
        return {function}(mlp.weights{more})
'''

_README = """# {title}

A submission to WhestBench. `estimator.py` is the entry, `cumulant_propagation/` the method on
`flopscope.numpy`: it needs nothing else. It gives what `{estimator}` of outsample gives, to
float32 rounding.

    whest validate --estimator estimator.py
    whest run --estimator estimator.py --runner subprocess --dataset DATASET
    whest package --estimator .

Source of the method: "Estimating the expected output of wide random MLPs more efficiently than
sampling", arXiv 2605.05179 (2026).
"""


def export(estimator: Estimator, folder: str | os.PathLike[str]) -> Path:
    """Write a submission folder that ``whest validate``, ``run`` and ``package`` take.

    Nothing that was computed here travels: the folder holds the method's source.

    Args:
        estimator: ``Cumulants(2, "basic")``, ``Cumulants(2)``, ``Cumulants(3, "basic")`` or
            ``Cumulants(3, "elliptical")``, the second and third also with ``metric="diagonal"``.
            Order 3 is factored and keeps everything, as with ``tolerance=0``, which may be said.
        folder: where to; made if it is not there, and refused if it holds anything.

    Returns:
        The folder.

    Raises:
        UnsupportedProblem: for any other estimator, or other settings.
        InputError: if the folder is not empty or cannot be made.
    """
    same = _exported(estimator)
    module, function, more = _FUNCTIONS[same]
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"folder = {str(target)!r} is not empty; name a new or an empty folder")
    if not target.parent.is_dir():
        raise InputError(f"cannot make {str(target)!r}: there is no folder {str(target.parent)!r}")
    metric = ", diagonal metric" if same.metric == "diagonal" else ""
    title = f"Cumulant propagation of order {same.order}, {same.variant}{metric}"
    package = target / "cumulant_propagation"
    package.mkdir(parents=True)
    source = files("outsample.whestbench.submission")
    for name in _MODULES:
        write_atomically(package / name, source.joinpath(name).read_text("utf-8"))
    readme = _README.format(title=title, estimator=_code(same))
    write_atomically(target / "README.md", readme)
    entry = _ENTRY.format(title=title, module=module, function=function, more=more)
    write_atomically(target / "estimator.py", entry)
    return target


def _exported(estimator: Estimator) -> Cumulants:
    """The one of those that can be exported that gives the same."""
    if isinstance(estimator, Cumulants):
        same = replace(estimator, hidden=False)
        if same.tolerance == 0:
            same = replace(same, tolerance=Cumulants.tolerance)
        if same.factored is True:
            same = replace(same, factored="auto")
        if same in _FUNCTIONS:
            return same
    known = ", ".join(_code(e) for e in _FUNCTIONS)
    raise UnsupportedProblem(
        f"{estimator!r} cannot be exported to WhestBench; these can, with no other settings but "
        f"tolerance=0, which is what is exported: {known}"
    )


def _code(estimator: Cumulants) -> str:
    metric = f", metric={estimator.metric!r}" if estimator.metric == "diagonal" else ""
    return f"Cumulants({estimator.order}, {estimator.variant!r}{metric})"
