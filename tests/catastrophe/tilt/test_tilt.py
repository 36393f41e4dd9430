"""Tilt: closed forms, invariances, parts that multiply and add, refusals."""

import json
import math
import random

import numpy as np
import pytest
import torch
from scipy import stats
from tests.battery import Coin, gaussian, mlp
from tests.catastrophe import tails
from torch import nn

import outsample as ou
from outsample import CatastropheProbability, Tilt, argmax, hidden, output


def _log(problem: CatastropheProbability, **settings: object) -> float:
    estimate = Tilt(**settings).estimate(problem)  # type: ignore[arg-type]
    return float(estimate.log_value.detach())


def _event(net: nn.Module, limit: float, n: int = 8) -> CatastropheProbability:
    return CatastropheProbability(net, ou.Gaussian.standard(n), output[0] > limit)


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    return mlp(8, 24, 24, 3, seed=5).requires_grad_(False)


@pytest.mark.parametrize("sigmas", [-2.0, 0.0, 3.0, 8.0, 15.0, 30.0])
@pytest.mark.parametrize("order", [2, 3, 4])
def test_linear_networks_are_exact(sigmas: float, order: int) -> None:
    problem, exact = tails.halfspace(sigmas)
    variant = "basic" if order == 4 else "augmented"
    estimate = Tilt(order, variant).estimate(problem)  # type: ignore[arg-type]
    assert float(estimate.log_value) == pytest.approx(exact, abs=1e-8)
    assert estimate.trust == "ok"


@pytest.mark.parametrize(
    ("n", "p", "factor"),
    [
        *((5, p, f) for p, f in ((1e-4, 1.13), (1e-9, 1.11), (1e-15, 1.13))),
        *((20, p, f) for p, f in ((1e-4, 1.07), (1e-9, 1.05), (1e-15, 1.04))),
        *((64, p, f) for p, f in ((1e-4, 1.04), (1e-9, 1.03), (1e-15, 1.02))),
    ],
)
def test_shells_around_the_mean(n: int, p: float, factor: float) -> None:
    problem, exact = tails.chi_square(p, n)
    error = _log(problem, order=2) - exact
    assert 0 < error < math.log(factor)


@pytest.mark.parametrize("case", [tails.union, tails.mixture], ids=["union", "mixture"])
def test_unions_and_mixtures(case: object) -> None:
    problem, exact = case()  # type: ignore[operator]
    assert _log(problem) == pytest.approx(exact, abs=2e-3)


@pytest.mark.parametrize("sigmas", [5.0, 9.0])
def test_two_opposite_modes_are_found_and_added(sigmas: float) -> None:
    direction = torch.linspace(0.1, 0.6, 6, dtype=torch.float64)
    first, last = nn.Linear(6, 2, bias=False).double(), nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        first.weight.copy_(torch.stack((direction, -direction)) / direction.norm())
        last.weight.fill_(1.0)
    net = nn.Sequential(first, nn.ReLU(), last).requires_grad_(False)  # |a · x|
    estimate = Tilt().estimate(_event(net, sigmas, 6))
    exact = stats.norm.logsf(sigmas) + math.log(2)
    assert float(estimate.log_value) == pytest.approx(exact, abs=1e-4)
    assert len(estimate.modes) == 2
    torch.testing.assert_close(estimate.modes[0].mean, -estimate.modes[1].mean)


def test_networks_against_importance_sampling(net: nn.Sequential) -> None:
    problem = _event(net, 12.0)
    sampled = ou.TiltedImportanceSampling(200_000, seed=9).estimate(problem)
    assert sampled.relative_error is not None
    assert sampled.relative_error < 0.02
    for settings in ({}, {"variant": "elliptical"}, {"order": 4, "variant": "basic"}):
        assert _log(problem, **settings) == pytest.approx(float(sampled.log_value), abs=0.2)


