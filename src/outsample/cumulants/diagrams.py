"""The diagrams of an activation step: which products of cumulants enter, and with what weight.

For distinct neurons i_1 … i_m and powers p_1 … p_m, cumulant propagation estimates

    κ(φ(Z_{i_1})^{p_1}, …, φ(Z_{i_m})^{p_m}) = Σ_ν w(ν) Π_{v ∈ ν} κ_v Π_a c_{k_a, p_a}(i_a)

over diagrams ν: multisets of blocks v = (v_1, …, v_m), κ_v the cumulant of Z in which Z_{i_a}
appears v_a times, k = Σ v the degrees, and w(ν) = Π_v 1/(v_1! … v_m!) Π_{distinct v} 1/mult(v)!.
A diagram has no block on one neuron with |v| ≤ 2 (mean and variance are inside c already),
connects its neurons, and costs at most the budget, Σ_v cost(v) with
cost(v) = |v| − 1 − [all v_a even].

Everything here is arithmetic on small integers, done once and cached.

Source: arXiv 2605.05179 (2026), activation step.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import permutations, product

#: How many times each neuron appears in a cumulant.
Block = tuple[int, ...]


@dataclass(frozen=True, order=True)
class Diagram:
    """A multiset of blocks on ``neurons`` labelled neurons, in descending order."""

    neurons: int
    blocks: tuple[Block, ...]

    @cached_property
    def weight(self) -> Fraction:
        """w(ν): one over the symmetries of the legs and of equal blocks."""
        legs = math.prod(math.factorial(a) for block in self.blocks for a in block)
        equal = math.prod(math.factorial(count) for count in Counter(self.blocks).values())
        return Fraction(1, legs * equal)

    @cached_property
    def degrees(self) -> tuple[int, ...]:
        """How many legs meet at each neuron: the degree of the coefficient it brings."""
        return tuple(sum(block[a] for block in self.blocks) for a in range(self.neurons))

    @property
    def cost(self) -> int:
        """Sum of the costs of the blocks."""
        return sum(block_cost(block) for block in self.blocks)

    @cached_property
    def pendants(self) -> tuple[tuple[int, int], ...]:
        """Every (hub, pendant): neurons whose only block is an edge, and where it leads."""
        found: list[tuple[int, int]] = []
        for a in range(self.neurons):
            blocks = [block for block in self.blocks if block[a]]
            if len(blocks) == 1 and sum(blocks[0]) == 2 and self.neurons > 1:
                found.append((next(b for b, v in enumerate(blocks[0]) if v and b != a), a))
        return tuple(found)

    def permuted(self, order: tuple[int, ...]) -> "Diagram":
        """The same diagram with neuron ``order[a]`` of this one in place a."""
        moved = (tuple(block[a] for a in order) for block in self.blocks)
        return Diagram(self.neurons, tuple(sorted(moved, reverse=True)))

    @cached_property
    def canonical(self) -> "Diagram":
        """The representative of its isomorphism class: equal for diagrams that differ in labels."""
        return max(self.permuted(order) for order in permutations(range(self.neurons)))

    def __str__(self) -> str:
        """As in the formula: ``1/2 κ_ij κ_ij``."""
        names = "ijklmn"
        factors = ["κ_" + "".join(names[a] * v for a, v in enumerate(b)) for b in self.blocks]
        return " ".join(([] if self.weight == 1 else [str(self.weight)]) + factors) or "1"


def block_cost(block: Block) -> int:
    """Power of 1/width that a block is worth: |v| − 1, and one less if every entry is even."""
    return sum(block) - 1 - all(a % 2 == 0 for a in block)


@lru_cache(maxsize=64)
def diagrams(neurons: int, budget: int) -> tuple[Diagram, ...]:
    """Every labelled diagram on ``neurons`` neurons of cost at most ``budget``."""
    blocks = sorted(_blocks(neurons, budget), reverse=True)

    def extend(chosen: tuple[Block, ...], start: int, left: int) -> Iterator[tuple[Block, ...]]:
        if _connects(chosen, neurons):
            yield chosen
        for position in range(start, len(blocks)):
            price = block_cost(blocks[position])
            if price <= left:
                yield from extend((*chosen, blocks[position]), position, left - price)

    return tuple(Diagram(neurons, chosen) for chosen in extend((), 0, budget))


@lru_cache(maxsize=64)
def classes(neurons: int, budget: int) -> dict[Diagram, tuple[Diagram, ...]]:
    """The diagrams grouped by isomorphism: those that differ only in the neurons' labels."""
    groups: dict[Diagram, list[Diagram]] = {}
    for diagram in diagrams(neurons, budget):
        groups.setdefault(diagram.canonical, []).append(diagram)
    return {canonical: tuple(group) for canonical, group in groups.items()}


def _blocks(neurons: int, budget: int) -> Iterator[Block]:
    for block in product(range(budget + 3), repeat=neurons):
        alone = sum(a > 0 for a in block) == 1
        if any(block) and not (alone and sum(block) <= 2) and block_cost(block) <= budget:
            yield block


def _connects(blocks: tuple[Block, ...], neurons: int) -> bool:
    if neurons == 1:
        return True
    reached = {0}
    remaining = [{a for a, v in enumerate(block) if v} for block in blocks]
    while touching := [s for s in remaining if s & reached and not s <= reached]:
        reached.update(*touching)
    return len(reached) == neurons


#: A polynomial in power cumulants: each term a coefficient and its factors, every factor the
#: powers of the m neurons (zero for those that it does not touch).
Polynomial = tuple[tuple[int, tuple[tuple[int, ...], ...]], ...]


@lru_cache(maxsize=64)
def cumulant_from_powers(multiplicities: tuple[int, ...]) -> Polynomial:
    """κ of φ_1 (q_1 times), φ_2 (q_2 times), … as a polynomial in cumulants of powers.

    The neurons are distinct and each φ_a is centred, so that its mean does not appear.  Moments
    come from power cumulants by the partition formula, cumulants from moments by Möbius inversion
    over the legs.

    Example:
        >>> cumulant_from_powers((2, 2))
        ((-2, ((1, 1), (1, 1))), (1, ((2, 2),)))
    """
    legs = [a for a, q in enumerate(multiplicities) for _ in range(q)]
    total: Counter[tuple[tuple[int, ...], ...]] = Counter()
    for parts in _partitions(tuple(range(len(legs)))):
        sign = (-1) ** (len(parts) - 1) * math.factorial(len(parts) - 1)
        powers = [Counter(legs[leg] for leg in part) for part in parts]
        moments = [list(_partitions(tuple(sorted(power)))) for power in powers]
        for choice in product(*moments):
            factors: list[tuple[int, ...]] = []
            for power, groups in zip(powers, choice, strict=True):
                factors += [
                    tuple(power[a] if a in group else 0 for a in range(len(multiplicities)))
                    for group in groups
                ]
            if all(sum(factor) > 1 for factor in factors):
                total[tuple(sorted(factors))] += sign
    return tuple(sorted((c, factors) for factors, c in total.items() if c))


def _partitions(items: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Set partitions."""
    if not items:
        yield ()
        return
    first, rest = items[0], items[1:]
    for parts in _partitions(rest):
        yield ((first,), *parts)
        for position, part in enumerate(parts):
            yield (*parts[:position], (first, *part), *parts[position + 1 :])
