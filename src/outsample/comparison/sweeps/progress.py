"""How far a sweep is: a bar in a terminal, a line now and then elsewhere; on standard error."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

#: Seconds between two lines where there is no terminal, and before the first.
_INTERVAL = 30.0


class Progress:
    """Counts finished tasks; says how many, how fast, and how long the rest will take."""

    def __init__(self, name: str, total: int, *, enabled: bool) -> None:
        self._name, self._total = name, total
        self._done = self._found = self._failed = 0
        self._start = time.monotonic()
        self._due = self._start + _INTERVAL
        error = sys.stderr
        self._enabled = enabled and error is not None  # pyright: ignore
        self._bar: RichProgress | None = None

    def __enter__(self) -> Self:
        self._start = time.monotonic()
        if self._enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[said]}"),
                console=Console(file=sys.stderr),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.add_task(self._name, total=self._total, said="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._bar is not None:
            self._bar.stop()

    def found(self, count: int) -> None:
        """Say how many were there already."""
        self._found = count

    def advance(self, count: int, failed: int) -> None:
        """Count tasks that were run."""
        self._done += count
        self._failed += failed
        now = time.monotonic()
        if self._bar is not None:
            done = self._done + self._found
            self._bar.update(self._bar.task_ids[0], completed=done, said=self.said(now))
        elif self._enabled and now >= self._due:
            self._due = now + _INTERVAL
            print(f"{self._name}: {self.said(now)}", file=sys.stderr, flush=True)

    def said(self, now: float) -> str:
        """E.g. ``340 of 2000 tasks, 8.3 a second, 3 min left, 2 failed``."""
        done, passed = self._done + self._found, max(now - self._start, 1e-9)
        rate = self._done / passed
        parts = [f"{done} of {self._total} tasks", f"{rate:.3g} a second"]
        if rate > 0 and done < self._total:
            parts.append(f"{_duration((self._total - done) / rate)} left")
        if self._failed:
            parts.append(f"{self._failed} failed")
        return ", ".join(parts)


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
