"""Exact satisfying fractions: all assignments of each component, 64 to a word."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from outsample.cost import report_flops
from outsample.products.cnf.formula import Clause, Formula

#: Largest component that is enumerated: 2²⁴ assignments take about 0.05 s.
MOST_VARIABLES = 24
#: Words that are worked on together: what all literals of a chunk take fits a level-2 cache.
_CHUNK = 2**12
_WORD_BITS = 6
#: Value of the first six variables in the 64 assignments of a word.
_LOW = [np.uint64(sum(1 << i for i in range(64) if i >> bit & 1)) for bit in range(_WORD_BITS)]


def enumerable(formula: Formula) -> bool:
    """Whether no component has more than ``MOST_VARIABLES`` variables."""
    return all(len(_variables(c)) <= MOST_VARIABLES for c in formula.components)


def enumerate_models(formula: Formula, weights: NDArray[np.float64]) -> float:
    """P(all clauses hold) for independent bits with P(x_j = 1) = ``weights``[j].

    Exact up to rounding; with weights of 1/2 counts of models are exact integers.
    """
    if formula.contradiction:
        return 0.0
    chance = math.prod(formula.fixed_chances(weights))
    for component in formula.components:
        chance *= _component(component, weights)
    return chance


def _component(clauses: Sequence[Clause], weights: NDArray[np.float64]) -> float:
    variables = _variables(clauses)
    place = {v: i for i, v in enumerate(variables)}
    count = max(len(variables), _WORD_BITS)
    # Ratios to 1/2: the sum over models is then a count where the weights are all 1/2.
    ones = np.ones(count)
    ones[: len(variables)] = 2 * weights[[v - 1 for v in variables]]
    zeros = 2 - ones
    tables = _byte_tables(zeros[:_WORD_BITS], ones[:_WORD_BITS])
    words = 1 << (count - _WORD_BITS)
    total = 0.0
    for start in range(0, words, _CHUNK):
        index = np.arange(start, min(start + _CHUNK, words), dtype=np.uint64)
        models = _models(clauses, place, index)
        mass = np.zeros(len(index))
        for byte, table in zip(models.view(np.uint8).reshape(-1, 8).T, tables, strict=True):
            mass += table[byte]
        total += float(mass @ _word_weights(index, zeros[_WORD_BITS:], ones[_WORD_BITS:]))
    literals = sum(len(c) for c in clauses)
    report_flops(words * (literals + len(clauses) + 20 + count), "enumerated models")
    return total / 2.0**count


def _models(
    clauses: Sequence[Clause], place: dict[int, int], index: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Words whose bits say which assignments satisfy all clauses."""
    one = np.uint64(1)
    rows: dict[int, NDArray[np.uint64] | np.uint64] = {}
    for v, i in place.items():
        if i < _WORD_BITS:
            rows[v] = _LOW[i]
        else:
            rows[v] = np.negative((index >> np.uint64(i - _WORD_BITS)) & one)
        rows[-v] = ~rows[v]
    models = np.full(len(index), ~np.uint64(0))
    for clause in clauses:
        holds = rows[clause[0]]
        for x in clause[1:]:
            holds = holds | rows[x]
        models &= holds
    return models


def _byte_tables(zeros: NDArray[np.float64], ones: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight of the assignments marked in each of the 8 bytes of a word, shape (8, 256)."""
    single = np.ones(1)
    for zero, one in zip(zeros, ones, strict=True):
        single = np.concatenate([single * zero, single * one])
    marked = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(float)
    return single.reshape(8, 8) @ marked.T


def _word_weights(
    index: NDArray[np.uint64], zeros: NDArray[np.float64], ones: NDArray[np.float64]
) -> NDArray[np.float64]:
    weight = np.ones(len(index))
    for bit, (zero, one) in enumerate(zip(zeros, ones, strict=True)):
        if zero != one:
            weight *= np.where(index >> np.uint64(bit) & np.uint64(1), one, zero)
    return weight


def _variables(clauses: Sequence[Clause]) -> list[int]:
    return sorted({abs(x) for clause in clauses for x in clause})
