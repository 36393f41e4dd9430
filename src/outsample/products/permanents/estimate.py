"""What is said of a permanent: its logarithm, and the marginals of its matchings."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.errors import InputError, NumericalError
from outsample.estimator import Estimate
from outsample.products.permanents.problem import Permanent
from outsample.sampling import SampledEstimate


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PermanentEstimate(Estimate):
    """An estimate of perm(A) / n!, with the logarithms of it and of perm(A).

    ``value`` may overflow or underflow; ``sign`` · exp(``log_value``) is the same number.  All
    have gradients in A where A wants them, except where the permanent is exactly 0.
    """

    log_value: Tensor | None = field(kw_only=True)
    sign: Tensor | None = field(kw_only=True)
    #: log |perm(A)|, -inf of 0; its sign is ``sign``.
    log_permanent: Tensor

    @cached_property
    def edge_marginals(self) -> Float[Tensor, "n n"]:
        """A_ij ∂ log|perm(A)| / ∂A_ij of the estimated permanent, shape (n, n), without gradients.

        For a nonnegative matrix: the probability that a permutation, drawn with weight M(x),
        takes i to j; for a 0/1 matrix, that a uniform perfect matching holds the edge.  Rows sum
        to 1 up to rounding.  Columns do where the estimate is exact; how far they are from it
        tells of the estimate's error.  Found by reverse-mode differentiation at first access, in
        a few times the time of an estimate.

        Raises:
            NumericalError: if the estimate is 0, where the logarithm has no derivative.
            InputError: if the matrix was changed in place since the estimate.
        """
        problem = self._problem
        if not isinstance(problem, Permanent):
            raise TypeError("only permanents have such an estimate")
        if sum(t._version for t in problem.tensors()) != self._version:
            raise InputError(
                "edge_marginals: the matrix was changed since the estimate; estimate it again"
            )
        if self.sign is None or not bool(self.sign.detach()):
            raise NumericalError("edge_marginals: the estimate is 0: no matching has weight")
        matrix = problem.matrix.detach().requires_grad_()
        with torch.enable_grad():
            again = cast(PermanentEstimate, self.estimator.estimate(Permanent(matrix)))
            (gradient,) = torch.autograd.grad(again.log_permanent, matrix)
        return matrix.detach() * gradient

    def to_dict(self) -> dict[str, Any]:
        """The estimate as plain numbers and strings; JSON has null for the logarithm of 0."""
        return {**super().to_dict(), "log_permanent": plain_log(self.log_permanent)}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SampledPermanent(SampledEstimate):
    """A sampled estimate of perm(A) / n!, with the logarithms of it and of perm(A)."""

    #: log |perm(A)|, -inf of 0.
    log_permanent: Tensor
    #: Relative standard error of the permanent; None from a single sample.
    relative_error: float | None

    def to_dict(self) -> dict[str, Any]:
        """The estimate as plain numbers and strings."""
        own = {
            "log_permanent": plain_log(self.log_permanent),
            "relative_error": self.relative_error,
        }
        return {**super().to_dict(), **own}


def plain_log(value: Tensor) -> float | None:
    """A logarithm for JSON: None for that of 0."""
    number = float(value.detach())
    return number if math.isfinite(number) else None
