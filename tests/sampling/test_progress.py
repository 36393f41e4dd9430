import io
import threading
import time
from types import SimpleNamespace

import pytest
from tests.sampling.problems import step

import outsample.sampling.progress as progress_module
from outsample.sampling import MonteCarlo
from outsample.sampling.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def stderr_is(stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch) -> None:
    # pytest itself replaces sys.stderr between a fixture and its test: replace what we see of it.
    monkeypatch.setattr(progress_module, "sys", SimpleNamespace(stderr=stream))
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    stderr_is(terminal := Terminal(), monkeypatch)
    return terminal


def work(clock: Clock, steps: int = 4, label: str = "training") -> None:
    with progress(label, total=steps) as advance:
        for _ in range(steps):
            clock.now += 1.5
            advance(1)


def test_a_long_run_shows_a_bar(terminal: Terminal, clock: Clock) -> None:
    work(clock)
    assert "training" in terminal.getvalue()
    assert "100%" in terminal.getvalue()


def test_work_of_unknown_length_shows_no_percentage(terminal: Terminal, clock: Clock) -> None:
    with progress("waiting", total=None) as advance:
        clock.now += 3
        advance(1)
    assert "waiting" in terminal.getvalue()
    assert "%" not in terminal.getvalue()


def test_nothing_goes_to_standard_output(
    terminal: Terminal, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    work(clock)
    assert capsys.readouterr().out == ""


def test_a_short_run_shows_nothing(terminal: Terminal, clock: Clock) -> None:
    work(clock, steps=1)
    assert terminal.getvalue() == ""


def test_no_terminal_no_bar(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = io.StringIO()
    stderr_is(plain, monkeypatch)
    work(clock)
    assert plain.getvalue() == ""


def test_no_standard_error_at_all(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    stderr_is(None, monkeypatch)
    work(clock)


def test_other_threads_show_nothing(terminal: Terminal, clock: Clock) -> None:
    thread = threading.Thread(target=work, args=(clock,))
    thread.start()
    thread.join()
    assert terminal.getvalue() == ""


def test_a_bar_inside_a_bar_is_silent(terminal: Terminal, clock: Clock) -> None:
    with progress("outer", total=2) as advance:
        work(clock, label="inner")
        advance(2)
    assert "outer" in terminal.getvalue()
    assert "inner" not in terminal.getvalue()


def test_the_screen_is_free_again_after_an_error(terminal: Terminal, clock: Clock) -> None:
    with pytest.raises(KeyboardInterrupt), progress("broken", total=2) as advance:
        clock.now += 5
        advance(1)
        raise KeyboardInterrupt
    work(clock)
    assert "training" in terminal.getvalue()


def test_redraws_are_rationed(terminal: Terminal, clock: Clock) -> None:
    with progress("many", total=10_000) as advance:
        clock.now += 3
        for _ in range(10_000):
            clock.now += 1e-4
            advance(1)
    assert terminal.getvalue().count("many") < 40


def test_samplers_show_one(
    terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = step(0.0)
    inner = problem.function

    def slow(x):
        clock.now += 1.5
        return inner(x)

    monkeypatch.setattr(problem, "function", slow)
    MonteCarlo(samples=40, batch=10).estimate(problem)
    assert "MonteCarlo" in terminal.getvalue()
