"""DIMACS files: what they may say, and what is refused with the line."""

import os
from pathlib import Path

import pytest

from outsample.errors import FormatError, InputError
from outsample.products.cnf.dimacs import DimacsFile, read_dimacs


def read(folder: Path, text: str, **limits: int) -> DimacsFile:
    path = folder / "formula.cnf"
    path.write_text(text)
    return read_dimacs(path, **limits)


def test_clauses_comments_and_layout(tmp_path: Path) -> None:
    text = "c a comment\n\np cnf 4 3\n1 -2 0 3\n4\n0\nc in between\n-4 0\n%\n0\nnot read\n"
    file = read(tmp_path, text)
    assert file.variables == 4
    assert file.clauses == [(1, -2), (3, 4), (-4,)]
    assert file.weights is None


def test_weights_and_show(tmp_path: Path) -> None:
    text = "p cnf 3 1\nc p weight 1 0.2 0\nc p weight -1 0.8 0\nc p weight -2 0.3 0\n"
    file = read(tmp_path, text + "c p show 1 2 3 0\n1 2 3 0\n")
    assert file.weights is not None
    assert file.weights.tolist() == pytest.approx([0.2, 0.7, 0.5], abs=1e-15)


def test_no_clauses(tmp_path: Path) -> None:
    assert read(tmp_path, "p cnf 5 0\n").clauses == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no header"),
        ("1 2 0\n", "line 1: '1' before the header"),
        ("p cnf 3\n", "line 1: header"),
        ("p dnf 3 1\n1 0\n", "header"),
        ("p cnf 3 1\np cnf 3 1\n1 0\n", "line 2: a second header"),
        ("p cnf 0 0\n", "0 variables"),
        ("p cnf 3 -1\n", "-1 clauses"),
        ("p cnf 3 1\n1 4 0\n", "line 2: literal 4"),
        ("p cnf 3 1\n1 x 0\n", "'x'; expected an integer"),
        ("p cnf 3 1\n1 2.5 0\n", "'2.5'; expected an integer"),
        ("p cnf 3 1\n1 2\n", "does not end in 0"),
        ("p cnf 3 2\n1 2 0\n", "1 clauses; the header says 2"),
        ("p cnf 3 1\n1 0\n2 0\n", "line 3: more clauses than the 1"),
        ("p cnf 3 1\nc p weight 1 1.5 0\n1 0\n", "weight '1.5'; expected a probability"),
        ("p cnf 3 1\nc p weight 1 x 0\n1 0\n", "expected a probability"),
        ("p cnf 3 1\nc p weight 0 0.5 0\n1 0\n", "literal 0"),
        ("p cnf 3 1\nc p weight 1\n1 0\n", "expected 'c p weight LITERAL W 0'"),
        ("p cnf 3 1\nc p weight 1 0.5 0\nc p weight 1 0.4 0\n1 0\n", "a second weight"),
        ("p cnf 3 1\nc p weight 1 0.5 0\nc p weight -1 0.4 0\n1 0\n", "which sum to 1"),
        ("p cnf 3 1\nc p weight 9 0.5 0\n1 0\n", "a weight of literal 9"),
        ("p cnf 3 1\nc p show 1 2 0\n1 0\n", "names 2 of 3 variables"),
        ("p cnf 3 1\n99999999999999999999 0\n", "expected an integer"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(FormatError, match=words) as raised:
        read(tmp_path, text)
    assert "formula.cnf" in str(raised.value)


@pytest.mark.parametrize("limit", ["max_bytes", "max_variables", "max_literals"])
def test_limits(tmp_path: Path, limit: str) -> None:
    text = "p cnf 9 3\n" + "1 2 3 4 5 0\n" * 3
    assert len(read(tmp_path, text, max_bytes=100, max_variables=9, max_literals=18).clauses) == 3
    with pytest.raises(FormatError):
        read(tmp_path, text, **{limit: 8})


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.cnf", tmp_path):
        with pytest.raises(InputError, match="expected a readable DIMACS file"):
            read_dimacs(path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # opening it would wait for ever
    with pytest.raises(InputError, match="no regular file"):
        read_dimacs(pipe)


def test_binary_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "formula.cnf"
    path.write_bytes(b"p cnf 2 1\n\xff\xfe\x00 0\n")
    with pytest.raises(FormatError, match="line 2"):
        read_dimacs(path)
