from itertools import permutations, product

import numpy as np
import pytest
from tests.cumulants import brute_force

from outsample.cumulants.diagrams import Block
from outsample.cumulants.program import (
    Factor,
    Product,
    Program,
    all_diagrams,
    without_joint_edges,
    without_pendant,
)

ORDERS = [frozenset(orders) for orders in ({2}, {2, 3}, {2, 4}, {2, 3, 4}, {2, 3, 4, 5, 6})]
SIZES = [*product((1, 2, 3), range(5)), (4, 3)]


class Numbers:
    """A number for every cumulant and every coefficient of labelled neurons."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self._drawn: dict[object, float] = {}

    def kappa(self, block: Block) -> float:
        return self._draw(("κ", block))

    def coefficient(self, neuron: int, degree: int) -> float:
        return self._draw(("e", neuron, degree))

    def _draw(self, key: object) -> float:
        if key not in self._drawn:
            self._drawn[key] = float(self._generator.normal())
        return self._drawn[key]

    def program(self, program: Program, places: tuple[int, ...], neurons: int) -> float:
        """Its value if its a-th neuron is ``places[a]`` of ``neurons``."""

        def factor(f: Factor) -> float:
            value = 1.0
            for block in f.blocks:
                moved = [0] * neurons
                for a, v in enumerate(block):
                    moved[places[a]] = v
                value *= self.kappa(tuple(moved))
            for a, degree in f.coefficients:
                value *= self.coefficient(places[a], degree)
            return value

        def term(p: Product) -> float:
            rest = 1.0 if p.rest is None else self.program(p.rest, places, neurons)
            return p.weight * factor(p.factor) * rest

        return program.constant + sum(map(term, program.products))

    def diagram(self, blocks: tuple[Block, ...], neurons: int) -> float:
        value = brute_force.weight(blocks)
        for block in blocks:
            value *= self.kappa(block)
        for a in range(neurons):
            value *= self.coefficient(a, sum(block[a] for block in blocks))
        return value


def available(blocks: tuple[Block, ...], orders: frozenset[int]) -> bool:
    return all(sum(block) in orders for block in blocks)


@pytest.mark.parametrize("orders", ORDERS, ids=lambda orders: f"orders {sorted(orders)}")
@pytest.mark.parametrize(("neurons", "budget"), SIZES)
def test_a_program_is_the_sum_of_its_diagrams(
    neurons: int, budget: int, orders: frozenset[int]
) -> None:
    numbers = Numbers(seed=neurons * 10 + budget)
    found = numbers.program(all_diagrams(neurons, budget, orders), tuple(range(neurons)), neurons)
    terms = [
        numbers.diagram(blocks, neurons)
        for blocks in brute_force.diagrams(neurons, budget)
        if available(blocks, orders)
    ]
    assert found == pytest.approx(sum(terms), abs=1e-12 * sum(map(abs, terms)), rel=1e-12)


@pytest.mark.parametrize(("neurons", "budget"), [(2, 3), (3, 3), (4, 3)])
def test_without_the_cumulants_in_which_every_neuron_appears_once(
    neurons: int, budget: int
) -> None:
    orders = frozenset({2, 3, 4})
    numbers = Numbers(seed=1)
    program = without_joint_edges(neurons, budget, orders)
    found = numbers.program(program, tuple(range(neurons)), neurons)
    terms = [
        numbers.diagram(blocks, neurons)
        for blocks in brute_force.diagrams(neurons, budget)
        if available(blocks, orders) and (1,) * neurons not in blocks
    ]
    assert found == pytest.approx(sum(terms), abs=1e-12 * sum(map(abs, terms)), rel=1e-12)


def pendants(blocks: tuple[Block, ...], neurons: int) -> list[tuple[int, int]]:
    """(hub, pendant): the pendant's only leg is that of an edge to the hub."""
    return [
        (hub, leaf)
        for hub, leaf in permutations(range(neurons), 2)
        if tuple(int(a in (hub, leaf)) for a in range(neurons)) in blocks
        and sum(block[leaf] for block in blocks) == 1
    ]


@pytest.mark.parametrize("orders", ORDERS, ids=lambda orders: f"orders {sorted(orders)}")
@pytest.mark.parametrize(
    ("neurons", "budget"), [(neurons, b) for neurons, b in SIZES if neurons > 1]
)
def test_without_pendant_times_the_edge_is_the_diagrams_with_a_pendant(
    neurons: int, budget: int, orders: frozenset[int]
) -> None:
    numbers = Numbers(seed=neurons * 10 + budget)
    program = without_pendant(neurons, budget, orders)
    found = 0.0
    for hub, leaf in permutations(range(neurons), 2):
        edge = tuple(int(a in (hub, leaf)) for a in range(neurons))
        places = (*(a for a in range(neurons) if a not in (hub, leaf)), hub)
        rest = numbers.program(program, places, neurons)
        found += rest * numbers.kappa(edge) * numbers.coefficient(leaf, 1)
    terms = [
        numbers.diagram(blocks, neurons)
        for blocks in brute_force.diagrams(neurons, budget)
        if available(blocks, orders) and pendants(blocks, neurons)
    ]
    assert found == pytest.approx(sum(terms), abs=1e-12 * sum(map(abs, terms)), rel=1e-12)


def test_the_smallest_programs_read_as_their_formulas() -> None:
    edges, all_orders = frozenset({2}), frozenset({2, 3})
    # a neuron alone: nothing but its own coefficient
    assert str(all_diagrams(1, 0, edges)) == "e0_i"
    # a third cumulant on one neuron: 1/3!
    assert str(all_diagrams(1, 2, all_orders)) == "0.166667 κ_iii e3_i + e0_i"
    # order 2, basic
    assert str(all_diagrams(2, 1, edges)) == "κ_ij e1_j e1_i"
    # three neurons cannot be joined by one edge
    assert str(all_diagrams(3, 1, edges)) == "0"
    # an edge between two neurons has a pendant at either end, which share it
    assert str(without_pendant(2, 1, edges)) == "0.5 e1_i"


def test_a_program_knows_what_it_depends_on() -> None:
    program = all_diagrams(2, 2, frozenset({2}))
    assert program.axes == (0, 1)
    assert program.coefficients == ((0, 1), (0, 2), (1, 1), (1, 2))
    assert all_diagrams(2, 2, frozenset({2})) is program
    for p in program.products:
        assert set(p.axes) <= {0, 1}


def test_common_factors_are_taken_out() -> None:
    # Fewer factors than in the diagrams one by one.
    for neurons, budget in ((2, 4), (3, 3), (3, 4)):
        orders = frozenset({2, 3, 4})
        chosen = [b for b in brute_force.diagrams(neurons, budget) if available(b, orders)]
        one_by_one = sum(len(blocks) + neurons for blocks in chosen)
        assert _products(all_diagrams(neurons, budget, orders)) < 0.8 * one_by_one


def _products(program: Program) -> int:
    return sum(
        len(p.factor.blocks) + len(p.factor.coefficients) + (_products(p.rest) if p.rest else 0)
        for p in program.products
    )
