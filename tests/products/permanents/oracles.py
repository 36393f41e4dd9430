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
    products, unit = _products(matrix)
    for x, product in products:
        yield x, product * unit


def permanent(matrix: Matrix) -> Fraction:
    products, unit = _products(matrix)
    return sum(product for _, product in products) * unit


def _products(matrix: Matrix) -> tuple[Iterator[tuple[tuple[int, ...], int]], Fraction]:
    """The products in whole numbers, which are much faster than fractions, and their unit."""
    n = len(matrix)
    fractions = [[Fraction(float(a)) for a in row] for row in matrix]
    # Denominators of floats are powers of two: the largest is a multiple of every other.
    scale = max((a.denominator for row in fractions for a in row), default=1)
    entries = [[int(a * scale) for a in row] for row in fractions]
    products = ((x, math.prod(entries[i][x[i]] for i in range(n))) for x in permutations(range(n)))
    return products, Fraction(1, scale**n)


def average(matrix: Matrix) -> float:
    return float(permanent(matrix) / math.factorial(len(matrix)))


def marginals(matrix: Matrix) -> Matrix:
    """Probability that a permutation with the weight of its product takes i to j."""
    n = len(matrix)
    sums = [[0] * n for _ in range(n)]
    for x, product in _products(matrix)[0]:
        for i, j in enumerate(x):
            sums[i][j] += product
    return np.array([[float(Fraction(s, sum(row))) for s in row] for row in sums])


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
