"""Formulas of the price list: FLOPs of one call, from what it reads and writes.

Leading terms only, as is usual.  Those of factorizations are in G. H. Golub and C. F. Van Loan,
*Matrix Computations*, 4th edition: Cholesky 4.2, LU 3.2, QR 5.2, symmetric eigenproblems 8.3,
eigenproblems 7.5, singular values 8.6.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Call(NamedTuple):
    """One call of an operation: positional and other arguments, and its first result."""

    args: tuple[Any, ...]
    options: dict[str, Any]
    result: Any

    def get(self, position: int, default: Any) -> Any:
        """Positional argument, or its default if the call leaves it out."""
        return self.args[position] if position < len(self.args) else default


Pricing = Callable[[Call], float]


# Entrywise work and reductions ------------------------------------------------------------------


def stored(tensor: Tensor) -> int:
    """Number of entries, of a sparse tensor those in its pattern."""
    return tensor.numel() if tensor.layout == torch.strided else tensor._nnz()


def entries(tensor: Tensor) -> int:
    """Stored entries, a complex one worth four: 8 real operations a product and sum, not 2."""
    return stored(tensor) * (4 if tensor.is_complex() else 1)


def per_result(multiple: int) -> Pricing:
    """``multiple`` for each entry of the result."""
    return lambda call: multiple * entries(call.result)


def per_argument(multiple: int, position: int) -> Pricing:
    """``multiple`` for each entry of one argument."""
    return lambda call: multiple * entries(call.args[position])


def scaled_sum(call: Call) -> int:
    """1 for each entry of a ± b, 2 for a ± alpha·b."""
    return entries(call.result) * (1 if call.options.get("alpha", 1) == 1 else 2)


_POWERS = {0: 0, 1: 0, 2: 1, 3: 2, -1: 1, -2: 2, 0.5: 4, -0.5: 4}


def power(call: Call) -> int:
    """Products, reciprocals and roots where the exponent allows, else exp(y log x)."""
    exponent = call.args[1]
    multiple = 24 if isinstance(exponent, Tensor) else _POWERS.get(exponent, 24)
    return multiple * entries(call.result)


def polynomial(call: Call) -> float:
    """Three-term recurrence up to the (largest) degree."""
    degree = call.args[1]
    return 3 * entries(call.result) * float(degree.max() if isinstance(degree, Tensor) else degree)


def batch_norm(call: Call) -> int:
    """One multiplication and addition an entry; in training also mean and variance."""
    training = any(a is True for a in call.args)
    return (6 if training else 2) * entries(call.args[0])


def optimizer_step(multiple: int) -> Pricing:
    """``multiple`` for each parameter in the list that comes first."""
    return lambda call: multiple * sum(entries(parameter) for parameter in call.args[0])


# Products, pooling, transforms, sorting ---------------------------------------------------------


def product(first: int) -> Pricing:
    """2mnk, with the factors at positions ``first`` and ``first + 1``."""

    def price(call: Call) -> int:
        left, right = call.args[first : first + 2]
        shared = left.size(-1) * (left.size(0) if left.dim() == 3 else 1)
        return 2 * entries(left) * stored(right) // max(shared, 1)

    return price


def convolution(call: Call) -> int:
    """2 for each entry of the result (of the operand if transposed) and weight it meets."""
    operand, weight, transposed = call.args[0], call.args[1], call.args[6]
    return 2 * entries(operand if transposed else call.result) * math.prod(weight.shape[1:])


def convolution_backward(call: Call) -> int:
    """A convolution for each gradient wanted, and a sum for the bias."""
    gradient, operand, weight, transposed, wanted = (call.args[i] for i in (0, 1, 2, 7, 10))
    one = 2 * entries(operand if transposed else gradient) * math.prod(weight.shape[1:])
    return one * (wanted[0] + wanted[1]) + wanted[2] * entries(gradient)


def attention(query: int, per_key: int, per_value: int, per_score: int) -> Pricing:
    """Work on each score of queries (at position ``query``) with keys, of length d, and values."""

    def price(call: Call) -> int:
        q, k, v = call.args[query : query + 3]
        scores = q.numel() // max(q.size(-1), 1) * k.size(-2)
        return scores * (per_key * q.size(-1) + per_value * v.size(-1) + per_score)

    return price


def pooling(call: Call) -> int:
    """1 for each entry of each window."""
    return math.prod(call.args[1]) * entries(call.result)


def pooling_backward(call: Call) -> int:
    """1 for each entry of each window, of average pooling."""
    return math.prod(call.args[2]) * entries(call.args[0])


def accumulation(call: Call) -> int:
    """1 for each value if values are added, 0 if they are only put there."""
    return entries(call.args[2]) if call.get(3, False) else 0


def comparisons(count: int, length: int) -> int:
    """⌈log₂ length⌉ for each of ``count`` entries."""
    return count * math.ceil(math.log2(max(length, 2)))


def sort(position: int) -> Pricing:
    """Comparisons along the dimension given at ``position``, or the last."""

    def price(call: Call) -> int:
        operand: Tensor = call.args[0]
        dim = call.options.get("dim", call.get(position, -1))
        return comparisons(operand.numel(), operand.size(dim) if operand.dim() else 1)

    return price


def fourier(call: Call) -> float:
    """5N log₂ n, half if the operand or the result is real."""
    longer = max(call.args[0], call.result, key=torch.numel)
    length = math.prod(longer.size(d) for d in call.args[1])
    real = not (call.args[0].is_complex() and call.result.is_complex())
    return (2.5 if real else 5) * longer.numel() * math.log2(max(length, 1))


# Factorizations ---------------------------------------------------------------------------------


def matrices(formula: Callable[[int, int], float]) -> Pricing:
    """``formula`` of m and n for each m×n matrix of the first argument."""
    return matrices_by_option(lambda m, n, _: formula(m, n))


def matrices_by_option(formula: Callable[[int, int, Call], float]) -> Pricing:
    """The same where the price depends on how the operation is called."""

    def price(call: Call) -> float:
        *_, m, n = call.args[0].shape
        return formula(m, n, call) * entries(call.args[0]) / max(m * n, 1)

    return price


def lu(m: int, n: int) -> float:
    """Gaussian elimination, m×n."""
    return min(m, n) ** 2 * (max(m, n) - min(m, n) / 3)


def householder(m: int, n: int) -> float:
    """Reduction to triangular form by reflections, m×n."""
    return 2 * lu(m, n)


def qr(m: int, n: int, call: Call) -> float:
    """The reduction, and the product of the reflections with as many columns as are wanted."""
    k, mode = min(m, n), call.get(1, "reduced")
    if mode == "r":
        return householder(m, n)
    if mode == "complete":
        return householder(m, n) + 4 * (m * m * k - m * k * k + k**3 / 3)
    return householder(m, n) + 2 * k * k * (m - k / 3)


def svd(m: int, n: int) -> float:
    """Golub and Reinsch, or with a QR factorization first where that costs less."""
    long, short = max(m, n), min(m, n)
    return min(14 * long * short**2 + 8 * short**3, 6 * long * short**2 + 20 * short**3)


def eigh(n: int) -> float:
    """Symmetric QR iteration, with vectors."""
    return 9 * n**3


def pseudoinverse(m: int, n: int, call: Call) -> float:
    """Singular vectors, or eigenvectors of a Hermitian matrix, and one product."""
    spectrum = eigh(n) if call.options.get("hermitian", False) else svd(m, n)
    return spectrum + 2 * m * n * min(m, n)


def per_column(multiple: int, matrix: int) -> Pricing:
    """``multiple``·n² for each column solved for, with the n×n matrix at position ``matrix``."""
    return lambda call: multiple * call.args[matrix].size(-1) * entries(call.result)


def solve(call: Call) -> float:
    """Elimination, then two triangular systems for each column."""
    return matrices(lu)(call) + per_column(2, 0)(call)


def least_squares(call: Call) -> float:
    """Reduction to triangular form, then 4mn for each column."""
    return matrices(householder)(call) + 4 * call.args[0].size(-2) * entries(call.result)
