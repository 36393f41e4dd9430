from collections.abc import Callable, Iterator
from itertools import combinations_with_replacement, permutations

import pytest
import torch
from tests.cumulants.brute_force import (
    Coefficients,
    Reference,
    compositions,
    joint_cumulant,
    moments_of,
    random,
    random_symmetric,
    sliced,
)
from torch import Tensor

from outsample.cumulants.power_cumulants import PowerCumulants
from outsample.cumulants.program import all_diagrams
from outsample.cumulants.symmetric import Dense, SymmetricTensor, Traced
from outsample.networks.activations import from_name

#: As many neurons as legs, so that there are entries where all are distinct.
N = 4


def correlations(n: int, seed: int) -> Tensor:
    """A correlation matrix: standardised pre-activations have unit variance."""
    factor = random(n, n, seed=seed)
    matrix = factor @ factor.T + torch.eye(n)
    scale = matrix.diagonal().rsqrt()
    return matrix * scale * scale[:, None]


def cumulants(orders: tuple[int, ...], n: int = N) -> dict[int, SymmetricTensor]:
    """Cumulants of every kind that propagation meets, standardised."""
    eye = torch.eye(n, dtype=torch.float64)
    kinds: dict[int, Callable[[], SymmetricTensor]] = {
        2: lambda: Dense(correlations(n, seed=2)),
        3: lambda: Dense(random_symmetric(3, n, seed=3, size=0.5)),
        4: lambda: Dense(random_symmetric(4, n, seed=4, size=0.5)),
        5: lambda: Traced(Dense(random_symmetric(3, n, seed=5)), eye),
    }
    return {order: kinds[order]() for order in orders}


def close(found: Tensor, expected: Tensor) -> None:
    size = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found, expected, atol=1e-11 * size, rtol=1e-10)


CARRIED = [(2,), (2, 3), (2, 4), (2, 3, 4), (2, 3, 4, 5)]


@pytest.mark.parametrize("budget", [1, 2, 3, 4])
@pytest.mark.parametrize("orders", CARRIED, ids=str)
class TestAgainstTheDefinition:
    """Any numbers as coefficients, so that nothing holds by grace of the activation."""

    def test_every_cumulant_at_every_index(self, orders: tuple[int, ...], budget: int) -> None:
        kappa, expansion = cumulants(orders), Coefficients(N, seed=7)
        powers = PowerCumulants(kappa, expansion, budget)
        reference = Reference({k: t.dense() for k, t in kappa.items()}, expansion, budget)
        # the reference's φ has the Gaussian mean taken off
        close(powers.mean - expansion.mean, reference.tensor(1))
        # connecting k neurons costs k − 1: no more can be asked
        for order in range(2, min(budget, 3) + 2):
            expected = reference.tensor(order)
            for multiplicities in compositions(order):
                close(powers.complete(multiplicities), sliced(expected, multiplicities))

    def test_power_cumulants_of_distinct_neurons(
        self, orders: tuple[int, ...], budget: int
    ) -> None:
        kappa, expansion = cumulants(orders), Coefficients(N, seed=8)
        powers = PowerCumulants(kappa, expansion, budget)
        reference = Reference({k: t.dense() for k, t in kappa.items()}, expansion, budget)
        # φ is centred at its estimated mean s: κ((φ − s)², φ') = κ(φ², φ') − 2 s κ(φ, φ')
        shift = reference.power_cumulant(((0, 1),))
        edge = reference.power_cumulant(((0, 1), (1, 1)))
        square = reference.power_cumulant(((0, 2), (1, 1))) - 2 * shift * edge
        found = powers.of_powers((1, 1))[0, 1], powers.of_powers((2, 1))[0, 1]
        assert [x.item() for x in found] == pytest.approx([edge, square], rel=1e-10, abs=1e-12)
        if budget > 1:
            triple = reference.power_cumulant(((0, 1), (1, 1), (2, 1)))
            three = powers.of_powers((1, 1, 1))[0, 1, 2].item()
            assert three == pytest.approx(triple, rel=1e-10, abs=1e-12)

    def test_the_order_of_questions_does_not_matter(
        self, orders: tuple[int, ...], budget: int
    ) -> None:
        kappa, expansion = cumulants(orders), Coefficients(N, seed=7)
        questions = [q for order in range(2, min(budget, 3) + 2) for q in compositions(order)]
        answers = [
            {q: powers.complete(q) for q in asked}
            for asked in (questions, questions[::-1])
            for powers in [PowerCumulants(kappa, expansion, budget)]
        ]
        for q in questions:
            close(answers[0][q], answers[1][q])


