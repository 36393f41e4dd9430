r"""Cumulants as sums over connected multigraphs without loops.

If :math:`f = \sum_d \langle T_d, He_d\rangle / d!`, the cumulant of order r ≥ 2 is

.. math:: \kappa_r = \sum_G \frac{1}{\prod_{i<j} m_{ij}!} \, G(T_{\deg 1}, \dots, T_{\deg r}),

over connected multigraphs G on r labelled vertices with edge multiplicities :math:`m_{ij}`, every
edge a contracted index.  Graphs that differ by a permutation of the vertices are one class.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Multigraph:
    """One class of multigraphs.

    ``multiplicities`` has an entry for each pair i < j, in lexicographic order.
    """

    vertices: int
    multiplicities: tuple[int, ...]
    #: How many labelled multigraphs the class has.
    labellings: int

    @property
    def degrees(self) -> tuple[int, ...]:
        """Number of legs of each vertex."""
        found = [0] * self.vertices
        for (i, j), count in zip(self.pairs, self.multiplicities, strict=True):
            found[i] += count
            found[j] += count
        return tuple(found)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of vertices, in the order of the multiplicities."""
        return tuple(combinations(range(self.vertices), 2))

    @property
    def weight(self) -> float:
        """Factor of the contraction in the cumulant."""
        return self.labellings / math.prod(map(math.factorial, self.multiplicities))

    @property
    def indices(self) -> tuple[tuple[int, ...], ...]:
        """For each vertex the names of its legs; every name occurs at two vertices."""
        legs: list[list[int]] = [[] for _ in range(self.vertices)]
        name = 0
        for (i, j), count in zip(self.pairs, self.multiplicities, strict=True):
            for _ in range(count):
                legs[i].append(name)
                legs[j].append(name)
                name += 1
        return tuple(map(tuple, legs))

    def between(self, i: int, j: int) -> int:
        """Number of edges between two vertices."""
        return self.multiplicities[self.pairs.index((min(i, j), max(i, j)))]


@lru_cache(maxsize=64)
def multigraphs(order: int, degrees: tuple[int, ...]) -> tuple[Multigraph, ...]:
    """Classes of connected multigraphs on ``order`` vertices whose degrees are all among those.

    Args:
        order: number of vertices, at least 2.
        degrees: allowed numbers of legs, each at least 1, in increasing order.

    Example:
        >>> [len(multigraphs(r, (1, 2, 4))) for r in (3, 4)]
        [5, 13]
    """
    if not degrees:
        return ()
    tables = _labelled(order, degrees)
    tables = tables[_connected(tables, order)]
    if not len(tables):
        return ()
    base = max(degrees) + 1
    place = base ** np.arange(tables.shape[1], dtype=np.int64)[::-1]
    pairs = {pair: e for e, pair in enumerate(combinations(range(order), 2))}
    best = np.zeros(len(tables), dtype=np.int64)
    for renamed in permutations(range(order)):
        columns = [pairs[tuple(sorted((renamed[i], renamed[j])))] for i, j in pairs]  # pyright: ignore[reportArgumentType]
        best = np.maximum(best, tables[:, columns] @ place)
    keys, counts = np.unique(best, return_counts=True)
    found = [
        Multigraph(order, tuple(int(key // p % base) for p in place), int(count))
        for key, count in zip(keys, counts, strict=True)
    ]
    return tuple(sorted(found, key=lambda g: (max(g.degrees), g.multiplicities)))


def _labelled(order: int, degrees: tuple[int, ...]) -> NDArray[np.int64]:
    """Multiplicities of every labelled multigraph with these degrees, shape (graphs, pairs)."""
    pairs = list(combinations(range(order), 2))
    most = max(degrees)
    tables = np.zeros((1, 0), dtype=np.int64)
    legs = np.zeros((1, order), dtype=np.int64)
    for i, j in pairs:
        count = np.arange(most + 1)
        tables = np.concatenate(
            (np.repeat(tables, most + 1, 0), np.tile(count, len(tables))[:, None]), 1
        )
        legs = np.repeat(legs, most + 1, 0)
        legs[:, i] += tables[:, -1]
        legs[:, j] += tables[:, -1]
        kept = (legs[:, i] <= most) & (legs[:, j] <= most)
        if j == order - 1:  # the last pair of vertex i
            kept &= np.isin(legs[:, i], degrees)
        tables, legs = tables[kept], legs[kept]
    return tables[np.isin(legs[:, -1], degrees)]


def _connected(tables: NDArray[np.int64], order: int) -> NDArray[np.bool_]:
    reached = np.zeros((len(tables), order), dtype=bool)
    reached[:, 0] = True
    for _ in range(order - 1):
        for e, (i, j) in enumerate(combinations(range(order), 2)):
            joined = (tables[:, e] > 0) & (reached[:, i] | reached[:, j])
            reached[:, i] |= joined
            reached[:, j] |= joined
    return np.asarray(reached.all(1))