def test_rotated_and_whitened_inputs(net: nn.Sequential) -> None:
    law = gaussian(8, 3)
    before = _log(CatastropheProbability(net, law, output[0] > 10))
    root = torch.linalg.cholesky(law.covariance)
    turn = torch.linalg.qr(gaussian(8, 4).covariance)[0]
    whitening = nn.Linear(8, 8).double().requires_grad_(False)
    whitening.weight.copy_(root @ turn)
    whitening.bias.copy_(law.mean)
    after = _log(_event(nn.Sequential(whitening, net), 10.0))
    assert after == pytest.approx(before, abs=1e-7)


def test_scaled_negated_and_repeated_thresholds(net: nn.Sequential) -> None:
    law = ou.Gaussian.standard(8)
    one = _log(CatastropheProbability(net, law, output[0] > 10))
    for detector in (
        7.0 * output[0] > 70,
        -output[0] < -10,
        (output[0] > 10) & (output[0] > 8),
        (output[0] > 10) | (output[0] > 12),
    ):
        assert _log(CatastropheProbability(net, law, detector)) == pytest.approx(one, abs=1e-6)
    # Newton's method for two thresholds stops elsewhere within the tolerance.
    both = CatastropheProbability(net, law, (output[0] > 10) & (output[1] > -1e4))
    assert _log(both) == pytest.approx(one, abs=5e-3)


def test_complements_add_up(net: nn.Sequential) -> None:
    law = ou.Gaussian.standard(8)
    for limit in (0.5, 5.0):
        above = _log(CatastropheProbability(net, law, output[0] > limit))
        below = _log(CatastropheProbability(net, law, ~(output[0] > limit)))
        assert math.exp(above) + math.exp(below) == pytest.approx(1.0, abs=1e-9)


def test_independent_predicates_multiply_at_once() -> None:
    """Three predicates of probability 1e-6 on inputs of their own: 1e-18."""
    limit = float(stats.norm.isf(1e-6))
    problem = CatastropheProbability(
        tails.diagonal(1.0, 2.0, 3.0),
        ou.Gaussian.standard(3, torch.float64),
        (output[0] > limit) & (output[1] > 2 * limit) & (output[2] > 3 * limit),
    )
    assert _log(problem) == pytest.approx(math.log(1e-18), rel=1e-9)


def test_intervals_of_one_output() -> None:
    problem, _ = tails.halfspace(0.0)
    problem = CatastropheProbability(
        problem.network, problem.inputs, (output[0] > 4) & (output[0] < 4.5)
    )
    exact = math.log(stats.norm.sf(4) - stats.norm.sf(4.5))
    assert _log(problem) == pytest.approx(exact, abs=0.02)


def test_hidden_units_and_argmax(net: nn.Sequential) -> None:
    law = ou.Gaussian.standard(8)
    for detector in ((output[0] > 2) & (hidden[1][3] > 0.5), argmax(margin=4) == 1):
        problem = CatastropheProbability(net, law, detector)
        sampled = ou.TiltedImportanceSampling(200_000, seed=4).estimate(problem)
        assert _log(problem) == pytest.approx(float(sampled.log_value), abs=0.25)


def test_what_is_certain_impossible_or_constant() -> None:
    constant = nn.Linear(3, 2).double().requires_grad_(False)
    constant.weight[0] = 0.0
    constant.bias[0] = 1.0
    law = ou.Gaussian.standard(3)
    assert _log(CatastropheProbability(constant, law, output[0] > 2)) == -math.inf
    assert _log(CatastropheProbability(constant, law, output[0] > 0)) == 0.0
    both = (output[0] > 0) & (output[1] > 4)
    one = _log(CatastropheProbability(constant, law, output[1] > 4))
    assert _log(CatastropheProbability(constant, law, both)) == pytest.approx(one, abs=1e-9)
    assert _log(CatastropheProbability(constant, law, output[1] > math.inf)) == -math.inf
    assert _log(CatastropheProbability(constant, law, output[1] > -math.inf)) == 0.0


def test_a_singular_input(net: nn.Sequential) -> None:
    factor = torch.eye(8, 5, dtype=torch.float64)
    singular = ou.Gaussian(torch.zeros(8).double(), factor @ factor.T)
    narrow = mlp(8, 24, 24, 3, seed=5).requires_grad_(False)
    first = nn.Linear(5, 24).double().requires_grad_(False)
    first.weight.copy_(narrow[0].weight[:, :5])
    first.bias.copy_(narrow[0].bias)
    smaller = nn.Sequential(first, *narrow[1:])
    there = _log(CatastropheProbability(net, singular, output[0] > 9))
    assert there == pytest.approx(_log(_event(smaller, 9.0, 5)), abs=1e-6)


