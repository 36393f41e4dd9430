"""Formulas with one seeded mistake each: the tests must catch every one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PROPAGATION = ["tests/cumulants/test_cumulants.py", "-k", "golden or exact"]
STEP = "cumulants/covariance_step.py"
GAUSSIAN_INPUT = "cumulants/gaussian_input.py"

#: File, text, its mutant, and the tests that must fail.
MUTANTS = {
    "sign of the squared mean shift": (STEP, "m2 - square", "m2 + square", PROPAGATION),
    "factor in the fourth cumulant": (STEP, "square, alpha=-2)", "square, alpha=-1)", PROPAGATION),
    "Gaussian part of the fourth moment": (
        STEP,
        "rest, rest, value=-3",
        "rest, rest, value=-2",
        PROPAGATION,
    ),
    "centring of the second power": (STEP, "e(1), value=-2", "e(1), value=2", PROPAGATION),
    "factorial of the double edge": (
        STEP,
        "double = covariance * covariance",
        "double = 2 * covariance * covariance",
        PROPAGATION,
    ),
    "symmetrised metric": (
        STEP,
        "self.metric, value=1 / 3)",
        "self.metric, value=1 / 6)",
        PROPAGATION,
    ),
    "third cumulant on two neurons": (
        STEP,
        "torch.stack((h1, p)), value=1 / 3",
        "torch.stack((h1, p)), value=1 / 2",
        PROPAGATION,
    ),
    "projection of the third cumulant": (STEP, "(3 / (n + 2))", "(3 / n)", PROPAGATION),
    "projection of the fourth": (STEP, "(n * (n + 2))", "(n * n)", PROPAGATION),
    "covariances in the fourth trace": (
        STEP,
        "off_diagonal, alpha=-2",
        "off_diagonal, alpha=-1",
        PROPAGATION,
    ),
    "degree of the slope": (
        STEP,
        "slope = expansion.coefficient(1)",
        "slope = expansion.coefficient(2)",
        PROPAGATION,
    ),
    "bias of the affine map": (
        GAUSSIAN_INPUT,
        "torch.addmv(step.bias, step.weight, mean)",
        "torch.mv(step.weight, mean)",
        PROPAGATION,
    ),
    "transposed weight": (
        GAUSSIAN_INPUT,
        "return weight @ scale @ weight.T",
        "return weight.T @ scale @ weight",
        PROPAGATION,
    ),
    "unsquared weights": (GAUSSIAN_INPUT, "weight.square().sum(1)", "weight.sum(1)", PROPAGATION),
    "variance for standard deviation": (
        "distributions/gaussian.py",
        "self.scale.sqrt()",
        "self.scale",
        ["tests/distributions/test_gaussian.py"],
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_tests_catch(name: str, tmp_path: Path) -> None:
    file, text, mutant, tests = MUTANTS[name]
    shutil.copytree(ROOT / "src", tmp_path / "src")
    shutil.copytree(ROOT / "tests", tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    target = tmp_path / "src" / "outsample" / file
    source = target.read_text()
    assert text in source, f"the mutant of {file} is out of date"
    target.write_text(source.replace(text, mutant))
    # PYTHONPATH comes before an editable install.
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1, f"survived:\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}"
