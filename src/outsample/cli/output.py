"""What all commands share: output formats, error messages and exit codes."""

import json
import math
import shlex
import sys
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import typer

from outsample.errors import (
    FormatError,
    InputError,
    OutsampleError,
    OutsampleWarning,
    UnsupportedProblem,
)

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
_PLAIN_WIDTH = 1000
_FIGURES = (".png", ".pdf", ".svg")


class Format(StrEnum):
    """How results are written to standard output."""

    RICH = "rich"
    PLAIN = "plain"
    JSON = "json"


FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format", help="Default: rich in a terminal, plain elsewhere.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Short for --format json.")]


class Output:
    """Collects what a command has to say; prints it in the format that was asked for."""

    def __init__(self, command: str, form: Format) -> None:
        self.format = form
        #: The JSON document; commands add their own entries.
        self.document: dict[str, Any] = {"schema_version": 1, "command": command}
        self._shown: list[Any] = []
        self._code, self._last = 0, ""

    def text(self, line: str) -> None:
        """Show a line of text, except in JSON."""
        self._shown.append(line)

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None
    ) -> None:
        """Show a table, its first column flush left; except in JSON."""
        if self.format is Format.JSON:
            return
        from rich import box
        from rich.table import Table

        if title is not None:
            self.text(title)
        look = box.SIMPLE_HEAD if self.format is Format.RICH else None
        table = Table(box=look, pad_edge=False)
        for index, column in enumerate(columns):
            table.add_column(column, justify="right" if index else "left")
        for row in rows:
            table.add_row(*row)
        self._shown.append(table)

    def show(self, renderable: Any) -> None:
        """Show anything that Rich can print, except in JSON."""
        self._shown.append(renderable)

    def end_with(self, code: int, message: str) -> None:
        """End the command with an exit code, and a last message on standard error."""
        self._code, self._last = code, message

    def print(self) -> None:
        """Print what was collected, then end as told."""
        self._print_results()
        if self._code:
            note(self._last)
            raise typer.Exit(self._code)

    def _print_results(self) -> None:
        if self.format is Format.JSON:
            print(json.dumps(finite(self.document), indent=2, allow_nan=False))
            return
        from rich.console import Console

        rich = self.format is Format.RICH
        console = Console(
            highlight=False,
            markup=False,
            color_system="auto" if rich else None,
            width=None if rich else _PLAIN_WIDTH,
        )
        for item in self._shown:
            console.print(item)


@contextmanager
def session(command: str, form: Format | None, as_json: bool) -> Generator[Output]:
    """Run the body of a command: what it collects is printed at its end.

    Errors of ours become one message on standard error and an exit code: 2 for bad input, 1 for
    an estimator that failed; warnings become a line each.  Ctrl-C exits with 130.
    """
    if as_json and form not in (None, Format.JSON):
        raise typer.BadParameter(f"--json and --format {form} contradict each other")
    if form is None:
        form = Format.RICH if sys.stdout.isatty() else Format.PLAIN
    output = Output(command, Format.JSON if as_json else form)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        warnings.simplefilter("once", OutsampleWarning)
        try:
            yield output
            output.print()
        except KeyboardInterrupt:
            note(f"interrupted. {run_again()}")
            raise typer.Exit(INTERRUPTED) from None
        except (InputError, FormatError, UnsupportedProblem) as error:
            note(f"error: {error}")
            raise typer.Exit(BAD_INPUT) from error
        except ImportError as error:
            if "pip install 'outsample[" not in str(error):  # an optional part, not installed
                raise
            note(f"error: {error}")
            raise typer.Exit(BAD_INPUT) from error
        except (OutsampleError, MemoryError, OSError) as error:
            note(f"error: {str(error) or type(error).__name__}")
            raise typer.Exit(FAILED) from error
        except RuntimeError as error:
            if "allocate memory" not in str(error):  # PyTorch's words for running out of it
                raise
            note(f"error: out of memory: {error}")
            raise typer.Exit(FAILED) from error


def note(message: str) -> None:
    """Say something on standard error: progress, a warning, an error."""
    print(message, file=sys.stderr, flush=True)


def run_again() -> str:
    """What to type to run this command once more."""
    return f"To run it again: {shlex.join(['outsample', *sys.argv[1:]])}"


def require_folder(path: Path | None) -> None:
    """Refuse, before any work, a file that could not be written after it.

    Raises:
        InputError: if the folder of ``path`` does not exist.
    """
    if path is not None and not path.parent.is_dir():
        raise InputError(f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}")


def require_figure(path: Path | None) -> None:
    """Refuse, before any work, a figure that could not be drawn after it.

    Raises:
        InputError: if Matplotlib is not installed, the format is not known, or the folder of
            ``path`` does not exist.
    """
    if path is None:
        return
    if find_spec("matplotlib") is None:
        raise InputError("figures take Matplotlib; install it with: pip install 'outsample[plot]'")
    if path.suffix not in _FIGURES:
        raise InputError(f"cannot draw {str(path)!r}; expected a name in {', '.join(_FIGURES)}")
    require_folder(path)


def make_folder(folder: Path) -> None:
    """Make a folder to write results to, before any work.

    Raises:
        InputError: if that cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {str(folder)!r}: {error.strerror}") from error


def finite(value: Any) -> Any:
    """The same with null for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in cast(dict[str, Any], value).items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in cast(list[Any], value)]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextmanager
def one_thread() -> Generator[None]:
    """On a busy machine, threads that wait for each other make every time meaningless."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def probability(log10: float) -> str:
    """A probability from its decimal logarithm, however small, for a table."""
    if not math.isfinite(log10):
        return "0" if log10 < 0 else "–"
    whole = math.floor(log10)
    size = f"{10 ** (log10 - whole):.1f}"
    return f"1.0e{whole + 1:+03d}" if size == "10.0" else f"{size}e{whole:+03d}"


def times(factor: float) -> str:
    """A factor with two digits, in full while that is short."""
    if not math.isfinite(factor):
        return "–"
    return f"{float(f'{factor:.2g}'):,.10g}" if factor < 1e7 else f"{factor:.1e}"


def number(value: float | None, digits: int = 3) -> str:
    """A number for a table; a dash for None."""
    return "–" if value is None else f"{value:.{digits}g}"


def seconds(value: float | None) -> str:
    """A time with its unit; a dash for None."""
    if value is None:
        return "–"
    if value < 1e-3:
        return f"{value * 1e6:.3g} µs"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del filename, lineno, file, line
    note(f"warning: {message}")
