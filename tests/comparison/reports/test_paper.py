"""The Markdown table and the figures for papers."""

import dataclasses
import re
from pathlib import Path

import pytest
from tests.comparison.reports import made

from outsample.comparison.reports import markdown_table, write_figures
from outsample.comparison.reports.paper import SIGNS, escape
from outsample.errors import InputError

CELL_END = re.compile(r"(?<!\\)\|")


def rows(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in CELL_END.split(line)[1:-1]] for line in lines]


def test_one_row_for_each_family_and_estimator() -> None:
    study = made.study()
    head, _, *body = rows(markdown_table(study))
    assert len(body) == len(study) * len(made.ESTIMATORS)
    assert {len(row) for row in body} == {len(head)} == {6 + 4 * 2}
    first = dict(zip(head, body[1], strict=True))
    score = study[0].scores()[1]
    ratio = next(r for r in score.ratios if (r.opponent, r.budget) == ("antithetic", "seconds"))
    assert first["estimator"] == "Cumulants(2)"
    assert first["vn error"].startswith(f"{score.vn_error:.2g} [")
    assert first["antithetic, equal seconds"].startswith(f"{SIGNS[ratio.verdict]} ")


def test_provenance_and_legend_are_below() -> None:
    one, other = made.comparison(16), made.comparison(64)
    other = dataclasses.replace(other, provenance={"BLAS": "accelerate", "seeds": [0, 1, 2]})
    text = markdown_table([one, other])
    assert "BLAS mkl / accelerate (differs between rows)" in text
    assert "threads 1" in text
    assert all(f"{sign} {verdict}" in text for verdict, sign in SIGNS.items())


def test_names_stay_in_their_cells() -> None:
    hostile = "a|b\n<script>*x*"
    found = made.failing(made.comparison(name=hostile), "Poor", hostile, range(5))
    head, _, *body = rows(markdown_table([found]))
    assert {len(row) for row in body} == {len(head)}
    assert body[0][0] == escape(hostile) == r"a\|b \<script\>\*x\*"
    assert body[-1][2:4] == ["0, failed 5", "failed"]


def test_figures_of_families_and_estimators(tmp_path: Path) -> None:
    estimators = ["Cumulants(2)", "Cumulants(3) at N=4096"]
    sizes = [(16, 1), (16, 4), (64, 4)]  # every figure takes a second or two
    study = [made.comparison(w, d, estimators=estimators) for w, d in sizes]
    hostile = made.comparison(kind="../Odd", name="../../x|<y>", estimators=estimators)
    written = write_figures([*study, hostile], tmp_path)
    assert sorted(written) == sorted(tmp_path.iterdir())
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    names = [path.name for path in written]
    assert "error-RandomMLP-width=16-depth=4.png" in names
    assert "ratio-RandomMLP-Cumulants-2.png" in names
    assert len(names) == len(study) + 1 + len(estimators)


def test_families_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    study = [made.comparison(name="x", kind="Fixed", estimators=["Poor"]) for _ in range(2)]
    names = sorted(path.name for path in write_figures(study, tmp_path))
    assert names == ["error-x-2.png", "error-x.png", "ratio-Fixed-Poor.png"]


def test_families_that_could_not_be_evaluated_are_left_out(tmp_path: Path) -> None:
    found = made.comparison()
    truths = tuple(dataclasses.replace(t, error="no") for t in found.truths)
    assert write_figures([dataclasses.replace(found, truths=truths)], tmp_path) == []


@pytest.mark.parametrize("write", [markdown_table, lambda study: write_figures(study, ".")])
def test_nothing_to_show(write) -> None:
    with pytest.raises(InputError, match="comparisons is empty"):
        write([])


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write there"):
        write_figures([made.comparison()], tmp_path / "missing")
