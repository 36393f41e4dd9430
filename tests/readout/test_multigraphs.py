"""Cumulants as sums over multigraphs."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from tests.readout.helpers import gauss_hermite, moments_to_cumulants, random_symmetric

from outsample.networks.activations import from_name
from outsample.networks.activations.gaussian import hermite
from outsample.readout.coefficients import hermite_coefficients
from outsample.readout.contraction import (
    Tensors,
    class_bound,
    contract,
    cumulant,
    quadratic_cumulant,
)
from outsample.readout.multigraphs import multigraphs

F64 = torch.float64


@pytest.mark.parametrize(
    ("degrees", "third", "fourth"),
    [
        ((1, 2), 2, 2),
        ((1, 2, 3), 4, 12),
        ((1, 2, 3, 4), 9, 37),
        ((1, 2, 4), 5, 13),
        ((1, 2, 4, 6), 10, 52),
        ((1, 2, 3, 4, 5, 6), 23, 203),
    ],
)
def test_numbers_of_classes(degrees: tuple[int, ...], third: int, fourth: int) -> None:
    assert len(multigraphs(3, degrees)) == third
    assert len(multigraphs(4, degrees)) == fourth


def test_every_labelled_multigraph_is_in_one_class() -> None:
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    count = 0
    for table in product(range(4), repeat=6):
        legs = [sum(c for c, pair in zip(table, pairs, strict=True) if i in pair) for i in range(4)]
        linked = {0}
        for _ in range(3):
            for c, (i, j) in zip(table, pairs, strict=True):
                if c and (i in linked or j in linked):
                    linked |= {i, j}
        count += all(1 <= n <= 3 for n in legs) and len(linked) == 4
    assert sum(g.labellings for g in multigraphs(4, (1, 2, 3))) == count


def values(tensors: dict[int, torch.Tensor], z: torch.Tensor) -> torch.Tensor:
    """Σ_d ⟨T_d, He_d(z)⟩ / d! at points in the plane."""
    total = torch.zeros(len(z), dtype=F64)
    for d, tensor in tensors.items():
        for place in product(range(2), repeat=d):
            ones = sum(place)
            term = hermite(d - ones, z[:, 0]) * hermite(ones, z[:, 1])
            total = total + float(tensor[place]) * term / float(np.prod(range(1, d + 1)))
    return total


def test_cumulants_are_those_of_the_function() -> None:
    rng = np.random.default_rng(0)
    tensors = {d: random_symmetric(rng, 2, d) for d in range(1, 5)}
    z, weights = gauss_hermite(2, 24)
    exact = moments_to_cumulants(values(tensors, z), weights)
    # From the theory's own table, to its nine decimals.
    assert exact[1:] == pytest.approx([1.448988997, 3.928670867, 64.168686173], abs=2e-9)
    for order in (2, 3, 4):
        found = cumulant(Tensors(tensors), order).value
        assert found == pytest.approx(exact[order - 1], rel=1e-10)


def test_quadratic_part() -> None:
    rng = np.random.default_rng(1)
    b, h = random_symmetric(rng, 6, 1), random_symmetric(rng, 6, 2)
    for order in (2, 3, 4):
        closed = float(quadratic_cumulant(b, h, order))
        assert cumulant(Tensors({1: b, 2: h}), order).value == pytest.approx(closed, rel=1e-10)


#: Excess kurtosis of one unit by the highest degree: the series diverges (theory, section 4).
_DIVERGES = {
    ("relu", 1.0): {2: 0.553, 4: 0.334, 6: 0.348, 8: 0.647, 10: 8.53, 12: 218.0},
    ("erf", 0.5): {3: -0.826, 5: -0.901, 7: -0.911},
    ("erf", 1.0): {3: -1.07, 5: -1.13, 7: -0.875, 9: 2.0},
    ("gelu", 1.0): {2: 5.30, 4: 3.34, 6: 3.17, 8: 3.13, 10: 3.21, 12: 3.44},
}


@pytest.mark.parametrize(("name", "scale"), _DIVERGES)
def test_the_series_diverges_as_the_theory_says(name: str, scale: float) -> None:
    activation = from_name(name)
    zero, s = torch.zeros(1, dtype=F64), torch.tensor([scale], dtype=F64)
    expected = _DIVERGES[name, scale]
    e = hermite_coefficients(activation, zero, s, max(expected))[:, 0]
    tensors = {d: e[d].reshape((1,) * d) for d in range(1, max(expected) + 1) if abs(e[d]) > 1e-12}
    found = cumulant(Tensors(tensors), 4).partial
    # The table has κ_4 itself for ReLU and κ_4 / κ_2² for the others.
    unit = 1.0
    if name != "relu":
        unit = float(activation.expand(zero, s * s).coefficient(0, 2)) ** 2
    for degree, value in expected.items():
        assert found[degree] / unit == pytest.approx(value, rel=5e-3, abs=2e-3)
    # Where terms grow the increments say where to stop.
    if name == "relu":
        assert cumulant(Tensors(tensors), 4).settled()[0] == 6


def test_contractions_agree_with_einsum() -> None:
    rng = np.random.default_rng(2)
    tensors = Tensors({d: random_symmetric(rng, 3, d) for d in range(1, 5)})
    for graph in (*multigraphs(3, (1, 2, 3, 4)), *multigraphs(4, (1, 2, 4))):
        letters = ["".join(chr(97 + i) for i in legs) for legs in graph.indices]
        operands = [tensors.full[d] for d in graph.degrees]
        exact = float(torch.einsum(",".join(letters) + "->", *operands))
        assert contract(graph, tensors) == pytest.approx(exact, rel=1e-12, abs=1e-12)


def test_bounds_hold_and_are_sharp_for_one_direction() -> None:
    rng = np.random.default_rng(3)
    random = Tensors({d: random_symmetric(rng, 4, d) for d in range(1, 5)})
    u = torch.tensor([0.6, 0.8], dtype=F64)
    powers = {1: u, 2: torch.outer(u, u)}
    powers[3] = torch.einsum("i,jk->ijk", u, powers[2])
    powers[4] = torch.einsum("i,jkl->ijkl", u, powers[3])
    for graph in multigraphs(4, (1, 2, 3, 4)):
        assert abs(contract(graph, random)) <= class_bound(graph, random) * (1 + 1e-12)
        assert class_bound(graph, Tensors(powers)) == pytest.approx(1.0, rel=1e-10)
        assert contract(graph, Tensors(powers)) == pytest.approx(1.0, rel=1e-10)


def test_what_is_dropped_is_within_the_certified_bound() -> None:
    rng = np.random.default_rng(4)
    scale = {1: 1.0, 2: 0.3, 3: 0.1, 4: 0.03}
    tensors = Tensors({d: s * random_symmetric(rng, 5, d) for d, s in scale.items()})
    whole = cumulant(tensors, 4)
    seen = 0
    for tolerance in (0.1, 1.0, 10.0):
        pruned = cumulant(tensors, 4, tolerance)
        seen += pruned.dropped
        assert pruned.dropped + pruned.contracted == whole.contracted
        assert abs(pruned.value - whole.value) <= pruned.dropped_bound * (1 + 1e-12)
    assert seen > 0
    assert whole.dropped_bound == 0


def test_vertices_may_be_renamed() -> None:
    for graph in multigraphs(4, (1, 2, 3)):
        tables = set()
        for order in permutations(range(4)):
            tables.add(tuple(graph.between(order[i], order[j]) for i, j in graph.pairs))
        assert len(tables) == graph.labellings
