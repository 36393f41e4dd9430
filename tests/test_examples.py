"""The examples work: the plug-in is installed, and found by name wherever names are taken."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import outsample as ou
from outsample.comparison.sweeps import Study, registry

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
COMMAND = "from outsample.cli import main; main()"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that pip has installed the plug-in to, without a network."""
    root = tmp_path_factory.mktemp("plugin")
    source, target = root / "source", root / "installed"
    shutil.copytree(EXAMPLES / "plugin", source)  # building leaves files behind
    words = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--target", str(target)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *words, str(source)],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def plugin(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plug-in's module, with the plug-in on the path."""
    monkeypatch.syspath_prepend(str(installed))
    return __import__("outsample_example")


def run(installed: Path, *words: object) -> dict[str, Any]:
    """What a command says, as a document."""
    paths = [str(installed), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, words), "--json"],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OUTSAMPLE_CACHE": ""},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_names_lead_to_the_classes(plugin: Any) -> None:
    assert registry.estimator_class("TaylorMean") is plugin.TaylorMean
    assert registry.family_class("Ripples") is plugin.Ripples
    assert registry.parse_estimator("taylor-mean:order=1") == plugin.TaylorMean(order=1)
    assert registry.parse_family("Ripples:size=3:roughness=0.1") == plugin.Ripples(3, 16, 0.1)
    with pytest.raises(ou.InputError, match="order = 3"):
        registry.parse_estimator("TaylorMean:order=3")


def test_without_the_plugin_its_names_are_not_known() -> None:
    with pytest.raises(ou.InputError, match="'Ripples' is not known"):
        registry.family_class("Ripples")


def test_the_family_knows_its_expectations(plugin: Any) -> None:
    problem = plugin.Ripples().problem(0)
    found = ou.MonteCarlo(samples=200_000).estimate(problem)
    assert abs(found.value - problem.exact()) < 5 * found.standard_error


def test_the_estimator_is_exact_for_quadratic_functions(plugin: Any) -> None:
    matrix = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    class Form(ou.Problem):
        output_shape = ()
        inputs = ou.Gaussian(torch.arange(4, dtype=torch.float64), matrix @ matrix.T)

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return ((x @ matrix) * x).sum(1)

        def signature(self) -> object:
            return "form"

        def tensors(self) -> list[torch.Tensor]:
            return [matrix]

    problem = Form()
    mean, covariance = problem.inputs.mean, problem.inputs.covariance
    exact = mean @ matrix @ mean + (matrix * covariance).sum()
    found = plugin.TaylorMean().estimate(problem).value
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=0)


def test_the_tolerance_governs_the_order(plugin: Any) -> None:
    problem = plugin.Ripples(size=8).problem(0)
    orders = [plugin.TaylorMean.at(samples**-0.5, problem).order for samples in (1, 16, 17, 64)]
    assert orders == [1, 1, 2, 2]


def test_its_study_is_read(plugin: Any) -> None:
    study = Study.read(EXAMPLES / "studies" / "plugin.toml")
    assert [type(family) for family in study.families] == [plugin.Ripples] * 2
    assert len(study.methods) == 4


def test_its_study_runs(installed: Path, tmp_path: Path) -> None:
    text = (EXAMPLES / "studies" / "plugin.toml").read_text("utf-8")
    assert "seeds = 4\n" in text
    shorter, store = tmp_path / "plugin.toml", tmp_path / "plugin.duckdb"
    shorter.write_text(text.replace("seeds = 4\n", "seeds = 2\n"), "utf-8")
    document = run(installed, "compare", shorter, "-o", store, "--workers", 1)
    assert document["failed"] == 0
    assert document["computed"] == 2 * 2 * (4 + 2)
    for comparison in document["comparisons"]:
        errors = {score["method"]: score["vn_error"] for score in comparison["scores"]}
        assert errors["TaylorMean(2)"] < errors["TaylorMean(1)"]


def test_the_principle_is_checked_by_name(installed: Path) -> None:
    words = ("--epsilon", "1,1/8", "--instances", 6, "--workers", 1)
    document = run(installed, "msp", "Ripples:roughness=0.5", "TaylorMean", *words)
    statement = document["statements"][0]
    assert statement["variant"] == "no parameters"
    assert [step["settings"] for step in statement["steps"]] == ["order=1", "order=2"]
    mechanistic = next(c for c in statement["conditions"] if c["name"] == "mechanistic")
    assert mechanistic["finding"] == "holds"
