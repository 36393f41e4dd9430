"""``outsample msp``: reports, resumption, bad input, failures."""

from pathlib import Path

import pytest
from tests.cli.conftest import Run

SMALL = ("--epsilon", "1, 1/8", "--instances", 3, "--workers", 1)
NETWORKS = "RandomMLP:width=8:depth=1"


@pytest.fixture(autouse=True)
def uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTSAMPLE_CACHE", "")


def test_a_report_and_a_store_that_is_resumed(run: Run, tmp_path: Path) -> None:
    store = tmp_path / "msp.duckdb"
    first = run("msp", NETWORKS, "cumulants:variant=basic", *SMALL, "-o", store, "--json")
    assert first.code == 0
    assert first.document["schema_version"] == 1
    assert first.document["command"] == "msp"
    assert first.document["estimator"] == "Cumulants(variant=basic)"
    statements = first.document["statements"]
    assert [s["variant"] for s in statements] == ["no parameters", "without ε"]
    assert [step["samples"] for step in statements[0]["steps"]] == [1, 64]
    # Seconds are kept with everything else: equal ones were not measured again.
    again = run("msp", NETWORKS, "cumulants:variant=basic", *SMALL, "-o", store, "--json")
    assert again.document["statements"][0] == statements[0]
    plain = run("msp", NETWORKS, "cumulants:variant=basic", *SMALL, "-o", store)
    assert "| ε | N | settings |" in plain.out
    rich = run("msp", NETWORKS, "cumulants:variant=basic", *SMALL, "-o", store, "--format", "rich")
    assert "┃" in rich.out


def test_a_trained_family_has_its_own_statements(run: Run) -> None:
    words = ("TrainedMLP:width=8:depth=1:steps=5", "Cumulants", "--epsilon", "1/2")
    result = run("msp", *words, "--instances", 2, "--workers", 1, "--json")
    assert result.code == 0
    variants = [s["variant"] for s in result.document["statements"]]
    assert variants == ["mainline", "train and explain", "without ε"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("RandomLMP", "Cumulants"), "'RandomLMP' is not known"),
        ((NETWORKS, "Cumulant"), "'Cumulant' is not known"),
        ((NETWORKS, "Cumulants:ordre=2"), "no setting 'ordre'"),
        ((NETWORKS, "Cumulants:order=7"), "order = 7"),
        ((NETWORKS, "Exact"), "no setting that a tolerance governs"),
        (("RandomMLP:width=0:depth=1", "Cumulants"), "width = 0"),
        ((NETWORKS, "Cumulants", "--epsilon", "1,x"), "expected numbers or fractions"),
        ((NETWORKS, "Cumulants", "--epsilon", "1/0"), "expected numbers or fractions"),
        ((NETWORKS, "Cumulants", "--epsilon", "2"), "epsilons holds 2.0"),
        ((NETWORKS, "Cumulants", "--instances", 1), "instances = 1"),
        ((NETWORKS, "Cumulants", "--seed", -1), "-1"),
        ((NETWORKS, "Cumulants", "--workers", 0), "workers = 0"),
        ((NETWORKS, "Cumulants", "--explainer", "PairExplainer"), "no parameters apart from"),
        ((NETWORKS, "Cumulants", "-o", "missing/msp.duckdb"), "there is no folder 'missing'"),
    ],
)
def test_bad_input_is_exit_code_2(words: tuple[object, ...], reason: str, run: Run) -> None:
    result = run("msp", *words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ") and reason in result.err


def test_ctrl_c_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("outsample.comparison.principle.check.sweep", stop)
    result = run("msp", NETWORKS, "Cumulants", *SMALL)
    assert (result.code, result.out) == (130, "")
    assert "To run it again: outsample" in result.err


def test_an_estimator_that_fails_is_exit_code_1(run: Run) -> None:
    result = run("msp", NETWORKS, "MonteCarlo:moment_matched=true", *SMALL, "--json")
    assert result.code == 1
    assert "BudgetError" in result.err
    assert result.document["statements"][0]["finding"] == "fails"