@pytest.mark.parametrize("orders", CARRIED, ids=str)
def test_the_traces_that_order_4_keeps(orders: tuple[int, ...]) -> None:
    kappa, expansion = cumulants(orders), Coefficients(N, seed=9)
    powers = PowerCumulants(kappa, expansion, budget=4)
    reference = Reference({k: t.dense() for k, t in kappa.items()}, expansion, 4)
    for multiplicities in ((2, 2, 2), (2, 1, 1, 1), (4, 2), (6,), (3, 1, 1)):
        found = powers.complete(multiplicities)
        for index in ((0, 1, 2, 3), (1, 0, 1, 2), (2, 2, 0, 1), (3, 3, 3, 3), (0, 2, 2, 0)):
            at = index[: len(multiplicities)]
            legs = [i for i, q in zip(at, multiplicities, strict=True) for _ in range(q)]
            expected = reference.cumulant(tuple(legs))
            assert found[at].item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def indices(order: int, n: int) -> Iterator[tuple[int, ...]]:
    yield from combinations_with_replacement(range(n), order)


def exact(power: int, mean: Tensor, kappa: dict[int, Tensor], order: int) -> Tensor:
    """Joint cumulants of Z_i^power by Wick's theorem."""
    n = len(mean)
    moment = moments_of(mean, kappa)
    out = torch.empty((n,) * order, dtype=torch.float64)
    for legs in indices(order, n):
        value = joint_cumulant(lambda part: moment(part * power), legs)
        for moved in set(permutations(legs)):
            out[moved] = value
    return out


def step(name: str, mean: Tensor, kappa: dict[int, Tensor], budget: int) -> PowerCumulants:
    """Cumulants of φ(Z) by diagrams, from those of Z in its own units."""
    expansion = from_name(name).expand(mean, kappa[2].diagonal())
    precision = expansion.scale.reciprocal()
    standard = {order: Dense(t).scaled(precision) for order, t in kappa.items()}
    return PowerCumulants(standard, expansion, budget)


def covariance(n: int, seed: int) -> Tensor:
    factor = random(n, n, seed=seed)
    return factor @ factor.T + 0.1 * torch.eye(n, dtype=torch.float64)


