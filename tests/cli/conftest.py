"""How tests run commands: inside this process, or in one of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner

from outsample.cli import app

COMMAND = [sys.executable, "-c", "from outsample.cli import main; main()"]


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.out, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run a command in this process; bugs in it raise."""

    def invoke(*words: object) -> Result:
        result = CliRunner().invoke(app, [str(w) for w in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Result(result.exit_code, result.stdout, result.stderr)

    return invoke


@pytest.fixture
def spawn() -> Run:
    """Run a command in a process of its own, with no terminal."""

    def invoke(*words: object) -> Result:
        done = subprocess.run(
            [*COMMAND, *map(str, words)],
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=120,
            env=os.environ | {"COLUMNS": "100"},
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return invoke
