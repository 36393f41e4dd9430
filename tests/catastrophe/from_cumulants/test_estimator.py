import json
import math

import pytest
import torch
from tests.battery import Coin, gaussian, mlp
from tests.catastrophe import tails
from torch import nn

import outsample as ou
from outsample import CatastropheProbability, FromCumulants, argmax, hidden, output
from outsample.comparison.mechanistic import forbid_randomness

METHODS = [
    "gaussian",
    "edgeworth",
    "gram-charlier",
    "cornish-fisher",
    "lugannani-rice",
    "maximum-entropy",
]
STANDARD = ou.Gaussian.standard(3, torch.float64)


def estimate(problem: CatastropheProbability, method: str = "gaussian", order: int = 3):
    return FromCumulants(method, order).estimate(problem)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sigmas", [-2.0, 0.0, 1.0, 3.0])
def test_linear_networks_are_exact_on_either_side(method: str, sigmas: float) -> None:
    problem, exact = tails.halfspace(sigmas)
    found = estimate(problem, method)
    tolerance = 1e-3 if method == "maximum-entropy" else 1e-9
    assert float(found.log_value) == pytest.approx(exact, abs=tolerance)
    assert found.trust == "ok"
    assert found.standard_error is None


def test_far_tails_keep_their_logarithm_but_not_the_trust() -> None:
    problem, exact = tails.halfspace(45.0)
    found = estimate(problem)
    assert found.value == 0
    assert float(found.log_value) == pytest.approx(exact, rel=1e-10)
    assert found.trust == "low_confidence"
    assert "below 0.001" in found.reasons[0]


@pytest.mark.parametrize("n", [5, 64])
def test_cumulants_of_a_chi_square_are_exact_at_order_4(n: int) -> None:
    problem, _ = tails.chi_square(0.3, n)
    figures = estimate(problem, order=4).diagnostics
    assert figures["skewness"][0] == pytest.approx(math.sqrt(8 / n))
    assert figures["kurtosis"][0] == pytest.approx(12 / n)
    limit = float(problem.margins()[0].thresholds)
    assert figures["z"][0] == pytest.approx((limit - n) / math.sqrt(2 * n))


@pytest.mark.parametrize("method", METHODS[1:])
def test_chi_square_within_the_rule_of_validity(method: str) -> None:
    for p in (0.1, 0.3, 0.9):
        found = estimate(tails.chi_square(p, 64)[0], method, 4)
        assert found.trust == "ok", found.reasons
        assert found.value.item() == pytest.approx(p, rel=0.03)


@pytest.mark.parametrize("method", METHODS)
def test_beyond_the_rule_nothing_is_trusted(method: str) -> None:
    found = estimate(tails.chi_square(1e-6, 20)[0], method, 4)
    assert found.trust == "unreliable"
    assert any("first corrections" in reason for reason in found.reasons)
    assert 0 <= found.value <= 1


def test_a_formula_that_leaves_the_unit_interval_is_cut_and_says_so() -> None:
    net = nn.Sequential(tails.chi_square(0.5, 5)[0].network, tails.diagonal(-1.0))
    problem = CatastropheProbability(net, ou.Gaussian.standard(5, torch.float64), output[0] > -0.2)
    found = estimate(problem, "edgeworth")
    assert found.value == found.sign == 0
    assert found.trust == "unreliable"
    assert any("negative probability" in reason for reason in found.reasons)


@pytest.mark.parametrize("limit", [0.5, 2.0, 5.0])
def test_conjunctions_of_linear_outputs_are_the_bivariate_law(limit: float) -> None:
    net = nn.Linear(3, 3, bias=False, dtype=torch.float64).requires_grad_(False)
    net.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]))
    both = CatastropheProbability(net, STANDARD, (output[0] > limit) & (output[1] > limit))
    exact = both.exact()
    assert exact is not None
    assert float(estimate(both).log_value) == pytest.approx(float(exact.log()), abs=5e-3)
    apart = CatastropheProbability(net, STANDARD, (output[0] > limit) & (output[2] > limit))
    single = CatastropheProbability(net, STANDARD, output[0] > limit)
    assert float(estimate(apart).log_value) == pytest.approx(
        2 * float(estimate(single).log_value), rel=1e-9
    )


def test_unions_of_up_to_four_conjunctions_are_summed() -> None:
    problem, exact = tails.union()
    assert float(estimate(problem).log_value) == pytest.approx(exact, abs=1e-6)
    net, a, b = tails.diagonal(1.0, 1.0, 1.0), output[0] > 0.5, output[1] > 1.0
    either = CatastropheProbability(net, STANDARD, a | b)
    assert float(estimate(either).value) == pytest.approx(float(either.exact()), rel=1e-6)


