import math
from collections import Counter
from fractions import Fraction
from itertools import permutations, product

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings
from tests.cumulants import brute_force

from outsample.cumulants.diagrams import (
    Block,
    Diagram,
    block_cost,
    classes,
    cumulant_from_powers,
    diagrams,
)

SIZES = [*product((1, 2, 3), range(5)), (4, 3)]
MULTIPLICITIES = [
    *((2,), (3,), (4,), (1, 1), (2, 1), (1, 2), (3, 1), (2, 2), (4, 1)),
    *((1, 1, 1), (2, 1, 1), (1, 1, 2), (2, 2, 1), (2, 2, 2), (1, 1, 1, 1), (2, 1, 1, 1)),
]


@pytest.mark.parametrize(("neurons", "budget"), SIZES)
class TestEnumeration:
    def test_is_that_of_the_definition(self, neurons: int, budget: int) -> None:
        found = diagrams(neurons, budget)
        assert len(set(found)) == len(found)
        assert {d.blocks for d in found} == brute_force.diagrams(neurons, budget)
        assert {d.neurons for d in found} <= {neurons}

    def test_costs_weights_and_degrees(self, neurons: int, budget: int) -> None:
        for d in diagrams(neurons, budget):
            assert d.cost == sum(map(brute_force.cost, d.blocks)) <= budget
            assert float(d.weight) == pytest.approx(brute_force.weight(d.blocks), rel=1e-15)
            assert d.degrees == tuple(sum(column) for column in zip(*d.blocks, strict=True)) or (
                not d.blocks and d.degrees == (0,) * neurons
            )

    def test_classes_are_the_orbits_of_relabelling(self, neurons: int, budget: int) -> None:
        groups = classes(neurons, budget)
        members = [d for group in groups.values() for d in group]
        assert Counter(members) == Counter(diagrams(neurons, budget))
        for canonical, group in groups.items():
            orbit = {
                tuple(sorted((tuple(b[a] for a in order) for b in canonical.blocks), reverse=True))
                for order in permutations(range(neurons))
            }
            assert {d.blocks for d in group} == orbit
            assert canonical in group
            assert {d.canonical for d in group} == {canonical}
            assert {(d.weight, d.cost) for d in group} == {(canonical.weight, canonical.cost)}

    def test_pendants_are_the_neurons_of_one_edge_alone(self, neurons: int, budget: int) -> None:
        for d in diagrams(neurons, budget):
            expected = set()
            for hub, pendant in permutations(range(neurons), 2):
                edge = tuple(int(a in (hub, pendant)) for a in range(neurons))
                # one leg in all at the pendant, and it belongs to the edge
                if edge in d.blocks and sum(block[pendant] for block in d.blocks) == 1:
                    expected.add((hub, pendant))
            assert set(d.pendants) == expected
            assert len(d.pendants) == len(expected)


@pytest.mark.parametrize("neurons", [1, 2, 3])
def test_weights_count_the_partitions_of_the_legs(neurons: int) -> None:
    # with k_a labelled legs at neuron a, w(ν) Π k_a! partitions of the legs have the type ν
    by_degrees: dict[tuple[int, ...], dict[tuple[Block, ...], Fraction]] = {}
    for d in diagrams(neurons, 4):
        if sum(d.degrees) <= 7:
            by_degrees.setdefault(d.degrees, {})[d.blocks] = d.weight
    for degrees, weights in by_degrees.items():
        legs = [a for a, k in enumerate(degrees) for _ in range(k)]
        types = Counter(
            tuple(sorted((tuple(p.count(a) for a in range(neurons)) for p in parts), reverse=True))
            for parts in brute_force.partitions(legs)
        )
        ways = math.prod(map(math.factorial, degrees))
        assert {blocks: w * ways for blocks, w in weights.items()} == {
            blocks: types[blocks] for blocks in weights
        }


