"""A product of rows, one factor at a time, projected on polynomials of low degree on slices.

After i rows the running product, averaged over the ways of using up a set S of i columns, is a
function g_i of the i-subsets S.  It is kept as a polynomial of degree D,

    g_i(S) = Σ_j Σ_{P in S, |P| = j} W_j(P),    W_j harmonic: Σ_{q not in P} W_j(P + q) = 0,

and every row multiplies it by its entries, averages over the column it takes, and projects on
degree D again.  In harmonic coefficients this step has a closed form, with no linear solve, because
functions of different degrees are orthogonal on every slice of the Johnson scheme.

:func:`sweep` does it for any degree, for NumPy arrays and (with gradients) for tensors;
:func:`sweep_constant`, :func:`sweep_linear` and :func:`sweep_quadratic` are degrees 0, 1 and 2 on
arrays, several times as fast.
"""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from outsample.products.permanents.scaling import plain_array
from outsample.products.permanents.subsets import Level, levels, on

#: Rows between two rescalings of the state.  Rows have mean modulus 1, so the state changes by a
#: factor of order 1 a row.
_RESCALE = 8
#: Bytes of intermediate tensors that a gradient may keep; beyond, blocks of rows are recomputed.
_KEPT_BYTES = 1 << 28

Rows = Float64[NDArray[np.float64], "n n"]
State = list[Any]


def sweep(rows: Any, degree: int) -> tuple[Any, float]:
    """Average over permutations of Π_i rows[i, x(i)], to ``degree``, as a pair (a, log z): a z.

    Args:
        rows: array or tensor of shape (n, n).  Of a tensor the answer has a gradient history.
        degree: D, from 0 to n // 2, where the answer is exact.
    """
    n = rows.shape[0]
    tables = levels(n, degree)
    if isinstance(rows, Tensor):
        tables = on(rows.device, tables)
        state: State = [rows.new_ones(1), *(rows.new_zeros(math.comb(n, t)) for t in _to(degree))]
    else:
        state = [np.ones(1), *(np.zeros(math.comb(n, t)) for t in _to(degree))]
    kept = 80 * n * math.comb(n, degree)
    block = n if kept < _KEPT_BYTES or not torch.is_grad_enabled() else math.isqrt(n)
    log = 0.0
    for start in range(0, n, block):
        part = rows[start : start + block]
        if block < n and isinstance(rows, Tensor):
            # Nothing is drawn, so there is no state of generators to preserve.
            result: Any = checkpoint(
                _steps, part, start, tables, *state, use_reentrant=False, preserve_rng_state=False
            )
            *state, grown = result
        else:
            *state, grown = _steps(part, start, tables, *state)
        log += grown
    return state[0][0], log


def _to(degree: int) -> range:
    return range(1, degree + 1)


def _steps(rows: Any, start: int, tables: list[Level], *given: Any) -> tuple[Any, ...]:
    """The state after some rows, and the log of the factor taken out of it."""
    state, log = list(given), 0.0
    for i, row in enumerate(rows, start=start):
        state = _step(row, i, tables, state)
        if i % _RESCALE == _RESCALE - 1:
            # All tensors count: those of higher degree may be the only ones that are not zero.
            largest = max(float(abs(plain_array(w)).max()) for w in state)
            if largest > 0:
                state, log = [w / largest for w in state], log + math.log(largest)
    return *state, log


