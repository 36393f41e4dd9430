import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.battery import gaussian, mlp
from tests.cumulants.one_hidden_layer import OneHiddenLayer
from torch import Tensor, nn

import outsample as ou

WIDTHS = (5, 9, 8, 7, 3)


class TestMeanPropagation(OneHiddenLayer):
    estimator = ou.MeanPropagation()


def problem(activation: type[nn.Module] = nn.ReLU, seed: int = 0) -> ou.NetworkMean:
    return ou.NetworkMean(mlp(*WIDTHS, activation=activation, seed=seed), gaussian(5, seed))


def subspace(rank: int, seed: int = 0, third: int = 0) -> ou.CovarianceSubspace:
    """Readings that know nothing of the network."""
    generator = torch.Generator().manual_seed(seed)
    bases = (torch.randn(n, n, generator=generator, dtype=torch.float64) for n in WIDTHS[1:-1])
    return ou.CovarianceSubspace(tuple(torch.linalg.qr(b)[0][:, :rank] for b in bases), third)


def all_pairs() -> ou.CovariancePattern:
    return ou.CovariancePattern(tuple(torch.triu_indices(n, n, 1).T for n in WIDTHS[1:-1]))


def test_moments_of_two_independent_layers_by_hand() -> None:
    """Variances pass through W∘W; nothing else is kept."""
    net = mlp(3, 4, 5, 2, activation=nn.Identity)
    for place in (1, 3):
        net[place] = ou.Elementwise("square")
    law = ou.Gaussian(torch.zeros(3).double(), 1.0)
    with torch.no_grad():
        mean, variance = net[0].bias, net[0].weight.square().sum(1)
        mean, variance = mean**2 + variance, 2 * variance**2 + 4 * mean**2 * variance
        mean, variance = net[2](mean), net[2].weight.square() @ variance
        expected = net[4](mean**2 + variance)
    value = ou.MeanPropagation().estimate(ou.NetworkMean(net, law)).value
    torch.testing.assert_close(value.detach(), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_all_advice_is_order_2_and_none_is_independence(activation: type[nn.Module]) -> None:
    p = problem(activation)
    full = ou.Cumulants(2, "basic").estimate(p).value
    none = ou.MeanPropagation().estimate(p).value
    assert float((full - none).abs().max()) > 1e-4
    empty = ou.CovariancePattern((torch.zeros(0, 2, dtype=torch.int64),) * 3)
    for advice, expected in (
        (subspace(9), full),
        (all_pairs(), full),
        (subspace(0), none),
        (empty, none),
    ):
        value = ou.MeanPropagation().estimate(p, advice).value
        torch.testing.assert_close(value, expected, atol=1e-11, rtol=1e-11)


def test_found_readings_come_closer_to_order_2_than_random_ones() -> None:
    gaps = {"found": 0.0, "random": 0.0, "none": 0.0}
    for seed in range(5):
        p = problem(seed=seed)
        full = ou.Cumulants(2, "basic").estimate(p).value
        for name, advice in (
            ("found", ou.CorrelationExplainer(rank=2).explain(p)),
            ("random", subspace(2, seed)),
            ("none", None),
        ):
            gaps[name] += float((ou.MeanPropagation().estimate(p, advice).value - full).norm())
    assert gaps["found"] < gaps["random"] / 2 < gaps["none"]


@given(seed=st.integers(0, 10_000), rank=st.integers(0, 6), third=st.integers(0, 6))
@settings(max_examples=25)
def test_bad_advice_is_never_worse_than_wrong(seed: int, rank: int, third: int) -> None:
    estimate = ou.MeanPropagation().estimate(problem(seed=seed % 7), subspace(rank, seed, third))
    assert bool(torch.isfinite(estimate.value).all())


def test_advice_is_sized_and_serialisable() -> None:
    for advice in (subspace(2, third=1), all_pairs()):
        again = type(advice).from_tensors(advice.tensors())
        assert again.size == advice.size > 0
        p = problem()
        one, two = (ou.MeanPropagation().estimate(p, a).value for a in (advice, again))
        assert torch.equal(one, two)
    assert subspace(2).size == 2 * sum(WIDTHS[1:-1])


@pytest.mark.parametrize("third", [0, 2])
def test_gradients_through_advice(third: int) -> None:
    net = mlp(3, 4, 4, 2)
    net[0].weight.requires_grad_(False)
    explained = ou.CorrelationExplainer(2, third).explain(ou.NetworkMean(net, gaussian(3)))
    weight = net[2].weight.detach().clone().requires_grad_()

    def value(mean: Tensor, w: Tensor) -> Tensor:
        del net[2]._parameters["weight"]
        net[2]._parameters["weight"] = w
        law = ou.Gaussian(mean, gaussian(3).covariance)
        return ou.MeanPropagation().estimate(ou.NetworkMean(net, law), explained).value

    mean = gaussian(3).mean.requires_grad_()
    assert torch.autograd.gradcheck(value, (mean, weight), atol=1e-6)


E = torch.eye(9, dtype=torch.float64)
BAD = [
    (lambda: ou.CovarianceSubspace((E * 2,)), "not orthonormal"),
    (lambda: ou.CovarianceSubspace((E[:2],)), r"\(2, 9\)"),
    (lambda: ou.CovarianceSubspace((E.long(),)), "int64"),
    (lambda: ou.CovarianceSubspace((E,), third=-1), "third = -1"),
    (lambda: ou.CovariancePattern((torch.tensor([[1, 1]]),)), r"\[1, 1\]"),
    (lambda: ou.CovariancePattern((torch.tensor([[0, 1], [0, 1]]),)), "twice"),
    (lambda: ou.CovariancePattern((torch.ones(2, 2),)), "float32"),
    (lambda: ou.CorrelationExplainer(rank=0), "rank = 0"),
    (lambda: ou.MeanPropagation().estimate(problem(), ou.CovarianceSubspace((E,))), "3 layers"),
    (
        lambda: ou.MeanPropagation().estimate(
            problem(), ou.CovariancePattern((torch.tensor([[0, 8]]),) * 3)
        ),
        "names neuron 8",
    ),
]


@pytest.mark.parametrize(("build", "message"), BAD, ids=range(len(BAD)))
def test_bad_input(build: object, message: str) -> None:
    with pytest.raises(ou.InputError, match=message):
        build()  # type: ignore[operator]
