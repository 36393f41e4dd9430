import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.battery import gaussian, mlp
from tests.cumulants.brute_force import (
    joint_cumulant,
    moments_of,
    pushed,
    random,
    random_symmetric,
)
from torch import Tensor, nn

import outsample as ou

N = 4
#: Every way to propagate that knows of third or fourth cumulants.
SETTINGS = [
    ou.Cumulants(order, variant, factored=factored)
    for order in (3, 4)
    for variant in ("basic", "augmented")
    for factored in (True, False)
] + [ou.Cumulants(2, "augmented")]


def as_id(estimator: ou.Cumulants) -> str:
    return f"{estimator.order}-{estimator.variant}-{'factored' if estimator.factored else 'dense'}"


def tower(n: int = N, seed: int = 0, size: float = 0.3) -> ou.CumulantTower:
    law = gaussian(n, seed)
    third, fourth = (random_symmetric(k, n, seed + k, size) for k in (3, 4))
    return ou.CumulantTower(law.mean, law.covariance, third, fourth)


def centred_exponentials(orders: tuple[int, ...] = (3, 4), n: int = N) -> ou.CumulantTower:
    """κ_r = (r − 1)!; only the orders asked for."""

    def draw(rows: int, generator: torch.Generator) -> Tensor:
        uniform = torch.rand(rows, n, generator=generator, dtype=torch.float64)
        return -torch.log1p(-uniform) - 1

    third = torch.full((n,), 2.0, dtype=torch.float64) if 3 in orders else None
    fourth = torch.full((n,), 6.0, dtype=torch.float64) if 4 in orders else None
    return ou.CumulantTower(torch.zeros(n, dtype=torch.float64), 1.0, third, fourth, draw)


def diagonal(values: Tensor, order: int) -> Tensor:
    full = torch.zeros((len(values),) * order, dtype=values.dtype)
    full[(range(len(values)),) * order] = values
    return full


def skewed(order: int, axis: int, by: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """Symmetric but for one entry, whose neighbours across ``axis`` it differs from."""
    tensor = random_symmetric(order, N, seed=1)
    tensor = tensor / tensor.abs().max()
    index = [0] * order
    index[axis] = 1
    tensor[tuple(index)] += by
    return tensor.to(dtype)


ZERO = torch.zeros(N, dtype=torch.float64)
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "a matrix for a third cumulant": (
        lambda: ou.CumulantTower(ZERO, 1.0, torch.zeros(N, N).double()),
        r"third has shape \(4, 4\); expected \(4, 4, 4\), or \(4,\) for independent entries",
    ),
    "a third cumulant for a fourth": (
        lambda: ou.CumulantTower(ZERO, 1.0, fourth=torch.zeros(N, N, N).double()),
        r"fourth has shape \(4, 4, 4\); expected \(4, 4, 4, 4\), or \(4,\)",
    ),
    "a third cumulant of another size": (
        lambda: ou.CumulantTower(ZERO, 1.0, torch.zeros(3, 3, 3).double()),
        r"third has shape \(3, 3, 3\); expected \(4, 4, 4\)",
    ),
    "independent entries of another size": (
        lambda: ou.CumulantTower(ZERO, 1.0, None, torch.zeros(3).double()),
        r"fourth has shape \(3,\); expected \(4, 4, 4, 4\), or \(4,\)",
    ),
    "a number": (
        lambda: ou.CumulantTower(ZERO, 1.0, 2.0),
        r"third has shape \(\); expected \(4, 4, 4\)",
    ),
    "a NaN": (
        lambda: ou.CumulantTower(ZERO, 1.0, torch.tensor([0.0, 1.0, torch.nan, 0.0]).double()),
        r"third has 1 non-finite entries, the first at \(2,\): nan",
    ),
    "an infinity": (
        lambda: ou.CumulantTower(ZERO, 1.0, fourth=torch.full((N,), torch.inf).double()),
        r"fourth has 4 non-finite entries, the first at \(0,\): inf",
    ),
    "integers": (
        lambda: ou.CumulantTower(ZERO, 1.0, torch.ones(N, dtype=torch.int64)),
        r"third has dtype torch.int64; expected floating point",
    ),
    "complex numbers": (
        lambda: ou.CumulantTower(np.zeros(N), 1.0, np.ones(N) * 1j),
        r"third has dtype complex128; expected real floating point",
    ),
    "another dtype than the mean": (
        lambda: ou.CumulantTower(ZERO, 1.0, fourth=torch.ones(N)),
        r"fourth is torch.float32 on cpu but mean is torch.float64",
    ),
    "a third cumulant that is not symmetric": (
        lambda: ou.CumulantTower(ZERO, 1.0, skewed(3, 0, 1e-6)),
        r"third is not symmetric in axes 0 and 1: they differ by 1e-06 where the largest entry is",
    ),
    "not symmetric in the last axes": (
        lambda: ou.CumulantTower(ZERO, 1.0, skewed(3, 2, 1e-6)),
        r"third is not symmetric in axes 1 and 2: they differ by 1e-06",
    ),
    "a fourth cumulant that is not symmetric": (
        lambda: ou.CumulantTower(ZERO, 1.0, fourth=skewed(4, 3, 1e-6)),
        r"fourth is not symmetric in axes 2 and 3: they differ by 1e-06",
    ),
    "a sampler that is no function": (
        lambda: ou.CumulantTower(ZERO, 1.0, sampler=3),
        r"sampler",
    ),
    "no draws": (
        lambda: centred_exponentials().sample(0, torch.Generator()),
        r"n = 0; expected at least 1",
    ),
    "a mean that is no vector": (
        lambda: ou.CumulantTower(torch.zeros(2, 2), 1.0),
        r"mean has shape \(2, 2\); expected a vector",
    ),
    "a covariance of another size": (
        lambda: ou.CumulantTower(ZERO, torch.eye(3).double()),
        r"covariance has shape \(3, 3\); expected",
    ),
    "a negative variance": (
        lambda: ou.CumulantTower(ZERO, torch.tensor([1.0, 1.0, -1.0, 1.0]).double()),
        r"covariance",
    ),
}


