"""Formulas by looking at all assignments, one by one."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Clauses = Sequence[Sequence[int]]


def cube(n: int) -> NDArray[np.int64]:
    """All assignments, shape (2^n, n)."""
    return np.array(list(itertools.product([0, 1], repeat=n)), np.int64).reshape(2**n, n)


def chances(weights: Array) -> Array:
    """Probability of each assignment."""
    return np.where(cube(len(weights)) == 1, weights, 1 - weights).prod(1)


def satisfied(clauses: Clauses, n: int) -> NDArray[np.bool_]:
    """Whether each assignment satisfies all clauses."""
    rows = cube(n)
    held = [np.array([(rows[:, abs(x) - 1] == (x > 0)) for x in c]).any(0) for c in clauses if c]
    none = np.full(2**n, all(len(c) for c in clauses))
    return np.logical_and.reduce([none, *held])


def fraction(clauses: Clauses, weights: Array) -> float:
    return float(chances(weights)[satisfied(clauses, len(weights))].sum())


def marginals(clauses: Clauses, weights: Array) -> Array:
    mass = np.where(satisfied(clauses, len(weights)), chances(weights), 0)
    return (mass @ cube(len(weights))) / mass.sum()


def random_clauses(
    n: int, m: int, seed: int, lengths: Sequence[int] = (2, 3, 4)
) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    found: list[list[int]] = []
    for _ in range(m):
        members = rng.choice(np.arange(1, n + 1), int(rng.choice(lengths)), replace=False)
        found.append([int(v) * int(rng.choice([-1, 1])) for v in members])
    return found


def random_weights(n: int, seed: int) -> Array:
    return np.random.default_rng(seed).uniform(0.1, 0.9, n)
