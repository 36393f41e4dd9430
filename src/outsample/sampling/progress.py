"""A progress bar for long runs: on standard error, and only where somebody can see it."""

import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

#: Work shorter than this, in seconds, shows no bar.
_DELAY = 2.0
#: Shortest time between two redraws, in seconds.
_REDRAW = 0.1

#: Held by the bar on screen: whatever runs inside it shows none of its own.
_SCREEN = threading.Lock()


@contextmanager
def progress(label: str, total: float | None) -> Generator[Callable[[float], None]]:
    """Show a bar while the block runs, if it runs for more than about two seconds.

    Nothing is shown unless standard error is a terminal and the caller is the main thread, or
    inside another bar.  The bar is redrawn by the calls that move it (there is no thread behind
    it) and disappears at the end.

    Args:
        label: what is being done.
        total: the amount of work, in any unit; None if it may end at any time.

    Yields:
        A function that takes the amount of work done since it was last called.

    Example:
        >>> with progress("training", total=3) as advance:
        ...     for _ in range(3):
        ...         advance(1)
    """
    terminal = sys.stderr is not None and sys.stderr.isatty()  # pyright: ignore[reportUnnecessaryComparison]
    main = threading.current_thread() is threading.main_thread()
    if not (terminal and main and _SCREEN.acquire(blocking=False)):
        yield _nothing
        return
    bar = _Bar(label, total)
    try:
        yield bar.advance
    finally:
        bar.close()
        _SCREEN.release()


def _nothing(amount: float) -> None:
    del amount


class _Bar:
    def __init__(self, label: str, total: float | None) -> None:
        self._label, self._total, self._done = label, total, 0.0
        self._due = time.monotonic() + _DELAY
        self._shown: Progress | None = None

    def advance(self, amount: float) -> None:
        self._done += amount
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _REDRAW
        if self._shown is None:
            self._shown = self._show()
        self._shown.update(self._shown.task_ids[0], completed=self._done)
        self._shown.refresh()

    def close(self) -> None:
        if self._shown is not None:
            self._shown.stop()

    def _show(self) -> "Progress":
        from rich.console import Console  # slow to import, and most runs are short
        from rich.progress import Progress

        shown = Progress(
            console=Console(file=sys.stderr),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        shown.add_task(self._label, total=self._total)
        shown.start()
        return shown
