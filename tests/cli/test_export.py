"""``outsample export``: a store's cells as Parquet or CSV."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from tests.cli.conftest import Run
from tests.comparison.sweeps.cases import study
from tests.comparison.toys import Failing, Shifted

from outsample.comparison.sweeps import Store
from outsample.comparison.sweeps.tasks import run_task

STUDY = replace(study([Shifted(0.1), Failing()]), seeds=(0, 1))


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    path = tmp_path / "results.duckdb"
    with Store(path) as store:
        store.begin(STUDY)
        store.add([run_task(task) for task in STUDY.tasks()])
    return path


def test_parquet_holds_every_cell_with_its_provenance(
    run: Run, filled: Path, tmp_path: Path
) -> None:
    target = tmp_path / "cells.parquet"
    result = run("export", filled, "-o", target, "--json")
    assert (result.code, result.err) == (0, "")
    assert result.document == {
        "schema_version": 1, "command": "export", "cells": 4, "output": str(target)
    }  # fmt: skip
    read = duckdb.read_parquet(str(target))
    rows = [dict(zip(read.columns, row, strict=True)) for row in read.fetchall()]
    with Store(filled, read_only=True) as store:
        cells = store.select("cells", "true", [])
    assert [row["key"] for row in rows] == [cell["key"] for cell in cells]
    for row, cell in zip(rows, cells, strict=True):
        assert row["value"] == cell["value"]
        assert row["error"] == cell["error"]
        assert json.loads(row["request"]) == json.loads(cell["request"])
        assert json.loads(row["provenance"])["dtype"] == "float64" or row["error"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells.parquet", "results.duckdb"]


def test_csv_holds_the_same(run: Run, filled: Path, tmp_path: Path) -> None:
    target = tmp_path / "it's, all.csv"
    result = run("export", filled, "-o", target)
    assert result.code == 0
    assert result.out == f"4 cells written to {target}\n"
    with open(target, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with Store(filled, read_only=True) as store:
        cells = store.select("cells", "true", [])
    assert [row["method"] for row in rows] == [cell["method"] for cell in cells]
    assert [json.loads(row["value"]) for row in rows] == [cell["value"] for cell in cells]


def test_a_file_that_is_there_is_replaced(run: Run, filled: Path, tmp_path: Path) -> None:
    target = tmp_path / "cells.csv"
    target.write_text("old")
    assert run("export", filled, "-o", target).code == 0
    assert target.read_text("utf-8").startswith("key,family")


def test_the_store_is_as_it_was(run: Run, filled: Path, tmp_path: Path) -> None:
    before = filled.read_bytes()
    assert run("export", filled, "-o", tmp_path / "cells.csv").code == 0
    assert filled.read_bytes() == before


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("cells.json", "expected a name in .parquet or .csv"),
        ("cells", "expected a name in .parquet or .csv"),
        ("missing/cells.csv", "there is no folder"),
        ("folder.csv", "cannot write"),
    ],
)
def test_bad_outputs_are_exit_code_2(
    run: Run, filled: Path, tmp_path: Path, output: str, reason: str
) -> None:
    (tmp_path / "folder.csv").mkdir()
    result = run("export", filled, "-o", tmp_path / output)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ") and reason in result.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.csv", "results.duckdb"]


def test_bad_stores_are_exit_code_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "text.duckdb").write_text("not a database" * 1000)
    (tmp_path / "empty.duckdb").touch()
    duckdb.connect(tmp_path / "other.duckdb").close()
    for name, reason in (
        ("missing.duckdb", "does not exist"),
        ("empty.duckdb", "does not exist, or is empty"),
        ("text.duckdb", "not a DuckDB file"),
        ("other.duckdb", "not one of outsample"),
        ("", "is a folder"),
    ):
        result = run("export", tmp_path / name, "-o", tmp_path / "cells.csv")
        assert (result.code, result.out) == (2, "")
        assert reason in result.err, name
    assert not (tmp_path / "missing.duckdb").exists()


def test_output_is_required(run: Run, filled: Path) -> None:
    result = run("export", filled)
    assert result.code == 2
    assert "--output" in result.err


HOLDER = """
import sys
from outsample.comparison.sweeps import Store
with Store(sys.argv[1]):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_store_that_is_being_written_is_exit_code_2(
    run: Run, filled: Path, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(filled)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        result = run("export", filled, "-o", tmp_path / "cells.csv")
        holder.communicate()
    assert result.code == 2
    assert f"is being written by process {holder.pid}" in result.err
    assert run("export", filled, "-o", tmp_path / "cells.csv").code == 0
