"""DIMACS files from strangers: formulas, with weights as in the model counting competitions."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from outsample.errors import FormatError, InputError
from outsample.products.cnf.formula import Clause

_INTEGER = re.compile(rb"[+-]?\d{1,18}")
#: Shown of what could not be read.
_SHOWN = 40


@dataclass(frozen=True)
class DimacsFile:
    """What a file says."""

    variables: int
    clauses: list[Clause]
    #: P(x_j = 1), shape (variables,), or None if the file has no weights.
    weights: NDArray[np.float64] | None


def read_dimacs(
    path: str | os.PathLike[str],
    *,
    max_bytes: int = 1 << 26,
    max_variables: int = 1 << 22,
    max_literals: int = 1 << 22,
) -> DimacsFile:
    """Read a formula in DIMACS CNF format.

    The header ``p cnf VARIABLES CLAUSES`` must come before the clauses and be right.  Clauses end
    in 0 and may span lines; a line that starts with ``%`` ends the formula, as in SATLIB's files.
    Comments are skipped, but for those of the model counting competitions:
    ``c p weight LITERAL W 0`` gives the probability of a literal (1 - W for its negation), and
    ``c p show …`` must name all variables, because projected counts are another problem.

    Args:
        path: the file.
        max_bytes: its largest size.
        max_variables: largest number of variables.
        max_literals: largest number of literals in all clauses together.

    Raises:
        InputError: if ``path`` is no readable file.
        FormatError: for anything else that is wrong, naming the path, the line and the reason.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(None, "it is no regular file")
        file = open(path, "rb")  # noqa: SIM115 (the with statement below closes it)
    except OSError as error:
        raise InputError(
            f"path = {os.fspath(path)!r}: {error.strerror}; expected a readable DIMACS file"
        ) from error
    with file:
        if status.st_size > max_bytes:
            _fail(path, None, f"{status.st_size} bytes; limit {max_bytes}")
        reader = _Reader(path, max_variables, max_literals)
        for number, line in enumerate(file, start=1):
            if line.startswith(b"%"):
                break
            reader.take(number, line)
        return reader.finish()


@dataclass
class _Reader:
    path: str | os.PathLike[str]
    max_variables: int
    max_literals: int
    variables: int | None = None
    announced: int = 0
    clauses: list[Clause] = field(default_factory=list[Clause])
    weights: dict[int, float] = field(default_factory=dict[int, float])
    shown: set[int] | None = None
    _open: list[int] = field(default_factory=list[int])
    _literals: int = 0
    _line: int = 0

    def take(self, number: int, line: bytes) -> None:
        """Take in one line."""
        self._line = number
        words = line.split()
        if not words:
            return
        if words[0] == b"c":
            if words[1:2] == [b"p"]:
                self._take_annotation(words[2:])
        elif words[0] == b"p":
            self._take_header(words)
        elif not words[0].startswith(b"c"):  # "c" glued to its comment
            self._take_literals(words)

    def finish(self) -> DimacsFile:
        """Check what only the end can tell."""
        if self.variables is None:
            _fail(self.path, None, "no header; expected 'p cnf VARIABLES CLAUSES' before clauses")
        if self._open:
            _fail(self.path, self._line, "the last clause does not end in 0")
        if len(self.clauses) != self.announced:
            _fail(
                self.path, self._line,
                f"{len(self.clauses)} clauses; the header says {self.announced}",
            )  # fmt: skip
        if self.shown is not None and len(self.shown) < self.variables:
            _fail(
                self.path, None,
                f"'c p show' names {len(self.shown)} of {self.variables} variables: projected "
                "counting is another problem; remove the line to count all models",
            )  # fmt: skip
        return DimacsFile(self.variables, self.clauses, self._probabilities(self.variables))

    def _take_header(self, words: list[bytes]) -> None:
        if self.variables is not None:
            self._fail("a second header")
        if len(words) != 4 or words[1] != b"cnf":
            self._fail(f"header {_text(b' '.join(words))}; expected 'p cnf VARIABLES CLAUSES'")
        self.variables, self.announced = self._integers(words[2:])
        if not 1 <= self.variables <= self.max_variables:
            self._fail(f"{self.variables} variables; expected 1 to {self.max_variables}")
        if not 0 <= self.announced <= self.max_literals:
            self._fail(f"{self.announced} clauses; expected 0 to {self.max_literals}")

    def _take_literals(self, words: list[bytes]) -> None:
        if self.variables is None:
            self._fail(f"{_text(words[0])} before the header 'p cnf VARIABLES CLAUSES'")
        self._literals += len(words)
        if self._literals > self.max_literals + self.announced:
            self._fail(f"more than {self.max_literals} literals")
        for literal in self._integers(words):
            if literal == 0:
                if len(self.clauses) == self.announced:
                    self._fail(f"more clauses than the {self.announced} of the header")
                self.clauses.append(tuple(self._open))
                self._open = []
            else:
                self._check(literal)
                self._open.append(literal)

    def _take_annotation(self, words: list[bytes]) -> None:
        if words[:1] == [b"weight"]:
            if len(words) not in (3, 4) or words[3:] not in ([], [b"0"]):
                self._fail("a weight; expected 'c p weight LITERAL W 0'")
            literal = next(self._integers(words[1:2]))
            try:
                weight = float(words[2])
            except ValueError:
                weight = np.nan
            if not 0 <= weight <= 1:
                self._fail(f"weight {_text(words[2])}; expected a probability from 0 to 1")
            if literal == 0:
                self._fail("a weight of literal 0")
            if self.weights.setdefault(literal, weight) != weight:
                self._fail(f"a second weight of literal {literal}")
        elif words[:1] == [b"show"]:
            self.shown = self.shown or set()
            self.shown.update(abs(v) for v in self._integers(words[1:]) if v)

    def _probabilities(self, variables: int) -> NDArray[np.float64] | None:
        if not self.weights:
            return None
        chances = np.full(variables, 0.5)
        for literal, weight in self.weights.items():
            if abs(literal) > variables:
                _fail(self.path, None, f"a weight of literal {literal}, of {variables} variables")
            other = self.weights.get(-literal)
            if other is not None and abs(weight + other - 1) > 1e-9:
                _fail(
                    self.path, None,
                    f"weights {weight} and {other} of literals {literal} and {-literal}; expected "
                    "probabilities, which sum to 1 (divide both by their sum)",
                )  # fmt: skip
            chances[abs(literal) - 1] = weight if literal > 0 else 1 - weight
        return chances

    def _integers(self, words: list[bytes]) -> Iterator[int]:
        for word in words:
            if not _INTEGER.fullmatch(word):
                self._fail(f"{_text(word)}; expected an integer")
            yield int(word)

    def _check(self, literal: int) -> None:
        if self.variables is not None and abs(literal) > self.variables:
            self._fail(f"literal {literal}; the header has {self.variables} variables")

    def _fail(self, reason: str) -> NoReturn:
        _fail(self.path, self._line, reason)


def _text(word: bytes) -> str:
    shown = word[:_SHOWN].decode("ascii", "backslashreplace")
    return repr(shown + ("…" if len(word) > _SHOWN else ""))


def _fail(path: str | os.PathLike[str], line: int | None, reason: str) -> NoReturn:
    where = f"{os.fspath(path)!r}" + ("" if line is None else f", line {line}")
    raise FormatError(f"{where}: {reason}")
