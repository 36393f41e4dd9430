"""Slow and plain versions of what cumulant propagation computes, written from the definitions."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import combinations, combinations_with_replacement, permutations, product

import numpy as np
import torch
from torch import Tensor

from outsample.cumulants.diagrams import Block
from outsample.networks.activations.base import Expansion


def partitions(items: Sequence[int]) -> Iterator[list[list[int]]]:
    """Set partitions; equal items are told apart by their place."""
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for size in range(len(rest) + 1):
        for mates in combinations(range(len(rest)), size):
            others = [x for place, x in enumerate(rest) if place not in mates]
            for parts in partitions(others):
                yield [[first, *(rest[place] for place in mates)], *parts]


def cost(block: Block) -> int:
    return sum(block) - 1 - int(not any(a % 2 for a in block))


def connected(blocks: Sequence[Block], neurons: int) -> bool:
    """No set of neurons, neither empty nor all, is left by no block."""
    for size in range(1, neurons):
        for inside in combinations(range(neurons), size):
            touched = [{a in inside for a, v in enumerate(block) if v} for block in blocks]
            if all(len(sides) == 1 for sides in touched):
                return False
    return True


@lru_cache(maxsize=64)
def diagrams(neurons: int, budget: int) -> frozenset[tuple[Block, ...]]:
    """Every multiset of blocks, in descending order, that the definition allows."""
    blocks = sorted(
        (
            block
            for block in product(range(budget + 3), repeat=neurons)
            if 0 < sum(block) <= budget + 2
            and not (sum(block) <= 2 and sum(a > 0 for a in block) == 1)
        ),
        reverse=True,
    )
    assert all(cost(block) >= 1 for block in blocks)  # so that no more than ``budget`` fit
    return frozenset(
        chosen
        for size in range(budget + 1)
        for chosen in combinations_with_replacement(
            [block for block in blocks if cost(block) <= budget - size + 1], size
        )
        if sum(map(cost, chosen)) <= budget and connected(chosen, neurons)
    )


def weight(blocks: Sequence[Block]) -> float:
    legs = math.prod(math.factorial(a) for block in blocks for a in block)
    return 1 / (legs * math.prod(math.factorial(count) for count in Counter(blocks).values()))


def joint_cumulant(moment: Callable[[tuple[int, ...]], float], legs: tuple[int, ...]) -> float:
    """Σ over partitions of the legs of (−1)^(parts − 1) (parts − 1)! Π E[product of a part]."""
    return sum(
        (-1) ** (len(parts) - 1)
        * math.factorial(len(parts) - 1)
        * math.prod(moment(tuple(part)) for part in parts)
        for parts in partitions(legs)
    )


def moments_of(mean: Tensor, kappa: Mapping[int, Tensor]) -> Callable[[tuple[int, ...]], float]:
    """E[Z_i Z_j …] by indices, from the mean and the cumulants of order 2 and more."""
    tensors = {1: mean.numpy(), **{order: np.asarray(t) for order, t in kappa.items()}}

    @cache
    def moment(indices: tuple[int, ...]) -> float:
        if not indices:
            return 1.0
        first, rest = indices[0], indices[1:]
        total = 0.0
        for size in range(len(rest) + 1):
            if size + 1 not in tensors:
                continue
            for mates in combinations(range(len(rest)), size):
                others = tuple(x for place, x in enumerate(rest) if place not in mates)
                entry = tensors[size + 1][(first, *(rest[place] for place in mates))]
                total += float(entry) * moment(others)
        return total

    return lambda indices: moment(tuple(sorted(indices)))


def symmetrised(tensor: Tensor) -> Tensor:
    """Mean over all orders of the axes."""
    orders = list(permutations(range(tensor.dim())))
    return sum((tensor.permute(order) for order in orders), torch.zeros_like(tensor)) / len(orders)


def random_symmetric(order: int, n: int, seed: int, size: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return size * symmetrised(torch.randn((n,) * order, generator=generator, dtype=torch.float64))


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def pushed(tensor: Tensor, weight: Tensor) -> Tensor:
    """W on every leg."""
    for axis in range(tensor.dim()):
        tensor = torch.tensordot(weight, tensor, ([1], [axis])).movedim(0, axis)
    return tensor


def sliced(tensor: Tensor, multiplicities: tuple[int, ...]) -> Tensor:
    """Entries in which neuron i stands multiplicities[0] times, j multiplicities[1] times, …"""
    n, m = tensor.shape[0], len(multiplicities)
    out = torch.empty((n,) * m, dtype=tensor.dtype)
    for index in product(range(n), repeat=m):
        legs = [i for i, times in zip(index, multiplicities, strict=True) for _ in range(times)]
        out[index] = tensor[tuple(legs)]
    return out


def compositions(total: int) -> Iterator[tuple[int, ...]]:
    """Every way to write ``total`` as an ordered sum of positive integers."""
    if total == 0:
        yield ()
    for first in range(1, total + 1):
        for rest in compositions(total - first):
            yield (first, *rest)


class Coefficients(Expansion):
    """Any numbers as Hermite coefficients, the Gaussian mean taken off."""

    def __init__(self, n: int, seed: int) -> None:
        self.mean, self.scale = random(n, seed=seed), random(n, seed=seed + 1).exp()
        self._seed = seed

    def coefficient(self, degree: int, power: int = 1) -> Tensor:
        if (degree, power) == (0, 1):
            return torch.zeros_like(self.mean)
        return random(self.mean.shape[0], seed=self._seed + 100 * power + degree + 2)


class Reference:
    """Cumulants of φ(Z) entry by entry, as the activation step defines them.

    ``kappa`` has full tensors by order, in units of the expansion's scale; ``keeps`` says which
    diagrams count, from their blocks and the powers of the neurons.
    """

    def __init__(
        self,
        kappa: Mapping[int, Tensor],
        expansion: Expansion,
        budget: int,
        keeps: Callable[[tuple[Block, ...], tuple[int, ...]], bool] = lambda blocks, powers: True,
    ) -> None:
        self._kappa = {order: tensor.numpy() for order, tensor in kappa.items()}
        self._expansion, self._budget, self._keeps = expansion, budget, keeps
        self._coefficients: dict[tuple[int, int], list[float]] = {}
        self._power_cumulants: dict[tuple[tuple[int, int], ...], float] = {}

    def power_cumulant(self, powers: tuple[tuple[int, int], ...]) -> float:
        """κ(φ_i^p, φ_j^q, …) for distinct neurons, from pairs (i, p): the sum over diagrams."""
        if powers in self._power_cumulants:
            return self._power_cumulants[powers]
        total = 0.0
        exponents = tuple(p for _, p in powers)
        for blocks in diagrams(len(powers), self._budget):
            if any(sum(b) not in self._kappa for b in blocks) or not self._keeps(blocks, exponents):
                continue
            term = weight(blocks)
            for block in blocks:
                legs = [
                    i for (i, _), times in zip(powers, block, strict=True) for _ in range(times)
                ]
                term *= float(self._kappa[sum(block)][tuple(legs)])
            for a, (i, p) in enumerate(powers):
                term *= self._coefficient(sum(block[a] for block in blocks), p)[i]
            total += term
        self._power_cumulants[powers] = total
        return total

    def cumulant(self, legs: tuple[int, ...]) -> float:
        """κ(φ_i, φ_j, …), neurons repeated or not."""

        def moment(part: tuple[int, ...]) -> float:
            powers = Counter(part)
            return sum(
                math.prod(
                    self.power_cumulant(tuple((i, powers[i]) for i in sorted(group)))
                    for group in groups
                )
                for groups in partitions(sorted(powers))
            )

        return joint_cumulant(moment, legs)

    def tensor(self, order: int) -> Tensor:
        """All entries of a cumulant."""
        n = len(self._expansion.mean)
        out = torch.empty((n,) * order, dtype=torch.float64)
        for legs in combinations_with_replacement(range(n), order):
            value = self.cumulant(legs)
            for moved in set(permutations(legs)):
                out[moved] = value
        return out

    def _coefficient(self, degree: int, power: int) -> list[float]:
        if (degree, power) not in self._coefficients:
            self._coefficients[degree, power] = self._expansion.coefficient(degree, power).tolist()
        return self._coefficients[degree, power]
