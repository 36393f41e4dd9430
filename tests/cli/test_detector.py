"""Detectors from text: what is taken, and what is refused without being run."""

from pathlib import Path

import pytest

from outsample.cli.detector import parse_detector
from outsample.errors import InputError


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("output[0] > 3", "output[0] > 3"),
        (" output[-1]<=0\n", "output[-1] <= 0"),
        ("3 < output[0]", "output[0] > 3"),
        ("2*output[0] - output[8] + 1 >= 0", "2 * output[0] - output[8] >= -1"),
        ("-output[0] > -2.5", "-output[0] > -2.5"),
        ("output[0] - -1 > 1e3 * 2", "output[0] > 1999"),
        ("hidden[0][5]>3.0", "hidden[0][5] > 3"),
        ("argmax(margin=2)==7", "argmax(margin=2) == 7"),
        ("7 == argmax()", "argmax() == 7"),
        ("argmax() != 7", "~(argmax() == 7)"),
        ("(output[0] > 1) & ((output[1] > 2) | (argmax(margin=1.5) == 3))",
         "(output[0] > 1) & ((output[1] > 2) | (argmax(margin=1.5) == 3))"),
        ("~(output[0] > 1)", "output[0] <= 1"),
    ],
)  # fmt: skip
def test_detectors_are_read_as_python_reads_them(text: str, read: str) -> None:
    assert repr(parse_detector(text)) == read


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "output", "output > 3", "output[0]", "argmax()", "3", "1 > 2", "~3",
        "1 < output[0] < 2", "(output[0]>1) and (output[1]>2)", "not output[0] > 1",
        "output[0]>1 & output[1]>2", "output[0] & output[1] > 2", "(output[0]>1) | 3",
        "output[0] == 3", "output[0] > nan", "output[0] > True", "output[0] > 'a'",
        "output[0] > 1j", "output[0] > (output[1] > 2)", "(output[0]>1) > 3", "(output[0]>1) + 1",
        "output[0]**2 > 1", "output[0]*output[1] > 1", "output[0] * 1e308 * 1e308 > 1",
        "output[0:2] > 1", "output[0.5] > 1", "output[True] > 1", "output[output[0]] > 1",
        "hidden[0] > 1", "hidden[0][0][0] > 1", "argmax(7) == 1", "argmax(margin=-1) == 1",
        "argmax(margin=output[0]) == 1", "argmax(margin=1, margin=2) == 3", "argmax(**{}) == 1",
        "argmax() == 1.5", "argmax() > 1", "argmax() == argmax()", "argmax() & (output[0]>1)",
        "output[0] in output[1]", "output[0] > 1; 2", "x := 3", "[output[0] > 1]",
        "output[0] > 1 if 1 else 2", "f'{output[0]}'", "output[0] > \x00", "output[0] <> 1",
    ],
)  # fmt: skip
def test_what_is_no_detector_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_detector(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('pathlib').Path('PATH').touch()",
        "open('PATH', 'w') > 1",
        "(lambda: open('PATH', 'w'))()",
        "output[open('PATH', 'w')] > 1",
        "argmax(margin=open('PATH', 'w')) == 1",
        "[open('PATH', 'w') for _ in output]",
        "output.__class__.__mro__ > 1",
        "output[0].terms > 1",
        "(output[0] > 1).opposite()",
        "eval('output[0] > 1')",
    ],
)
def test_nothing_is_run(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot take"):
        parse_detector(text.replace("PATH", str(tmp_path / "touched")))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "output[0] > 1" + "0" * 3000,
        "output[0] > 1" + "0" * 1500,
        "output[" + "9" * 1500 + "] > 1",
        "(" * 900 + "output[0]" + ")" * 900 + " > 1",
        "~" * 1900 + "(output[0] > 1)",
        "-" * 1900 + "output[0] > 1",
        "2**" * 500 + "2 < output[0]",
    ],
)
def test_size_and_depth_have_limits(text: str) -> None:
    with pytest.raises(InputError, match="detector") as caught:
        parse_detector(text)
    assert len(str(caught.value)) < 400
