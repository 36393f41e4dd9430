import pytest
import torch
from tests.battery import gaussian, mlp
from tests.cumulants.one_hidden_layer import OneHiddenLayer
from torch import nn

import outsample as ou


class TestExactCovariance(OneHiddenLayer):
    estimator = ou.ExactCovariance()


@pytest.mark.parametrize(
    "name", ["relu", "leaky_relu", "abs", "hardtanh", "sign", "step", "erf", "sin", "square"]
)
def test_covariance_of_one_layer_is_exact(name: str) -> None:
    """Against a large antithetic sample, within five standard errors of its covariances."""
    net = nn.Sequential(mlp(4, 5)[0], ou.Elementwise(name))
    problem = ou.NetworkMean(net, gaussian(4))
    estimate = ou.ExactCovariance().estimate(problem)
    assert estimate.covariance is not None and "mehler_tail" not in estimate.diagnostics
    n = 200_000
    x = problem.inputs.sample(n, torch.Generator().manual_seed(0))
    with torch.no_grad():
        centred = net(x) - estimate.value
        products = centred[:, :, None] * centred[:, None, :]
        error = products.std(0) / n**0.5
        gap = (products.mean(0) - estimate.covariance).abs()
    assert bool((gap < 5 * error + 1e-12).all())


def test_the_mehler_tail_is_bounded_and_shrinks() -> None:
    problem = ou.NetworkMean(mlp(4, 6, 6, 2, activation=nn.Tanh), gaussian(4))
    tails = []
    values = []
    for degree in (1, 3, 9, 25):
        estimate = ou.ExactCovariance(degree).estimate(problem)
        tails.append(estimate.diagnostics["mehler_tail"])
        values.append(estimate.value.detach())
    assert tails == sorted(tails, reverse=True)
    assert tails[0] > 1e-3 > tails[-1] > 0
    assert ou.ExactCovariance(1).estimate(problem).trust == "low_confidence"
    gaps = [float((value - values[-1]).abs().max()) for value in values[:-1]]
    assert gaps == sorted(gaps, reverse=True)


def test_the_bound_on_the_tail_holds() -> None:
    """One layer: the covariance cut at a low degree against a very high one."""
    net = nn.Sequential(mlp(4, 5)[0], nn.Tanh())
    problem = ou.NetworkMean(net, gaussian(4))
    best = ou.ExactCovariance(60).estimate(problem).covariance
    assert best is not None
    unit = best.diagonal().sqrt()
    for degree in (1, 2, 3, 5, 8):
        estimate = ou.ExactCovariance(degree).estimate(problem)
        assert estimate.covariance is not None
        gap = ((estimate.covariance - best) / unit / unit[:, None]).abs().max()
        assert float(gap) <= estimate.diagnostics["mehler_tail"] + 1e-9


def test_duplicated_neurons_change_nothing() -> None:
    """Two copies of a neuron at half weight each: their correlation is 1, and exact."""
    net, double = mlp(5, 6, 4, 2), mlp(5, 7, 4, 2)
    with torch.no_grad():
        double[0].weight.copy_(torch.cat([net[0].weight, net[0].weight[-1:]]))
        double[0].bias.copy_(torch.cat([net[0].bias, net[0].bias[-1:]]))
        half = net[2].weight[:, -1:] / 2
        double[2].weight.copy_(torch.cat([net[2].weight[:, :-1], half, half], 1))
        double[2].bias.copy_(net[2].bias)
        double[4].weight.copy_(net[4].weight)
        double[4].bias.copy_(net[4].bias)
    one, two = (
        ou.ExactCovariance().estimate(ou.NetworkMean(m, gaussian(5))) for m in (net, double)
    )
    torch.testing.assert_close(two.value, one.value, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("degree", [0, -1, 2.5, True, "12"])
def test_bad_degree(degree: object) -> None:
    with pytest.raises(ou.InputError, match="degree"):
        ou.ExactCovariance(degree)
