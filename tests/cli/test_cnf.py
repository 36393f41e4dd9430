"""``outsample cnf`` on good and bad files."""

import itertools
import math
from pathlib import Path

import pytest
from tests.cli.conftest import Run

CLAUSES = [[1, 2, -3], [-1, 3, 4], [2, -4, 5], [-2, -5], [1, 5, 6], [-6, 4]]
N = 6


def models() -> list[tuple[int, ...]]:
    """Assignments that satisfy all clauses, one by one."""
    return [
        x
        for x in itertools.product((0, 1), repeat=N)
        if all(any(x[abs(v) - 1] == (v > 0) for v in c) for c in CLAUSES)
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    lines = [f"p cnf {N} {len(CLAUSES)}", *(" ".join(map(str, [*c, 0])) for c in CLAUSES)]
    file = tmp_path / "formula.cnf"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_estimate_cost_sampling_and_exact(path: Path, run: Run) -> None:
    document = run("cnf", path, "--degree", N, "--exact", "--json").document
    exact = len(models()) / 2**N
    assert document["command"] == "cnf"
    assert document["exact"]["value"] == pytest.approx(exact, rel=1e-12)
    estimate = document["estimate"]
    assert estimate["value"] == pytest.approx(exact, rel=1e-12)
    assert estimate["log2_models"] == pytest.approx(math.log2(len(models())), rel=1e-12)
    assert estimate["cost"]["flops"] > 0
    for sampled in document["sampling"].values():
        assert abs(sampled["value"] - exact) < 5 * sampled["standard_error"] + 0.5


def test_marginals(path: Path, run: Run) -> None:
    words = ("cnf", path, "--degree", N, "--marginals")
    expected = [sum(x[j] for x in models()) / len(models()) for j in range(N)]
    assert run(*words, "--json").document["marginals"] == pytest.approx(expected, abs=1e-12)
    assert "P(x = 1 | satisfied)" in run(*words).out


def test_plain_output(path: Path, run: Run) -> None:
    out = run("cnf", path).out
    assert "log2 of the number of models:" in out
    assert "SatisfyingFraction 6 variables, 6 clauses" in out


def test_budget_picks_the_settings(path: Path, run: Run) -> None:
    little, much = (
        run("cnf", path, "--budget", budget, "--json").document["estimate"]["estimator"]["settings"]
        for budget in (1, 1e6)
    )
    assert little["conditioned"] < much["conditioned"]


def test_sampling(path: Path, run: Run) -> None:
    estimate = run("cnf", path, "--samples", 10_000, "--json").document["estimate"]
    assert abs(estimate["value"] - len(models()) / 2**N) < 5 * estimate["standard_error"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--degree", -1), "degree = -1"),
        (("--basis", "magic"), "basis = 'magic'"),
        (("--conditioned", -1), "conditioned = -1"),
        (("--samples", 10, "--marginals"), "has no --marginals"),
        (("--samples", 10, "--budget", 10), "takes no --budget"),
    ],
)
def test_bad_settings(path: Path, run: Run, words: tuple[object, ...], message: str) -> None:
    result = run("cnf", path, *words)
    assert result.code == 2
    assert message in result.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header"),
        ("p cnf 2 1\n3 0\n", "3"),
        ("p cnf 2 2\n1 0\n", "clauses"),
        ("p cnf 2 1\n1 x 0\n", "x"),
    ],
)
def test_damaged_files(tmp_path: Path, run: Run, text: str, message: str) -> None:
    file = tmp_path / "bad.cnf"
    file.write_text(text)
    result = run("cnf", file)
    assert result.code == 2
    assert "bad.cnf" in result.err
    assert message in result.err


def test_a_file_that_is_not_there(tmp_path: Path, run: Run) -> None:
    assert run("cnf", tmp_path / "none.cnf").code == 2


def test_marginals_where_there_are_no_models(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "contradiction.cnf"
    file.write_text("p cnf 2 2\n1 0\n-1 0\n")
    result = run("cnf", file, "--marginals", "--json")
    assert (result.code, result.document["estimate"]["value"]) == (0, 0)
    assert result.document["marginals"] is None
    assert "nothing to condition on" in run("cnf", file, "--marginals").out
