"""The figures in the documentation are those that the benchmark has measured."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outsample import Cumulants

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/how-to/whestbench.md").read_text("utf-8")
RESULTS = json.loads((ROOT / "benchmarks/results/whestbench_anchors.json").read_text("utf-8"))
ROWS = {
    "mean propagation (WhestBench's)": "mean propagation",
    "covariance propagation (WhestBench's)": "covariance propagation",
    "order 2, basic": "submission-2-basic",
    "order 2, augmented": "submission-2-augmented",
    "order 2, augmented, diagonal": "submission-2-augmented-diagonal",
    "order 3, basic": "submission-3-basic",
    "order 3, basic, diagonal": "submission-3-basic-diagonal",
    "order 3, elliptical": "submission-3-elliptical",
}


ANCHORS = {
    "mean propagation (WhestBench's)": "mean propagation",
    "covariance propagation (WhestBench's)": "covariance propagation",
    "`MeanPropagation()`": "MeanPropagation()",
    '`Cumulants(2, "basic")`': "Cumulants(2, variant=basic)",
    "`ExactCovariance()`": "ExactCovariance(12)",
    "`Cumulants(2)`": "Cumulants(2)",
    '`Cumulants(2, metric="diagonal")`': "Cumulants(2, metric=diagonal)",
    '`Cumulants(3, "basic")`': "Cumulants(3, variant=basic)",
    '`Cumulants(3, "basic", metric="diagonal")`': "Cumulants(3, variant=basic, metric=diagonal)",
    "`Cumulants(3)`": "Cumulants(3)",
    '`Cumulants(3, "elliptical")`': "Cumulants(3, variant=elliptical)",
}
ESTIMATORS = {
    "Cumulants(2)": "order 2, augmented",
    "Cumulants(3, variant=basic)": "order 3, basic",
}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table in a section."""
    section = PAGE.split(f"### {heading}\n")[1].split("###")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def metered(shape: str) -> dict[str, dict[str, Any]]:
    return {entry["method"]: entry for entry in RESULTS[shape]["metered"]}


@pytest.mark.parametrize("shape", ["256x8", "256x32"])
def test_table(shape: str) -> None:
    heading = shape.replace("x", " × ")
    *lines, last = rows(heading)
    assert [line[0] for line in lines] == list(ROWS)
    for name, *cells in lines:
        entry = metered(shape)[ROWS[name]]
        adjusted, mse = np.mean(entry["adjusted"]), entry["final_mse"]
        assert cells == [f"{mse:.2e}", f"{entry['flops']:.2e}", f"{adjusted:.2e}"]
    sampling = RESULTS[shape]["rules"]["sampling_score"]
    assert last == ["sampling that spends the budget", "", "", f"{sampling:.2e}"]
    noise = RESULTS[shape]["truth_noise"]
    section = PAGE.split(f"### {heading}\n")[1].split("###")[0]
    assert f"noise is {noise:.1e} of every MSE" in section


def test_anchors() -> None:
    lines = rows("64 × 4 and 64 × 8")
    assert [line[0] for line in lines] == list(ANCHORS)
    for place, scores in enumerate(RESULTS["anchors"], start=1):
        found = {e["method"]: e["final_mse"] for e in (*scores["raw"], *scores["metered"])}
        for line in lines:
            assert line[place] == f"{found[ANCHORS[line[0]]]:.2e}"


def test_the_diagonal_metric() -> None:
    wanted = [
        [
            " × ".join(str(n) for n in row["shape"]),
            ESTIMATORS[row["estimator"]],
            f"{row['full']:.2e}",
            f"{row['diagonal']:.2e}",
            f"{row['ratio']:.3f}",
            "–".join(f"{limit:.3f}" for limit in row["interval"]),
            f"{row['better_on']} of {row['networks']}",
        ]
        for row in RESULTS["metrics"]
    ]
    assert rows("The diagonal metric") == wanted


def test_the_docstring_of_the_metric() -> None:
    gains = {
        (*row["shape"], row["estimator"]): f"{1 - row['ratio']:.0%}".replace("%", " %")
        for row in RESULTS["metrics"]
    }
    second, third = ESTIMATORS
    text = " ".join(str(Cumulants.__doc__).split())
    assert f"by {gains[64, 8, second]} and {gains[64, 8, third]} at 64 × 8" in text
    assert gains[64, 4, second] == gains[64, 4, third]
    assert f"by {gains[64, 4, second]} at 64 × 4" in text
    most = max(gains[256, 8, second], gains[256, 8, third])
    assert f"by {most} or less at 256 × 8" in text


def test_shares_of_the_budget() -> None:
    names = {"basic": "basic", "basic-diagonal": "basic, diagonal", "elliptical": "elliptical"}
    for name, shown in names.items():
        entry = metered("1024x16")[f"submission-3-{name}"]
        assert f"{entry['multiplier']:.0%} ({shown})".replace("%", " %") in PAGE
    assert not any(entry["failures"] for entry in metered("1024x16").values())
    longest = max(max(entry["residual"]) for entry in metered("1024x16").values())
    assert f"at most {longest:.2f} s of the 0.4 s allowed" in PAGE
    assert metered("1024x16")["submission-2-augmented"]["multiplier"] == pytest.approx(0.1)