def test_larger_unions_are_bounded() -> None:
    net, law = tails.diagonal(*[1.0] * 6), ou.Gaussian.standard(6, torch.float64)
    detector = output[0] > 1.0
    for place in range(1, 6):
        detector = detector | (output[place] > 1.0)
    found = estimate(CatastropheProbability(net, law, detector))
    single = math.erfc(1 / math.sqrt(2)) / 2
    assert found.value.item() == pytest.approx(6 * single)
    assert found.diagnostics["lower_bound"] == pytest.approx(single)
    assert found.trust == "low_confidence"
    assert "upper bound" in found.reasons[0]


def test_mixtures_add_up() -> None:
    problem, exact = tails.mixture()
    found = estimate(problem)
    assert float(found.log_value) == pytest.approx(exact, abs=1e-6)
    assert len(found.diagnostics["components"]) == 3


@pytest.mark.parametrize("method", ["gaussian", "lugannani-rice"])
def test_random_networks_hidden_units_and_argmax_against_sampling(method: str) -> None:
    net = mlp(24, 32, 32, 3, seed=5, bias=0.1).requires_grad_(False)
    law = ou.Gaussian.standard(24, torch.float64)
    for detector, tolerance in (
        (output[0] > 0.7, 0.05),
        (output[2] < -2, 0.15),
        ((output[2] > -1) & (hidden[0][3] > 1.0), 0.2),
        (argmax(margin=0.3) == 1, 0.1),
        (argmax() != 1, 0.01),
    ):
        problem = CatastropheProbability(net, law, detector)
        truth = ou.MonteCarlo(samples=200_000, seed=1).estimate(problem).value
        found = estimate(problem, method)
        assert 0.02 < truth < 0.98
        assert float(found.value / truth) == pytest.approx(1, abs=tolerance), detector


@pytest.mark.parametrize("method", METHODS[:-1])
def test_gradients_are_those_of_finite_differences(method: str) -> None:
    net = mlp(6, 8, 2, seed=2)
    law = gaussian(6)
    detector = (output[0] > 1.0) | (output[0] - output[1] < -1.5)

    def log_p() -> torch.Tensor:
        found = estimate(CatastropheProbability(net, law, detector), method).log_value
        assert found is not None
        return found

    log_p().backward()
    for parameter in (net[0].weight, net[2].bias):
        assert parameter.grad is not None
        step = 1e-6
        with torch.no_grad():
            flat = parameter.view(-1)
            flat[0] += step
            up = log_p()
            flat[0] -= 2 * step
            down = log_p()
            flat[0] += step
        difference = float(up - down) / (2 * step)
        assert float(parameter.grad.view(-1)[0]) == pytest.approx(difference, rel=1e-4, abs=1e-7)


def test_certain_impossible_and_constant() -> None:
    net, a = mlp(3, 4, 1), output[0] > 1
    assert estimate(CatastropheProbability(net, STANDARD, a | ~a)).value == 1
    never = estimate(CatastropheProbability(net, STANDARD, a & ~a))
    assert never.value == never.sign == 0
    assert never.trust == "ok"
    constant = nn.Linear(3, 2, dtype=torch.float64).requires_grad_(False)
    constant.weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [1.0, -0.5, 0.3]]))
    constant.bias.copy_(torch.tensor([1.0, 0.1]))
    for detector, value in ((output[0] > 0.5, 1.0), (output[0] > 1, 0.0), (output[0] >= 1, 1.0)):
        assert estimate(CatastropheProbability(constant, STANDARD, detector)).value == value
    partly = CatastropheProbability(constant, STANDARD, (output[0] > 0.5) & (output[1] > 0.2))
    alone = CatastropheProbability(constant, STANDARD, output[1] > 0.2)
    torch.testing.assert_close(estimate(partly).value, estimate(alone).value)


def test_nothing_random_and_a_full_story() -> None:
    problem, _ = tails.chi_square(0.1, 8)
    estimator = FromCumulants()
    assert estimator.mechanistic
    with forbid_randomness():
        found = estimator.estimate(problem)
    document = json.loads(found.to_json())
    assert document["cost"]["flops"] == estimator.flops(problem) > 0
    assert document["error_kind"] == "none"
    assert document["diagnostics"]["z"] == found.diagnostics["z"]


def test_dtype_follows_the_network() -> None:
    problem, exact = tails.halfspace(1.0, dtype=torch.float32)
    found = estimate(problem)
    assert found.value.dtype == found.log_value.dtype == torch.float32
    assert float(found.log_value) == pytest.approx(exact, abs=1e-5)


def test_settings_and_problems_are_checked() -> None:
    with pytest.raises(ou.InputError, match="method = 'saddlepoint'; expected one of 'gaussian'"):
        FromCumulants("saddlepoint")
    for order in (1, 5, 3.0, True):
        with pytest.raises(ou.InputError, match="expected 2, 3 or 4"):
            FromCumulants(order=order)
    with pytest.raises(ou.UnsupportedProblem, match="CatastropheProbability"):
        FromCumulants().estimate(Coin())
