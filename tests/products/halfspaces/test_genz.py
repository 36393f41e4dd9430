"""Genz's sampler, against closed forms and its own standard error."""

import math

import numpy as np
import pytest
import torch
from tests.battery import Coin, EstimatorBattery
from torch import Tensor

import outsample as ou
from outsample.products.halfspaces.genz import Genz
from outsample.products.halfspaces.problem import HalfspaceIntersection

F64 = torch.float64


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def equicorrelated(k: int) -> HalfspaceIntersection:
    """k halfspaces through the centre at correlation 1/2: p = 1 / (k + 1)."""
    v = torch.cat([torch.eye(k, dtype=F64), torch.ones(k, 1, dtype=F64)], 1)
    return HalfspaceIntersection(v)


class TestBattery(EstimatorBattery):
    estimator = Genz(points=40_000)
    tolerance = 2e-4

    def make_problem(self, dtype: torch.dtype) -> HalfspaceIntersection:
        return HalfspaceIntersection(equicorrelated(5).normals.to(dtype))

    def exact_value(self, problem: ou.Problem) -> Tensor:
        return torch.tensor(1 / 6, dtype=F64)

    # Of networks:
    test_linear_networks = None  # type: ignore[assignment]
    test_a_single_output_is_a_scalar = None  # type: ignore[assignment]


@pytest.mark.parametrize("points", [1000, 20_000, 60_000, 200_000])
@pytest.mark.parametrize("k", [3, 8, 20])
def test_standard_errors_are_honest(k: int, points: int) -> None:
    """Over many seeds, errors in units of the standard error are about 1 in mean square."""
    found = [Genz(points, seed).estimate(equicorrelated(k)) for seed in range(12)]
    z = [float(e.value - 1 / (k + 1)) / float(e.standard_error) for e in found]  # type: ignore[arg-type]
    assert 0.2 < np.mean(np.square(z)) < 4.5


def test_points_taken_are_those_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    import scipy.stats._multivariate as inside

    taken = []
    original = inside._qmvn

    def counting(points: int, *args: object, **options: object) -> object:
        result = original(points, *args, **options)
        taken.append(result[2])
        return result

    monkeypatch.setattr(inside, "_qmvn", counting)
    for points in (960, 5000, 20_000, 90_000, 300_000):
        taken.clear()
        estimate = Genz(points).estimate(equicorrelated(4))
        assert 0.85 * sum(taken) < estimate.samples < 1.15 * sum(taken)
        assert estimate.samples <= points


def test_boxes_and_dependent_normals() -> None:
    """Interval factors and k > n: a cube turned, and the same with every face given twice."""
    turn = torch.linalg.qr(randn(3, 3))[0]
    v = torch.cat([turn, -turn, 2 * turn])
    b = torch.cat([-torch.ones(6), -3 * torch.ones(3)]).double()
    estimate = Genz().estimate(HalfspaceIntersection(v, b))
    assert float(estimate.value) == pytest.approx(math.erf(math.sqrt(0.5)) ** 3, rel=1e-4)
    assert estimate.diagnostics == {"factors": 3, "merged": 6}
    # The halves of the circle which 0°, 60° and 120° face share the sixth part of it.
    angles = torch.tensor([0.0, math.pi / 3, 2 * math.pi / 3], dtype=F64)
    flat = HalfspaceIntersection(torch.stack([angles.cos(), angles.sin()], 1))
    wedge = Genz().estimate(flat)
    assert float(wedge.value) == pytest.approx(1 / 6, abs=5 * float(wedge.standard_error) + 1e-6)  # type: ignore[arg-type]


def test_what_needs_no_points() -> None:
    for v, p in ((torch.zeros(0, 3), 1.0), (torch.eye(2), 0.25), (torch.eye(2)[:1], 0.5)):
        estimate = Genz().estimate(HalfspaceIntersection(v.double()))
        assert float(estimate.value) == pytest.approx(p, abs=1e-14)
        assert float(estimate.standard_error) == pytest.approx(0, abs=1e-15)  # type: ignore[arg-type]
        assert estimate.samples == 0
    v = randn(1, 3)
    empty = HalfspaceIntersection(torch.cat([v, -v]), torch.tensor([0.5, 0.5], dtype=F64))
    assert float(Genz().estimate(empty).value) == 0


def test_seeds() -> None:
    problem = HalfspaceIntersection(randn(6, 9))
    values = [float(Genz(seed=seed).estimate(problem).value) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_doubts() -> None:
    problem = HalfspaceIntersection(randn(40, 4))
    assert "third of the estimate" in Genz(960).estimate(problem).reasons[0]
    assert "4 replicates" in Genz(960, replicates=4).estimate(problem).reasons[0]
    assert Genz().estimate(HalfspaceIntersection(randn(4, 9))).trust == "ok"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"points": 0}, "points = 0"),
        ({"points": 959}, "points = 959 for 8 replicates"),
        ({"points": 1.5}, "points = 1.5"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": True}, "seed = True"),
        ({"replicates": 1}, "replicates = 1"),
    ],
)
def test_bad_settings(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ou.InputError, match=message):
        Genz(**settings)


def test_refusals() -> None:
    with pytest.raises(ou.UnsupportedProblem, match="HalfspaceIntersection"):
        Genz().estimate(Coin())


def test_costs_and_settings_at() -> None:
    problem = HalfspaceIntersection(randn(8, 40))
    few, many = Genz(8_000).flops(problem), Genz(16_000).flops(problem)
    assert many == pytest.approx(2 * few, rel=1e-2)
    budget = 1e5 * 2 * 8 * 40
    assert Genz.at(1e5**-0.5, problem).flops(problem) == pytest.approx(budget, rel=0.05)


def test_truth_of_a_problem() -> None:
    value, error = equicorrelated(6).sampled_truth(50_000, seed=3)
    assert abs(float(value) - 1 / 7) < 5 * float(error) < 1e-3
    other, _ = equicorrelated(6).sampled_truth(50_000, seed=4)
    assert float(other) != float(value)
