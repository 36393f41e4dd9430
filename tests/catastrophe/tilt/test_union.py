"""Unions by inclusion and exclusion."""

import itertools
import math

import pytest
import torch

from outsample.catastrophe.tilt.union import LogProbability, log_union


def _log(p: float, trust: str = "ok") -> LogProbability:
    return LogProbability(torch.tensor(math.log(p), dtype=torch.float64), trust)  # type: ignore[arg-type]


@pytest.mark.parametrize("ps", [(0.3,), (1e-6, 2e-6), (0.1, 0.2, 0.3), (0.5, 0.4, 0.3, 0.2)])
def test_independent_events(ps: tuple[float, ...]) -> None:
    found = log_union([_log(p) for p in ps], lambda chosen: _log(math.prod(ps[i] for i in chosen)))
    exact = 1 - math.prod(1 - p for p in ps)
    assert float(found.value) == pytest.approx(math.log(exact), abs=1e-3)
    assert found.trust == "ok"


def test_intersections_that_do_not_matter_are_not_asked_for() -> None:
    def never(chosen: tuple[int, ...]) -> LogProbability:
        raise AssertionError(chosen)

    found = log_union([_log(1e-6), _log(1e-12)], never)
    assert float(found.value) == pytest.approx(math.log(1e-6 + 1e-12), abs=1e-12)


def test_many_events_give_an_upper_bound_that_is_doubted() -> None:
    singles = [_log(1e-6) for _ in range(6)]
    found = log_union(singles, lambda chosen: _log(1e-9))
    assert float(found.value) == pytest.approx(math.log(6e-6))
    assert found.trust == "low_confidence"
    assert "upper bound" in found.reasons[0]


def test_trust_is_that_of_the_worst_part() -> None:
    found = log_union(
        [_log(1e-3), _log(1e-3, "low_confidence")], lambda chosen: _log(1e-4, "unreliable")
    )
    assert found.trust == "unreliable"


def test_cancellation_falls_back_on_the_likeliest() -> None:
    found = log_union([_log(1e-3), _log(1e-3)], lambda chosen: _log(1.5e-3))
    assert float(found.value) == pytest.approx(math.log(1e-3))
    assert found.trust == "low_confidence"


def test_the_order_of_events_does_not_matter() -> None:
    ps = (0.2, 0.05, 0.01)
    values = {
        round(
            float(
                log_union(
                    [_log(p) for p in order],
                    lambda chosen, o=order: _log(math.prod(o[i] for i in chosen)),
                ).value
            ),
            12,
        )
        for order in itertools.permutations(ps)
    }
    assert len(values) == 1
