"""Symmetric tensors: every entry once, and powers of many vectors summed without the copies."""

import math
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def entries(n: int, degree: int) -> int:
    """How many different entries a symmetric tensor has: C(n + degree - 1, degree)."""
    return math.comb(n + degree - 1, degree)


@lru_cache(maxsize=64)
def places(n: int, degree: int) -> Int[Tensor, "entries degree"]:
    """The index tuples i_1 <= … <= i_degree, in lexicographic order."""
    found = list(combinations_with_replacement(range(n), degree))
    return torch.tensor(found, dtype=torch.int64).reshape(entries(n, degree), degree)


@lru_cache(maxsize=64)
def copies(n: int, degree: int) -> Float[Tensor, " entries"]:
    """How often each entry occurs in the full tensor: degree! / ∏ counts!."""
    found: list[float] = []
    for place in places(n, degree).tolist():
        counts = [place.count(i) for i in set(place)]
        found.append(math.factorial(degree) / math.prod(map(math.factorial, counts)))
    return torch.tensor(found, dtype=torch.float64)


@lru_cache(maxsize=16)
def _ranks(n: int, degree: int) -> Int[Tensor, " full"]:
    """For each entry of the full tensor, flattened, its place in the packed one."""
    if degree == 0:
        return torch.zeros(1, dtype=torch.int64)
    index = np.sort(np.indices((n,) * degree).reshape(degree, -1), axis=0)
    powers = n ** np.arange(degree - 1, -1, -1)
    table = np.zeros(n**degree, dtype=np.int64)
    table[(places(n, degree).numpy() * powers).sum(1)] = np.arange(entries(n, degree))
    return torch.from_numpy(table[(index * powers[:, None]).sum(0)])


def unpack(packed: Float[Tensor, " entries"], n: int, degree: int) -> Float[Tensor, "*full"]:
    """The full tensor of shape (n,) * degree."""
    return packed[_ranks(n, degree).to(packed.device)].reshape((n,) * degree)


def pack(full: Float[Tensor, "*full"]) -> Float[Tensor, " entries"]:
    """The different entries of a symmetric tensor; what is not symmetric is not looked at."""
    degree = full.dim()
    if degree == 0:
        return full.reshape(1)
    return full[tuple(places(full.shape[0], degree).to(full.device).T)]


def norm_squared(packed: Float[Tensor, "*k entries"], n: int, degree: int) -> Float[Tensor, "*k"]:
    """Squared Frobenius norm of the full tensor."""
    return (packed.square() * copies(n, degree).to(packed.device)).sum(-1)


def powers(rows: Float[Tensor, "m n"], degree: int) -> Float[Tensor, "m entries"]:
    """Different entries of the symmetric powers of rows: ∏ rows[:, i_a], shape (m, entries)."""
    if degree == 0:
        return rows.new_ones(len(rows), 1)
    if degree == 1:
        return rows
    index = places(rows.shape[1], degree).to(rows.device)
    result = rows[:, index[:, 0]]
    for column in index.T[1:]:
        result = result * rows[:, column]
    return result


def sum_of_powers(
    rows: Float[Tensor, "m n"], weights: Float[Tensor, "k m"], degree: int
) -> Float[Tensor, "k entries"]:
    """Packed Σ_j weights[·, j] rows_j^{⊗degree}: one product of two matrices of half the degree."""
    low = degree // 2
    if low == 0:
        return weights @ powers(rows, degree)
    n = rows.shape[1]
    left, right = powers(rows, low), powers(rows, degree - low)
    index = places(n, degree).to(rows.device)
    first, second = _place(index[:, :low], n), _place(index[:, low:], n)
    found = [(left.T @ (w[:, None] * right))[first, second] for w in weights]
    return torch.stack(found)


def _place(index: Int[Tensor, "entries degree"], n: int) -> Int[Tensor, " entries"]:
    """Places of sorted index tuples in the packed order."""
    degree = index.shape[1]
    flat = torch.zeros(len(index), dtype=torch.int64, device=index.device)
    for column in index.T:
        flat = flat * n + column
    return _ranks(n, degree).to(index.device)[flat]


def apply_to_rows(
    packed: Float[Tensor, "k entries"], rows: Float[Tensor, "q n"], degree: int
) -> Float[Tensor, "k q"]:
    """⟨T, y^{⊗degree}⟩ for every tensor and every row y, shape (k, q)."""
    weighted = packed * copies(rows.shape[1], degree).to(packed.device)
    return weighted @ powers(rows, degree).T


def transform(full: Float[Tensor, "*full"], basis: Float[Tensor, "n r"]) -> Float[Tensor, "*small"]:
    """The tensor with every index contracted with ``basis``, shape (r,) * degree."""
    for _ in range(full.dim()):
        full = full.movedim(0, -1) @ basis
    return full
