from collections.abc import Callable

import pytest
import torch
from tests.cumulants.brute_force import (
    Coefficients,
    Reference,
    compositions,
    pushed,
    random,
    random_symmetric,
    sliced,
)
from torch import Tensor

from outsample.cumulants.diagrams import Block
from outsample.cumulants.factored_step import fourth, hollow, partial_trace3, partial_trace4, third
from outsample.cumulants.hubs import Hubs
from outsample.cumulants.power_cumulants import PowerCumulants
from outsample.cumulants.projection import elliptical, isotropic
from outsample.cumulants.symmetric import Dense, Powers, SymmetricTensor, Traced
from outsample.networks.activations import Expansion, from_name

N = 5
EYE = torch.eye(N, dtype=torch.float64)
ACTIVATIONS = ["relu", "tanh", "gelu", "square", "sigmoid", "abs", "leaky_relu"]


def expansion_of(name: str) -> Expansion:
    if name == "any":
        return Coefficients(N, seed=7)
    return from_name(name).expand(random(N, seed=1), random(N, seed=2).exp())


def correlations() -> SymmetricTensor:
    factor = random(N, N, seed=2)
    matrix = factor @ factor.T + EYE
    scale = matrix.diagonal().rsqrt()
    return Dense(matrix * scale * scale[:, None])


def earlier_third() -> SymmetricTensor:
    """A third cumulant that is itself a sum over hubs, after a linear map."""
    powers = PowerCumulants({2: correlations()}, expansion_of("relu"), 3)
    return third(powers, 0.0).through(random(N, N, seed=11) / N**0.5)


def earlier_fourth() -> SymmetricTensor:
    powers = PowerCumulants({2: correlations()}, expansion_of("relu"), 3)
    return fourth(powers, 0.0).through(random(N, N, seed=11) / N**0.5)


def matrix_core() -> SymmetricTensor:
    metric = random(N, N, seed=12)
    return Traced(Dense(random_symmetric(2, N, seed=13, size=0.3)), metric @ metric.T)


Kappas = dict[int, Callable[[], SymmetricTensor]]

THIRDS: dict[str, Callable[[], SymmetricTensor]] = {
    "dense": lambda: Dense(random_symmetric(3, N, seed=3, size=0.3)),
    "independent inputs": lambda: Powers(3, random(7, seed=4), random(N, 7, seed=5) / 2),
    "hubs": earlier_third,
}
KAPPAS: dict[str, Kappas] = {
    "covariance": {2: correlations},
    **{f"third {name}": {2: correlations, 3: third_} for name, third_ in THIRDS.items()},
    "fourth": {2: correlations, 4: matrix_core},
    **{
        f"third {name}, fourth": {2: correlations, 3: third_, 4: matrix_core}
        for name, third_ in THIRDS.items()
    },
    "isotropic fourth": {
        2: correlations,
        3: THIRDS["dense"],
        4: lambda: isotropic(torch.tensor(2.0).double(), 4, EYE).through(random(N, N, seed=14)),
    },
}


def close(found: Tensor, expected: Tensor) -> None:
    size = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found, expected, atol=1e-12 * size, rtol=1e-10)


def powers_of(kappas: Kappas, activation: str, budget: int, dense: bool = False) -> PowerCumulants:
    """With the cumulants as they are, or as full tensors for the truth to be read from."""
    given = {order: make() for order, make in kappas.items()}
    if dense:
        given = {order: Dense(kappa.dense()) for order, kappa in given.items()}
    return PowerCumulants(given, expansion_of(activation), budget)


@pytest.mark.parametrize("activation", ["any", *ACTIVATIONS])
@pytest.mark.parametrize("kappas", KAPPAS.values(), ids=KAPPAS.keys())
class TestPartialTrace:
    def test_is_the_sum_over_one_neuron(self, kappas: Kappas, activation: str) -> None:
        found = partial_trace3(powers_of(kappas, activation, 3))
        close(found, powers_of(kappas, activation, 3, dense=True).complete((2, 1, 1)).sum(0))
        close(found, found.T)

    def test_leaves_the_power_cumulants_alone(self, kappas: Kappas, activation: str) -> None:
        powers, fresh = (powers_of(kappas, activation, 3) for _ in range(2))
        partial_trace3(powers)
        third(powers, 0.0)
        for multiplicities in ((1, 1), (2, 1), (3,), (2, 2)):
            close(powers.complete(multiplicities), fresh.complete(multiplicities))
        for multiplicities in ((1, 1), (2,)):
            close(powers.slice(multiplicities), fresh.slice(multiplicities))


