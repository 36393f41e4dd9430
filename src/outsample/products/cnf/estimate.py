"""What is said of a satisfying fraction: its logarithm, the number of models, the marginals."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jaxtyping import Float
from torch import Tensor

from outsample.estimator import Estimate


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SatisfyingEstimate(Estimate):
    """An estimate of P(all clauses hold), with its logarithm.

    ``value`` may underflow where ``log_value`` is finite; ``sign`` is 1, or 0 where the estimate
    is 0 and ``log_value`` is -inf.
    """

    log_value: Tensor | None = field(kw_only=True)
    sign: Tensor | None = field(kw_only=True)
    #: Base-2 logarithm of the number of models, -inf for none; None unless all bits are fair.
    log2_models: float | None
    _marginals: Callable[[], Tensor]

    @cached_property
    def marginals(self) -> Float[Tensor, " n"]:
        """P(x_j = 1 | all clauses hold), shape (n,), from the same head.

        Found at first access by a second pass that keeps every variable to its end, at a few
        times the cost of the estimate where clauses are sparse.  Clamped to [0, 1].

        Raises:
            NumericalError: if the estimate is 0: there is nothing to condition on.
        """
        return self._marginals()

    def to_dict(self) -> dict[str, Any]:
        """The estimate as plain numbers and strings; JSON has null for the logarithm of 0."""
        models = self.log2_models
        shown = None if models is None or not math.isfinite(models) else models
        return {**super().to_dict(), "log2_models": shown}
