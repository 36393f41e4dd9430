"""The explainer of learned normals."""

import pytest
import torch
from tests.battery import Coin

import outsample as ou
from outsample.products.halfspaces import CommonDirection, Directions, HalfspaceIntersection
from outsample.products.halfspaces.learned import DirectionExplainer, ObservedIntersection

F64 = torch.float64


def observed(noise: float, seed: int = 0) -> tuple[ObservedIntersection, torch.Tensor]:
    """Normals about multiples of one direction; the average has the direction alone."""
    g = torch.Generator().manual_seed(seed)
    shared = torch.linalg.qr(torch.randn(12, 1, generator=g, dtype=F64))[0].T
    mixing = 1 + 0.3 * torch.randn(6, 1, generator=g, dtype=F64)
    rest = torch.randn(6, 12, generator=g, dtype=F64)
    problem = ObservedIntersection(mixing @ shared + noise * rest)
    problem.average = mixing @ shared
    return problem, shared


def test_training_shows_the_direction() -> None:
    problem, shared = observed(0.3)
    advice = DirectionExplainer().explain(problem)
    assert isinstance(advice, Directions)
    assert advice.size == 12
    assert abs(float((advice.directions @ shared.T).item())) == pytest.approx(1, abs=1e-12)
    final = DirectionExplainer(source="normals").explain(problem)
    assert 0.5 < abs(float((final.directions @ shared.T).item())) < 0.9999


def test_the_estimator_takes_it() -> None:
    problem, _ = observed(0.3)
    truth, error = problem.sampled_truth(200_000, 0)
    found = CommonDirection().estimate(problem, DirectionExplainer().explain(problem))
    assert abs(float(found.value - truth)) < 5 * float(error) + 1e-4 * float(truth)


def test_offsets_say_nothing_and_scales_do_not_matter() -> None:
    problem, _ = observed(0.3)
    other = ObservedIntersection(3 * problem.normals, torch.ones(6, dtype=F64))
    other.average = 2 * problem.average
    for source in ("training", "normals"):
        explainer = DirectionExplainer(2, source)  # type: ignore[arg-type]
        one, two = (explainer.explain(p).directions for p in (problem, other))
        torch.testing.assert_close(one[:1].abs(), two[:1].abs())


def test_dtype() -> None:
    problem = HalfspaceIntersection(torch.eye(4, 5))
    advice = DirectionExplainer(source="normals").explain(problem)
    assert advice.directions.dtype == torch.float32


def test_refusals() -> None:
    with pytest.raises(ou.UnsupportedProblem, match="nobody watched"):
        DirectionExplainer().explain(HalfspaceIntersection(torch.eye(3)))
    with pytest.raises(ou.UnsupportedProblem, match="no HalfspaceIntersection"):
        DirectionExplainer().explain(Coin())
    with pytest.raises(ou.InputError, match="directions = 0"):
        DirectionExplainer(0)
    with pytest.raises(ou.InputError, match="directions = 4"):
        DirectionExplainer(4)
    with pytest.raises(ou.InputError, match="source = 'tea leaves'"):
        DirectionExplainer(source="tea leaves")  # type: ignore[arg-type]
