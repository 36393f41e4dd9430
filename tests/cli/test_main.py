"""The command as a whole, in processes of its own: help, usage errors, interruption."""

import signal
import subprocess
from pathlib import Path

import pytest
from tests.cli.conftest import COMMAND, Run

COMMANDS = ("demo", "estimate", "compare", "doctor")


def test_help_names_the_commands_and_the_exit_codes(spawn: Run) -> None:
    result = spawn("--help")
    assert result.code == 0
    for word in (*COMMANDS, "130"):
        assert word in result.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_formats_and_examples(command: str, run: Run) -> None:
    result = run(command, "--help")
    assert result.code == 0
    for words in ("--format", "--json", "Examples", f"outsample {command}"):
        assert words in result.out


def test_version(run: Run) -> None:
    result = run("--version")
    assert result.code == 0
    assert result.out.startswith("outsample ")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("divine",),
        ("estimate",),
        ("estimate", "x.npz", "--format", "xml"),
        ("estimate", "x.npz", "--estimator", "guess"),
        ("estimate", "x.npz", "--samples", "many"),
        ("estimate", "x.npz", "--json", "--format", "plain"),
        ("compare", "--width"),
        ("compare", "--width", "wide"),
        ("demo", "--seed", "-1"),
        ("doctor", "who"),
    ],
)
def test_bad_usage_is_exit_code_2(words: tuple[str, ...], run: Run) -> None:
    result = run(*words)
    assert result.code == 2
    assert "Traceback" not in result.err


def test_interruption_exits_130_and_says_what_to_run_again(tmp_path: Path) -> None:
    words = ["demo", "--quick", "--output", str(tmp_path / "out"), "--json"]
    with subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stderr is not None and process.stdout is not None
        assert "training" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "To run it again: outsample demo --quick --output" in err
    assert "Traceback" not in err
    assert not list((tmp_path / "out").iterdir())
