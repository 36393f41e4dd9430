"""What both samplers must do: closed forms, bookkeeping, refusals."""

import json
import math
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.battery import Coin, gaussian, mlp
from tests.catastrophe import tails
from torch import nn

import outsample as ou
from outsample import CatastropheProbability, CrossEntropy, SubsetSimulation, output

Case = Callable[[], tuple[CatastropheProbability, float]]
Method = Callable[[int], CrossEntropy | SubsetSimulation]

CASES: dict[str, Case] = {
    "2 sigma": lambda: tails.halfspace(2.0),
    "5 sigma": lambda: tails.halfspace(5.0),
    "8 sigma in 30": lambda: tails.halfspace(8.0, 30),
    "float32": lambda: tails.halfspace(4.0, dtype=torch.float32),
    "union": tails.union,
    "mixture": tails.mixture,
    "likely": lambda: tails.halfspace(-1.0),
}
METHODS: dict[str, Method] = {
    "cross-entropy": lambda seed: CrossEntropy(samples=20_000, seed=seed),
    "subset": lambda seed: SubsetSimulation(samples=10_000, seed=seed),
}
both = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@both
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_closed_forms_are_met_within_the_standard_error(case: Case, method: Method) -> None:
    problem, exact = case()
    estimate = method(7).estimate(problem)
    assert estimate.trust == "ok", estimate.reasons
    assert estimate.relative_error is not None
    assert estimate.relative_error < 0.3
    error = math.expm1(float(estimate.log_value) - exact)
    assert abs(error) < 4 * estimate.relative_error * max(1, 1 + error)
    assert estimate.value.dtype == problem.dtype
    assert estimate.value.item() == pytest.approx(estimate.log_value.exp().item(), rel=1e-5)
    assert estimate.standard_error is not None
    assert estimate.error_kind == "estimated"


@pytest.mark.parametrize(("p", "n"), [(1e-4, 5), (1e-9, 20)])
def test_a_shell_around_the_mean(p: float, n: int) -> None:
    """Subset simulation follows it; one shift cannot, and the estimate says so."""
    problem, exact = tails.chi_square(p, n)
    estimate = SubsetSimulation(samples=20_000, seed=11).estimate(problem)
    assert estimate.relative_error is not None
    assert abs(math.expm1(float(estimate.log_value) - exact)) < 4 * estimate.relative_error
    assert CrossEntropy(samples=20_000, seed=11).estimate(problem).trust == "unreliable"


@both
def test_seeds_repeat_and_differ(method: Method) -> None:
    problem, _ = tails.halfspace(3.0)
    first, again, other = (method(seed).estimate(problem) for seed in (1, 1, 2))
    assert torch.equal(first.log_value, again.log_value)
    assert not torch.equal(first.log_value, other.log_value)


@both
def test_global_generators_are_untouched(method: Method) -> None:
    problem, _ = tails.halfspace(3.0)
    before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    method(0).estimate(problem)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()


@both
def test_a_network_made_from_the_same_seed_meets_no_rows_of_its_own(method: Method) -> None:
    """With seed 0 for both, rows of the weights would come back as the largest inputs."""
    n = 40
    net = nn.Linear(n, n, bias=False, dtype=torch.float64).requires_grad_(False)
    net.weight.copy_(torch.randn(n, n, generator=torch.Generator().manual_seed(0)).double())
    limit = float(6 * net.weight[3].norm())
    law = ou.Gaussian.standard(n, torch.float64)
    problem = CatastropheProbability(net, law, output[3] > limit)
    estimate, exact = method(0).estimate(problem), problem.exact()
    assert exact is not None
    assert abs(estimate.value - exact) < 4 * estimate.standard_error


@both
def test_the_estimate_tells_its_story(method: Method) -> None:
    problem, _ = tails.halfspace(3.0)
    estimator = method(0)
    estimate = estimator.estimate(problem)
    document = json.loads(estimate.to_json())
    assert document["estimator"]["method"] == type(estimator).__name__
    assert document["provenance"]["seed"] == 0
    assert document["cost"]["flops"] == estimator.flops(problem)
    # 8 products and sums, and what it takes to draw 8 normals and map them
    assert estimate.samples is not None
    assert document["cost"]["flops"] > 16 * estimate.samples
    assert hash(estimator) == hash(method(0))


@both
def test_certain_and_impossible_detectors_need_no_draws(method: Method) -> None:
    net, law = mlp(3, 4, 1), gaussian(3)
    a = output[0] > 1
    sure = method(0).estimate(CatastropheProbability(net, law, a | ~a))
    never = method(0).estimate(CatastropheProbability(net, law, a & ~a))
    assert sure.value == sure.sign == 1
    assert never.value == never.sign == 0
    assert sure.standard_error == never.standard_error == 0
    assert sure.samples == never.samples == 0
    assert sure.trust == never.trust == "ok"


@both
def test_what_is_never_seen_is_not_called_impossible(method: Method) -> None:
    """The output of a tanh stays below 1, which no level can tell."""
    net = nn.Sequential(tails.diagonal(1.0, 1.0), nn.Tanh())
    law = ou.Gaussian.standard(2, torch.float64)
    estimate = method(0).estimate(CatastropheProbability(net, law, output[0] > 1.1))
    assert estimate.value == 0
    assert estimate.log_value == -math.inf
    assert estimate.standard_error is None
    assert estimate.error_kind == "none"
    assert estimate.trust == "unreliable"
    assert any("did not reach the event" in reason for reason in estimate.reasons)


@both
def test_plateaus_of_the_score_are_climbed(method: Method) -> None:
    """A ReLU is 0 for 97.7 % of the inputs: most scores are equal."""
    net = nn.Sequential(nn.Linear(2, 1, dtype=torch.float64), nn.ReLU()).requires_grad_(False)
    net[0].weight.copy_(torch.tensor([[1.0, 0.0]]))
    net[0].bias.fill_(-2.0)
    law = ou.Gaussian.standard(2, torch.float64)
    problem = CatastropheProbability(net, law, output[0] > 2)
    estimate = SubsetSimulation(samples=20_000, seed=3).estimate(problem)
    exact = math.log(math.erfc(4 / math.sqrt(2)) / 2)
    assert estimate.relative_error is not None
    assert abs(math.expm1(float(estimate.log_value) - exact)) < 4 * estimate.relative_error
    found = method(3).estimate(problem)
    assert found.trust != "ok" or abs(float(found.log_value) - exact) < 0.5


@both
def test_other_problems_are_refused(method: Method) -> None:
    for problem in (Coin(), ou.NetworkMean(mlp(3, 4, 1), gaussian(3))):
        with pytest.raises(ou.UnsupportedProblem, match="CatastropheProbability"):
            method(0).estimate(problem)


def test_settings_are_checked() -> None:
    for make in (CrossEntropy, SubsetSimulation):
        with pytest.raises(ou.InputError, match="samples = 0"):
            make(samples=0)
        with pytest.raises(ou.InputError, match="seed = -1"):
            make(seed=-1)
    with pytest.raises(ou.InputError, match="level_samples = 50"):
        CrossEntropy(level_samples=50)
    with pytest.raises(ou.InputError, match="100 samples for each"):
        SubsetSimulation(samples=999)
    with pytest.raises(ou.InputError, match="at least 2 repetitions"):
        SubsetSimulation(repetitions=1)


def test_few_repetitions_are_said() -> None:
    problem, _ = tails.halfspace(2.0)
    estimate = SubsetSimulation(samples=10_000, repetitions=3).estimate(problem)
    assert estimate.trust == "low_confidence"
    assert "3 repetitions" in estimate.reasons[0]
