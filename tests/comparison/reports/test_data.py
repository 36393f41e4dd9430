"""The columns inside the page: complete, short, and true to the comparison."""

import dataclasses
import json
import math

import pytest
from tests.comparison.reports import made

from outsample.comparison.reports.axes import varying
from outsample.comparison.reports.data import columns, line_of, ranges, short


def test_columns_are_json_and_of_equal_length() -> None:
    found = columns(made.study())
    json.dumps(found, allow_nan=False)
    tables = {name: table for name, table in found.items() if isinstance(table, dict)}
    for name in ("families", "estimators", "scores", "ratios", "samplings", "cells", "provenance"):
        lengths = {len(column) for column in tables[name].values()}
        assert len(lengths) == 1 and lengths != {0}, name
    assert found["troubles"] == {}


def test_every_figure_of_the_comparison_is_there_to_four_digits() -> None:
    study = made.study()
    found = columns(study)
    scores, ratios, cells = found["scores"], found["ratios"], found["cells"]
    row = column = 0
    for place, comparison in enumerate(study):
        for score in comparison.scores():
            assert scores["family"][row] == place
            assert found["estimators"]["name"][scores["estimator"][row]] == score.method
            for entry, value in (
                ("error", score.vn_error),
                ("low", score.low),
                ("flops", score.flops),
                ("seconds", score.seconds),
                ("samples_at_seconds", score.samples_at_seconds),
            ):
                assert scores[entry][row] == pytest.approx(value, rel=6e-4), entry
            for ratio in score.ratios:
                assert ratios["score"][column] == row
                assert found["opponents"][ratios["opponent"][column]] == ratio.opponent
                assert found["budgets"][ratios["budget"][column]] == ratio.budget
                assert found["verdicts"][ratios["verdict"][column]] == ratio.verdict
                assert ratios["value"][column] == pytest.approx(ratio.value, rel=6e-4)
                column += 1
            row += 1
    assert (len(scores["family"]), len(ratios["score"])) == (row, column)
    assert len(cells["score"]) == 6 * 5 * 5


def test_lines_of_samplers_pass_through_what_was_measured() -> None:
    comparison = made.comparison()
    samplings = columns([comparison])["samplings"]
    for i, sampling in enumerate(comparison.samplings):
        line = dict(zip(samplings["samples"][i], samplings["errors"][i], strict=True))
        if len(sampling.samples) > 1:
            for n, constant in zip(sampling.samples, sampling.constants, strict=True):
                assert line[n] == pytest.approx(constant / n, rel=1e-3)
        dearest = max(s.seconds for s in comparison.scores()) / sampling.seconds_per_sample
        assert min(line) == 1 and max(line) > dearest


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1234567, 1235000), (0.000123456, 0.0001235), (5.0, 5), (0.0, 0), (-2.34567, -2.346)],
)
def test_short_numbers(value: float, shown: float) -> None:
    assert short(value) == shown
    assert len(json.dumps(short(value))) <= 9


def test_what_is_no_number_is_none() -> None:
    assert [short(v) for v in (math.nan, math.inf, -math.inf, None)] == [None] * 4


def test_budgets_of_one_estimator_share_a_line() -> None:
    assert line_of("Cumulants(variant=basic) at N=4096") == "Cumulants(variant=basic) at budget N"
    assert line_of("A at N=1000000 with B()") == line_of("A at N=10.5 with B()")
    assert line_of("A at N=10 with B()") != line_of("A at N=10 with C()")
    assert line_of("Cumulants(2)") == "Cumulants(2)"
    found = columns([made.comparison()])
    lines = [found["lines"][line] for line in found["estimators"]["line"]]
    assert lines == [line_of(name) for name in made.ESTIMATORS]


def test_ranges() -> None:
    assert ranges([3, 1, 2, 7, 9, 10, 7]) == "1–3, 7, 9–10"
    assert ranges([]) == ""


def test_width_and_depth_come_first_among_what_varies() -> None:
    study = [
        made.comparison(w, d, activation=a, bias=b)
        for w, d, a, b in [(16, 1, "relu", 0.0), (64, 2, "gelu", 0.5)]
    ]
    assert varying(study) == {"RandomMLP": ["width", "depth", "bias", "activation"]}
    assert varying(study[:1]) == {"RandomMLP": []}


def test_settings_that_json_has_no_word_for() -> None:
    study = [made.comparison(scale=scale) for scale in (math.inf, math.nan, (1, 2), {"a": 1})]
    found = columns(study)
    json.dumps(found, allow_nan=False)
    assert found["parameters"]["scale"] == ["inf", "nan", "(1, 2)", "{'a': 1}"]
    assert found["kinds"] == {"RandomMLP": ["scale"]}


def test_families_with_equal_settings_are_told_apart_by_name() -> None:
    study = [made.comparison(kind="Fixed", name=name) for name in "ab"]
    other = made.comparison(64, 2)
    assert varying([*study, other]) == {"Fixed": ["family"], "RandomMLP": []}


def test_failures_gaps_and_doubts_have_reasons() -> None:
    found = made.failing(made.comparison(), "Poor", "ValueError: no", (0, 1, 3))
    found = made.failing(found, "antithetic", "BudgetError: few", range(5))
    doubtful = dataclasses.replace(found.cells[0], trust="low_confidence", reasons=("flat",))
    found = dataclasses.replace(found, cells=(doubtful, *found.cells[1:]))
    troubles = columns([found])["troubles"]
    rows = set(zip(*(troubles[k] for k in ("who", "what", "reason", "problems")), strict=True))
    assert rows == {
        ("Poor", "failed", "ValueError: no", "0–1, 3"),
        ("antithetic", "missing sampler", "BudgetError: few", "0–4"),
        (doubtful.method, "low confidence", "flat", "0"),
    }


def test_provenance_says_where_rows_differ() -> None:
    one, other = made.comparison(16), made.comparison(64)
    one = dataclasses.replace(one, provenance={"BLAS": "mkl", "seeds": [0, 1, 2], "code": "x"})
    other = dataclasses.replace(other, provenance={"BLAS": ["mkl", "accelerate"], "code": "x"})
    table = columns([one, other])["provenance"]
    rows = set(zip(table["entry"], table["value"], table["families"], strict=True))
    assert rows == {
        ("BLAS", "mkl", 2),
        ("BLAS", "accelerate", 1),
        ("seeds", "0–2", 1),
        ("code", "x", 2),
    }