def test_dtype_determinism_and_generators(net: nn.Sequential) -> None:
    problem = _event(net, 11.0)
    before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    first, again = (Tilt().estimate(problem).log_value for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()
    single = Tilt().estimate(_event(mlp(8, 24, 24, 3, seed=5).float().requires_grad_(False), 11.0))
    assert single.value.dtype == torch.float32
    assert float(single.log_value) == pytest.approx(float(first), abs=1e-4)


def test_the_estimate_tells_its_story(net: nn.Sequential) -> None:
    estimate = Tilt().estimate(_event(net, 11.0))
    document = json.loads(estimate.to_json())
    assert document["log_value"] == float(estimate.log_value)
    assert document["diagnostics"]["residual"] > 0
    assert document["cost"]["flops"] > 0
    (mode,) = estimate.modes
    assert mode.log_value == float(estimate.log_value)
    # Under the tilt the catastrophe is an everyday event.
    x = mode.inputs.sample(2000, torch.Generator().manual_seed(0))
    assert 0.2 < float((net(x)[:, 0] > 11).double().mean()) < 0.8


def test_the_mean_of_the_inputs_given_the_catastrophe(net: nn.Sequential) -> None:
    problem = _event(net, 8.0)
    (mode,) = Tilt().estimate(problem).modes
    drawn = ou.catastrophic_inputs(problem, 2000, seed=2)
    noise = float((drawn.var(0) / len(drawn)).sum().sqrt())
    assert float((drawn.mean(0) - mode.mean).norm()) < 0.1 * float(mode.mean.norm()) + 3 * noise


def test_a_relu_at_the_end_is_undone() -> None:
    plain = mlp(8, 16, 16, 2).requires_grad_(False)
    cut = nn.Sequential(*plain, nn.ReLU())
    law = ou.Gaussian.standard(8)
    for detector in (
        output[0] > 0,
        output[0] > 4,
        output[0] < 1,
        (output[0] > 2) & (output[1] > 1),
    ):
        one, other = (CatastropheProbability(net, law, detector) for net in (plain, cut))
        assert _log(one) == pytest.approx(_log(other), abs=1e-9)
    # Below zero a ReLU has no values, and every value is above what is below zero.
    assert _log(CatastropheProbability(cut, law, output[0] >= 0)) == 0
    assert _log(CatastropheProbability(cut, law, output[0] < 0)) == -math.inf


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_outputs_of_any_scale(scale: float) -> None:
    net = mlp(8, 16, 16, 1).requires_grad_(False)
    before = _log(_event(net, 6.0))
    net[-1].weight.mul_(scale)
    net[-1].bias.mul_(scale)
    estimate = Tilt().estimate(_event(net, 6.0 * scale))
    assert float(estimate.log_value) == pytest.approx(before, abs=1e-6)
    assert estimate.trust == "ok"


def test_what_leaves_the_range_of_numbers_is_an_error() -> None:
    net = mlp(8, 16, 16, 1, bias=0.0).requires_grad_(False)
    net[0].weight.mul_(1e160)
    net[2].weight.mul_(1e-160)
    with pytest.raises(ou.NumericalError, match="rescale"):
        Tilt().estimate(_event(net, 6.0))


def test_thresholds_near_the_edge_of_the_range_are_doubted() -> None:
    net = mlp(8, 16, 16, 1).requires_grad_(False)
    net[-1].weight.abs_()
    net[-1].bias.zero_()
    problem = CatastropheProbability(net, ou.Gaussian.standard(8), output[0] < 0.1)
    estimate = Tilt().estimate(problem)
    assert estimate.trust != "ok"
    assert any("edge of their range" in reason for reason in estimate.reasons)


def test_probabilities_of_many_events_do_not_exceed_one() -> None:
    net = mlp(8, 24, 24, 12).requires_grad_(False)
    problem = CatastropheProbability(net, ou.Gaussian.standard(8), ~(argmax() == 3))
    estimate = Tilt().estimate(problem)
    assert float(estimate.log_value) <= 0
    assert estimate.trust == "low_confidence"


def test_doubts_are_voiced() -> None:
    """One hidden unit against the tilt's two: what is left of f carries most of log P."""
    net = mlp(3, 4, 4, 4, 1, seed=1, bias=2.0).requires_grad_(False)
    estimate = Tilt(steps=1).estimate(_event(net, 60.0, 3))
    assert estimate.trust == "unreliable"
    assert any("settle" in reason for reason in estimate.reasons)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"order": 1}, "no variance"),
        ({"order": 5}, "order = 5"),
        ({"order": 3.0}, "order = 3.0"),
        ({"variant": "best"}, "variant = 'best'"),
        ({"order": 2, "variant": "elliptical"}, "one of order 3"),
        ({"starts": 0}, "starts = 0"),
        ({"steps": 0}, "steps = 0"),
        ({"refinements": -1}, "refinements = -1"),
        ({"refinements": True}, "refinements = True"),
    ],
)
def test_bad_settings(settings: dict[str, object], match: str) -> None:
    with pytest.raises(ou.InputError, match=match):
        Tilt(**settings)  # type: ignore[arg-type]


