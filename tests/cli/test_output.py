"""Formats, error messages and exit codes, as every command has them."""

import json
import math
from collections.abc import Callable

import pytest
import typer

from outsample.cli.output import (
    Format,
    number,
    require_figure,
    require_folder,
    seconds,
    session,
)
from outsample.errors import (
    BudgetError,
    FormatError,
    InputError,
    NumericalError,
    RandomnessError,
    UnsupportedProblem,
    warn,
)

Capture = pytest.CaptureFixture[str]


def fill(form: Format | None, as_json: bool = False) -> None:
    with session("test", form, as_json) as output:
        output.document["value"] = [1.0, math.nan, {"deep": (math.inf, 2)}]
        output.text("words [with brackets]")
        output.table(("name", "number"), [("a", "1"), ("long name", "22")], "Title")


def test_json_is_all_there_is_on_standard_output(capsys: Capture) -> None:
    fill(Format.JSON)
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "schema_version": 1,
        "command": "test",
        "value": [1.0, None, {"deep": [None, 2]}],
    }


def test_json_flag_is_short_for_the_format(capsys: Capture) -> None:
    fill(Format.JSON)
    long = capsys.readouterr()
    fill(None, as_json=True)
    assert capsys.readouterr() == long


def test_plain_has_aligned_columns_and_no_decoration(capsys: Capture) -> None:
    fill(Format.PLAIN)
    assert capsys.readouterr().out == (
        "words [with brackets]\nTitle\nname       number\na               1\nlong name      22\n"
    )


def test_plain_is_the_default_where_nobody_looks(capsys: Capture) -> None:
    fill(Format.PLAIN)
    plain = capsys.readouterr()
    fill(None)
    assert capsys.readouterr() == plain


def test_rich_draws_tables(capsys: Capture) -> None:
    fill(Format.RICH)
    assert "─" in capsys.readouterr().out


def test_contradicting_formats_are_bad_usage() -> None:
    with pytest.raises(typer.BadParameter, match="contradict"):
        fill(Format.PLAIN, as_json=True)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x = 1; expected 2"), 2),
        (FormatError("x = 1; expected 2"), 2),
        (UnsupportedProblem("x = 1; expected 2"), 2),
        (BudgetError("x = 1; expected 2"), 1),
        (NumericalError("x = 1; expected 2"), 1),
        (RandomnessError("x = 1; expected 2"), 1),
        (OSError(28, "x = 1; expected 2"), 1),
        (MemoryError("x = 1; expected 2"), 1),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: x = 1; expected 2"), 1),
    ],
)
def test_errors_become_one_message_and_an_exit_code(
    error: Exception, code: int, capsys: Capture
) -> None:
    with pytest.raises(typer.Exit) as caught, session("test", Format.JSON, False):
        raise error
    assert caught.value.exit_code == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ") and "x = 1; expected 2" in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("error", [KeyError("bug"), RuntimeError("bug"), AssertionError("bug")])
def test_bugs_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error), match="bug"), session("test", None, False):
        raise error


def test_interruption_says_what_to_run_again(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/outsample", "demo", "--output", "my folder"])
    with pytest.raises(typer.Exit) as caught, session("test", Format.JSON, False):
        raise KeyboardInterrupt
    assert caught.value.exit_code == 130
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "outsample demo --output 'my folder'" in printed.err


def test_warnings_are_a_line_each_and_said_once(capsys: Capture) -> None:
    with session("test", Format.JSON, False):
        for _ in range(3):
            warn("variance raised by 1e-9")
    printed = capsys.readouterr()
    assert printed.err == "warning: variance raised by 1e-9\n"
    assert json.loads(printed.out)["command"] == "test"


def test_an_end_with_an_error_still_prints_the_results(capsys: Capture) -> None:
    with pytest.raises(typer.Exit) as caught, session("test", Format.JSON, False) as output:
        output.end_with(1, "error: a check failed")
    assert caught.value.exit_code == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["command"] == "test"
    assert printed.err == "error: a check failed\n"


def test_missing_folders_and_libraries_are_found_before_the_work(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("here")
    require_folder(None)
    require_folder(folder / "result.json")
    with pytest.raises(InputError, match="there is no folder"):
        require_folder(folder / "missing" / "result.json")
    require_figure(None)
    require_figure(folder / "figure.svg")
    with pytest.raises(InputError, match="there is no folder"):
        require_figure(folder / "missing" / "figure.svg")
    with pytest.raises(InputError, match=r"expected a name in \.png"):
        require_figure(folder / "figure.docx")
    monkeypatch.setattr("outsample.cli.output.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"outsample\[plot\]"):
        require_figure(folder / "figure.svg")


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (number, None, "–"),
        (number, 0.000123456, "0.000123"),
        (seconds, None, "–"),
        (seconds, 2.5e-5, "25 µs"),
        (seconds, 0.0123, "12.3 ms"),
        (seconds, 61.0, "61 s"),
    ],
)
def test_numbers_in_tables(
    show: Callable[[float | None], str], value: float | None, text: str
) -> None:
    assert show(value) == text
