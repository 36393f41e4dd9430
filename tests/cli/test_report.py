"""``outsample report``: a store becomes a page, figures and a table; bad input is refused."""

import builtins
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Run

import outsample as ou
from outsample.comparison import RandomMLP
from outsample.comparison.sweeps import Store, Study, sweep


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("store") / "small.duckdb"
    study = Study(
        name="two widths",
        families=[RandomMLP(4, 2), RandomMLP(8, 2)],
        methods=[ou.MeanPropagation(), ou.Cumulants(2, "basic")],
        seeds=range(2),
        truth_samples=2**10,
        baselines=False,
        threads=1,
    )
    with Store(path) as store:
        sweep(study, store, workers=1, progress=False)
    yield path


def test_everything_is_written(run: Run, results: Path, tmp_path: Path) -> None:
    page, folder, table = tmp_path / "r.html", tmp_path / "new" / "png", tmp_path / "t.md"
    done = run(
        "report", results, "-o", page, "--png", folder, "--markdown", table, "--json"
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.document["families"] == 2
    assert done.document["cells"] == 8
    assert done.document["written"][:2] == [str(page), str(table)]
    assert len(list(folder.iterdir())) == 4
    assert sorted(map(str, folder.iterdir())) == sorted(done.document["written"][2:])
    text = page.read_text("utf-8")
    assert "<h1>two widths</h1>" in text and "RandomMLP(width=8, depth=2)" in text
    assert table.read_text("utf-8").count("\n| RandomMLP") == 4


def test_plain_output_names_the_files(run: Run, results: Path, tmp_path: Path) -> None:
    done = run("report", results, "--markdown", tmp_path / "t.md")
    assert done.code == 0
    assert done.out == f"2 families, 8 cells\nwrote {tmp_path / 't.md'}\n"
    assert [p.name for p in tmp_path.iterdir()] == ["t.md"]


def empty(path: Path) -> None:
    Store(path).close()


def scrambled(path: Path) -> None:
    path.write_bytes(os.urandom(9000))


@pytest.mark.parametrize(
    ("make", "words", "reason"),
    [
        (None, ("-o", "{}/r.html"), "does not exist"),
        (Path.mkdir, ("-o", "{}/r.html"), "folder"),
        (scrambled, ("-o", "{}/r.html"), "not a DuckDB file"),
        (empty, ("-o", "{}/r.html"), "has no cells yet"),
        (empty, (), "nothing to write"),
        (empty, ("-o", "{}/none/r.html"), "there is no folder"),
        (empty, ("--markdown", "{}/none/t.md"), "there is no folder"),
        (empty, ("--png", "{}/store.duckdb"), "cannot make the folder"),
    ],
)
def test_bad_input_is_exit_code_2(
    make: Any, words: Sequence[str], reason: str, run: Run, tmp_path: Path
) -> None:
    store = tmp_path / "store.duckdb"
    if make is not None:
        make(store)
    done = run("report", store, *(word.format(tmp_path) for word in words))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ") and reason in done.err
    assert [p.name for p in tmp_path.iterdir()] in ([], ["store.duckdb"])


def test_a_page_that_is_a_folder_is_refused(run: Run, results: Path, tmp_path: Path) -> None:
    done = run("report", results, "-o", tmp_path)
    assert done.code == 2 and "cannot write there" in done.err


@pytest.mark.parametrize("package", ["plotly", "duckdb"])
def test_a_missing_extra_is_named(
    package: str, run: Run, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    done = run("report", results, "-o", tmp_path / "r.html")
    assert done.code == 2
    assert "pip install 'outsample[compare]'" in done.err
    assert list(tmp_path.iterdir()) == []
