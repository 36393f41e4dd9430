"""``outsample doctor`` passes here, and says so when something is wrong."""

import pytest
from tests.cli.conftest import Run

from outsample.cli import doctor


def test_all_is_well_here(run: Run) -> None:
    result = run("doctor", "--json")
    assert result.code == 0, result.err
    document = result.document
    assert document["passed"] is True
    assert document["schema_version"] == 1
    assert len(document["checks"]) >= 4
    for name in ("python", "torch", "BLAS", "threads", "processor", "matplotlib"):
        assert document["environment"][name]


def test_failed_and_broken_checks_are_exit_code_1(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> tuple[bool, str]:
        raise ZeroDivisionError("no")

    checks = {"wrong": lambda: (False, "2 + 2 = 5"), "broken": broken, "right": lambda: (True, "4")}
    monkeypatch.setattr(doctor, "_CHECKS", checks)
    result = run("doctor")
    assert result.code == 1
    assert "2 + 2 = 5" in result.out and "ZeroDivisionError: no" in result.out
    assert result.err == "error: failed checks: wrong, broken\n"


def test_missing_extras_say_how_to_get_them(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_EXTRAS", {"surely-not-installed": "plot"})
    monkeypatch.setattr(doctor, "_CHECKS", {})
    assert "pip install 'outsample[plot]'" in run("doctor").out
