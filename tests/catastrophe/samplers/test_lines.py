"""Draws beyond where the catastrophe begins on their lines."""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

import outsample as ou
from outsample.catastrophe.samplers.lines import Score, beyond


def _rows(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Origins, direction and positions in two dimensions, the second of which is the lines'."""
    draws = torch.Generator().manual_seed(3)
    normals = torch.randn(count, 2, generator=draws, dtype=torch.float64)
    origins = torch.stack((normals[:, 0], torch.zeros(count, dtype=torch.float64)), 1)
    return origins, torch.tensor([0.0, 1.0], dtype=torch.float64), normals[:, 1]


def _probability(score: Score, pull: float) -> tuple[float, float]:
    """P(score > 0) of standard normals, from draws about (0, pull), and the standard error."""
    origins, direction, own = _rows(20_000)
    shift = pull * direction
    found = beyond(origins + shift, direction, own, pull, score)
    x = origins + shift + found.value[:, None] * direction
    weights = (found.log_ratio - pull * found.value - 0.5 * pull**2).exp() * (score(x) > 0)
    return float(weights.mean()), float(weights.std()) / math.sqrt(len(weights))


@pytest.mark.parametrize("limit", [1.0, 3.0, 6.0, 12.0])
def test_a_straight_edge(limit: float) -> None:
    value, error = _probability(lambda x: x[:, 1] - limit, limit)
    exact = stats.norm.sf(limit)
    assert abs(value - exact) < 4 * error
    assert error < 0.005 * exact


SCORES: dict[str, tuple[Score, float]] = {
    "edges that differ from line to line": (lambda x: x[:, 1] - 4 - 0.5 * x[:, 0], 0.5),
    "a kink": (lambda x: torch.where(x[:, 1] > 3.8, 5 * (x[:, 1] - 4), x[:, 1] - 4), 0.0),
    "a step": (lambda x: torch.where(x[:, 1] > 4, 1.0, -1.0), 0.0),
    "an end as well": (lambda x: 0.5 - (x[:, 1] - 4.5).abs(), 0.0),
}


@pytest.mark.parametrize("name", SCORES)
def test_no_bias_wherever_the_edge_is(name: str) -> None:
    score, tilt = SCORES[name]
    value, error = _probability(score, 4.0)
    exact = stats.norm.sf(4 / math.hypot(1, tilt))
    if name == "an end as well":
        exact -= stats.norm.sf(5)
    assert abs(value - exact) <= 4 * error
    assert error <= 0.15 * exact


@pytest.mark.parametrize("rows", [1, 2, 3, 9])
def test_no_bias_of_few_rows(rows: int) -> None:
    """Of few rows more than one in eight stay where they were."""
    origins, direction, own = _rows(1800)
    shift = 2 * direction
    weights: list[Tensor] = []
    for some, place in zip((origins + shift).split(rows), own.split(rows), strict=True):
        found = beyond(some, direction, place, 2.0, lambda x: x[:, 1] - 2)
        hit = some[:, 1] + found.value > 2
        weights.append((found.log_ratio - 2 * found.value - 2).exp() * hit)
    all_of_them = torch.cat(weights)
    error = float(all_of_them.std()) / math.sqrt(len(own))
    assert abs(float(all_of_them.mean()) - stats.norm.sf(2)) < 4 * error


def test_fewer_draws_for_the_same_error_as_without_lines() -> None:
    """Six deviations out, a draw from the tilt alone has a relative variance of about 7."""
    net = torch.nn.Linear(3, 1, bias=False, dtype=torch.float64).requires_grad_(False)
    limit = 6 * float(net.weight.norm())
    inputs = ou.Gaussian.standard(3, torch.float64)
    problem = ou.CatastropheProbability(net, inputs, ou.output[0] > limit)
    found = ou.TiltedImportanceSampling(5000, seed=4).estimate(problem)
    assert float(found.relative_error) ** 2 * 5000 < 0.5
    assert abs(float(found.log_value) - stats.norm.logsf(6)) < 4 * float(found.relative_error)
