"""Importance sampling from tilts, and inputs given the catastrophe."""

import math

import pytest
import torch
from tests.battery import mlp
from tests.catastrophe import tails

import outsample as ou
from outsample import CatastropheProbability, TiltedImportanceSampling, hidden, output
from outsample.catastrophe.samplers.tilted import TiltedMixture
from outsample.catastrophe.tilt.proposals import proposals

CASES = {
    "2 sigma": lambda: tails.halfspace(2.0),
    "8 sigma in 30": lambda: tails.halfspace(8.0, 30),
    "float32": lambda: tails.halfspace(4.0, dtype=torch.float32),
    "shell": lambda: tails.chi_square(1e-9, 5),
    "union": tails.union,
    "mixture": tails.mixture,
    "likely": lambda: tails.halfspace(-1.0),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_closed_forms_are_met_within_the_standard_error(case: object) -> None:
    problem, exact = case()  # type: ignore[operator]
    estimate = TiltedImportanceSampling(samples=20_000, seed=3).estimate(problem)
    assert estimate.trust == "ok", estimate.reasons
    assert estimate.relative_error is not None
    assert estimate.relative_error < 0.05
    error = math.expm1(float(estimate.log_value) - exact)
    assert abs(error) < 4 * estimate.relative_error
    assert estimate.samples is not None
    assert estimate.samples >= 20_000


def test_the_proposal_is_a_density_that_its_draws_follow() -> None:
    """The weights of all draws, hits or not, average to the mass of N(0, I): one."""
    net = mlp(6, 16, 16, 1, seed=2).requires_grad_(False)
    law = ou.Gaussian.standard(6)
    problem = CatastropheProbability(net, law, (output[0] > 8) | (output[0] < -2))
    mixture = TiltedMixture.of(proposals(problem, problem.inputs, 1), problem.inputs, 1.2)
    noise = torch.randn(200_000, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = mixture.log_weights(mixture.drawn(noise, 0, 200_000)).exp()
    error = float(weights.std()) / 200_000**0.5
    assert abs(float(weights.mean()) - 1) < 4 * error
    # The inputs' own share bounds every weight.
    assert float(weights.max()) <= 1 / float(mixture.shares[0]) + 1e-9


def test_independent_parts_are_tilted_together() -> None:
    law = ou.Gaussian.standard(3, torch.float64)
    detector = (output[0] > 4) & (output[1] > 8) & (output[2] > 12)
    problem = CatastropheProbability(tails.diagonal(1.0, 2.0, 3.0), law, detector)
    (proposal,) = proposals(problem, law, 1)
    assert bool((proposal.law.mean > 3.9).all())
    estimate = TiltedImportanceSampling(20_000).estimate(problem)
    exact = 3 * math.log(0.5 * math.erfc(4 / math.sqrt(2)))
    assert abs(float(estimate.log_value) - exact) < 4 * float(estimate.relative_error)


def test_two_proposals_agree_on_a_network() -> None:
    net = mlp(8, 24, 24, 3, seed=5).requires_grad_(False)
    law = ou.Gaussian.standard(8)
    problem = CatastropheProbability(net, law, (output[0] > 5) & (hidden[0][2] < 1))
    one, other = (
        TiltedImportanceSampling(40_000, seed, inflation).estimate(problem)
        for seed, inflation in ((1, 1.05), (2, 1.5))
    )
    apart = float(one.log_value - other.log_value)
    assert abs(apart) < 4 * math.hypot(float(one.relative_error), float(other.relative_error))


def test_the_document_has_the_relative_error_and_the_samples() -> None:
    problem, _ = tails.halfspace(3.0)
    document = TiltedImportanceSampling(5000).estimate(problem).to_dict()
    assert 0 < document["relative_error"] < 0.1
    assert 3 * 4750 < document["samples"] < 3 * 5100  # a few draws are not along a tilt
    assert ou.Tilt().estimate(problem).to_dict()["samples"] is None


def test_the_cost_includes_the_tilt() -> None:
    problem, _ = tails.halfspace(4.0, 30)
    few, many = (TiltedImportanceSampling(n).estimate(problem).cost.flops for n in (1000, 9000))
    assert few is not None
    assert many is not None
    each = (many - few) / 8000
    assert few - 1000 * each > 10 * 30**3


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"samples": 0}, "samples = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"inflation": 0.9}, "inflation = 0.9"),
        ({"inflation": math.nan}, "inflation = nan"),
        ({"starts": 0}, "starts = 0"),
    ],
)
def test_bad_settings(settings: dict[str, object], match: str) -> None:
    with pytest.raises(ou.InputError, match=match):
        TiltedImportanceSampling(**settings)  # type: ignore[arg-type]


class TestInputsGivenTheCatastrophe:
    """Draws from the law of the inputs given that the detector goes off."""

    def test_they_follow_the_truncated_normal(self) -> None:
        problem, _ = tails.halfspace(4.0)
        x = ou.catastrophic_inputs(problem, 4000, seed=1)
        along = problem.network(x)[:, 0]
        assert float(along.min()) > 4
        hazard = math.exp(-8) / math.sqrt(2 * math.pi) / (0.5 * math.erfc(4 / math.sqrt(2)))
        assert float(along.mean()) == pytest.approx(hazard, abs=5 * float(along.std()) / 4000**0.5)
        across = x - along[:, None] * problem.network.weight
        assert float(across.square().sum(1).mean()) == pytest.approx(7, rel=0.05)

    def test_both_components_of_a_mixture(self) -> None:
        problem, _ = tails.mixture()
        x = ou.catastrophic_inputs(problem, 500, seed=1)
        assert bool((problem.score(x) > 0).all())

    def test_seeds_repeat_and_differ(self) -> None:
        problem, _ = tails.halfspace(3.0)
        first, again, other = (ou.catastrophic_inputs(problem, 20, seed) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_the_impossible_is_an_error(self) -> None:
        law = ou.Gaussian.standard(2, torch.float64)
        problem = CatastropheProbability(tails.diagonal(1.0, 1.0), law, output[0] > math.inf)
        with pytest.raises(ou.NumericalError, match="effective catastrophes"):
            ou.catastrophic_inputs(problem, 5)

    @pytest.mark.parametrize(("count", "seed"), [(0, 0), (5, -1), (2.5, 0)])
    def test_bad_arguments(self, count: int, seed: int) -> None:
        problem, _ = tails.halfspace(3.0)
        with pytest.raises(ou.InputError, match=r"count|seed"):
            ou.catastrophic_inputs(problem, count, seed)