class TestValidation:
    @pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
    def test_says_what_was_given_and_what_expected(
        self, make: Callable[[], object], message: str
    ) -> None:
        with pytest.raises(ou.InputError, match=message):
            make()

    @pytest.mark.parametrize("order", [3, 4])
    def test_round_off_is_no_asymmetry(self, order: int) -> None:
        name = {3: "third", 4: "fourth"}[order]
        for dtype, fine, coarse in ((torch.float64, 2e-11, 1e-9), (torch.float32, 2e-6, 1e-4)):
            zero = torch.zeros(N, dtype=dtype)
            ou.CumulantTower(zero, 1.0, **{name: skewed(order, 0, fine, dtype)})
            with pytest.raises(ou.InputError, match=f"{name} is not symmetric"):
                ou.CumulantTower(zero, 1.0, **{name: skewed(order, 0, coarse, dtype)})

    def test_what_is_accepted(self) -> None:
        arrays = ou.CumulantTower(np.zeros(N), np.eye(N), np.ones(N), np.zeros((N,) * 4))
        assert arrays.dtype == torch.float64
        assert isinstance(arrays.third, Tensor)
        assert isinstance(arrays.fourth, Tensor)
        lone = ou.CumulantTower(torch.zeros(1), 2.0, torch.ones(1, 1, 1), torch.ones(1))
        assert lone.shape == (1,)
        bare = ou.CumulantTower(torch.zeros(3))
        assert bare.third is None
        assert bare.fourth is None
        torch.testing.assert_close(bare.covariance, torch.eye(3))


class TestLaw:
    def test_its_parts(self) -> None:
        law, whole = gaussian(N), tower()
        assert torch.equal(whole.mean, law.mean)
        assert torch.equal(whole.covariance, law.covariance)
        assert whole.shape == (N,)
        assert whole.dtype == torch.float64
        assert [t.dim() for t in whole.tensors()] == [1, 2, 3, 4]
        assert [t.dim() for t in centred_exponentials((3,)).tensors()] == [1, 0, 1]
        assert repr(whole) == "CumulantTower(n=4, orders up to 4, dtype=torch.float64)"
        assert "orders up to 2" in repr(ou.CumulantTower(torch.zeros(2)))

    def test_to_another_dtype(self) -> None:
        whole = tower()
        cpu = torch.device("cpu")
        assert whole.to(torch.float64, cpu) is whole
        single = whole.to(torch.float32, cpu)
        assert {t.dtype for t in single.tensors()} == {torch.float32}
        assert single.third is not None
        assert whole.third is not None
        torch.testing.assert_close(single.third, whole.third.float(), atol=0, rtol=0)
        assert ou.CumulantTower(ZERO).to(torch.float32, cpu).third is None
        draws = centred_exponentials().to(torch.float32, cpu)
        assert draws.sample(3, torch.Generator()).dtype == torch.float32

    def test_a_problem_casts_it_to_the_network(self) -> None:
        net = mlp(N, 3, 2, dtype=torch.float32)
        assert ou.NetworkMean(net, tower()).inputs.dtype == torch.float32

    def test_without_a_sampler_it_cannot_be_sampled(self) -> None:
        with pytest.raises(ou.UnsupportedProblem, match="pass sampler="):
            tower().sample(3, torch.Generator())
        with pytest.raises(ou.UnsupportedProblem, match="sampler"):
            ou.MonteCarlo(100).estimate(ou.NetworkMean(mlp(N, 3, 2), tower()))

    def test_with_a_sampler_it_draws_from_the_generator_given(self) -> None:
        law = centred_exponentials()
        first, second, other = (
            law.sample(5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
        )
        assert first.shape == (5, N)
        assert torch.equal(first, second)
        assert not torch.equal(first, other)

    @pytest.mark.parametrize("shape", [(5, N + 1), (4, N), (5,), (5, N, 1)])
    def test_draws_of_another_shape_are_refused(self, shape: tuple[int, ...]) -> None:
        law = ou.CumulantTower(ZERO, 1.0, sampler=lambda n, g: torch.zeros(shape))
        expected = f"the sampler returned shape {shape}; expected (5, {N})"
        with pytest.raises(ou.InputError, match=re.escape(expected)):
            law.sample(5, torch.Generator())

    def test_estimators_that_shape_normals_refuse_it(self) -> None:
        problem = ou.NetworkMean(mlp(N, 3, 2), centred_exponentials())
        for estimator in (ou.MonteCarlo(64, antithetic=True), ou.QuasiMonteCarlo(64)):
            with pytest.raises(ou.UnsupportedProblem, match="standard normals"):
                estimator.estimate(problem)


def close(found: Tensor | None, expected: Tensor) -> None:
    assert found is not None
    size = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found, expected, atol=1e-12 * size, rtol=1e-10)


