"""The figures in the documentation are those that the benchmark has measured."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/how-to/whestbench.md").read_text("utf-8")
RESULTS = json.loads((ROOT / "benchmarks/results/whestbench_anchors.json").read_text("utf-8"))
ROWS = {
    "mean propagation (WhestBench's)": "mean propagation",
    "covariance propagation (WhestBench's)": "covariance propagation",
    "order 2, basic": "submission-2-basic",
    "order 2, augmented": "submission-2-augmented",
    "order 3, basic": "submission-3-basic",
    "order 3, elliptical": "submission-3-elliptical",
}


def metered(shape: str) -> dict[str, dict[str, Any]]:
    return {entry["method"]: entry for entry in RESULTS[shape]["metered"]}


@pytest.mark.parametrize("shape", ["256x8", "256x32"])
def test_table(shape: str) -> None:
    heading = f"### {shape.replace('x', ' × ')}"
    section = PAGE.split(heading)[1].split("###")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][2:]
    assert len(lines) == len(ROWS) + 1
    for line in lines[:-1]:
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        entry = metered(shape)[ROWS[name]]
        adjusted, mse = np.mean(entry["adjusted"]), entry["final_mse"]
        assert cells == [f"{mse:.2e}", f"{entry['flops']:.2e}", f"{adjusted:.2e}"]
    sampling = RESULTS[shape]["rules"]["sampling_score"]
    assert lines[-1] == f"| sampling that spends the budget | | | {sampling:.2e} |"
    noise = RESULTS[shape]["truth_noise"]
    assert f"noise is {noise:.1e} of every MSE" in section


def test_shares_of_the_budget() -> None:
    for name in ("basic", "elliptical"):
        entry = metered("1024x16")[f"submission-3-{name}"]
        assert f"{entry['multiplier']:.0%} ({name})".replace("%", " %") in PAGE
        assert not entry["failures"]
    assert metered("1024x16")["submission-2-augmented"]["multiplier"] == pytest.approx(0.1)
