import json
import math
import pickle
from pathlib import Path

import pytest
import torch
from tests.battery import gaussian, mlp

import outsample as ou
from outsample.cumulants.expected_error import LAW, Layer, Layers
from outsample.networks.activations import from_name

EYE = torch.eye(8, dtype=torch.float64)


def layer(covariance: torch.Tensor, activation: str = "relu") -> Layer:
    mean = torch.zeros(covariance.shape[0], dtype=torch.float64)
    return Layer(from_name(activation), mean, covariance)


def test_concentration_is_the_inverse_number_of_directions() -> None:
    assert layer(EYE).concentration() == pytest.approx(1 / 8)
    assert layer(3 * torch.ones(8, 8).double()).concentration() == pytest.approx(1)


def test_parallel_edges_by_hand() -> None:
    """Two standard neurons of correlation r: e_2²/2! r² against (e_1² r, Var)."""
    r = 0.5
    two = layer(torch.tensor([[1.0, r], [r, 1.0]]).double())
    slope, bend, variance = 0.5, 1 / math.sqrt(2 * math.pi), 0.5 - 1 / (2 * math.pi)
    whole = math.hypot(slope**2 * r, variance)
    assert two.edges(2)[0] == pytest.approx(bend**2 / 2 * r**2 / whole)
    assert two.edges(3)[0] == pytest.approx(0, abs=1e-12)  # E He_3 ReLU = 0


def test_linear_activations_have_no_dropped_diagrams() -> None:
    full = EYE + 0.3
    assert layer(full, "identity").edges(2)[0] == 0
    assert layer(full, "square").edges(2)[0] > 0
    assert layer(full, "square").edges(3)[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_the_prediction_is_of_the_right_size(order: int) -> None:
    """Leaky ReLU is not among the activations of the fit; pooled over networks."""
    errors, expected = 0.0, 0.0
    for seed in range(6):
        net = mlp(32, 32, 32, 32, 8, activation=torch.nn.LeakyReLU(0.2), seed=seed)
        problem = ou.NetworkMean(net, ou.Gaussian.standard(32, torch.float64))
        truth = ou.MonteCarlo(200_000, seed, antithetic=True, moment_matched=True).estimate(problem)
        with torch.no_grad():
            found = ou.Cumulants(order, "basic").estimate(problem)
        assert truth.covariance is not None and truth.standard_error is not None
        noise = truth.standard_error.square().sum()
        gap = ((found.value - truth.value).square().sum() - noise) / truth.covariance.trace()
        assert found.expected_error is not None
        errors += float(gap.detach())
        expected += found.expected_error
    assert expected / 4 < errors < expected * 4


def test_it_grows_with_depth_and_falls_with_width_and_order() -> None:
    def predicted(width: int, depth: int, order: int) -> float:
        net = mlp(*[width] * (depth + 1), 1)
        law = ou.Gaussian.standard(width, torch.float64)
        with torch.no_grad():
            estimate = ou.Cumulants(order, "basic").estimate(ou.NetworkMean(net, law))
        assert estimate.expected_error is not None
        return estimate.expected_error

    assert predicted(32, 6, 3) > predicted(32, 2, 3) > predicted(64, 2, 3)
    assert predicted(64, 2, 2) > predicted(64, 2, 3)


def test_diagnostics_are_plain_and_complete() -> None:
    estimate = ou.Cumulants(3).estimate(ou.NetworkMean(mlp(16, 16, 16, 16, 2), gaussian(16)))
    figures = estimate.diagnostics
    for name in ("concentration", "double_edges", "triple_edges", "dropped_diagrams"):
        assert len(figures[name]) == 3
    assert figures["factored"] is False  # narrow enough for dense tensors
    assert figures["dropped"] == 0
    assert set(figures) == set(dict(figures)) and len(figures) == len(dict(figures))
    document = json.loads(estimate.to_json())
    assert document["expected_error"] == estimate.expected_error
    assert document["diagnostics"]["concentration"] == figures["concentration"]


def test_methods_without_a_law_predict_nothing() -> None:
    problem = ou.NetworkMean(mlp(4, 8, 2), gaussian(4))
    assert ou.Cumulants(1).estimate(problem).expected_error is None
    assert ou.MonteCarlo(100, seed=0).estimate(problem).expected_error is None
    assert ou.MeanPropagation().estimate(problem).expected_error is None
    linear = ou.NetworkMean(torch.nn.Linear(4, 2).double(), gaussian(4))
    assert ou.Cumulants(3).estimate(linear).expected_error is None


def test_wide_layers_are_summarised_at_once() -> None:
    wide = Layers(budget=2)
    covariance = torch.eye(1025)
    wide.note(from_name("relu"), torch.zeros(1025), covariance)
    covariance.fill_(math.nan)
    assert wide.figures["concentration"] == pytest.approx([1 / 1025])


def test_a_breakdown_is_infinite() -> None:
    broken = Layers(budget=2)
    covariance = torch.full((3, 3), math.nan, dtype=torch.float64)
    broken.note(from_name("tanh"), torch.zeros(3, dtype=torch.float64), covariance)
    assert broken.expected_error(3, "basic") == math.inf


@pytest.mark.filterwarnings("ignore::outsample.NumericalWarning")
@pytest.mark.parametrize("order", [3, 4])
def test_a_doubtful_estimate_promises_nothing(order: int) -> None:
    two = torch.nn.Sequential(*mlp(4, 8, 8, 2))
    two.insert(2, torch.nn.ReLU())
    estimate = ou.Cumulants(order).estimate(ou.NetworkMean(two, gaussian(4)))
    assert estimate.trust == "low_confidence"
    assert any("in a row" in reason for reason in estimate.reasons)
    assert estimate.expected_error == math.inf
    narrow = ou.Cumulants(order, "basic").estimate(ou.NetworkMean(mlp(3, 8, 1, 8, 2), gaussian(3)))
    assert any("independent directions" in reason for reason in narrow.reasons)


def test_no_prediction_for_inputs_that_are_not_gaussian() -> None:
    law = ou.CumulantTower(torch.zeros(4).double(), 1.0, torch.ones(4).double())
    estimate = ou.Cumulants(3).estimate(ou.NetworkMean(mlp(4, 8, 8, 2), law))
    assert estimate.expected_error is None


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("factor", [0.0, 1e-100])
def test_inputs_without_variance(order: int, factor: float) -> None:
    net, law = mlp(4, 6, 6, 2), ou.Gaussian(torch.ones(4).double(), factor)
    variants = ("basic", "augmented", "elliptical") if order == 3 else ("basic", "augmented")
    for variant in variants:
        estimate = ou.Cumulants(order, variant).estimate(ou.NetworkMean(net, law))
        torch.testing.assert_close(estimate.value, net(torch.ones(4).double()))
        assert estimate.to_json()


def test_estimates_can_be_pickled() -> None:
    with torch.no_grad():
        estimate = ou.Cumulants(3).estimate(ou.NetworkMean(mlp(4, 8, 8, 2), gaussian(4)))
    copy = pickle.loads(pickle.dumps(estimate))
    assert torch.equal(copy.value, estimate.value)
    assert copy.expected_error == estimate.expected_error
    assert copy.cost.flops == estimate.cost.flops


def test_the_law_is_the_one_that_was_measured() -> None:
    """The constants in the code are those of the committed results, and of nothing else."""
    results = Path(__file__).parents[2] / "benchmarks/results/expected_error.json"
    laws = json.loads(results.read_text())["laws"]
    measured = {(int(k.split()[0]), k.split()[1]): tuple(v["law"]) for k, v in laws.items()}
    assert measured == LAW
