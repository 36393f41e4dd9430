import math

import pytest
import torch
from tests.battery import gaussian, mlp
from torch import nn

import outsample as ou
from outsample.catastrophe.training.adversary import Adversary

LAW = gaussian(5, seed=2)
LINEAR = nn.Linear(5, 1, dtype=torch.float64)
with torch.no_grad():
    LINEAR.weight.copy_(torch.linspace(-1, 2, 5)[None])
    LINEAR.bias.fill_(0.25)
KINDS: list[type[Adversary]] = [ou.GaussianAdversary, ou.GeneratorAdversary]


def moved(kind: type[Adversary], budget: float = 1e3, seed: int = 0) -> Adversary:
    """An adversary away from its reference."""
    adversary = kind(LAW, budget)
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for move in adversary.moves():
            move += 0.4 * torch.randn(move.shape, generator=draws, dtype=move.dtype)
    return adversary


def draws_of(adversary: Adversary, samples: int) -> torch.Tensor:
    """Inputs drawn from the adversary's law."""
    problem = adversary.problem(nn.Sequential(LINEAR), ou.output[0] > 0)
    noise = problem.inputs.sample(samples, torch.Generator().manual_seed(9))
    if isinstance(adversary, ou.GeneratorAdversary):
        return adversary.generator()(noise).detach()
    return noise.detach()


def divergence(mean: torch.Tensor, covariance: torch.Tensor, law: ou.Gaussian) -> float:
    """KL between two Gaussians, by torch."""
    laws = [
        torch.distributions.MultivariateNormal(mean, covariance),
        torch.distributions.MultivariateNormal(law.mean, law.covariance),
    ]
    return float(torch.distributions.kl_divergence(*laws))


@pytest.mark.parametrize("kind", KINDS)
def test_starts_at_the_reference(kind: type[Adversary]) -> None:
    adversary = kind(LAW, 1.0)
    assert abs(float(adversary.divergence().detach())) < 1e-12
    problem = adversary.problem(LINEAR, ou.output[0] > 6)
    truth = ou.CatastropheProbability(LINEAR, LAW, ou.output[0] > 6).exact()
    estimate = ou.Tilt(order=3).estimate(problem)
    assert float(estimate.value.detach()) == pytest.approx(float(truth.detach()), rel=1e-6)


def test_divergence_of_the_gaussian() -> None:
    adversary = moved(ou.GaussianAdversary)
    assert isinstance(adversary, ou.GaussianAdversary)
    law = adversary.law()
    expected = divergence(law.mean.detach(), law.covariance.detach(), LAW)
    assert float(adversary.divergence().detach()) == pytest.approx(expected, rel=1e-9)


def test_divergence_of_the_generator_is_that_of_its_moments() -> None:
    adversary = moved(ou.GeneratorAdversary)
    x = draws_of(adversary, 400_000)
    expected = divergence(x.mean(0), x.T.cov(), LAW)
    assert float(adversary.divergence().detach()) == pytest.approx(expected, rel=0.02)


def test_independent_entries_stay_independent() -> None:
    reference = ou.Gaussian(torch.zeros(3).double(), torch.tensor([1.0, 4.0, 0.25]).double())
    adversary = ou.GaussianAdversary(reference, 1.0)
    with torch.no_grad():
        adversary.log_scale.copy_(torch.tensor([0.0, 0.5, -0.5]))
        adversary.shift.copy_(torch.tensor([1.0, 1.0, 0.0]))
    law = adversary.law()
    torch.testing.assert_close(law.mean.detach(), torch.tensor([1.0, 2.0, 0.0]).double())
    spread = torch.tensor([1.0, 4 * math.e, 0.25 / math.e]).double()
    torch.testing.assert_close(law.scale.detach(), spread)


@pytest.mark.parametrize("kind", KINDS)
def test_projection_uses_the_budget_up_and_no_more(kind: type[Adversary]) -> None:
    adversary = moved(kind, budget=0.3)
    before = [move.detach().clone() for move in adversary.moves()]
    adversary.project()
    assert float(adversary.divergence().detach()) == pytest.approx(0.3, rel=1e-6)
    assert float(adversary.divergence().detach()) <= 0.3
    shares = [move.detach() / old for move, old in zip(adversary.moves(), before, strict=True)]
    for share in shares:
        torch.testing.assert_close(share, torch.full_like(share, float(shares[0].flatten()[0])))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_within_the_budget_stays(kind: type[Adversary]) -> None:
    adversary = moved(kind, budget=1e3)
    before = {key: value.clone() for key, value in adversary.state_dict().items()}
    adversary.project()
    for key, value in adversary.state_dict().items():
        assert torch.equal(value, before[key])


