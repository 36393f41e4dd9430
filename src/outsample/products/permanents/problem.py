"""perm(A) / n!: the average over permutations of the product of the entries they pick."""

import math
from collections.abc import Hashable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from outsample.distributions import ArrayLike, Permutations, as_tensor
from outsample.errors import InputError, NumericalError
from outsample.problem import Problem
from outsample.products.permanents.dynamic_programming import LARGEST, Scaled, permanent
from outsample.products.permanents.scaling import has_perfect_matching, plain_array

#: Rows up to which degree 2 takes well under a second.
_QUADRATIC_ROWS = 300


class Permanent(Problem):
    """Average over uniform permutations x of M(x) = Π_i A[i, x(i)], which is perm(A) / n!.

    For a 0/1 matrix, perm(A) counts the perfect matchings of a bipartite graph, and M(x) says
    whether x is one.  Estimates hold ``log_value`` and ``sign`` of the average, and those that
    belong to permanents also ``log_permanent``, since both leave the range of numbers soon.

    Args:
        matrix: A, shape (n, n) with n >= 1, finite, of either sign.  A tensor keeps its gradient
            history and is read live.

    Raises:
        InputError: for a matrix that is not square, empty, not finite or not of floating point.

    Example:
        >>> import torch
        >>> Permanent(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).exact()  # (1·4 + 2·3) / 2!
        tensor(5.)
    """

    def __init__(self, matrix: Float[Tensor, "n n"] | ArrayLike) -> None:
        a = as_tensor("matrix", matrix, None, "Permanent")
        if a.dim() != 2 or a.shape[0] != a.shape[1] or a.shape[0] == 0:
            raise InputError(
                f"Permanent: matrix has shape {tuple(a.shape)}; expected (n, n) with n >= 1"
            )
        #: A, shape (n, n).
        self.matrix: Tensor = a
        self.inputs = Permutations(a.shape[0], a.dtype, a.device)
        self.output_shape = ()

    @property
    def size(self) -> int:
        """n, the number of rows."""
        return self.matrix.shape[0]

    def __call__(self, x: Int64[Tensor, "batch n"]) -> Float[Tensor, " batch"]:
        """Π_i A[i, x(i)] for each permutation, a row of ``x``; shape (batch,)."""
        rows = torch.arange(self.size, device=self.device)
        return self.matrix[rows, x].prod(dim=1)

    def is_zero(self) -> str | None:
        """Why the permanent is exactly 0 whatever the other entries are, or None if it may not be.

        Zero rows and columns, and any other support without a perfect matching.
        """
        support = plain_array(self.matrix) != 0
        if support.all():
            return None
        for name, axis in (("row", 1), ("column", 0)):
            empty = np.flatnonzero(~support.any(axis))
            if empty.size:
                return f"{name} {empty[0]} is zero"
        if not has_perfect_matching(support):
            return "every permutation meets a zero entry: the support has no perfect matching"
        return None

    def has_exact(self) -> bool:
        """Whether :meth:`exact` is affordable: n <= 24, or exactly 0."""
        return self.size <= LARGEST or self.is_zero() is not None

    def exact(self) -> Tensor | None:
        """perm(A) / n! by dynamic programming over sets of columns (2ⁿ n / 2 products), or None.

        The relative error is about n roundings for a nonnegative matrix, and for others that
        small beside perm(|A|) / n!.  No gradients: :meth:`Projection.estimate
        <outsample.products.Projection>` with degree n // 2 is exact and has them.

        Raises:
            NumericalError: if the average leaves the range of the dtype, or entries differ by so
                many orders of magnitude that all products underflow.
        """
        if self.size <= LARGEST:
            return self._average(self.exact_permanent())
        return None if self.is_zero() is None else self.matrix.new_zeros(())

    def exact_permanent(self) -> Scaled:
        """perm(A) itself, as mantissa and exponent; for n <= 24.

        Raises:
            InputError: for a larger matrix.
            NumericalError: as :meth:`exact`.
        """
        if self.size > LARGEST:
            raise InputError(
                f"Permanent.exact_permanent: matrix has {self.size} rows; expected at most "
                f"{LARGEST}: the work doubles with every row. Estimate it with Projection(degree=2)"
            )
        if self.is_zero() is not None:
            return Scaled(0.0, 0)
        plain = plain_array(self.matrix)
        found = permanent(plain)
        if found.mantissa == 0 and not (plain < 0).any():
            raise NumericalError(
                "Permanent: all products of entries underflow; scale rows and columns of the "
                "matrix so that its largest product of n entries is near 1"
            )
        return found

    def variance_given(self, mean: Tensor) -> Tensor | None:
        """Var M(x) = perm(A∘A) / n! - mean², shape ().

        Exact for n <= 24 and for 0/1 matrices.  Else perm(A∘A) is an estimate of degree 2 (of
        degree 1 beyond 300 rows), and the answer is None if that is not to be trusted.
        """
        mean = mean.detach()
        plain = plain_array(self.matrix)
        if ((plain == 0) | (plain == 1)).all():
            return mean * (1 - mean)
        # Squares leave the range of numbers twice as soon.
        exponents = np.frexp(np.abs(plain).max(1))[1]
        squares = Permanent(np.ldexp(plain, -exponents[:, None]) ** 2)
        shift = 2 * int(exponents.sum())
        if self.size <= LARGEST:
            total = squares.exact_permanent()
            second = self._average(total._replace(exponent=total.exponent + shift))
            return (second - mean**2).clamp_min(0)
        from outsample.products.permanents.harmonic_head import project

        found = project(squares, degree=2 if self.size <= _QUADRATIC_ROWS else 1, scaling="shrunk")
        if found.trust != "ok" or found.log_value is None:
            return None
        second = (found.log_value + shift * math.log(2)).exp().to(mean)
        return (second - mean**2).clamp_min(0)

    def sampled_truth(self, samples: int, seed: int) -> tuple[Tensor, Tensor] | None:
        """Sequential importance sampling, for nonnegative matrices; else None.

        Args:
            samples: permutations it may draw.
            seed: different seeds give independent values.
        """
        from outsample.products.permanents.importance_sampling import SequentialImportanceSampling

        sampler = SequentialImportanceSampling(samples, seed)
        if samples < 2 or sampler.accepts(self) is not None:
            return None
        estimate = sampler.estimate(self)
        if estimate.standard_error is None:
            raise TypeError("two samples or more have a standard error")
        return estimate.value, estimate.standard_error

    def signature(self) -> Hashable:
        """Size, dtype, device, and whether there are zeros and negative entries.

        Only nonnegative matrices have their columns scaled, and some zeros end all work.
        """
        plain = plain_array(self.matrix)
        zeros = "zero" if self.is_zero() is not None else "zeros" if not plain.all() else "none"
        kind = zeros, bool((plain < 0).any())
        return "permanent", self.size, self.dtype, self.device, kind

    def tensors(self) -> list[Tensor]:
        """The matrix."""
        return [self.matrix]

    def describe(self) -> str:
        """One line for tables and error messages."""
        return f"Permanent of a {self.size} by {self.size} matrix"

    def _average(self, total: Scaled) -> Tensor:
        mantissa, shift = math.frexp(total.mantissa / math.factorial(self.size))
        try:
            value = math.ldexp(mantissa, total.exponent + shift)
        except OverflowError:
            value = math.inf
        average = self.matrix.detach().new_tensor(value)
        if mantissa != 0 and not 0 < abs(float(average)) < math.inf:
            raise NumericalError(
                f"Permanent: perm(A) / n! is exp({total.log() - math.lgamma(self.size + 1):.6g}), "
                f"outside the range of {self.dtype}; exact_permanent() has its logarithm"
            )
        return average