def test_other_problems_are_refused() -> None:
    with pytest.raises(ou.UnsupportedProblem, match="CatastropheProbability"):
        Tilt().estimate(Coin())


def test_settings_at_a_tolerance(net: nn.Sequential) -> None:
    problem = _event(net, 11.0)
    assert Tilt.at(1e-3, problem).order == 3
    assert Tilt.at(0.5, problem).order == 2
    with pytest.raises(ou.InputError, match="epsilon = 0"):
        Tilt.at(0, problem)


def _rarely_on(*biases: float) -> nn.Sequential:
    """A sum of two ReLUs behind as many layers with these biases and the identity as weights."""
    layers: list[nn.Module] = []
    for bias in biases:
        linear = nn.Linear(2, 2, dtype=torch.float64)
        nn.init.eye_(linear.weight)
        nn.init.constant_(linear.bias, bias)
        layers += [linear, nn.ReLU()]
    last = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    nn.init.ones_(last.weight)
    return nn.Sequential(*layers, last).requires_grad_(False)


@pytest.mark.parametrize("limit", [0.01, 0.1, 0.5, 1.0])
def test_units_that_are_rarely_on_are_not_trusted(limit: float) -> None:
    law = ou.Gaussian.standard(2, torch.float64)
    problem = CatastropheProbability(_rarely_on(-2.0), law, output[0] > limit)
    assert ou.Tilt().estimate(problem).trust != "ok"


@pytest.mark.parametrize("detector", [output[0] > 0.1, output[0] < 0.1])
def test_units_that_seem_constant_are_not_trusted(detector: ou.Detector) -> None:
    # Order 2 sees no variance; the output exceeds 0.1 with probability 2e-3.
    law = ou.Gaussian.standard(2, torch.float64)
    estimate = ou.Tilt().estimate(CatastropheProbability(_rarely_on(-2.0, -1.0), law, detector))
    assert estimate.trust == "unreliable"


def test_outputs_that_no_weights_lead_to_are_constants() -> None:
    net = _rarely_on(-2.0, -1.0)
    nn.init.zeros_(net[2].weight)
    law = ou.Gaussian.standard(2, torch.float64)
    estimate = ou.Tilt().estimate(CatastropheProbability(net, law, output[0] > 0.1))
    assert estimate.trust == "ok"
    assert float(estimate.value) == 0


@pytest.mark.parametrize("limit", [-1.0, 1.0])
def test_modes_of_hopeless_events_have_means(limit: float) -> None:
    first, last = nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False)
    net = nn.Sequential(first, nn.ReLU(), last).double()
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        nn.init.ones_(last.weight)
    law = ou.Gaussian.standard(1, torch.float64)
    estimate = ou.Tilt().estimate(CatastropheProbability(net, law, output[0] > limit))
    assert all(bool(torch.isfinite(mode.mean).all()) for mode in estimate.modes)
