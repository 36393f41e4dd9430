"""Writing a submission: an estimator on ``flopscope.numpy`` that WhestBench runs and meters."""

import os
from importlib.resources import files
from pathlib import Path

from outsample.cumulants import Cumulants
from outsample.errors import InputError, UnsupportedProblem
from outsample.estimator import Estimator
from outsample.files import write_atomically

#: The function of the package that is shipped, by order and variant.
_FUNCTIONS = {
    (2, "basic"): ("order2", "basic"),
    (2, "augmented"): ("order2", "augmented"),
    (3, "basic"): ("order3", "basic"),
    (3, "elliptical"): ("order3", "elliptical"),
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
        return {function}(mlp.weights)
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
            ``Cumulants(3, "elliptical")``.  Order 3 is factored and keeps everything, as with
            ``tolerance=0``.
        folder: where to; made if it is not there, and refused if it holds anything.

    Returns:
        The folder.

    Raises:
        UnsupportedProblem: for any other estimator.
        InputError: if the folder is not empty or cannot be made.
    """
    module, function = _function(estimator)
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"folder = {str(target)!r} is not empty; name a new or an empty folder")
    if not target.parent.is_dir():
        raise InputError(f"cannot make {str(target)!r}: there is no folder {str(target.parent)!r}")
    title = f"Cumulant propagation of order {module[-1]}, {function}"
    package = target / "cumulant_propagation"
    package.mkdir(parents=True)
    source = files("outsample.whestbench.submission")
    for name in _MODULES:
        write_atomically(package / name, source.joinpath(name).read_text("utf-8"))
    same = f"Cumulants({module[-1]}, {function!r})"
    write_atomically(target / "README.md", _README.format(title=title, estimator=same))
    entry = _ENTRY.format(title=title, module=module, function=function)
    write_atomically(target / "estimator.py", entry)
    return target


def _function(estimator: Estimator) -> tuple[str, str]:
    found = None
    if isinstance(estimator, Cumulants) and estimator.factored is not False:
        found = _FUNCTIONS.get((estimator.order, estimator.variant))
    if found is None:
        known = ", ".join(f"Cumulants({order}, {variant!r})" for order, variant in _FUNCTIONS)
        raise UnsupportedProblem(
            f"{estimator!r} cannot be exported to WhestBench; these can: {known}"
        )
    return found
