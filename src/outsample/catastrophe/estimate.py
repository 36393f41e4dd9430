"""What estimators of catastrophes share: the problem they take and the estimate they return."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from outsample.catastrophe.problem import CatastropheProbability
from outsample.errors import UnsupportedProblem
from outsample.estimator import Estimate, Estimator, Explanation
from outsample.problem import Problem


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TailEstimate(Estimate):
    """A probability that may be far below the smallest number: ``value`` is exp(``log_value``).

    ``log_value`` is -inf where the method says that the event is impossible, or where sampling
    never saw it.
    """

    #: Standard error of the probability in units of itself, which is that of ``log_value``;
    #: None where no error is computed.
    relative_error: Tensor | None = None
    #: Evaluations of the network that were drawn; None for mechanistic methods.
    samples: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The estimate as plain numbers, strings, lists and dictionaries."""
        error = None if self.relative_error is None else float(self.relative_error)
        finite = error if error is not None and math.isfinite(error) else None
        return {**super().to_dict(), "relative_error": finite, "samples": self.samples}


class TailEstimator(Estimator):
    """A method that takes a :class:`CatastropheProbability`."""

    def accepts(self, problem: Problem) -> str | None:
        """Takes the probability of a detector."""
        if isinstance(problem, CatastropheProbability):
            return None
        return (
            "it takes probabilities of detectors; make one with CatastropheProbability(network, "
            "inputs, detector)"
        )

    @abstractmethod
    def _estimate(self, problem: Problem, explanation: Explanation | None) -> TailEstimate: ...

    def estimate(self, problem: Problem, explanation: Explanation | None = None) -> TailEstimate:
        """Estimate the probability; no explanation is of use.

        Raises:
            UnsupportedProblem: if ``problem`` is no CatastropheProbability, or not one that the
                method can take.
            NumericalError: if the arithmetic leaves the range of its dtype.
        """
        return cast(TailEstimate, super().estimate(problem, explanation))


def catastrophe_of(problem: Problem) -> CatastropheProbability:
    """The problem, typed, once ``accepts`` has let it in."""
    if isinstance(problem, CatastropheProbability):
        return problem
    raise UnsupportedProblem(f"{problem.describe()} is no CatastropheProbability")
