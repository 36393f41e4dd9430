import random

import numpy as np
import pytest
import torch
from tests.battery import Coin, gaussian, mlp
from torch import Tensor, nn

import outsample as ou
from outsample.cumulants.advice import CovariancePattern, CovarianceSubspace
from outsample.cumulants.explain import CorrelationExplainer, PairExplainer
from outsample.cumulants.mean_propagation import MeanPropagation
from outsample.estimator import Explainer, Explanation

EXPLAINERS = [CorrelationExplainer(2, third=1), PairExplainer(5)]


def share_lost(problem: ou.NetworkMean, advice: Explanation) -> float:
    """Squared distance from keeping every covariance, keeping none being 1."""
    with torch.no_grad():
        every = ou.Cumulants(2, "basic").estimate(problem).value
        none = MeanPropagation().estimate(problem).value
        kept = MeanPropagation().estimate(problem, advice).value
    return float((kept - every).square().sum() / (none - every).square().sum())


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Sequential, Tensor, Tensor]:
    """A small network trained on digits, with images and labels."""
    from sklearn.datasets import load_digits

    pixels, names = load_digits(return_X_y=True)
    images, labels = torch.tensor(pixels) / 16, torch.tensor(names)
    net = mlp(64, 96, 96, 96, 10, bias=0.0)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(15):
        for rows in torch.randperm(len(labels), generator=generator).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[rows]), labels[rows]).backward()
            optimizer.step()
    return net.requires_grad_(False), images, labels


def test_rank_8_keeps_most_of_what_covariances_bring(
    trained: tuple[nn.Sequential, Tensor, Tensor],
) -> None:
    net, images, labels = trained
    for label in (0, 4, 8):
        chosen = images[labels == label]
        for law in (ou.Gaussian.fit(chosen), ou.Gaussian(chosen[0], 0.01)):
            problem = ou.NetworkMean(net, law)
            advice = CorrelationExplainer(8).explain(problem)
            assert advice.size == 2 * 96 * 8
            assert share_lost(problem, advice) < 0.1
            assert share_lost(problem, CorrelationExplainer(24).explain(problem)) < 0.03


def test_advice_serves_inputs_it_was_not_found_for(
    trained: tuple[nn.Sequential, Tensor, Tensor],
) -> None:
    net, images, labels = trained
    found = ou.NetworkMean(net, ou.Gaussian.fit(images))
    advice = CorrelationExplainer(8).explain(found)
    for label in range(10):
        chosen = images[labels == label]
        for law in (ou.Gaussian.fit(chosen), ou.Gaussian(chosen[0], 0.01)):
            assert share_lost(ou.NetworkMean(net, law), advice) < 0.1


def test_pairs_keep_more_the_more_there_are(
    trained: tuple[nn.Sequential, Tensor, Tensor],
) -> None:
    net, images, labels = trained
    problem = ou.NetworkMean(net, ou.Gaussian.fit(images[labels == 3]))
    some, more, every = (
        share_lost(problem, PairExplainer(count).explain(problem)) for count in (500, 2000, 10**6)
    )
    assert 1 > some > more > every
    assert every < 1e-20