def _step(row: Any, i: int, tables: list[Level], state: State) -> State:
    """The state after row ``i``: products of ``row`` with every degree, down, level and up."""
    n, m, degree = row.shape[0], i + 1, len(tables)
    mean = row.mean()
    deviation = row - mean
    totals = [0 * state[0], *(table.totals(deviation) for table in tables)]
    # What stays, comes from above, comes from below, of each degree.
    new: State = []
    rising: Any = 0
    falling: list[Any] = [0] * (degree + 2)
    for j, w in enumerate(state):
        x = totals[j] * w
        if j == 0:
            level, raised = 0, 0
        else:
            k = tables[j - 1].down(x) / (-(n - 2 * j + 1) * (n - 2 * j + 2))
            falling[j - 1] = (m - j + 1) * (m - j) * k
            raised = tables[j - 1].up(k)
            # On n = 2j points no function of degree j has another one as neighbour.
            level = 0 if n == 2 * j else (x + (n - 2 * j + 1) * raised) * (-2 / (n - 2 * j))
        new.append((m - j) * (mean * w + level) + rising)
        if j < degree:
            above = tables[j]
            rising = totals[j + 1] * above.up(w) - above.up(x + level + raised)
    return [(w + falling[j]) / m for j, w in enumerate(new)]


def sweep_constant(rows: Rows) -> tuple[float, float]:
    """:func:`sweep` of degree 0: the product of the means of rows."""
    means = rows.mean(1)
    if not means.all():
        return 0.0, 0.0
    return float(np.sign(means).prod()), float(np.log(np.abs(means)).sum())


def sweep_linear(rows: Rows) -> tuple[float, float]:
    """:func:`sweep` of degree 1 in O(n²), for n >= 3."""
    n = rows.shape[0]
    i = np.arange(n)
    m = i + 1
    means = rows.mean(1)
    deviations = rows - means[:, None]
    level = deviations * (-2 * i / ((n - 2) * m))[:, None] + (i * means / m)[:, None]
    rise = deviations / m[:, None]
    spread = (2 * i / (n * (n - 2) * m)).tolist()
    fall = (-i / (n * (n - 1))).tolist()
    a, w, log = 1.0, np.zeros(n), 0.0
    for r, mean in enumerate(means.tolist()):
        s = float(deviations[r] @ w)
        w = level[r] * w
        w += a * rise[r]
        w += spread[r] * s
        a = mean * a + fall[r] * s
        if r % _RESCALE == _RESCALE - 1:
            largest = max(abs(a), float(np.abs(w).max()))
            if largest > 0:
                a, w, log = a / largest, w / largest, log + math.log(largest)
    return a, log


def sweep_quadratic(rows: Rows) -> tuple[float, float]:
    """:func:`sweep` of degree 2 in O(n³), for n >= 5, its second tensor a symmetric matrix."""
    n = rows.shape[0]
    means = rows.mean(1)
    deviations = rows - means[:, None]
    a, w, pairs, log = 1.0, np.zeros(n), np.zeros((n, n)), 0.0
    # The matrix is updated in place: fresh memory would cost more than the arithmetic.
    work, left, right = np.empty((n, n)), np.ones((4, n)), np.ones((4, n))
    for i, mean in enumerate(means.tolist()):
        m, d = i + 1, deviations[i]
        s = float(d @ w)
        x = (d * w - s / n) * (-2 / (n - 2))
        c = -2 * s / (n * (n - 1))
        y = (pairs @ d) * (-1 / (n - 3))
        u = y * (-(m - 2) * (1 / (n - 4) + 1 / (n - 2))) - x - c / 2
        gain = d * (-2 * (m - 2) / ((n - 4) * m)) + (m - 2) * mean / (2 * m)
        np.add.outer(gain, gain, out=work)
        pairs *= work
        left[0], left[1], left[2] = d, w, u
        right[0], right[1], right[2], right[3] = w / m, d / m, 1 / m, u / m
        np.matmul(left.T, right, out=work)
        pairs += work
        pairs.ravel()[:: n + 1] = 0
        w = (a * d + (m - 1) * (mean * w + x) + ((m - 1) * (m - 2) / (n - 2)) * y) / m
        a = mean * a + (m - 1) * c / 2
        if i % _RESCALE == _RESCALE - 1:
            largest = max(abs(a), float(np.abs(w).max()), float(pairs.max()), -float(pairs.min()))
            if largest > 0:
                a, w, log = a / largest, w / largest, log + math.log(largest)
                pairs /= largest
    return a, log
