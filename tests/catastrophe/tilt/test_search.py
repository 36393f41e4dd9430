"""The search for several tilts of one event."""

import math

import pytest
import torch
from scipy import integrate, stats
from torch import nn

import outsample as ou
from outsample import CatastropheProbability, Tilt, output


def _network(*weights: list[list[float]]) -> nn.Sequential:
    """ReLU layers with these weights."""
    layers: list[nn.Module] = []
    for rows in weights:
        layer = nn.Linear(len(rows[0]), len(rows), bias=False, dtype=torch.float64)
        layer.weight = nn.Parameter(torch.tensor(rows, dtype=torch.float64), requires_grad=False)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _found(network: nn.Module, limit: float, n: int, starts: int = 1) -> ou.TiltEstimate:
    inputs = ou.Gaussian.standard(n, torch.float64)
    return Tilt(starts=starts).estimate(CatastropheProbability(network, inputs, output[0] > limit))


@pytest.mark.parametrize("limit", [5.0, 7.0])
def test_a_reflection_across_an_axis_that_the_tilt_is_not_widest_along(limit: float) -> None:
    """|x| + y > t, and z adds curvature, but no other way: two modes, neither mirrors the other."""
    network = _network(
        [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]],
        [[1, 1, 1, -1, 0.4, 0.4]],
    )  # fmt: skip

    def given(z: float) -> float:
        law = stats.norm
        inner = integrate.quad(
            lambda x: law.pdf(x) * law.sf(limit - 0.4 * abs(z) - abs(x)), -12, 12, points=[0.0]
        )
        return law.pdf(z) * inner[0]

    exact = math.log(2 * integrate.quad(given, 0, 12)[0])
    estimate = _found(network, limit, 3)
    assert len(estimate.modes) >= 2
    assert float(estimate.log_value) == pytest.approx(exact, abs=0.2)


def test_the_four_ways_of_a_norm() -> None:
    """max(|x|, |y|) > 4: two ways that mirror each other, and two across them."""
    network = _network([[1, 0], [-1, 0], [0, 1], [0, -1]], [[1, 1, -1, -1], [0, 0, 1, 1]], [[1, 1]])
    exact = math.log1p(-((1 - 2 * stats.norm.sf(4)) ** 2))
    estimate = _found(network, 4.0, 2, starts=6)
    assert len(estimate.modes) == 4
    assert float(estimate.log_value) == pytest.approx(exact, abs=0.1)


def test_more_starts_never_find_less() -> None:
    network = _network([[1, 0], [-1, 0], [0, 1], [0, -1]], [[1, 1, 0.9, 0.9]])
    counts = [len(_found(network, 6.0, 2, starts).modes) for starts in (1, 3, 6, 12)]
    assert counts == sorted(counts)


def test_hopeless_ways_are_left_out() -> None:
    """The other side of |x| takes 22 nats more here: it is looked at and forgotten."""
    network = _network([[1, 0], [-1, 0]], [[1, 0.6]])
    estimate = _found(network, 5.0, 2)
    assert len(estimate.modes) == 1
    assert float(estimate.log_value) == pytest.approx(stats.norm.logsf(5.0), abs=1e-2)
