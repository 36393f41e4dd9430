import multiprocessing
import os
import resource
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
import torch
from tests.comparison.sweeps.cases import contents, study
from tests.comparison.toys import Quadratics, Shifted

import outsample as ou
from outsample.comparison.sweeps import Store
from outsample.comparison.sweeps.tasks import Done, run_task


def results(count: int = 4) -> list[Done]:
    return [run_task(task) for _, task in zip(range(count), study().tasks(), strict=False)]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A store with the whole study in it."""
    path = tmp_path / "results.duckdb"
    with Store(path) as store:
        store.begin(study())
        store.add([run_task(task) for task in study().tasks()])
    return path


def test_what_goes_in_comes_out(filled: Path) -> None:
    done = {task.key: run_task(task) for task in study().tasks()}
    with Store(filled, read_only=True) as store:
        assert store.keys() == done.keys()
        [comparison] = store.comparisons()
    assert comparison.family == "quadratics"
    assert comparison.methods == ("Shifted(0.1)", "Shifted(0.2)", "Slow(0.3)")
    cells = {(c.method, c.problem): c for c in comparison.cells}
    for result in done.values():
        for cell in result.cells:
            found = cells[cell.method, cell.problem]
            assert found.value == cell.value
            assert found.request == cell.request
            assert found.flops == cell.flops
    truths = {t.problem: t for t in comparison.truths}
    for result in done.values():
        if result.truth is not None:
            assert truths[result.problem] == result.truth
    assert comparison.provenance["torch"] == torch.__version__
    assert comparison.provenance["seeds"] == list(range(6))
    assert comparison.provenance["dtype"] == "float64"


def test_scores_are_those_of_the_cells(filled: Path) -> None:
    """A shift by δ standard deviations has vn error δ²."""
    with Store(filled, read_only=True) as store:
        [comparison] = store.comparisons()
    for score, shift in zip(comparison.scores(), (0.1, 0.2, 0.3), strict=True):
        assert score.low <= shift**2 <= score.high


def test_the_last_result_and_the_best_truth_count(filled: Path) -> None:
    task = next(task for task in study().tasks() if task.problem == 0)
    better = next(study(truth_samples=4096).tasks())
    cell = next(t for t in study().tasks() if t.key != task.key)
    old = run_task(cell)
    new = replace(old, cells=(replace(old.cells[0], value=(7.0, 7.0)),))
    with Store(filled) as store:
        store.add([run_task(better), new, run_task(task)])
        [comparison] = store.comparisons()
    assert {t.problem: t.samples for t in comparison.truths}[0] == 4096
    found = [c for c in comparison.cells if (c.method, c.problem) == ("Shifted(0.1)", 0)]
    assert [c.value for c in found] == [(7.0, 7.0)]


def test_a_study_narrows_what_is_read(filled: Path) -> None:
    other = study([Shifted(0.5)])
    with Store(filled) as store:
        store.begin(other)
        store.add([run_task(task) for task in other.tasks()])
        assert [c.methods for c in store.comparisons(other)] == [("Shifted(0.5)",)]
        assert len(store.comparisons()[0].methods) == 4
        assert [s["name"] for s in store.studies()] == ["quick", "quick"]


def test_thread_counts_are_kept_apart(filled: Path) -> None:
    other = study(threads=2)
    with Store(filled) as store:
        store.add([run_task(task) for task in other.tasks()])
        found = store.comparisons()
    assert [c.provenance["threads"] for c in found] == [1, 2]
    assert [c.parameters["threads"] for c in found] == [1, 2]
    assert len({c.family for c in found}) == 2


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_exports_hold_every_cell_with_its_provenance(
    filled: Path, tmp_path: Path, ending: str
) -> None:
    target = tmp_path / f"cells{ending}"
    with Store(filled, read_only=True) as store:
        store.export(target)
        count = store.count()
    rows = duckdb.sql(f"SELECT method, value, provenance FROM '{target}'").fetchall()
    assert len(rows) == count == 18
    assert all("torch" in row[2] for row in rows)
    assert [p.name for p in tmp_path.iterdir() if "tmp" in p.name] == []


def test_bad_exports(filled: Path, tmp_path: Path) -> None:
    with Store(filled, read_only=True) as store:
        with pytest.raises(ou.InputError, match=r"\.parquet or \.csv"):
            store.export(tmp_path / "cells.xlsx")
        with pytest.raises(ou.InputError, match="no folder"):
            store.export(tmp_path / "nowhere" / "cells.csv")
        assert store.count() == 18  # still open


def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.duckdb"
    text.write_text("not a database\n" * 1000)
    with pytest.raises(ou.FormatError, match="not a DuckDB file"):
        Store(text)
    foreign = tmp_path / "foreign.duckdb"
    duckdb.connect(str(foreign)).execute("CREATE TABLE t (i INTEGER)").close()
    with pytest.raises(ou.FormatError, match="not one of outsample"):
        Store(foreign)
    assert foreign.exists()
    with pytest.raises(ou.InputError, match="is a folder"):
        Store(tmp_path)
    with pytest.raises(ou.InputError, match="does not exist"):
        Store(tmp_path / "absent.duckdb", read_only=True)
    with pytest.raises(ou.InputError, match="cannot be made"):
        Store(tmp_path / "nowhere" / "results.duckdb")


def test_views_in_the_place_of_tables_are_refused(filled: Path) -> None:
    """They could read other files of whoever opens the store."""
    connection = duckdb.connect(str(filled))
    connection.execute("DROP VIEW results")
    connection.execute("ALTER TABLE cells RENAME TO hidden")
    connection.execute("CREATE VIEW cells AS SELECT * FROM hidden")
    connection.close()
    with pytest.raises(ou.FormatError, match="does not read"):
        Store(filled, read_only=True)


def test_a_newer_store_is_refused(filled: Path) -> None:
    duckdb.connect(str(filled)).execute("UPDATE outsample_store SET schema_version = 2").close()
    with pytest.raises(ou.FormatError, match="schema version 2"):
        Store(filled)


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    path.touch()
    with Store(path) as store:
        assert store.keys() == set()


def _open(path: str, answer: "multiprocessing.Queue[str]", read_only: bool) -> None:
    try:
        Store(path, read_only=read_only).close()
        answer.put("opened")
    except ou.InputError as error:
        answer.put(str(error))


@pytest.mark.parametrize("read_only", [False, True])
def test_two_processes_at_once_are_refused(filled: Path, read_only: bool) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["outsample.comparison.sweeps"])
    answer = context.Queue()
    with Store(filled):
        other = context.Process(target=_open, args=(str(filled), answer, read_only))
        other.start()
        said = answer.get(timeout=60)
        other.join()
    assert f"is being written by process {os.getpid()}" in said
    with Store(filled) as store:
        assert store.count() == 18


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, where not even root may write")
def test_a_folder_that_may_not_be_written_to_is_refused() -> None:
    with pytest.raises(ou.InputError, match="/proc/results"):
        Store("/proc/results.duckdb")


def _fill(path: str, limit: int, answer: "multiprocessing.Queue[tuple[int, str]]") -> None:
    """Write until a file may not grow any more: what a full disk is to a process."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    added, more = 0, results()
    with Store(path) as store:
        try:
            while True:
                store.add(more)
                added += 1
        except ou.InputError as error:
            answer.put((added, str(error)))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on file sizes")
def test_a_full_disk_loses_nothing_that_was_added(tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    with Store(path) as store:
        store.begin(study())
    limit = path.stat().st_size + 200_000
    context = multiprocessing.get_context("forkserver")
    answer = context.Queue()
    writer = context.Process(target=_fill, args=(str(path), limit, answer))
    writer.start()
    added, said = answer.get(timeout=120)
    writer.join()
    assert "safe" in said
    assert added > 0
    with Store(path) as store:
        cells = sum(len(done.cells) for done in results())
        assert store.count() == added * cells
        store.add(results())
        assert store.count() == (added + 1) * cells


def test_results_of_a_sweep_are_read_in_memory() -> None:
    with Store(":memory:") as store:
        store.add(results())
        assert len(contents(store)[0]) == 3
        assert store.comparisons()[0].kind == Quadratics.__name__
