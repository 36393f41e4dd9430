import hypothesis.strategies as st
import mpmath
import pytest
import torch
from hypothesis import given, settings
from tests.battery import gaussian, mlp
from tests.cumulants.one_hidden_layer import OneHiddenLayer
from torch import Tensor, nn

import outsample as ou
from outsample.cumulants.advice import CovariancePattern, CovarianceSubspace
from outsample.cumulants.mean_propagation import MeanPropagation

ACTIVATIONS = ["relu", "tanh", "gelu", "square", "sign"]


def turned(n: int, r: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """An orthonormal basis in general position."""
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, r, generator=generator, dtype=torch.float64))[0].to(dtype)


def all_pairs(n: int) -> Tensor:
    return torch.combinations(torch.arange(n))


def relu_moments(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of ReLU at N(mean, variance), from mpmath."""
    rows = []
    for m, v in zip(mean.tolist(), variance.tolist(), strict=True):
        s = mpmath.sqrt(v)
        first = m * mpmath.ncdf(m / s) + s * mpmath.npdf(m / s)
        second = (m * m + v) * mpmath.ncdf(m / s) + m * s * mpmath.npdf(m / s)
        rows.append((float(first), float(second - first**2)))
    return tuple(torch.tensor(rows, dtype=torch.float64).T)  # type: ignore[return-value]


class TestMeanPropagation(OneHiddenLayer):
    estimator = MeanPropagation()


def test_two_layers_by_hand() -> None:
    """Deeper down, neurons count as independent: variances go through W∘W."""
    net, law = mlp(5, 6, 4, 2), gaussian(5)
    first, second, third = (m for m in net if isinstance(m, nn.Linear))
    with torch.no_grad():
        covariance = first.weight @ law.covariance @ first.weight.T
        mean, variance = relu_moments(first(law.mean), covariance.diagonal())
        again, _ = relu_moments(second(mean), second.weight**2 @ variance)
        expected = third(again)
    estimate = MeanPropagation(hidden=True).estimate(ou.NetworkMean(net, law))
    torch.testing.assert_close(estimate.value.detach(), expected, atol=1e-13, rtol=0)
    assert estimate.hidden is not None
    torch.testing.assert_close(estimate.hidden[0].detach(), mean, atol=1e-13, rtol=0)
    torch.testing.assert_close(estimate.hidden[1].detach(), again, atol=1e-13, rtol=0)
    assert MeanPropagation().estimate(ou.NetworkMean(net, law)).hidden is None


def test_consecutive_linear_layers_count_as_one() -> None:
    """Independence is assumed of activations only."""
    net, law = mlp(5, 6, 4, 3, 2), gaussian(5)
    without = nn.Sequential(net[0], net[2], net[3], net[4], net[5], net[6])
    one = nn.Linear(5, 4, dtype=torch.float64)
    with torch.no_grad():
        one.weight.copy_(net[2].weight @ net[0].weight)
        one.bias.copy_(net[2](net[0].bias))
    merged = nn.Sequential(one, *without[2:])
    for advice in (None, CovarianceSubspace((turned(4, 2), turned(3, 1)))):
        values = [
            MeanPropagation().estimate(ou.NetworkMean(m, law), advice).value
            for m in (without, merged)
        ]
        torch.testing.assert_close(*values, atol=1e-13, rtol=0)


@pytest.mark.parametrize("scale", [0.4, "diagonal", "dense"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_all_covariances_are_order_2_basic(activation: str, scale: object) -> None:
    law = gaussian(5)
    if scale == "diagonal":
        law = ou.Gaussian(law.mean, law.covariance.diagonal())
    elif scale != "dense":
        law = ou.Gaussian(law.mean, scale)  # type: ignore[arg-type]
    problem = ou.NetworkMean(mlp(5, 7, 4, 6, 2, activation=ou.Elementwise(activation)), law)
    expected = ou.Cumulants(2, "basic", hidden=True).estimate(problem)
    widths = (7, 4, 6)
    for advice in (
        CovarianceSubspace(tuple(turned(n, n, seed=n) for n in widths)),
        CovariancePattern(tuple(all_pairs(n) for n in widths)),
    ):
        found = MeanPropagation(hidden=True).estimate(problem, advice)
        torch.testing.assert_close(found.value, expected.value, atol=1e-11, rtol=1e-11)
        assert found.hidden is not None and expected.hidden is not None
        torch.testing.assert_close(found.hidden, expected.hidden, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_covariances_are_mean_propagation(activation: str) -> None:
    net = mlp(5, 7, 4, 2, activation=ou.Elementwise(activation))
    problem = ou.NetworkMean(net, gaussian(5))
    expected = MeanPropagation().estimate(problem).value
    for advice in (
        CovarianceSubspace((torch.zeros(7, 0), torch.zeros(4, 0)), third=3),
        CovariancePattern((torch.zeros(0, 2, dtype=torch.int64),) * 2),
    ):
        found = MeanPropagation().estimate(problem, advice).value
        torch.testing.assert_close(found, expected, atol=1e-13, rtol=1e-13)


def test_two_activations_in_a_row() -> None:
    linears = mlp(4, 5, 2)
    net = nn.Sequential(linears[0], nn.Tanh(), nn.ReLU(), linears[2])
    problem = ou.NetworkMean(net, gaussian(4))
    expected = ou.Cumulants(2, "basic").estimate(problem).value
    for advice in (
        CovarianceSubspace((turned(5, 5), turned(5, 5, seed=1))),
        CovariancePattern((all_pairs(5), all_pairs(5))),
    ):
        found = MeanPropagation().estimate(problem, advice).value
        torch.testing.assert_close(found, expected, atol=1e-11, rtol=1e-11)


def test_a_network_that_starts_and_ends_in_activations() -> None:
    linear = mlp(4, 3)[0]
    problem = ou.NetworkMean(nn.Sequential(nn.ReLU(), linear, nn.ReLU()), gaussian(4))
    expected = ou.Cumulants(2, "basic").estimate(problem).value
    advice = CovarianceSubspace((turned(4, 4), turned(3, 0)))
    found = MeanPropagation().estimate(problem, advice).value
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_a_pattern_keeps_what_it_names_and_nothing_else() -> None:
    """Neurons 0 and 1 share their input; the second layer is read by one sum of all."""
    first = nn.Linear(3, 3, bias=False, dtype=torch.float64)
    second = nn.Linear(3, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0.5, 1]]))
        second.weight.fill_(1.0)
    net = nn.Sequential(first, ou.Elementwise("identity"), second, nn.ReLU())
    law = ou.Gaussian(torch.zeros(3, dtype=torch.float64), 1.0)
    gram = (first.weight @ first.weight.T).detach()
    for pairs in ([[0, 1]], [[0, 2]], [[1, 2]], [[0, 1], [1, 2]]):
        kept = sum(2 * float(gram[i, j]) for i, j in pairs)
        advice = CovariancePattern((torch.tensor(pairs), torch.zeros(0, 2, dtype=torch.int64)))
        value = MeanPropagation().estimate(ou.NetworkMean(net, law), advice).value
        variance = float(gram.diagonal().sum()) + kept
        assert value.item() == pytest.approx((variance / (2 * torch.pi)) ** 0.5, rel=1e-12)


@pytest.mark.parametrize("third", [0, 3])
@given(seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_only_the_span_of_the_readings_matters(third: int, seed: int) -> None:
    problem = ou.NetworkMean(mlp(5, 7, 6, 2), gaussian(5))
    bases = turned(7, 3, seed), turned(6, 3, seed + 1)
    mixed = tuple(basis @ turned(3, 3, seed + 2) for basis in bases)
    one, two = (
        MeanPropagation().estimate(problem, CovarianceSubspace(b, third)).value
        for b in (bases, mixed)
    )
    torch.testing.assert_close(one, two, atol=1e-8, rtol=1e-8)


@given(seed=st.integers(0, 1000), third=st.integers(0, 3))
@settings(max_examples=15)
def test_advice_moves_with_permuted_neurons(seed: int, third: int) -> None:
    net, law = mlp(5, 7, 4, 2), gaussian(5)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    basis, rest = turned(7, 3, seed), turned(4, 2)
    before = MeanPropagation().estimate(
        ou.NetworkMean(net, law), CovarianceSubspace((basis, rest), third)
    )
    with torch.no_grad():
        net[0].weight.copy_(net[0].weight[order].clone())
        net[0].bias.copy_(net[0].bias[order].clone())
        net[2].weight.copy_(net[2].weight[:, order].clone())
    after = MeanPropagation().estimate(
        ou.NetworkMean(net, law), CovarianceSubspace((basis[order], rest), third)
    )
    torch.testing.assert_close(before.value, after.value, atol=1e-9, rtol=1e-9)


@given(
    seed=st.integers(0, 1000),
    rank=st.integers(0, 6),
    third=st.integers(0, 6),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    activation=st.sampled_from(ACTIVATIONS),
)
@settings(max_examples=60)
def test_bad_advice_is_never_invalid(
    seed: int, rank: int, third: int, scale: float, activation: str
) -> None:
    """Any subspace leaves every variance positive; no value is lost, no warning issued."""
    net = mlp(5, 6, 6, 6, 2, activation=ou.Elementwise(activation), seed=seed)
    with torch.no_grad():
        net[0].weight.mul_(scale)
        net[2].weight[0] = 0  # a neuron that never moves
        net[2].bias[1] = -100 * scale  # and one that is dead
    advice = CovarianceSubspace(tuple(turned(6, rank, seed + k) for k in range(3)), third)
    estimate = MeanPropagation().estimate(ou.NetworkMean(net, gaussian(5)), advice)
    assert torch.isfinite(estimate.value).all()
    assert estimate.diagnostics.get("largest_clamped", 0) < 1e-12
    assert estimate.diagnostics["overfull_neurons"] >= 0
    assert estimate.trust == "ok"


def test_without_variance_the_network_is_evaluated() -> None:
    net = mlp(5, 7, 4, 2)
    problem = ou.NetworkMean(net, ou.Gaussian(gaussian(5).mean, 0.0))
    advice = CovarianceSubspace((turned(7, 3), turned(4, 2)), third=2)
    value = MeanPropagation().estimate(problem, advice).value
    torch.testing.assert_close(value, net(problem.inputs.mean), atol=1e-12, rtol=0)


def test_thin_patterns_are_clamped_with_a_warning() -> None:
    """Equal neurons read with opposite signs, of which only pairs of opposite signs are kept."""
    first = nn.Linear(1, 4, bias=False, dtype=torch.float64)
    second = nn.Linear(4, 1, dtype=torch.float64)
    with torch.no_grad():
        first.weight.fill_(1.0)
        second.weight.copy_(torch.tensor([[1.0, -1.0, 1.0, -1.0]]))
        second.bias.fill_(0.5)
    net = nn.Sequential(first, ou.Elementwise("identity"), second, nn.ReLU())
    problem = ou.NetworkMean(net, ou.Gaussian.standard(1, torch.float64))
    pairs = torch.tensor([[0, 1], [0, 3], [1, 2], [2, 3]])
    advice = CovariancePattern((pairs, pairs[:0]))
    with pytest.warns(ou.NumericalWarning, match="negative"):
        estimate = MeanPropagation().estimate(problem, advice)
    assert estimate.trust == "low_confidence"
    assert estimate.value.item() == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_network_sets_the_dtype(dtype: torch.dtype) -> None:
    net, law = mlp(5, 7, 4, 2, dtype=dtype), gaussian(5, dtype=dtype)
    advice = CovarianceSubspace((turned(7, 3), turned(4, 2)), third=2)
    value = MeanPropagation().estimate(ou.NetworkMean(net, law), advice).value
    exact = MeanPropagation().estimate(ou.NetworkMean(mlp(5, 7, 4, 2), gaussian(5)), advice).value
    assert value.dtype == dtype
    torch.testing.assert_close(value.double(), exact, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "advice",
    [
        CovarianceSubspace((turned(6, 2), turned(5, 2, seed=1))),
        CovarianceSubspace((turned(6, 3), turned(5, 2, seed=1)), third=2),
        CovarianceSubspace((turned(6, 6), turned(5, 5, seed=1))),
        CovariancePattern((all_pairs(6)[::2], all_pairs(5)[::3])),
    ],
    ids=["rank 2", "third", "full", "pairs"],
)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh], ids=["relu", "tanh"])
def test_gradients_with_advice(
    activation: type[nn.Module], advice: CovarianceSubspace | CovariancePattern
) -> None:
    net, law = mlp(3, 6, 5, 2, 1, activation=activation), gaussian(3)
    last = torch.zeros(2, 0) if isinstance(advice, CovarianceSubspace) else all_pairs(2)
    parts = advice.readings if isinstance(advice, CovarianceSubspace) else advice.pairs
    advice = (
        CovarianceSubspace((*parts, last), advice.third)
        if isinstance(advice, CovarianceSubspace)
        else CovariancePattern((*parts, last))
    )
    factor = torch.linalg.cholesky(law.covariance)
    weight = net[2].weight.detach().clone()

    def value(mean: Tensor, factor: Tensor, weight: Tensor) -> Tensor:
        middle = nn.Linear(6, 5, dtype=torch.float64)
        del middle._parameters["weight"]
        middle.weight = weight  # type: ignore[assignment]
        with torch.no_grad():
            middle.bias.copy_(net[2].bias)
        changed = nn.Sequential(net[0], net[1], middle, *net[3:])
        problem = ou.NetworkMean(changed, ou.Gaussian(mean, factor @ factor.T))
        return MeanPropagation().estimate(problem, advice).value

    arguments = [a.detach().clone().requires_grad_() for a in (law.mean, factor, weight)]
    assert torch.autograd.gradcheck(value, arguments, eps=1e-6, atol=1e-5, rtol=1e-4)


def test_third_cumulants_come_closer_to_the_truth() -> None:
    """Beyond all covariances, on a random network; the more directions, the closer."""
    n = 48
    problem = ou.NetworkMean(
        mlp(n, n, n, n, n, bias=0.0).requires_grad_(False), ou.Gaussian.standard(n, torch.float64)
    )
    truth = ou.MonteCarlo(1 << 17, antithetic=True, moment_matched=True).estimate(problem)
    assert truth.standard_error is not None
    readings = turned(n, n), turned(n, n, seed=1), torch.zeros(n, 0)
    none, some, every = (
        float((estimate.value - truth.value).square().sum() - truth.standard_error.square().sum())
        for estimate in (
            MeanPropagation().estimate(problem, CovarianceSubspace(readings, third))
            for third in (0, 8, n)
        )
    )
    assert every < some < none
    assert every < none / 2


@pytest.mark.parametrize(
    ("advice", "message"),
    [
        (CovarianceSubspace((turned(7, 2),)), r"1 entries .* 2 layers .* \(7, 4\)"),
        (CovarianceSubspace((turned(7, 2), turned(5, 2))), r"readings\[1\] .*width 4"),
        (CovariancePattern((all_pairs(7),)), r"1 entries"),
        (CovariancePattern((all_pairs(7), torch.tensor([[1, 4]]))), r"neuron 4.*width 4"),
    ],
)
def test_advice_for_another_network_is_refused(
    advice: CovarianceSubspace | CovariancePattern, message: str
) -> None:
    problem = ou.NetworkMean(mlp(5, 7, 4, 2), gaussian(5))
    with pytest.raises(ou.InputError, match=message):
        MeanPropagation().estimate(problem, advice)


def test_other_explanations_are_refused() -> None:
    class Rumour(ou.Explanation):
        size = 0

        def tensors(self) -> dict[str, Tensor]:
            return {}

        @classmethod
        def from_tensors(cls, tensors: object) -> "Rumour":
            return cls()

    problem = ou.NetworkMean(mlp(5, 7, 2), gaussian(5))
    with pytest.raises(ou.UnsupportedProblem, match="Rumour"):
        MeanPropagation().estimate(problem, Rumour())


def test_cost_follows_what_is_kept() -> None:
    """O(n² r): doubling the rank about doubles what tracking costs, far below order 2."""
    problem = ou.NetworkMean(mlp(200, 200, 200, 200, 1), ou.Gaussian.standard(200, torch.float64))

    def flops(rank: int, third: int = 0) -> int:
        readings = turned(200, rank), turned(200, rank), turned(200, 0)
        return MeanPropagation().flops(problem, CovarianceSubspace(readings, third))

    none = MeanPropagation().flops(problem)
    assert 1.7 < (flops(8) - none) / (flops(4) - none) < 2.3
    assert flops(4) < flops(4, third=4)
    assert flops(4) < 0.1 * ou.Cumulants(2, "basic").flops(problem)
    pairs = CovariancePattern((all_pairs(200)[:1000], all_pairs(200)[:1000], all_pairs(200)[:0]))
    assert MeanPropagation().flops(problem, pairs) < 0.1 * ou.Cumulants(2, "basic").flops(problem)
