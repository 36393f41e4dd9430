"""``outsample demo --quick``, as a user runs it."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Result, Run

from outsample.cli.study import CHOSEN, RIVAL


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "made" / "here"


@pytest.fixture(scope="module")
def result(folder: Path, request: pytest.FixtureRequest) -> Result:
    from typer.testing import CliRunner

    from outsample.cli import app

    done = CliRunner().invoke(app, ["demo", "--quick", "--output", str(folder), "--json"])
    return Result(done.exit_code, done.stdout, done.stderr)


def test_it_prints_what_it_writes(result: Result, folder: Path) -> None:
    assert result.code == 0, result.err
    assert result.document["schema_version"] == 1
    assert json.loads((folder / "digits.json").read_text("utf-8")) == result.document
    assert sorted(p.name for p in folder.iterdir()) == ["digits.json", "digits.md", "digits.png"]
    assert (folder / "digits.png").read_bytes().startswith(b"\x89PNG")
    assert "training" in result.err


def test_it_measures_two_inputs(result: Result) -> None:
    inputs = result.document["inputs"]
    assert [len(found["methods"]) for found in inputs] == [5, 5]
    assert result.document["test_accuracy"] > 0.9
    for found in inputs:
        methods = {m["name"]: m for m in found["methods"]}
        assert methods[CHOSEN]["mean_error"] < 0.05
        assert methods[CHOSEN]["argmax_error"] < 0.1
        assert methods[RIVAL]["covariance_error"] < 0.2
        assert sum(found["estimate"]["probabilities"]) == pytest.approx(1)
        assert len(found["truth"]["mean"]) == len(found["estimate"]["mean"]) == 10


def test_the_tables_are_markdown(result: Result, folder: Path) -> None:
    text = (folder / "digits.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert len(rows) == 2 * 7
    for method in result.document["inputs"][0]["methods"]:
        assert method["name"] in text


def test_what_would_stop_the_writing_is_found_before_the_work(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    answer = run("demo", "--output", tmp_path / "file")
    assert answer.code == 2
    assert answer.err.startswith("error: cannot make the folder")
    monkeypatch.setattr("outsample.cli.output.find_spec", lambda name: None)
    answer = run("demo", "--output", tmp_path / "folder")
    assert answer.code == 2
    assert answer.err.startswith("error: figures take Matplotlib")