def one_cause(n: int) -> ou.NetworkMean:
    """Neurons that all follow one input, beside noise of their own, all read alike."""
    first = nn.Linear(n + 1, n, bias=False, dtype=torch.float64)
    second = nn.Linear(n, 3, bias=False, dtype=torch.float64)
    third = nn.Linear(3, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        first.weight.copy_(torch.cat([torch.ones(n, 1), 0.5 * torch.eye(n)], 1))
        second.weight.copy_(torch.tensor([[1.0], [0.5], [-1.0]]).expand(3, n) / n)
        third.weight.copy_(torch.tensor([[1.0, 2.0, 1.0]]))
    chain = (first, nn.Tanh(), second, nn.ReLU(), third)
    return ou.NetworkMean(nn.Sequential(*chain), ou.Gaussian.standard(n + 1, torch.float64))


def test_one_common_cause_needs_one_reading() -> None:
    problem = one_cause(20)
    advice = CorrelationExplainer(1).explain(problem)
    assert share_lost(problem, advice) < 1e-6
    reading = advice.readings[0][:, 0].abs()
    torch.testing.assert_close(reading, torch.full_like(reading, 20**-0.5), atol=1e-6, rtol=0)


def test_two_correlated_neurons_are_the_first_pair() -> None:
    first = nn.Linear(4, 5, bias=False, dtype=torch.float64)
    second = nn.Linear(5, 2, dtype=torch.float64)
    last = nn.Linear(2, 1, dtype=torch.float64)
    with torch.no_grad():
        first.weight.zero_()
        first.weight[:4] = torch.eye(4)
        first.weight[4, 1] = 1.0  # neuron 4 copies neuron 1
        second.weight.fill_(1.0)
    net = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)
    problem = ou.NetworkMean(net, ou.Gaussian.standard(4, torch.float64))
    advice = PairExplainer(3).explain(problem)
    assert advice.pairs[0].tolist() == [[1, 4]]
    assert share_lost(problem, advice) < 1e-20


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=str)
def test_same_bits_twice_without_random_numbers(explainer: Explainer) -> None:
    problem = ou.NetworkMean(mlp(5, 7, 6, 2), gaussian(5))
    before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    one, two = (explainer.explain(problem).tensors() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "sign", "square"])
def test_advice_fits_its_network(explainer: Explainer, dtype: torch.dtype, activation: str) -> None:
    net = mlp(5, 7, 3, 9, 2, activation=ou.Elementwise(activation), dtype=dtype)
    problem = ou.NetworkMean(net, gaussian(5, dtype=dtype))
    advice = explainer.explain(problem)
    assert torch.isfinite(MeanPropagation().estimate(problem, advice).value).all()
    if isinstance(advice, CovarianceSubspace):
        assert [tuple(b.shape) for b in advice.readings] == [(7, 2), (3, 2), (9, 0)]
        assert advice.third == 1
        assert not any(b.requires_grad for b in advice.readings)
    else:
        assert isinstance(advice, CovariancePattern)
        assert [len(p) for p in advice.pairs] in ([5, 3, 0], [5, 2, 0])


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=str)
def test_odd_networks(explainer: Explainer) -> None:
    linears = [m for m in mlp(4, 5, 4, 3) if isinstance(m, nn.Linear)]
    for net in (
        linears[0],
        nn.Sequential(nn.ReLU()),
        nn.Sequential(linears[0], nn.Tanh(), nn.ReLU(), linears[1]),
        nn.Sequential(nn.Tanh(), linears[0], linears[1], nn.ReLU()),
    ):
        problem = ou.NetworkMean(net, gaussian(4))
        value = MeanPropagation().estimate(problem, explainer.explain(problem)).value
        assert torch.isfinite(value).all()


def test_dead_layers_and_inputs_that_do_not_vary() -> None:
    net = mlp(4, 6, 5, 2)
    with torch.no_grad():
        net[0].bias.fill_(-1e3)
    for problem in (
        ou.NetworkMean(net, gaussian(4)),
        ou.NetworkMean(mlp(4, 6, 5, 2), ou.Gaussian(gaussian(4).mean, 0.0)),
    ):
        for explainer in EXPLAINERS:
            value = MeanPropagation().estimate(problem, explainer.explain(problem)).value
            torch.testing.assert_close(value, problem(problem.inputs.mean[None])[0])


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=str)
def test_what_is_no_network_is_refused(explainer: Explainer) -> None:
    with pytest.raises(ou.UnsupportedProblem, match="NetworkMean"):
        explainer.explain(Coin())


@pytest.mark.parametrize("value", [0, -1, 2.5, True, None])
def test_bad_settings(value: int) -> None:
    with pytest.raises(ou.InputError, match=f"rank = {value}"):
        CorrelationExplainer(rank=value)
    with pytest.raises(ou.InputError, match=f"pairs = {value}"):
        PairExplainer(pairs=value)
    if value != 0:
        with pytest.raises(ou.InputError, match=f"third = {value}"):
            CorrelationExplainer(third=value)
