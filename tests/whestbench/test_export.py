"""Submission folders: what WhestBench's own commands say of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import outsample as ou
from outsample import whestbench
from outsample.errors import InputError, UnsupportedProblem

EXPORTED = [
    ou.Cumulants(2, "basic"),
    ou.Cumulants(2),
    ou.Cumulants(2, metric="diagonal"),
    ou.Cumulants(3, "basic"),
    ou.Cumulants(3, "basic", metric="diagonal"),
    ou.Cumulants(3, "elliptical"),
]


def name(estimator: ou.Cumulants) -> str:
    return f"{estimator.order}-{estimator.variant}-{estimator.metric}"


@pytest.mark.parametrize("estimator", EXPORTED, ids=name)
def test_the_benchmark_runs_it_and_finds_our_errors(
    dataset: whestbench.Dataset, tmp_path: Path, estimator: ou.Cumulants
) -> None:
    folder = whestbench.export(estimator, tmp_path / "mine")
    scores = whestbench.score(dataset, [estimator], [folder], dtype=torch.float64)
    entry = scores.metered[-1]
    assert not entry.failures
    assert entry.final == pytest.approx(scores.raw[0].final, rel=1e-4)
    assert entry.all_layers == pytest.approx(scores.raw[0].all_layers, rel=1e-4)
    assert entry.flops > 2 * dataset.width**3


@pytest.mark.parametrize("estimator", EXPORTED, ids=name)
def test_it_validates_and_packs(
    tmp_path: Path, estimator: ou.Cumulants, capsys: pytest.CaptureFixture[str]
) -> None:
    from whestbench.cli import main
    from whestbench.validation import validate_package

    folder = whestbench.export(estimator, tmp_path / "mine")
    assert main(["validate", "--estimator", str(folder / "estimator.py"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    archive = tmp_path / "mine.tar.gz"
    words = ["package", "--estimator", str(folder), "--output", str(archive), "--yes", "--json"]
    assert main(words) == 0
    assert validate_package(archive).ok


def test_its_command_runs_it_in_a_subprocess(
    baked: Path, dataset: whestbench.Dataset, tmp_path: Path
) -> None:
    folder = whestbench.export(ou.Cumulants(3, "basic"), tmp_path / "mine")
    command = "from whestbench.cli import main; raise SystemExit(main())"
    paths = ["--estimator", str(folder / "estimator.py"), "--dataset", str(baked)]
    limit = ["--setup-timeout", "60"]  # of starting the process, too, on a busy machine
    done = subprocess.run(
        [sys.executable, "-c", command, "run", *paths, *limit, "--runner", "subprocess", "--json"],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    ours = whestbench.score(dataset, [ou.Cumulants(3, "basic")]).raw[0]
    assert results["n_failed_mlps"] == 0
    assert results["final_layer_mse"] == pytest.approx(np.mean(ours.final), rel=1e-3)
    assert results["adjusted_final_layer_score"] == pytest.approx(
        0.1 * np.mean(ours.final), rel=1e-3
    )


def test_the_folder_needs_nothing_of_ours(tmp_path: Path) -> None:
    folder = whestbench.export(ou.Cumulants(3, "basic"), tmp_path / "mine")
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    package = [f"cumulant_propagation/{m}.py" for m in ("__init__", "layer", "order2", "order3")]
    assert files == ["README.md", *package, "cumulant_propagation/relu.py", "estimator.py"]
    for path in folder.rglob("*.py"):
        lines = path.read_text("utf-8").splitlines()
        imports = [line.split()[1] for line in lines if line.startswith(("import ", "from "))]
        assert not {"outsample", "torch"} & {name.split(".")[0] for name in imports}
        compile(path.read_text("utf-8"), str(path), "exec")
    assert "Cumulants(3, 'basic')" in (folder / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    "estimator",
    [
        ou.Cumulants(1),
        ou.Cumulants(3),
        ou.Cumulants(4, "basic"),
        ou.Cumulants(3, "basic", factored=False),
        ou.Cumulants(3, "basic", tolerance=0.2),
        ou.Cumulants(3, "basic", precision="reduced", metric="diagonal"),
        ou.Cumulants(2, tower=True),
        ou.MonteCarlo(16, seed=0),
    ],
    ids=repr,
)
def test_others_cannot_be_exported(tmp_path: Path, estimator: ou.Estimator) -> None:
    with pytest.raises(UnsupportedProblem) as caught:
        whestbench.export(estimator, tmp_path / "mine")
    for call in ("(2, 'augmented')", "(2, 'augmented', metric='diagonal')", "(3, 'elliptical')"):
        assert f"Cumulants{call}" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_settings_that_do_not_change_what_is_exported(tmp_path: Path) -> None:
    for place, estimator in enumerate(
        (
            ou.Cumulants(3, "basic", metric="diagonal"),
            ou.Cumulants(3, "basic", True, tolerance=0, metric="diagonal", hidden=True),
        )
    ):
        entry = whestbench.export(estimator, tmp_path / str(place)) / "estimator.py"
        assert "return basic(mlp.weights, diagonal=True)" in entry.read_text("utf-8")
    readme = (tmp_path / "0" / "README.md").read_text("utf-8")
    assert "Cumulants(3, 'basic', metric='diagonal')" in readme


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    estimator = ou.Cumulants(2)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name, reason in (("full", "not empty"), ("file", "not empty"), ("no/new", "no folder")):
        with pytest.raises(InputError, match=reason):
            whestbench.export(estimator, tmp_path / name)
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    assert whestbench.export(estimator, tmp_path / "empty") == tmp_path / "empty"