@pytest.mark.parametrize("activation", ["any", "relu", "tanh"])
@pytest.mark.parametrize("kappas", KAPPAS.values(), ids=KAPPAS.keys())
class TestThird:
    def test_basic_is_the_dense_tensor(self, kappas: Kappas, activation: str) -> None:
        weight = random(3, N, seed=20)
        full = powers_of(kappas, activation, 2, dense=True).complete((1, 1, 1))
        expected = pushed(full, weight)
        found = third(powers_of(kappas, activation, 2), 0.0).through(weight)
        close(found.dense(), expected)
        for multiplicities in ((2, 1), (1, 2), (3,)):
            close(found.slice(multiplicities), sliced(expected, multiplicities))

    def test_repeated_neurons_are_right(self, kappas: Kappas, activation: str) -> None:
        for budget in (2, 3):
            found = third(powers_of(kappas, activation, budget), 0.0).through(EYE)
            truth = powers_of(kappas, activation, budget, dense=True)
            for multiplicities in ((2, 1), (1, 2), (3,)):
                close(found.slice(multiplicities), truth.complete(multiplicities))

    def test_augmented_has_the_diagrams_that_factor(self, kappas: Kappas, activation: str) -> None:
        powers = powers_of(kappas, activation, 3)
        full = {order: kappa.dense() for order, kappa in powers.kappa.items()}
        reference = Reference(full, expansion_of(activation), 3, factors_on_three)
        found = third(powers, 0.0).through(EYE).dense()
        for i, j, k in ((0, 1, 2), (3, 1, 0), (4, 2, 3)):
            expected = reference.power_cumulant(((i, 1), (j, 1), (k, 1)))
            assert found[i, j, k].item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


def has_pendant(blocks: tuple[Block, ...]) -> bool:
    degrees = [sum(column) for column in zip(*blocks, strict=True)]
    edges = [block for block in blocks if sum(block) == 2]
    return any(degree == 1 and any(edge[a] for edge in edges) for a, degree in enumerate(degrees))


def factors_on_three(blocks: tuple[Block, ...], powers: tuple[int, ...]) -> bool:
    """A neuron on an edge and nothing else, or a cumulant of all three and nothing else."""
    return has_pendant(blocks) or (len(blocks) == 1 and all(blocks[0]))


def factors_on_four(blocks: tuple[Block, ...], powers: tuple[int, ...]) -> bool:
    """As with three; or a third cumulant, and what joins one of its neurons to the last."""
    triples = [block for block in blocks if sorted(block) == [0, 1, 1, 1]]
    if len(triples) == 1 and len(blocks) > 1:
        last = triples[0].index(0)
        others = [block for block in blocks if block != triples[0]]
        joined = {a for block in others for a, v in enumerate(block) if v}
        if len(joined) == 2 and all(block[last] for block in others):
            return True
    return has_pendant(blocks) or (len(blocks) == 1 and all(blocks[0]))


FOURTHS: dict[str, Kappas] = {
    "covariance": {2: correlations},
    "third": {2: correlations, 3: THIRDS["dense"]},
    "third, fourth": {
        2: correlations,
        3: THIRDS["dense"],
        4: lambda: Dense(random_symmetric(4, N, seed=6, size=0.3)),
    },
    "independent inputs": {
        2: correlations,
        3: THIRDS["independent inputs"],
        4: lambda: Powers(4, random(7, seed=4), random(N, 7, seed=5) / 2),
    },
    "hubs": {2: correlations, 3: THIRDS["dense"], 4: earlier_fourth},
    "traces": {
        2: correlations,
        3: THIRDS["dense"],
        4: earlier_fourth,
        5: lambda: Traced(Dense(random_symmetric(3, N, seed=15, size=0.3)), EYE).through(
            random(N, N, seed=14)
        ),
        6: lambda: isotropic(torch.tensor(2.0).double(), 6, EYE).through(random(N, N, seed=14)),
    },
}


@pytest.mark.parametrize("activation", ["any", "relu"])
@pytest.mark.parametrize("kappas", FOURTHS.values(), ids=FOURTHS.keys())
class TestFourth:
    def test_basic_is_the_dense_tensor(self, kappas: Kappas, activation: str) -> None:
        kappas = {order: make for order, make in kappas.items() if order <= 4}
        weight = random(3, N, seed=20)
        full = powers_of(kappas, activation, 3, dense=True).complete((1, 1, 1, 1))
        expected = pushed(full, weight)
        found = fourth(powers_of(kappas, activation, 3), 0.0).through(weight)
        close(found.dense(), expected)
        for multiplicities in compositions(4):
            if max(multiplicities) > 1:
                close(found.slice(multiplicities), sliced(expected, multiplicities))

    def test_repeated_neurons_are_right(self, kappas: Kappas, activation: str) -> None:
        found = fourth(powers_of(kappas, activation, 4), 0.0).through(EYE)
        truth = powers_of(kappas, activation, 4, dense=True)
        for multiplicities in ((2, 1, 1), (2, 2), (3, 1), (4,)):
            close(found.slice(multiplicities), truth.complete(multiplicities))

    def test_augmented_has_the_diagrams_that_factor(self, kappas: Kappas, activation: str) -> None:
        powers = powers_of(kappas, activation, 4)
        full = {order: kappa.dense() for order, kappa in powers.kappa.items()}
        reference = Reference(full, expansion_of(activation), 4, factors_on_four)
        found = fourth(powers, 0.0).through(EYE).dense()
        for i, j, k, h in ((0, 1, 2, 3), (3, 1, 0, 4)):
            expected = reference.power_cumulant(((i, 1), (j, 1), (k, 1), (h, 1)))
            assert found[i, j, k, h].item() == pytest.approx(expected, rel=1e-10, abs=1e-12)

    def test_its_trace_is_the_sum_over_one_neuron(self, kappas: Kappas, activation: str) -> None:
        # with a fourth cumulant the diagrams that do not factor are left out
        kappas = {order: make for order, make in kappas.items() if order != 4}
        expected = powers_of(kappas, activation, 4, dense=True).complete((2, 1, 1, 1)).sum(0)
        close(partial_trace4(powers_of(kappas, activation, 4)), expected)


