"""What a sweep says of how far it is, in a terminal and elsewhere."""

import io
import sys

import pytest

from outsample.comparison.sweeps import progress
from outsample.comparison.sweeps.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in its only element."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def started(total: int = 20, *, enabled: bool = True) -> Progress:
    return Progress("study", total, enabled=enabled)


class TestWords:
    def test_before_anything(self, clock: list[float]) -> None:
        assert started().said(clock[0]) == "0 of 20 tasks, 0 a second"

    @pytest.mark.parametrize(
        ("total", "passed", "left"),
        [
            (20, 10.0, "10 s left"),
            (130, 10.0, "2 min left"),
            (72010, 10.0, "20 h left"),
            (10 + 3 * 86400, 10.0, "3 d left"),
        ],
    )
    def test_rate_and_time_left(
        self, clock: list[float], total: int, passed: float, left: str
    ) -> None:
        bar = started(total, enabled=False)
        clock[0] += passed
        bar.advance(10, 0)
        assert bar.said(clock[0]) == f"10 of {total} tasks, 1 a second, {left}"

    def test_what_was_there_does_not_count_for_the_rate(self, clock: list[float]) -> None:
        bar = started(enabled=False)
        bar.found(10)
        clock[0] += 4.0
        bar.advance(2, 0)
        assert bar.said(clock[0]) == "12 of 20 tasks, 0.5 a second, 16 s left"

    def test_failures(self, clock: list[float]) -> None:
        bar = started(enabled=False)
        clock[0] += 1.0
        bar.advance(20, 3)
        assert bar.said(clock[0]) == "20 of 20 tasks, 20 a second, 3 failed"


class TestOutsideATerminal:
    def test_a_line_now_and_then(
        self, clock: list[float], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with started() as bar:
            clock[0] += 10.0
            bar.advance(2, 0)
            assert capsys.readouterr() == ("", "")
            clock[0] += 20.0
            bar.advance(4, 1)
            found = capsys.readouterr()
            assert found.err == "study: 6 of 20 tasks, 0.2 a second, 70 s left, 1 failed\n"
            bar.advance(1, 0)  # right afterwards: not again
            assert capsys.readouterr() == ("", "")
            clock[0] += 30.0
            bar.advance(1, 0)
            assert capsys.readouterr().err.startswith("study: 8 of 20 tasks")
        assert found.out == ""
        assert capsys.readouterr() == ("", "")

    def test_nothing_if_not_wanted(
        self, clock: list[float], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with started(enabled=False) as bar:
            clock[0] += 1000.0
            bar.advance(20, 0)
        assert capsys.readouterr() == ("", "")

    def test_nothing_without_standard_error(
        self, clock: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stderr", None)
        with started() as bar:
            clock[0] += 1000.0
            bar.advance(20, 0)


class TestInATerminal:
    def test_a_bar_that_goes_away(
        self, clock: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        with started() as bar:
            clock[0] += 1.0
            bar.advance(5, 1)
            assert bar._bar is not None
            bar._bar.refresh()
            shown = terminal.getvalue()
        assert "study" in shown
        assert "5 of 20 tasks, 5 a second, 3 s left, 1 failed" in shown.replace("\n", " ")
        assert bar._bar.finished is False
        assert not bar._bar.live.is_started

    def test_ends_with_an_exception(
        self, clock: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stderr", Terminal())
        bar = started()
        with pytest.raises(KeyboardInterrupt), bar:
            raise KeyboardInterrupt
        assert bar._bar is not None
        assert not bar._bar.live.is_started

    def test_nothing_if_not_wanted(
        self, clock: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        with started(enabled=False) as bar:
            bar.advance(5, 1)
        assert terminal.getvalue() == ""