def test_the_example_of_the_definition() -> None:
    # order 2, basic: one edge between two neurons, nothing on one
    assert diagrams(2, 1) == (Diagram(2, ((1, 1),)),)
    assert diagrams(1, 1) == (Diagram(1, ()),)
    edge, empty = diagrams(2, 1)[0], diagrams(1, 1)[0]
    assert (str(edge), edge.weight, edge.degrees, edge.cost) == ("κ_ij", 1, (1, 1), 1)
    assert (str(empty), empty.weight, empty.degrees, empty.cost) == ("1", 1, (0,), 0)
    assert str(Diagram(2, ((1, 1), (1, 1)))) == "1/2 κ_ij κ_ij"
    assert str(Diagram(3, ((2, 1, 1), (0, 1, 1)))) == "1/2 κ_iijk κ_jk"


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4).map(tuple).filter(any))
def test_cost_of_a_block(block: Block) -> None:
    assert block_cost(block) == brute_force.cost(block)


@given(data=st.data(), size=st.sampled_from(SIZES))
def test_relabelling_keeps_the_class(data: st.DataObject, size: tuple[int, int]) -> None:
    found = diagrams(*size)
    if not found:
        assert size[0] > size[1] + 1
        return
    d = data.draw(st.sampled_from(found))
    order = tuple(data.draw(st.permutations(range(size[0]))))
    moved = d.permuted(order)
    assert moved in found
    assert moved.degrees == tuple(d.degrees[a] for a in order)
    assert moved.canonical == d.canonical
    back = tuple(order.index(a) for a in range(size[0]))
    assert moved.permuted(back) == d


Law = list[tuple[Fraction, tuple[Fraction | int, ...]]]


def centred(outcomes: list[tuple[int, tuple[int, ...]]]) -> Law:
    """Probabilities and values of variables with these relative weights, mean zero."""
    total = sum(w for w, _ in outcomes)
    law = [(Fraction(w, total), x) for w, x in outcomes]
    means = [sum(p * x[a] for p, x in law) for a in range(4)]
    return [(p, tuple(x[a] - means[a] for a in range(4))) for p, x in law]


def cumulant(law: Law, variables: list[list[int]]) -> Fraction:
    """κ of variables that are products of the law's entries."""

    def moment(part: tuple[int, ...]) -> Fraction:
        entries = [a for variable in part for a in variables[variable]]
        return sum((p * math.prod(x[a] for a in entries) for p, x in law), Fraction(0))

    return Fraction(brute_force.joint_cumulant(moment, tuple(range(len(variables)))))


LAWS = st.lists(
    st.tuples(st.integers(1, 5), st.tuples(*[st.integers(-3, 3)] * 4)), min_size=1, max_size=4
)


@pytest.mark.parametrize("multiplicities", MULTIPLICITIES)
@settings(max_examples=15)
@given(outcomes=LAWS)
@example([(1, (1, -1, 1, 1)), (2, (0, 2, 1, 3)), (3, (2, 1, -2, 0))])
def test_cumulants_from_powers_are_exact(
    multiplicities: tuple[int, ...], outcomes: list[tuple[int, tuple[int, ...]]]
) -> None:
    law = centred(outcomes)
    legs = [[a] for a, q in enumerate(multiplicities) for _ in range(q)]
    from_powers = sum(
        coefficient
        * math.prod(cumulant(law, [[a] * p for a, p in enumerate(f) if p]) for f in factors)
        for coefficient, factors in cumulant_from_powers(multiplicities)
    )
    assert from_powers == cumulant(law, legs)


def test_cumulants_from_powers_of_distinct_neurons_are_themselves() -> None:
    for m in (2, 3, 4):
        assert cumulant_from_powers((1,) * m) == ((1, ((1,) * m,)),)


def test_cumulants_from_powers_of_one_neuron() -> None:
    # κ_4 of a centred variable: E φ⁴ − 3 (E φ²)²
    assert cumulant_from_powers((4,)) == ((-3, ((2,), (2,))), (1, ((4,),)))