class TestExactTruth:
    """Polynomials, whose diagrams come to an end, with a budget that has room for all of them."""

    @pytest.mark.parametrize("order", [1, 2, 3, 4])
    def test_squares_of_gaussians(self, order: int) -> None:
        # a cycle through four neurons is the dearest diagram, and costs 4
        mean, kappa = random(N, seed=1), {2: covariance(N, seed=2)}
        powers = step("square", mean, kappa, budget=4)
        expected = exact(2, mean, kappa, order)
        if order == 1:
            close(powers.mean, expected)
            return
        for multiplicities in compositions(order):
            close(powers.complete(multiplicities), sliced(expected, multiplicities))

    @pytest.mark.parametrize("order", [1, 2, 3])
    def test_squares_of_variables_that_are_not_gaussian(self, order: int) -> None:
        mean, kappa = random(N, seed=1), {2: covariance(N, seed=2)}
        kappa |= {k: random_symmetric(k, N, seed=k, size=0.3) for k in (3, 4)}
        powers = step("square", mean, kappa, budget=4)
        expected = exact(2, mean, kappa, order)
        if order == 1:
            close(powers.mean, expected)
            return
        for multiplicities in compositions(order):
            close(powers.complete(multiplicities), sliced(expected, multiplicities))

    @pytest.mark.parametrize(("order", "budget"), [(2, 1), (2, 3), (3, 2), (3, 4), (4, 3)])
    def test_the_identity_changes_nothing(self, order: int, budget: int) -> None:
        mean, kappa = random(N, seed=1), {2: covariance(N, seed=2)}
        kappa |= {k: random_symmetric(k, N, seed=k, size=0.3) for k in (3, 4)}
        powers = step("identity", mean, kappa, budget)
        close(powers.mean, mean)
        for multiplicities in compositions(order):
            close(powers.complete(multiplicities), sliced(kappa[order], multiplicities))

    @pytest.mark.parametrize("name", ["relu", "tanh", "abs", "step"])
    def test_independent_neurons_have_no_joint_cumulants(self, name: str) -> None:
        mean, kappa = random(N, seed=1), {2: torch.diag(random(N, seed=2).exp())}
        kappa |= {3: torch.zeros(N, N, N).double()}
        kappa[3][range(N), range(N), range(N)] = 0.1
        powers = step(name, mean, kappa, budget=3)
        for order in (2, 3, 4):
            joint = powers.complete((1,) * order).clone()
            joint[(range(N),) * order] = 0.0
            close(joint, torch.zeros_like(joint))

    def test_a_single_neuron_that_is_gaussian_is_exact_at_any_order(self) -> None:
        # the step function is a coin: κ_3 = p q (q − p), κ_4 = p q (1 − 6 p q)
        mean = torch.tensor([0.4], dtype=torch.float64)
        powers = step("step", mean, {2: torch.ones(1, 1, dtype=torch.float64)}, budget=3)
        p = torch.special.ndtr(mean)
        q = 1 - p
        close(powers.mean, p)
        close(powers.complete((2,)), p * q)
        close(powers.complete((3,)), p * q * (q - p))
        close(powers.complete((4,)), p * q * (1 - 6 * p * q))


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "square", "sigmoid", "leaky_relu"])
@pytest.mark.parametrize("budget", [2, 3])
def test_coincidences_are_those_of_other_slices(name: str, budget: int) -> None:
    kappa = {2: covariance(N, seed=2)}
    kappa |= {k: random_symmetric(k, N, seed=k, size=0.1) for k in (3, 4)}
    powers = step(name, random(N, seed=1), kappa, budget)
    for order in range(2, budget + 2):
        full = powers.complete((1,) * order)
        for axes in permutations(range(order)):
            close(full.permute(axes), full)
        for multiplicities in compositions(order):
            close(powers.complete(multiplicities), sliced(full, multiplicities))


def test_neurons_commute_with_the_step() -> None:
    # relabelling Z relabels the answer
    order, mean = [2, 0, 3, 1], random(N, seed=1)
    kappa = {2: covariance(N, seed=2), 3: random_symmetric(3, N, seed=3, size=0.1)}
    moved = {
        2: kappa[2][order][:, order],
        3: kappa[3][order][:, order][:, :, order],
    }
    found = step("relu", mean[order], moved, 3).complete((1, 1, 1))
    expected = step("relu", mean, kappa, 3).complete((1, 1, 1))
    close(found, expected[order][:, order][:, :, order])


def test_answers_are_copies_of_the_caller() -> None:
    powers = PowerCumulants(cumulants((2, 3)), Coefficients(N, seed=7), 2)
    program = all_diagrams(2, 2, powers.orders)
    before = powers.of_powers((1, 1)).clone()
    powers.evaluate(program, (1, 1)).zero_()
    assert torch.equal(powers.of_powers((1, 1)), before)
    assert torch.equal(powers.evaluate(program, (1, 1)), before)
