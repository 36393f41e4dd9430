import copy
import re
from functools import partial
from typing import Any

import hypothesis.strategies as st
import mpmath
import pytest
import torch
from hypothesis import given, settings
from tests.battery import gaussian, mlp
from tests.conftest import Golden
from tests.cumulants.one_hidden_layer import OneHiddenLayer
from torch import Tensor, nn

import outsample as ou

ORDERS = [
    *(ou.Cumulants(1), ou.Cumulants(2, "basic"), ou.Cumulants(2, "augmented")),
    *(ou.Cumulants(3, "basic"), ou.Cumulants(3, "augmented"), ou.Cumulants(4, "basic")),
    ou.Cumulants(3, "elliptical"),
]
CLOSED_FORMS = [
    *("relu", "leaky_relu", "abs", "sign", "step", "hardtanh", "square", "identity"),
    *("erf", "gelu", "sin"),
]
NAMES = [*CLOSED_FORMS, "gelu_tanh", "silu", "tanh", "sigmoid", "softplus", "elu"]


class TestOrder1(OneHiddenLayer):
    estimator = ou.Cumulants(1)


class TestOrder2Basic(OneHiddenLayer):
    estimator = ou.Cumulants(2, "basic")


class TestOrder2Augmented(OneHiddenLayer):
    estimator = ou.Cumulants(2, "augmented")


class TestOrder3Basic(OneHiddenLayer):
    estimator = ou.Cumulants(3, "basic")


class TestOrder3Augmented(OneHiddenLayer):
    estimator = ou.Cumulants(3, "augmented", factored=True)


class TestOrder3Elliptical(OneHiddenLayer):
    estimator = ou.Cumulants(3, "elliptical")


class TestOrder4Basic(OneHiddenLayer):
    estimator = ou.Cumulants(4, "basic")


class TestOrder4Augmented(OneHiddenLayer):
    estimator = ou.Cumulants(4, "augmented", factored=True)
    every_entry = False  # basic order 4 has them; here they take ten times as long


def problem_of(golden: Golden) -> ou.NetworkMean:
    layers: list[nn.Module] = []
    for weight, bias in golden.layers:
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight))
            if bias is not None:
                linear.bias.copy_(torch.from_numpy(bias))
        layers += [linear, ou.Elementwise(golden.activation)]
    law = ou.Gaussian(golden.arrays["input_mean"], golden.arrays["input_cov"])
    return ou.NetworkMean(nn.Sequential(*layers[:-1]), law)


def compare_with_golden(golden: Golden, estimator: ou.Cumulants, key: str) -> None:
    estimate = estimator.estimate(problem_of(golden))

    def close(found: Tensor, expected: object) -> None:
        torch.testing.assert_close(
            found.detach(), torch.as_tensor(expected), atol=golden.tolerance, rtol=0
        )

    close(estimate.value, golden.arrays[f"mean_{key}"])
    assert estimate.hidden is not None
    close(torch.stack(estimate.hidden), golden.arrays[f"hidden_mean_{key}"])
    if estimator.order > 1:
        assert estimate.covariance is not None
        close(estimate.covariance, golden.arrays[f"cov_{key}"])


