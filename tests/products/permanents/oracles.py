"""Permanents by brute force, and what the harmonic head does, by least squares."""

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def terms(matrix: Matrix) -> Iterator[tuple[tuple[int, ...], Fraction]]:
    """All permutations with the products of the entries they pick, without rounding."""
    n = len(matrix)
    entries = [[Fraction(float(a)) for a in row] for row in matrix]
    for x in permutations(range(n)):
        yield x, math.prod((entries[i][x[i]] for i in range(n)), start=Fraction(1))


def permanent(matrix: Matrix) -> Fraction:
    return sum((weight for _, weight in terms(matrix)), start=Fraction(0))


def average(matrix: Matrix) -> float:
    return float(permanent(matrix) / math.factorial(len(matrix)))


def marginals(matrix: Matrix) -> Matrix:
    """Probability that a permutation with the weight of its product takes i to j."""
    n, total = len(matrix), permanent(matrix)
    found = [[Fraction(0)] * n for _ in range(n)]
    for x, weight in terms(matrix):
        for i, j in enumerate(x):
            found[i][j] += weight / total
    return np.array([[float(p) for p in row] for row in found])


def projected(matrix: Matrix, degree: int) -> float:
    """Rows multiplied in one by one, each product fitted on its slice by polynomials."""
    n = len(matrix)
    columns = range(n)
    monomials = [set(p) for j in range(min(degree, n) + 1) for p in combinations(columns, j)]
    values = {(): 1.0}
    for i in columns:
        subsets = list(combinations(columns, i + 1))
        product = [
            sum(matrix[i, q] * values[tuple(c for c in s if c != q)] for q in s) / (i + 1)
            for s in subsets
        ]
        design = np.array([[float(p <= set(s)) for p in monomials] for s in subsets])
        fit = design @ np.linalg.lstsq(design, np.array(product), rcond=None)[0]
        values = dict(zip(subsets, fit.tolist(), strict=True))
    return values[tuple(columns)]


def matrices(n: int, seed: int = 0) -> dict[str, Matrix]:
    """One matrix of each kind."""
    draws = np.random.default_rng([n, seed])
    return {
        "uniform": draws.random((n, n)),
        "signed": draws.standard_normal((n, n)),
        "sign": draws.choice([-1.0, 1.0], (n, n)),
        "bernoulli": np.maximum((draws.random((n, n)) < 0.5) * 1.0, np.eye(n)),
        "uneven": draws.random((n, n)) * np.exp(draws.standard_normal(n)),
        "triangular": np.tril(np.ones((n, n))),
    }
