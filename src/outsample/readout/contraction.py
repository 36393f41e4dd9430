"""Sums over multigraphs: each class contracted, or dropped under a bound that is certified.

A class is bounded without contracting it: for any order of its vertices the contraction is a
product of linear maps, one for each vertex, from its edges with earlier vertices to those with
later ones, and so at most the product of their operator norms (Frobenius where one side is
empty).  The least over all orders counts.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise, permutations
from typing import Any

import opt_einsum
import torch
from jaxtyping import Float
from torch import Tensor

from outsample.readout.multigraphs import Multigraph, multigraphs


@dataclass(frozen=True)
class Series:
    """A cumulant by largest degree of the tensors in it."""

    #: Cumulant from all classes of degrees up to d, for each degree d that adds any.
    partial: Mapping[int, float]
    #: Bound on what was dropped; 0 if nothing was.
    dropped_bound: float
    #: Classes that were contracted, and dropped.
    contracted: int
    dropped: int

    @property
    def value(self) -> float:
        """From all degrees."""
        return self.partial[max(self.partial)] if self.partial else 0.0

    @property
    def increments(self) -> list[float]:
        """What each degree added, lowest first."""
        values = [self.partial[d] for d in sorted(self.partial)]
        return [*values[:1], *(b - a for a, b in pairwise(values))]

    def settled(self) -> tuple[int, float]:
        """The degree with the smallest increment, stopping where they grow, and its value.

        The series is in general asymptotic only: terms that grow make it worse.
        """
        degrees = sorted(self.partial)
        if not degrees:
            return 0, 0.0
        best = degrees[0]
        last = math.inf
        for degree, increment in zip(degrees[1:], self.increments[1:], strict=True):
            if abs(increment) > last:
                break
            best, last = degree, abs(increment)
        return best, self.partial[best]


@dataclass(frozen=True)
class Tensors:
    """Full symmetric tensors T_d by degree d ≥ 1, all of one size n ≥ 1; absent ones are zero."""

    full: Mapping[int, Tensor]

    @property
    def degrees(self) -> tuple[int, ...]:
        """Degrees that are there, lowest first."""
        return tuple(sorted(self.full))

    def flattened_norm(self, degree: int, rows: int) -> float:
        """Operator norm of T_degree as a matrix of n^rows rows; Frobenius at 0 and ``degree``."""
        return self._norms[degree][min(rows, degree - rows)]

    def folded(self, degree: int, pairs: int) -> Tensor:
        """T_degree with ``pairs`` pairs of legs made one leg each, which come first.

        A pair of symmetric legs is one of n (n + 1) / 2 values, weighted so that contractions stay
        the same: half the values, a quarter of the work where both sides are matrices of pairs.
        """
        known = self._folded.get((degree, pairs))
        if known is not None:
            return known
        tensor = self.full[degree]
        n = tensor.shape[0]
        if pairs == 0:
            return tensor
        first, second = torch.triu_indices(n, n, device=tensor.device)
        one, root = tensor.new_tensor(1.0), tensor.new_tensor(2.0).sqrt()
        weight = torch.where(first == second, one, root)
        for done in range(pairs):
            tensor = tensor.movedim((done, done + 1), (-2, -1))[..., first, second] * weight
            tensor = tensor.movedim(-1, done)
        self._folded[degree, pairs] = tensor.contiguous()
        return self._folded[degree, pairs]

    @cached_property
    def _folded(self) -> dict[tuple[int, int], Tensor]:
        return {}

    @cached_property
    def _norms(self) -> dict[int, list[float]]:
        found: dict[int, list[float]] = {}
        for degree, tensor in self.full.items():
            norms = [float(tensor.norm())]
            for rows in range(1, degree // 2 + 1):
                matrix = tensor.reshape(tensor.shape[0] ** rows, -1)
                gram = matrix @ matrix.T
                norms.append(float(torch.linalg.eigvalsh(gram)[-1].clamp_min(0).sqrt()))
            found[degree] = norms
        return found


def cumulant(tensors: Tensors, order: int, tolerance: float = 0.0) -> Series:
    """κ_order, order ≥ 2, without classes that contribute less than ``tolerance`` at most.

    Args:
        tensors: the Hermite tensors.
        order: r.
        tolerance: bound on a class, weight included, below which it is dropped; 0 keeps all.
    """
    partial: dict[int, float] = {}
    total, bound, contracted, dropped = 0.0, 0.0, 0, 0
    for graph in multigraphs(order, tensors.degrees):  # by largest degree
        if tolerance > 0 and (most := graph.weight * class_bound(graph, tensors)) < tolerance:
            bound += most
            dropped += 1
        else:
            total += graph.weight * contract(graph, tensors)
            contracted += 1
        partial[max(graph.degrees)] = total
    return Series(partial, bound, contracted, dropped)


def contract(graph: Multigraph, tensors: Tensors) -> float:
    """The contraction of one multigraph, by opt_einsum's path for its shape.

    Two of the edges between the same vertices are contracted as one over symmetric pairs.
    """
    n = next(iter(tensors.full.values())).shape[0]
    expression, pairs, path = _plan(graph, n)
    operands = [
        tensors.folded(degree, count) for degree, count in zip(graph.degrees, pairs, strict=True)
    ]
    return float(opt_einsum.contract(expression, *operands, optimize=path))


def class_bound(graph: Multigraph, tensors: Tensors) -> float:
    """A bound on the absolute value of the contraction."""
    degrees = graph.degrees
    best = math.inf
    for order in permutations(range(graph.vertices)):
        product = 1.0
        for place, vertex in enumerate(order):
            earlier = sum(graph.between(vertex, other) for other in order[:place])
            product *= tensors.flattened_norm(degrees[vertex], earlier)
        best = min(best, product)
    return best


@lru_cache(maxsize=1024)
def _plan(graph: Multigraph, n: int) -> tuple[str, tuple[int, ...], Any]:
    """Indices of every vertex, how many of them are pairs, and the order of contraction."""
    paired: list[str] = [""] * graph.vertices
    single: list[str] = [""] * graph.vertices
    name = 0
    for (i, j), count in zip(graph.pairs, graph.multiplicities, strict=True):
        for kind in [paired] * (count // 2) + [single] * (count % 2):
            symbol = opt_einsum.get_symbol(name)
            kind[i] += symbol
            kind[j] += symbol
            name += 1
    expression = ",".join(p + s for p, s in zip(paired, single, strict=True)) + "->"
    sizes = [
        (n * (n + 1) // 2,) * len(p) + (n,) * len(s) for p, s in zip(paired, single, strict=True)
    ]
    path = opt_einsum.contract_path(expression, *sizes, shapes=True)[0]
    return expression, tuple(map(len, paired)), path


def quadratic_cumulant(
    linear: Float[Tensor, "*k n"], matrix: Float[Tensor, "*k n n"], order: int
) -> Float[Tensor, "*k"]:
    """κ_order of b·z + (zᵀ H z - tr H) / 2: (r!/2) bᵀ H^{r-2} b + ((r-1)!/2) tr H^r, r = 2, 3, 4.

    Batched over leading dimensions.
    """
    moved = (matrix @ linear[..., None])[..., 0]
    if order == 2:
        return linear.square().sum(-1) + matrix.square().sum((-2, -1)) / 2
    square = matrix @ matrix
    if order == 3:
        return 3 * (linear * moved).sum(-1) + (square * matrix).sum((-2, -1))
    if order == 4:
        return 12 * moved.square().sum(-1) + 3 * square.square().sum((-2, -1))
    raise ValueError(f"order {order} is not among 2, 3, 4")