@pytest.mark.parametrize("variant", ["basic", "augmented"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_golden_numbers(golden: Golden, order: int, variant: str) -> None:
    if order == 1 and not golden.holds_at_order_1:
        pytest.skip("the reference replaced this input by its spherical part")
    estimator = ou.Cumulants(order, variant, factored=False, hidden=True)
    compare_with_golden(golden, estimator, f"{variant}_{order}")


@pytest.mark.parametrize("order", [3, 4])
def test_golden_numbers_factored(golden: Golden, order: int) -> None:
    estimator = ou.Cumulants(order, "basic", factored=True, tolerance=0, hidden=True)
    compare_with_golden(golden, estimator, f"basic_{order}_factored")


@pytest.mark.parametrize("order", [3, 4])
def test_augmented_factors_lie_no_further_from_dense_than_the_reference(
    golden: Golden, order: int
) -> None:
    dense, factored = (
        ou.Cumulants(order, "augmented", factored=f, tolerance=0)
        .estimate(problem_of(golden))
        .value.detach()
        for f in (False, True)
    )
    reference = golden.arrays[f"mean_augmented_{order}_factored"]
    gap = torch.from_numpy(reference - golden.arrays[f"mean_augmented_{order}"]).norm()
    assert float((factored - dense).norm()) <= float(gap) + 1e-9


def test_order_2_is_within_reach_of_the_sampled_truth(golden: Golden) -> None:
    """The reference's own sample says how large an error a right formula may have."""
    estimate = ou.Cumulants(2).estimate(problem_of(golden))
    variance = torch.from_numpy(golden.arrays["sampled_var"])
    gap = estimate.value.detach() - torch.from_numpy(golden.arrays["sampled_mean"])
    assert float(gap.square().sum() / variance.sum()) < 0.02


@pytest.mark.parametrize("name", CLOSED_FORMS)
@pytest.mark.parametrize("estimator", ORDERS, ids=str)
def test_one_layer_is_exact(estimator: ou.Cumulants, name: str) -> None:
    """Against adaptive quadrature in 30 digits, activation by activation."""
    net, law = mlp(4, 3, 2, activation=ou.Elementwise(name)), gaussian(4)
    phi = {
        "relu": lambda z: max(z, 0),
        "leaky_relu": lambda z: max(z, 0.01 * z),
        "abs": abs,
        "sign": mpmath.sign,
        "step": lambda z: mpmath.mpf(z > 0),
        "hardtanh": lambda z: min(max(z, -1), 1),
        "square": lambda z: z * z,
        "identity": lambda z: z,
        "erf": mpmath.erf,
        "gelu": lambda z: z * mpmath.ncdf(z),
        "sin": mpmath.sin,
    }[name]

    def weighted(z: float, m: float, s: float) -> float:
        return phi(z) * mpmath.npdf(z, m, s)

    with torch.no_grad():
        mean = net[0](law.mean)
        std = (net[0].weight @ law.covariance @ net[0].weight.T).diagonal().sqrt()
        hidden = []
        with mpmath.workdps(30):
            for m, s in zip(mean.tolist(), std.tolist(), strict=True):
                kinks = [m - 12 * s, *sorted({-1.0, 0.0, 1.0, m}), m + 12 * s]
                hidden.append(float(mpmath.quad(partial(weighted, m=m, s=s), sorted(kinks))))
        exact = net[2](torch.tensor(hidden, dtype=torch.float64))
    value = estimator.estimate(ou.NetworkMean(net, law)).value
    torch.testing.assert_close(value.detach(), exact, atol=1e-12, rtol=0)


def test_default_is_order_2_augmented() -> None:
    assert ou.Cumulants() == ou.Cumulants(order=2, variant="augmented", hidden=False)


def test_variants_coincide_at_order_1() -> None:
    problem = ou.NetworkMean(mlp(5, 6, 7, 2), gaussian(5))
    basic, augmented = (ou.Cumulants(1, v).estimate(problem) for v in ("basic", "augmented"))
    assert torch.equal(basic.value, augmented.value)
    assert basic.covariance is None


@pytest.mark.parametrize("estimator", ORDERS, ids=str)
@given(scale=st.floats(0.05, 20), neuron=st.integers(0, 6))
@settings(max_examples=15)
def test_relu_scaling(estimator: ou.Cumulants, scale: float, neuron: int) -> None:
    """Scaling a layer by c > 0 and the next by 1/c changes nothing (one neuron: order 2 basic)."""
    net = mlp(5, 7, 6, 2)
    before = estimator.estimate(ou.NetworkMean(net, gaussian(5))).value
    rows = slice(None) if estimator != ORDERS[1] else slice(neuron, neuron + 1)
    with torch.no_grad():
        net[0].weight[rows] *= scale
        net[0].bias[rows] *= scale
        net[2].weight[:, rows] /= scale
    after = estimator.estimate(ou.NetworkMean(net, gaussian(5))).value
    torch.testing.assert_close(after, before, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("estimator", ORDERS, ids=str)
@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_odd_activations_flip_sign(estimator: ou.Cumulants, seed: int) -> None:
    net = mlp(4, 5, 5, 3, activation=nn.Tanh, seed=seed, bias=0.0)
    law = gaussian(4, seed)
    plus = estimator.estimate(ou.NetworkMean(net, law)).value
    minus = estimator.estimate(ou.NetworkMean(net, ou.Gaussian(-law.mean, law.covariance))).value
    torch.testing.assert_close(minus, -plus, atol=1e-12, rtol=0)


@pytest.mark.parametrize("estimator", ORDERS, ids=str)
def test_a_layer_split_by_the_identity(estimator: ou.Cumulants) -> None:
    net = mlp(5, 6, 4, 2)
    split = copy.deepcopy(net)
    identity = nn.Linear(6, 6, dtype=torch.float64)
    with torch.no_grad():
        identity.weight.copy_(torch.eye(6))
        identity.bias.zero_()
    split.insert(2, identity)
    whole, halves = (estimator.estimate(ou.NetworkMean(m, gaussian(5))) for m in (net, split))
    torch.testing.assert_close(halves.value, whole.value, atol=1e-13, rtol=1e-13)


def test_duplicated_neuron_at_order_2_basic() -> None:
    """Two copies of a neuron at half weight keep the mean: their covariance is their variance.

    Only to leading order, so with the identity as activation, where it is exact.
    """
    net = mlp(5, 6, 4, 2, activation=nn.Identity)
    net[1] = nn.Identity()
    double = copy.deepcopy(net)
    double[0] = nn.Linear(5, 7, dtype=torch.float64)
    double[2] = nn.Linear(7, 4, dtype=torch.float64)
    with torch.no_grad():
        double[0].weight.copy_(torch.cat([net[0].weight, net[0].weight[-1:]]))
        double[0].bias.copy_(torch.cat([net[0].bias, net[0].bias[-1:]]))
        half = net[2].weight[:, -1:] / 2
        double[2].weight.copy_(torch.cat([net[2].weight[:, :-1], half, half], 1))
        double[2].bias.copy_(net[2].bias)
    for estimator in ORDERS[1:]:
        one, two = (estimator.estimate(ou.NetworkMean(m, gaussian(5))) for m in (net, double))
        torch.testing.assert_close(two.value, one.value, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(two.covariance, one.covariance, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("estimator", ORDERS, ids=str)
def test_batch_norm_folds_wherever_it_stands(estimator: ou.Cumulants) -> None:
    """Before the first layer, between a layer and its activation, after an activation, last."""
    net = mlp(5, 6, 4, 3)
    norms = [nn.BatchNorm1d(n, dtype=torch.float64).eval() for n in (5, 6, 6, 3)]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.bias.uniform_(-0.5, 0.5, generator=generator)
            norm.running_mean.uniform_(-0.5, 0.5, generator=generator)
            norm.running_var.uniform_(0.5, 1.5, generator=generator)
    with_norms = nn.Sequential(
        norms[0], net[0], norms[1], net[1], norms[2], net[2], net[3], nn.Dropout().eval(), net[4]
    ).append(norms[3])

    def affine(norm: nn.BatchNorm1d) -> nn.Linear:
        linear = nn.Linear(norm.num_features, norm.num_features, dtype=torch.float64)
        with torch.no_grad():
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            linear.weight.copy_(torch.diag(scale))
            linear.bias.copy_(norm.bias - norm.running_mean * scale)
        return linear

    plain = nn.Sequential(
        *(affine(m) if isinstance(m, nn.BatchNorm1d) else m for m in with_norms.children())
    )
    folded, spelled = (
        estimator.estimate(ou.NetworkMean(m, gaussian(5))).value for m in (with_norms, plain)
    )
    torch.testing.assert_close(folded, spelled, atol=1e-12, rtol=1e-12)


def test_structure_of_the_input_covariance_changes_nothing() -> None:
    net, mean = mlp(5, 6, 4, 2), gaussian(5).mean
    variances = torch.linspace(0.5, 2, 5, dtype=torch.float64)
    for estimator in ORDERS:
        for scale, matrix in ((variances, torch.diag(variances)), (2.0, 2 * torch.eye(5))):
            light = estimator.estimate(ou.NetworkMean(net, ou.Gaussian(mean, scale)))
            full = estimator.estimate(ou.NetworkMean(net, ou.Gaussian(mean, matrix.double())))
            torch.testing.assert_close(light.value, full.value, atol=1e-13, rtol=1e-13)


def test_networks_may_begin_or_end_in_an_activation() -> None:
    for estimator in ORDERS:
        law = ou.Gaussian(torch.tensor([0.3, -0.2]).double(), 1.0)
        value = estimator.estimate(ou.NetworkMean(nn.ReLU(), law)).value
        exact = [m * mpmath.ncdf(m) + mpmath.npdf(m) for m in law.mean.tolist()]
        torch.testing.assert_close(value, torch.tensor([float(e) for e in exact]).double())


def test_every_refinement_helps_on_average_over_random_networks() -> None:
    """Pooled over networks and outputs, each step up gains at least a factor 2 (truth: 4 to 8)."""
    family = ou.families.RandomMLP(width=32, depth=2, outputs=16, dtype="float64")
    errors = torch.zeros(4, dtype=torch.float64)
    for seed in range(8):
        problem = family.problem(seed)
        sampler = ou.MonteCarlo(50_000, seed, antithetic=True, moment_matched=True)
        truth = sampler.estimate(problem).value
        for place, estimator in enumerate(ORDERS[:4]):
            gap = estimator.estimate(problem).value.detach() - truth
            errors[place] += gap.square().sum()
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 8 * errors[3]


@pytest.mark.parametrize("factored", [True, False])
@pytest.mark.parametrize("variant", ["basic", "augmented"])
@pytest.mark.parametrize("order", [3, 4])
def test_gradcheck_through_three_layers(order: int, variant: str, factored: bool) -> None:
    """In the weights, the biases and the input's mean and covariance."""
    net, law = mlp(3, 3, 3, 3, 2, activation=nn.Tanh), gaussian(3)
    shapes = [p.shape for p in net.parameters()]
    estimator = ou.Cumulants(order, variant, factored)

    def value(mean: Tensor, factor: Tensor, *parameters: Tensor) -> Tensor:
        copied = copy.deepcopy(net)
        layers: list[Any] = [m for m in copied if isinstance(m, nn.Linear)]
        for layer, (weight, bias) in zip(layers, batched(parameters), strict=True):
            del layer.weight, layer.bias
            layer.weight, layer.bias = weight, bias
        inputs = ou.Gaussian(mean, factor @ factor.T)
        return estimator.estimate(ou.NetworkMean(copied, inputs)).value

    def batched(items: tuple[Tensor, ...]) -> list[tuple[Tensor, Tensor]]:
        return [(items[i], items[i + 1]) for i in range(0, len(items), 2)]

    assert len(shapes) == 8
    leaves = [law.mean, torch.linalg.cholesky(law.covariance), *net.parameters()]
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    # Along one random direction in each, and closely, for an entry is a small part of that; entry
    # by entry is what the battery does.
    assert torch.autograd.gradcheck(value, leaves, atol=1e-6, rtol=1e-5, fast_mode=True)


@pytest.mark.filterwarnings("ignore::outsample.NumericalWarning")
def test_the_elliptical_closure_wins_in_deep_networks() -> None:
    """Eight layers of width 48, pooled over networks and outputs (truth: a factor of about 5)."""
    family = ou.families.RandomMLP(width=48, depth=8, outputs=48)
    basic, elliptical = 0.0, 0.0
    for seed in range(5):
        problem = family.problem(seed)
        truth = ou.MonteCarlo(100_000, seed, antithetic=True).estimate(problem).value
        with torch.no_grad():
            for variant in ("basic", "elliptical"):
                value = ou.Cumulants(3, variant).estimate(problem).value
                error = float((value - truth).square().sum())
                basic, elliptical = (
                    (basic + error, elliptical)
                    if variant == "basic"
                    else (basic, elliptical + error)
                )
    assert elliptical < 0.6 * basic


@pytest.mark.parametrize(
    ("order", "variant"),
    [(3, "basic"), (3, "augmented"), (3, "elliptical"), (4, "basic"), (4, "augmented")],
)
def test_reduced_precision_changes_little(order: int, variant: str) -> None:
    problem = ou.families.RandomMLP(width=32, depth=4, outputs=8, dtype="float32").problem(0)
    with torch.no_grad():
        full, reduced = (
            ou.Cumulants(order, variant, True, precision=p).estimate(problem)
            for p in ("full", "reduced")
        )
    assert reduced.value.dtype == torch.float32
    assert not torch.equal(reduced.value, full.value)
    assert full.covariance is not None and full.expected_error is not None
    gap = (reduced.value - full.value).square().sum() / full.covariance.trace()
    assert float(gap) < 0.03 * full.expected_error


def test_gradients_agree_with_the_sampled_mean() -> None:
    """d/dθ of one hidden layer's exact mean against differences of one fixed sample's mean."""
    net, law = mlp(4, 16, 1), gaussian(4)
    problem = ou.NetworkMean(net, law)
    value = ou.Cumulants(2).estimate(problem).value.sum()
    (gradient,) = torch.autograd.grad(value, net[0].weight)
    step = 1e-3
    sampler = ou.MonteCarlo(100_000, seed=1, antithetic=True)
    for row, column in ((0, 0), (7, 2), (15, 3)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                net[0].weight[row, column] += sign * step
            values.append(float(sampler.estimate(problem).value))
            with torch.no_grad():
                net[0].weight[row, column] -= sign * step
        difference = (values[0] - values[1]) / (2 * step)
        assert abs(difference - float(gradient[row, column])) < 0.02 * (1 + abs(difference))


def test_zero_variance_neurons() -> None:
    """A neuron with no inputs is a constant; its value is exact and its gradients are finite."""
    net = mlp(3, 4, 4, 2)
    with torch.no_grad():
        net[0].weight[1] = 0
        net[0].bias[1] = 0.7
    for estimator in ORDERS:
        net.zero_grad()
        estimator.estimate(ou.NetworkMean(net, gaussian(3))).value.sum().backward()
        for parameter in net.parameters():
            assert parameter.grad is not None
            assert bool(torch.isfinite(parameter.grad).all())


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "abs", "square"])
@pytest.mark.parametrize("bias", [-1.0, -30.0, 1.0])
@pytest.mark.parametrize("weight", [0.0, 1e-9, 1e-3])
def test_neurons_that_read_dead_ones(activation: str, bias: float, weight: float) -> None:
    """The second layer's first neuron sees (nearly) a constant; the answer is right there."""
    first, second = (nn.Linear(2, 2, dtype=torch.float64) for _ in range(2))
    with torch.no_grad():
        first.weight.copy_(torch.diag(torch.tensor([weight, 1.0])))
        first.bias.copy_(torch.tensor([bias, 0.1]))
        second.weight.copy_(torch.eye(2))
        second.bias.fill_(0.3)
    net = nn.Sequential(first, nn.ReLU(), second, ou.Elementwise(activation))
    value = ou.Cumulants(2).estimate(ou.NetworkMean(net, ou.Gaussian.standard(2))).value
    constant = net(torch.zeros(1, 2, dtype=torch.float64))[0, 0].detach()
    assert float((value.detach()[0] - constant).abs()) < 1e-2
    assert bool(torch.isfinite(value).all())


def test_kink_without_variance_warns_when_gradients_are_wanted() -> None:
    net = mlp(3, 4, 2)
    with torch.no_grad():
        net[0].weight[1] = 0
        net[0].bias[1] = 0
    with pytest.warns(ou.NumericalWarning, match="infinite"):
        ou.Cumulants(2).estimate(ou.NetworkMean(net, gaussian(3)))


@pytest.mark.parametrize("estimator", ORDERS, ids=str)
@pytest.mark.parametrize("factor", [1e150, 1e-150])
def test_extreme_weights_scale_the_answer(estimator: ou.Cumulants, factor: float) -> None:
    """A ReLU network without biases is homogeneous: weights of 1e±150 must come out right."""
    net = mlp(4, 5, 2, bias=0.0)
    before = estimator.estimate(ou.NetworkMean(net, gaussian(4))).value
    with torch.no_grad():
        net[0].weight.mul_(factor)
        net[2].weight.mul_(1 / factor)
        try:
            after = estimator.estimate(ou.NetworkMean(net, gaussian(4))).value
        except ou.NumericalError:
            assert factor > 1
            return
    torch.testing.assert_close(after, before, atol=1e-12, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::outsample.NumericalWarning")
def test_sixty_four_narrow_layers_are_finite_or_refused() -> None:
    """Far outside (L / n)^K << 1; the order-2 closure may lose definiteness, and then says so."""
    problem = ou.NetworkMean(mlp(*[16] * 65), gaussian(16))
    for estimator in ORDERS:
        try:
            estimate = estimator.estimate(problem)
        except ou.NumericalError:
            assert estimator in ORDERS[2:]
            continue
        assert bool(torch.isfinite(estimate.value).all())
        clamped = estimate.diagnostics.get("largest_clamped", 0.0)
        assert estimate.trust != "ok" or clamped < 1e-12
        assert estimate.trust == "ok" or re.search("negative|directions", estimate.reasons[0])


@pytest.mark.parametrize("ratio", [5.0, 38.0, 40.0, 1e3, 1e9])
@pytest.mark.parametrize("sign", [1, -1])
def test_means_far_from_the_kink(ratio: float, sign: int) -> None:
    """|μ/σ| large: ReLU is linear, or zero."""
    net = mlp(4, 5, 3, bias=0.0)
    with torch.no_grad():
        std = (net[0].weight @ gaussian(4).covariance @ net[0].weight.T).diagonal().sqrt()
        net[0].bias.copy_(sign * ratio * std - net[0].weight @ gaussian(4).mean)
        expected = net[2](sign * ratio * std) if sign > 0 else net[2].bias.clone()
    for estimator in ORDERS:
        estimate = estimator.estimate(ou.NetworkMean(net, gaussian(4)))
        atol = 1e-12 * max(1.0, ratio) if ratio > 6 else 1e-6
        torch.testing.assert_close(estimate.value.detach(), expected, atol=atol, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": 0}, "order = 0"),
        ({"metric": "half"}, "metric = 'half'"),
        ({"order": 3, "metric": "diagonal"}, "order 2, augmented, and order 3, basic"),
        ({"order": 5}, "order = 5"),
        ({"order": "2"}, "order = '2'"),
        ({"order": True}, "order = True"),
        ({"variant": "better"}, "variant = 'better'"),
        ({"variant": "elliptical"}, "order = 2"),
        ({"order": 3, "variant": "elliptical", "factored": False}, "factored = False"),
        ({"order": 3.0}, "order = 3.0"),
        ({"order": 1, "tower": True}, "tower"),
        ({"tower": 1}, "tower = 1"),
        ({"hidden": "yes"}, "hidden = 'yes'"),
        ({"order": 2, "factored": True}, "orders 3 and 4"),
        ({"order": 2, "precision": "reduced"}, "orders 3 and 4"),
        ({"tolerance": "small"}, "tolerance = 'small'"),
        ({"factored": "no"}, "factored = 'no'"),
        ({"tolerance": 1.0}, "tolerance = 1.0"),
        ({"tolerance": -0.1}, "tolerance = -0.1"),
        ({"precision": "half"}, "precision = 'half'"),
    ],
)
def test_bad_settings(arguments: dict, message: str) -> None:
    with pytest.raises(ou.InputError, match=message):
        ou.Cumulants(**arguments)


@pytest.mark.parametrize(
    ("estimator", "widths", "what"),
    [
        (ou.Cumulants(4, "basic", factored=False), (4, 200, 1), "a layer of width 200"),
        (ou.Cumulants(4, "augmented"), (4, 200, 1), "a layer of width 200"),
        (ou.Cumulants(3, "basic", factored=False), (4, 1100, 1), "a layer of width 1100"),
        (ou.Cumulants(4, "basic", tower=True), (4, 4, 200), "the tower of 200 outputs"),
    ],
)
def test_what_would_fill_the_memory_is_refused(
    estimator: ou.Cumulants, widths: tuple[int, ...], what: str
) -> None:
    with pytest.raises(ou.BudgetError, match=what):
        estimator.estimate(ou.NetworkMean(mlp(*widths), gaussian(4)))


def test_the_principle_sets_the_order() -> None:
    """Largest K with n^K ≤ 1/ε²."""
    problem = ou.NetworkMean(mlp(8, 16, 2), gaussian(8))
    assert ou.Cumulants.at(0.1, problem).order == 1
    assert ou.Cumulants.at(1 / 16, problem).order == 2
    ten = ou.NetworkMean(mlp(8, 10, 2), gaussian(8))
    assert ou.Cumulants.at(0.1, ten).order == 2  # 0.1^-2 is a little less than 100
    assert ou.MeanPropagation.at(0.1, ten) == ou.MeanPropagation()
    assert ou.ExactCovariance.at(0.1, ten) == ou.ExactCovariance()
    for epsilon in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(ou.InputError, match="epsilon"):
            ou.Cumulants.at(epsilon, problem)


@pytest.mark.parametrize("settings", [(2, "augmented"), (3, "basic")])
def test_the_diagonal_metric(settings: tuple) -> None:
    """The same where W Wᵀ is diagonal, another answer where it is not."""
    full, diagonal = (ou.Cumulants(*settings, metric=metric) for metric in ("full", "diagonal"))
    net = mlp(6, 6, 6, 6, 2)
    inputs = gaussian(6)
    apart = full.estimate(ou.NetworkMean(net, inputs)).value
    assert not torch.allclose(diagonal.estimate(ou.NetworkMean(net, inputs)).value, apart)
    with torch.no_grad():
        for layer in net[2::2]:
            if layer.weight.shape == (6, 6):
                layer.weight.copy_(torch.linalg.qr(layer.weight)[0])
    problem = ou.NetworkMean(net, inputs)
    torch.testing.assert_close(
        diagonal.estimate(problem).value, full.estimate(problem).value, rtol=1e-12, atol=1e-12
    )


def test_every_named_activation_propagates() -> None:
    for name in NAMES:
        net = mlp(4, 5, 5, 2, activation=ou.Elementwise(name))
        for estimator in ORDERS:
            value = estimator.estimate(ou.NetworkMean(net, gaussian(4))).value
            assert bool(torch.isfinite(value).all()), name
