"""``outsample compare``: results, files, failures, interruption."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Run

from outsample.comparison.families import RandomMLP
from outsample.networks import NetworkMean

SMALL = ("compare", "--width", 4, "--depth", 1, "--instances", 2)
BOTH = "mean-propagation,cumulants:order=2:variant=basic"


def test_results_go_to_standard_output_and_to_files(run: Run, tmp_path: Path) -> None:
    path, picture = tmp_path / "result.json", tmp_path / "result.png"
    result = run(*SMALL, "--estimators", BOTH, "--output", path, "--plot", picture, "--json")
    assert result.code == 0
    assert result.document["schema_version"] == 1
    assert result.document["family"] == "RandomMLP(width=4, depth=1)"
    written = json.loads(path.read_text("utf-8"))
    assert written["scores"] == result.document["scores"]
    assert len(written["scores"]) == 2
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["result.json", "result.png"]


def test_plain_is_a_markdown_table(run: Run) -> None:
    result = run(*SMALL, "--estimators", "cumulants")
    assert result.code == 0
    assert "| --- |" in result.out
    assert "moment-matched" in result.out


def test_rich_is_a_drawn_table(run: Run) -> None:
    result = run(*SMALL, "--estimators", "cumulants", "--format", "rich")
    assert result.code == 0
    assert "┃" in result.out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--estimators", "cumulant"), "'cumulant' is not known"),
        (("--estimators", "cumulants,cumulants"), "2 times"),
        (("--activation", "rleu"), "activation = 'rleu'"),
        (("--width", 0), "width = 0"),
        (("--depth", -1), "depth = -1"),
        (("--instances", 0), "instances = 0"),
        (("--output", "missing/result.json"), "there is no folder 'missing'"),
        (("--plot", "missing/result.png"), "there is no folder 'missing'"),
        (("--plot", "result"), "cannot draw 'result'"),
    ],
)
def test_bad_input_is_exit_code_2(words: tuple[str, ...], reason: str, run: Run) -> None:
    result = run(*SMALL, *words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ") and reason in result.err


def test_an_estimator_that_fails_is_exit_code_1_and_the_others_go_on(run: Run) -> None:
    result = run(*SMALL, "--estimators", "moment-matched:samples=20,cumulants", "--json")
    assert result.code == 1
    assert "BudgetError" in result.err and "samples = 20" in result.err
    assert len(result.document["scores"]) == 2


def test_interruption_keeps_what_was_finished(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    original = RandomMLP.problem

    def problem(self: RandomMLP, seed: int) -> NetworkMean:
        if seed == 1:
            raise KeyboardInterrupt
        return original(self, seed)

    monkeypatch.setattr(RandomMLP, "problem", problem)
    path = tmp_path / "result.json"
    result = run(*SMALL, "--estimators", "cumulants", "--json", "--output", path)
    assert result.code == 130
    assert "To run it again: outsample" in result.err
    assert result.document["interrupted"] is True
    assert len(result.document["truths"]) == 1
    assert json.loads(path.read_text("utf-8"))["interrupted"] is True