def test_strengthening_finds_the_best_law_against_a_linear_model() -> None:
    """For a halfspace the best law moves and stretches along its normal only."""
    reference, budget = ou.Gaussian.standard(3, torch.float64), 0.5
    model = nn.Linear(3, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.0, 0.0]]))
    adversary = ou.GaussianAdversary(reference, budget)
    met = adversary.strengthen(model, ou.output[0] > 4, steps=80, tilt=ou.Tilt(order=2))
    # One number s is free once the budget is spent: shift² = 2 · budget - (e^2s - 1 - 2s).
    s = torch.linspace(-0.5, 1.0, 100_001, dtype=torch.float64)
    square = 2 * budget - (torch.expm1(2 * s) - 2 * s)
    shift = square.clamp_min(0).sqrt()
    best = torch.special.log_ndtr((shift - 4) / s.exp())[square >= 0].max()
    problem = adversary.problem(model, ou.output[0] > 4)
    reached = float(ou.Tilt(order=2).estimate(problem).log_value.detach())
    assert reached == pytest.approx(float(best), abs=0.02)
    assert reached == pytest.approx(max(met), abs=1e-6)
    assert float(adversary.divergence().detach()) <= budget


def test_generator_makes_what_a_gaussian_of_the_same_budget_cannot() -> None:
    net, event = mlp(4, 12, 1, seed=3), ou.output[0] > 8
    law = ou.Gaussian.standard(4, torch.float64)
    found = [kind(law, 0.5) for kind in KINDS]
    tops = [max(one.strengthen(net, event, steps=30, tilt=ou.Tilt(order=2))) for one in found]
    assert tops[1] > tops[0]
    problem = found[1].problem(net, event)
    check = ou.SubsetSimulation(samples=20_000).estimate(problem)
    assert float(check.log_value) == pytest.approx(tops[1], abs=0.5)


def test_hidden_units_are_still_the_model_s_behind_a_generator() -> None:
    net = mlp(5, 6, 7, 2, seed=5)
    event = (ou.hidden[0][2] > 0.3) & ((ou.hidden[-1][1] > 0.2) | ~(ou.argmax() == 1))
    adversary = moved(ou.GeneratorAdversary)
    problem = adversary.problem(net, event)
    z = problem.inputs.sample(500, torch.Generator().manual_seed(3))
    expected = ou.CatastropheProbability(net, LAW, event)(adversary.generator()(z).detach())
    assert torch.equal(problem(z), expected)
    assert 0 < float(expected.mean()) < 1


def test_single_precision_models() -> None:
    net = mlp(5, 6, 1, seed=5, dtype=torch.float32)
    for kind in KINDS:
        problem = moved(kind).problem(net, ou.output[0] > 1)
        assert problem.dtype == torch.float32
        assert ou.Tilt(order=2).estimate(problem).log_value.requires_grad


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("budget", [0.0, -1.0, math.inf, math.nan, True, "1"])
def test_budget_is_refused(kind: type[Adversary], budget: float) -> None:
    with pytest.raises(ou.InputError, match="kl_budget"):
        kind(LAW, budget)


@pytest.mark.parametrize("kind", KINDS)
def test_reference_is_refused(kind: type[Adversary]) -> None:
    with pytest.raises(ou.InputError, match="positive definite"):
        kind(ou.Gaussian(torch.zeros(2).double(), torch.ones(2, 2).double()), 1.0)
    with pytest.raises(ou.InputError, match="expected a Gaussian"):
        kind(ou.Bits(3), 1.0)


def test_settings_are_refused() -> None:
    with pytest.raises(ou.InputError, match="width"):
        ou.GeneratorAdversary(LAW, 1.0, width=0)
    with pytest.raises(ou.InputError, match="seed"):
        ou.GeneratorAdversary(LAW, 1.0, seed=-1)
    adversary = ou.GaussianAdversary(LAW, 1.0)
    with pytest.raises(ou.InputError, match="steps"):
        adversary.strengthen(LINEAR, ou.output[0] > 6, steps=0)
    with pytest.raises(ou.InputError, match="rate"):
        adversary.strengthen(LINEAR, ou.output[0] > 6, rate=-0.1)
