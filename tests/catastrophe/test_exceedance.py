"""Curves over thresholds, and thresholds of given probability."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from tests.battery import mlp
from tests.catastrophe import tails
from torch import nn

import outsample as ou
from outsample import InputError, exceedance_curve, output, threshold_of


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    return mlp(8, 24, 24, 3, seed=5).requires_grad_(False)


def _gaussian() -> ou.Gaussian:
    return ou.Gaussian.standard(8, torch.float64)


def test_a_linear_network_at_few_and_many_thresholds() -> None:
    problem, _ = tails.halfspace(0.0)
    for count in (1, 3, 25):
        sigmas = np.linspace(2, 9, count)[::-1]
        curve = exceedance_curve(problem.network, _gaussian(), output[0], sigmas)
        exact = stats.norm.logsf(sigmas)
        atol = 1e-7 if count < 5 else 0.02  # between four anchors the cubics are this good
        np.testing.assert_allclose(curve.log_probabilities, exact, atol=atol)
        np.testing.assert_allclose(curve.probabilities, np.exp(curve.log_probabilities))
        assert len(curve.anchors) == min(count, 4)
        assert curve.trust == "ok"


def test_curves_agree_with_single_estimates(net: nn.Sequential) -> None:
    limits = torch.linspace(4, 9, 12, dtype=torch.float64)
    quantity = 3 * output[0] - output[1] + 1
    curve = exceedance_curve(net, _gaussian(), quantity, limits)
    for limit, log_p in zip(limits.tolist(), curve.log_probabilities, strict=True):
        problem = ou.CatastropheProbability(net, _gaussian(), quantity > limit)
        assert log_p == pytest.approx(float(ou.Tilt().estimate(problem).log_value), abs=0.1)
    assert bool((np.diff(curve.log_probabilities) < 0).all())


def test_the_threshold_of_a_probability_is_one(net: nn.Sequential) -> None:
    for quantity in (output[0], -2 * output[1] + 3):
        for log_p in (math.log(0.8), math.log(1e-3), math.log(1e-9)):
            limit = threshold_of(net, _gaussian(), quantity, log_p)
            problem = ou.CatastropheProbability(net, _gaussian(), quantity > limit)
            found = float(ou.Tilt().estimate(problem).log_value)
            assert found == pytest.approx(log_p, abs=0.02)


def test_mixtures_of_inputs() -> None:
    problem, _ = tails.mixture()
    limit = threshold_of(problem.network, problem.inputs, output[0], math.log(1e-7))
    assert isinstance(problem.inputs, ou.GaussianMixture)
    parts = zip(problem.inputs.weights, problem.inputs.components, strict=True)
    p = sum(
        float(w) * stats.norm.sf(limit, float(law.mean[0]), float(law.variance[0]) ** 0.5)
        for w, law in parts
    )
    assert p == pytest.approx(1e-7, rel=0.01)


@pytest.mark.parametrize("thresholds", [[], [math.nan], [[1.0]], [math.inf]])
def test_bad_thresholds(net: nn.Sequential, thresholds: list[float]) -> None:
    with pytest.raises(InputError, match="thresholds"):
        exceedance_curve(net, _gaussian(), output[0], thresholds)


@pytest.mark.parametrize("log_p", [0.0, 1.0, math.nan, -math.inf])
def test_bad_probabilities(net: nn.Sequential, log_p: float) -> None:
    with pytest.raises(InputError, match="log_probability"):
        threshold_of(net, _gaussian(), output[0], log_p)


def test_only_quantities_of_the_network(net: nn.Sequential) -> None:
    with pytest.raises(InputError, match="quantity is Threshold"):
        exceedance_curve(net, _gaussian(), output[0] > 1, [1.0])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="does not depend"):
        threshold_of(net, _gaussian(), 0 * output[0], -3.0)


def test_a_quantity_that_does_not_vary_has_no_threshold() -> None:
    constant = nn.Linear(8, 1).double().requires_grad_(False)
    constant.weight.zero_()
    with pytest.raises(ou.NumericalError, match="not reached"):
        threshold_of(constant, _gaussian(), output[0], -3.0)


@pytest.mark.parametrize("seed", [1, *(pytest.param(s, marks=pytest.mark.slow) for s in (2, 4))])
def test_thresholds_of_outputs_that_saturate(seed: int) -> None:
    # The Gaussian first guess is beyond what tanh can reach, where tilts run away.
    net = mlp(24, 24, 24, 24, 1, activation=nn.Tanh, seed=seed).requires_grad_(False)
    law = ou.Gaussian.standard(24, torch.float64)
    threshold = threshold_of(net, law, output[0], math.log(1e-12))
    problem = ou.CatastropheProbability(net, law, output[0] > threshold)
    found = ou.Tilt().estimate(problem)
    assert found.log_value is not None
    # From nothing the tilt differs a little from that found on the way.
    assert float(found.log_value) == pytest.approx(math.log(1e-12), abs=0.5)


def test_what_cannot_happen_is_not_believed() -> None:
    net = mlp(24, 24, 24, 24, 1, activation=nn.Tanh, seed=2).requires_grad_(False)
    law = ou.Gaussian.standard(24, torch.float64)
    # log p comes out so low that 4.6 nats less are the same number.
    problem = ou.CatastropheProbability(net, law, output[0] > 9.42347)
    assert ou.Tilt().estimate(problem).trust == "unreliable"


def test_curves_over_wide_ranges_get_more_anchors() -> None:
    law, net = ou.Gaussian.standard(2, torch.float64), nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0.0]]))
    thresholds = np.linspace(-3, 30, 15)
    curve = exceedance_curve(net, law, output[0], thresholds)
    np.testing.assert_allclose(curve.log_probabilities, stats.norm.logsf(thresholds), atol=0.1)
    assert curve.trust == "ok"
    assert len(curve.anchors) > 4


def test_probabilities_that_are_never_reached() -> None:
    net = nn.Sequential(nn.Tanh(), nn.Linear(2, 1, bias=False)).double().requires_grad_(False)
    nn.init.ones_(net[1].weight)
    with pytest.raises(ou.NumericalError, match="was not reached"):
        threshold_of(net, ou.Gaussian.standard(2, torch.float64), output[0], -100.0)


def test_arguments_of_another_kind(net: nn.Sequential) -> None:
    law = ou.Gaussian.standard(8, torch.float64)
    sampler: Any = ou.SubsetSimulation()
    with pytest.raises(InputError, match="expected a Tilt"):
        exceedance_curve(net, law, output[0], [1.0, 2.0], sampler)
    words: Any = "abc"
    with pytest.raises(InputError, match="vector of finite numbers"):
        exceedance_curve(net, law, output[0], words)
    with pytest.raises(InputError, match="finite number"):
        threshold_of(net, law, output[0], words)