@pytest.mark.parametrize("estimator", SETTINGS, ids=as_id)
class TestPropagation:
    def test_independent_entries_are_dense_ones(self, estimator: ou.Cumulants) -> None:
        short = centred_exponentials()
        assert short.third is not None
        assert short.fourth is not None
        long = ou.CumulantTower(
            short.mean, short.covariance, diagonal(short.third, 3), diagonal(short.fourth, 4)
        )
        net = mlp(N, 5, 4, 2)
        first, second = (estimator.estimate(ou.NetworkMean(net, law)) for law in (short, long))
        close(first.value, second.value)
        assert second.covariance is not None
        close(first.covariance, second.covariance)
        gaussian_only = estimator.estimate(ou.NetworkMean(net, short.gaussian))
        assert (first.value - gaussian_only.value).abs().max() > 1e-3

    def test_a_gaussian_tower_is_the_gaussian(self, estimator: ou.Cumulants) -> None:
        law = gaussian(N)
        zeros = ou.CumulantTower(
            law.mean, law.covariance, torch.zeros(N).double(), torch.zeros((N,) * 4).double()
        )
        net = mlp(N, 5, 4, 2)
        expected = estimator.estimate(ou.NetworkMean(net, law)).value
        for inputs in (ou.CumulantTower(law.mean, law.covariance), zeros):
            close(estimator.estimate(ou.NetworkMean(net, inputs)).value, expected)

    def test_a_linear_network_first_changes_only_the_input(self, estimator: ou.Cumulants) -> None:
        # orders that are kept in full may be pushed through an affine map by hand
        if estimator.order < 4:
            return
        law, net = tower(seed=3, size=0.1), mlp(N, 5, 4, 2)
        weight, bias = random(N, N, seed=5), random(N, seed=6)
        first = nn.Linear(N, N, dtype=torch.float64)
        with torch.no_grad():
            first.weight.copy_(weight)
            first.bias.copy_(bias)
        assert law.third is not None
        assert law.fourth is not None
        image = ou.CumulantTower(
            weight @ law.mean + bias,
            weight @ law.covariance @ weight.T,
            pushed(law.third, weight),
            pushed(law.fourth, weight),
        )
        whole = estimator.estimate(ou.NetworkMean(nn.Sequential(first, net), law))
        close(whole.value, estimator.estimate(ou.NetworkMean(net, image)).value)

    def test_gradients_reach_the_cumulants(self, estimator: ou.Cumulants) -> None:
        law = tower(size=0.1)
        assert law.third is not None
        third = law.third.clone().requires_grad_()
        leaf = ou.CumulantTower(law.mean, law.covariance, third, law.fourth)
        estimator.estimate(ou.NetworkMean(mlp(N, 5, 2), leaf)).value.sum().backward()
        assert third.grad is not None
        assert bool(torch.isfinite(third.grad).all())
        assert third.grad.abs().max() > 0