@pytest.mark.parametrize("step", [third, fourth])
@pytest.mark.parametrize("tolerance", [1e-3, 0.03, 0.3])
def test_what_is_dropped_of_the_past_is_within_the_tolerance(
    step: Callable[[PowerCumulants, float], Hubs], tolerance: float
) -> None:
    # many layers one after another, without the activations between them
    order = 3 if step is third else 4
    kappas: dict[int, SymmetricTensor] = {2: correlations()}
    for layer in range(6):
        powers = PowerCumulants(kappas, expansion_of("relu"), order - 1)
        whole, part = step(powers, 0.0), step(powers, tolerance)
        assert whole.dropped == 0.0
        assert 0.0 <= part.dropped <= tolerance
        full, kept = (found.through(EYE).repeated for found in (whole, part))
        loss = torch.linalg.vector_norm(full - kept) / torch.linalg.vector_norm(full)
        assert loss <= tolerance * 1.01
        if part.dropped == 0.0:
            close(kept, full)
        kappas[order] = whole.through(random(N, N, seed=30 + layer) / N**0.5)


class Quadratic(Coefficients):
    """No means beyond the Gaussian ones: powers are centred where the definition has them."""

    def coefficient(self, degree: int, power: int = 1) -> Tensor:
        found = super().coefficient(degree, power)
        return torch.zeros_like(found) if power == 1 and degree > 2 else found


def no_edge_at_the_sum(blocks: tuple[Block, ...], powers: tuple[int, ...]) -> bool:
    """A fourth cumulant of four neurons takes no edge to the one that is summed over."""
    if sorted(powers) != [1, 1, 1, 2] or (1, 1, 1, 1) not in blocks:
        return True
    return sum(block[powers.index(2)] for block in blocks) == 1


@pytest.mark.parametrize("name", ["third, fourth", "independent inputs", "hubs", "traces"])
def test_what_is_left_out_of_the_trace_of_the_fifth_cumulant(name: str) -> None:
    given = {order: make() for order, make in FOURTHS[name].items()}
    expansion = Quadratic(N, seed=7)
    found = partial_trace4(PowerCumulants(given, expansion, 4))
    full = {order: kappa.dense() for order, kappa in given.items()}
    reference = Reference(full, expansion, 4, no_edge_at_the_sum)
    for i, j, k in ((0, 1, 2), (3, 1, 0), (2, 2, 4), (1, 1, 1)):
        expected = sum(reference.cumulant((h, h, i, j, k)) for h in range(N))
        assert found[i, j, k].item() == pytest.approx(expected, rel=1e-9, abs=1e-10)
    close(found.permute(1, 2, 0), found)
    close(found.mT, found)


def test_hollow_clears_every_coincidence_in_place() -> None:
    x = random(4, 4, 4, seed=1)
    before = x.clone()
    assert hollow(x) is x
    i, j, k = torch.meshgrid(*[torch.arange(4)] * 3, indexing="ij")
    distinct = (i != j) & (j != k) & (i != k)
    assert torch.equal(x, before * distinct)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_elliptical_births_leave_the_entries_with_repeated_neurons_right(activation: str) -> None:
    """Whatever the closure approximates, κ_iij and κ_iii of φ(Z) are those of the diagrams."""
    generator = torch.Generator().manual_seed(3)
    eye = torch.eye(5, dtype=torch.float64)
    factor = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    covariance, kappa = factor @ factor.T / 5 + eye, dict[int, SymmetricTensor]()
    mean = torch.randn(5, generator=generator, dtype=torch.float64)
    for layer in range(3):
        expansion = from_name(activation).expand(mean, covariance.diagonal())
        precision = expansion.scale.reciprocal()
        correlation = covariance * precision * precision[:, None]
        kappa = {k: t.scaled(precision).bound(correlation) for k, t in kappa.items()}
        kappa[2] = Dense(correlation)
        powers = PowerCumulants(kappa, expansion, 3)
        found = third(powers, 0.0, along=True)
        covariance, mean = powers.complete((1, 1)), powers.mean
        pushed = found.through(eye).bound(covariance)
        torch.testing.assert_close(
            pushed.slice((2, 1)), powers.complete((2, 1)), atol=1e-10, rtol=1e-10
        )
        assert len(pushed.births) == layer + 1
        trace = powers.complete((2, 2)).sum()
        fourth_cumulant = elliptical(trace, covariance)
        torch.testing.assert_close(fourth_cumulant.bound(covariance).slice((2, 2)).sum(), trace)
        kappa = {3: found.through(eye), 4: fourth_cumulant}
