"""``outsample whestbench``: data sets, scores and submissions from the command line."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Run

from outsample.whestbench import machinery, packages

BAKE = ("whestbench", "bake")


@pytest.fixture(scope="module")
def baked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from outsample import whestbench

    return whestbench.bake(tmp_path_factory.mktemp("cli") / "small", 6, 2, [1, 2], 500)


def test_bake(run: Run, tmp_path: Path) -> None:
    size = ("--width", 4, "--depth", 1, "--samples", 50)
    result = run(*BAKE, tmp_path / "new", *size, "--seeds", "5,7-8", "--json")
    assert result.code == 0
    assert result.document["seeds"] == [5, 7, 8]
    assert result.document["schema_version"] == 1
    assert run("whestbench", "score", tmp_path / "new", "--json").document["seeds"] == [5, 7, 8]
    plain = run(*BAKE, tmp_path / "other", *size, "--seeds", "1")
    assert plain.out.endswith("other: 1 networks 4 × 1, 50 samples\n")


def test_score(run: Run, baked: Path, tmp_path: Path) -> None:
    figures, report = tmp_path / "scores.json", tmp_path / "scores.md"
    words = ("--estimators", "cumulants,mean-propagation", "--output", figures, "--report", report)
    result = run("whestbench", "score", baked, *words)
    assert result.code == 0
    assert result.out.strip() == report.read_text("utf-8").strip()
    assert "| Cumulants(2) |" in result.out
    document = json.loads(figures.read_text("utf-8"))
    assert [entry["method"] for entry in document["raw"]] == ["Cumulants(2)", "MeanPropagation()"]
    shown = run("whestbench", "score", baked, "--estimators", "cumulants", "--format", "rich")
    assert "covariance propagation" in shown.out
    one = run("whestbench", "score", baked, "--networks", 1, "--json").document
    assert len(one["networks"]) == 1
    assert len(one["raw"]) == 3


def test_export_and_score(run: Run, baked: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    made = run("whestbench", "export", "--estimator", "cumulants:order=2", "-o", folder)
    assert made.code == 0
    assert "whest validate --estimator" in made.out
    result = run("whestbench", "score", baked, "--submission", folder, "--json")
    assert result.code == 0
    entry = result.document["metered"][-1]
    assert (entry["method"], entry["failures"]) == ("mine", [])


def test_a_failing_submission_ends_with_1(run: Run, baked: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "estimator.py").write_text(
        "from whestbench import BaseEstimator\nclass Estimator(BaseEstimator):\n"
        "    def predict(self, mlp, budget):\n        raise ValueError('lost')\n"
    )
    result = run("whestbench", "score", baked, "--submission", folder, "--networks", 1)
    assert result.code == 1
    assert "error: bad: " in result.err and "lost" in result.err
    assert "covariance propagation" in result.out


def test_interruption_keeps_what_was_finished(
    run: Run, baked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(machinery, "evaluate_baseline", stop)
    path = tmp_path / "scores.json"
    words = ("whestbench", "score", baked, "--output", path, "--estimators")
    result = run(*words, "cumulants,mean-propagation")
    assert result.code == 130
    assert "2 of 4 entries that were finished. To run it again: outsample" in result.err
    assert "| Cumulants(2) |" in result.out and "Interrupted" in result.out
    assert json.loads(path.read_text("utf-8"))["interrupted"] is True
    path.unlink()
    nothing = run(*words, "")
    assert (nothing.code, nothing.out, path.exists()) == (130, "", False)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("score", "DATA", "--estimators", "cumulant"), "'cumulant' is not known"),
        (("score", "DATA", "--estimators", "cumulants,cumulants"), "2 times"),
        (("score", "DATA", "--networks", 3), "networks = 3; expected 1 to 2"),
        (("score", "DATA", "--split", "private"), "split = 'private'"),
        (("score", "DATA", "--submission", "absent"), "absent"),
        (("score", "DATA", "--output", "no/file.json"), "there is no folder"),
        (("score", "DATA", "--report", "no/file.md"), "there is no folder"),
        (("score", "absent"), "is no folder"),
        (("bake", "DATA"), "exists already"),
        (("bake", "new", "--seeds", "1,,2"), "seeds = '1,,2'"),
        (("bake", "new", "--seeds", "9-1"), "seeds = '9-1'"),
        (("bake", "new", "--seeds", "1,1"), "distinct"),
        (("bake", "new", "--seeds", "0-999999999999"), "more than 100000"),
        (("bake", "new", "--samples", 0), "samples = 0"),
        (("export", "--estimator", "cumulants:order=4", "-o", "new"), "cannot be exported"),
        (("export", "--estimator", "cumulants:tolerance=0.2", "-o", "new"), "metric='diagonal'"),
        (("export", "--estimator", "monte-carlo", "-o", "new"), "cannot be exported"),
        (("export", "--estimator", "cumulants", "-o", "DATA"), "is not empty"),
    ],
)
def test_bad_input_ends_with_2(
    run: Run,
    baked: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str | int, ...],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("whestbench", *(baked if word == "DATA" else word for word in words))
    assert result.code == 2
    assert reason in result.err
    assert not result.out
    assert not list(tmp_path.iterdir())


def test_a_missing_package(run: Run, baked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    result = run("whestbench", "score", baked)
    assert result.code == 2
    assert "pip install 'outsample[whestbench]'" in result.err