@pytest.mark.parametrize("variant", ["basic", "augmented"])
@pytest.mark.parametrize("factored", [True, False])
@pytest.mark.parametrize("depth", [1, 2])
def test_a_linear_network_pushes_the_tower_exactly(
    variant: str, factored: bool, depth: int
) -> None:
    law = tower()
    layers = [layer for layer in mlp(N, 5, 3) if isinstance(layer, nn.Linear)][:depth]
    weight = torch.eye(N, dtype=torch.float64)
    for layer in layers:
        weight = layer.weight.detach() @ weight
    net = nn.Sequential(*layers)
    assert law.third is not None
    assert law.fourth is not None
    for order in (3, 4):
        found = ou.Cumulants(order, variant, factored, tower=True).estimate(
            ou.NetworkMean(net, law)
        )
        assert found.tower is not None
        close(found.tower.mean, net(law.mean))
        close(found.tower.covariance, weight @ law.covariance @ weight.T)
        close(found.value, net(law.mean))
        close(found.tower.third, pushed(law.third, weight))
        if order == 4:
            close(found.tower.fourth, pushed(law.fourth, weight))


def test_independent_inputs_come_out_of_a_linear_network_as_a_full_tower() -> None:
    law = centred_exponentials()
    layer = nn.Linear(N, 3, dtype=torch.float64)
    found = ou.Cumulants(4, tower=True).estimate(ou.NetworkMean(layer, law)).tower
    assert found is not None
    weight = layer.weight.detach()
    close(found.third, pushed(diagonal(torch.full((N,), 2.0).double(), 3), weight))
    close(found.fourth, pushed(diagonal(torch.full((N,), 6.0).double(), 4), weight))


def test_the_tower_is_returned_only_if_asked_for() -> None:
    problem = ou.NetworkMean(mlp(N, 5, 2), tower())
    assert ou.Cumulants(3).estimate(problem).tower is None
    for order in (2, 3, 4):
        found = ou.Cumulants(order, tower=True).estimate(problem)
        assert found.tower is not None
        close(found.tower.mean, found.value)
        assert found.covariance is not None
        close(found.tower.covariance, found.covariance)


def test_what_one_layer_gives_may_be_the_input_of_the_next() -> None:
    # at order 4, dense and basic, the tower between two layers is all that is carried
    first, second = mlp(N, 5, 4), nn.Sequential(nn.ReLU(), *mlp(4, 5, 2, seed=1))
    estimator = ou.Cumulants(4, "basic", factored=False, tower=True)
    between = estimator.estimate(ou.NetworkMean(first, tower(size=0.1))).tower
    assert between is not None
    whole = estimator.estimate(ou.NetworkMean(nn.Sequential(*first, *second), tower(size=0.1)))
    assert whole.tower is not None
    last = estimator.estimate(ou.NetworkMean(second, between)).tower
    assert last is not None
    for found, expected in zip(last.tensors(), whole.tower.tensors(), strict=True):
        close(found, expected.detach())


@pytest.mark.parametrize("order", [3, 4])
@pytest.mark.parametrize("factored", [True, False])
def test_squares_of_a_law_that_is_not_gaussian(order: int, factored: bool) -> None:
    # mean and covariance of squares need no cumulants above the fourth
    law = centred_exponentials()
    layer = nn.Linear(N, 3, dtype=torch.float64)
    net = nn.Sequential(layer, ou.Elementwise("square"))
    weight, bias = layer.weight.detach(), layer.bias.detach()
    kappa = {
        2: weight @ weight.T,
        3: pushed(diagonal(torch.full((N,), 2.0).double(), 3), weight),
        4: pushed(diagonal(torch.full((N,), 6.0).double(), 4), weight),
    }
    moment = moments_of(bias, kappa)
    estimate = ou.Cumulants(4, "basic", factored).estimate(ou.NetworkMean(net, law))
    expected = torch.tensor([moment((i, i)) for i in range(3)], dtype=torch.float64)
    close(estimate.value, expected)
    if order == 4:
        covariance = [
            [
                joint_cumulant(lambda part: moment(tuple(x for x in part for _ in "ii")), (i, j))
                for j in range(3)
            ]
            for i in range(3)
        ]
        close(estimate.covariance, torch.tensor(covariance, dtype=torch.float64))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU])
def test_higher_cumulants_of_the_input_are_worth_knowing(activation: type[nn.Module]) -> None:
    n = 32
    net = mlp(n, 12, 3, activation=activation)
    problem = ou.NetworkMean(net, centred_exponentials(n=n))
    sampled = ou.MonteCarlo(400_000, seed=1).estimate(problem)
    noise = sampled.standard_error.norm()

    def error(estimator: ou.Cumulants, *orders: int) -> Tensor:
        problem = ou.NetworkMean(net, centred_exponentials(orders, n))
        return (estimator.estimate(problem).value - sampled.value).norm()

    for estimator in (ou.Cumulants(3, "basic"), ou.Cumulants(3), ou.Cumulants(4)):
        neither, third, both = (error(estimator, *orders) for orders in ((), (3,), (3, 4)))
        assert neither > 5 * noise  # so that sampling can tell
        assert third < neither - noise
        assert both < neither / 2
