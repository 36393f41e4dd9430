"""What estimators of two-layer networks share: the problem they take, the estimate they return."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, cast

from jaxtyping import Float
from torch import Tensor

from outsample.errors import UnsupportedProblem
from outsample.estimator import Estimate, Estimator, Explanation
from outsample.problem import Problem
from outsample.readout.hermite_tensors import HermiteTensors
from outsample.readout.problem import TwoLayer


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ReadoutEstimate(Estimate):
    """E[σ(f)], and the cumulants of f that came out on the way."""

    #: Mean, variance, third and fourth cumulant of each readout f, shape (k, 4).
    cumulants: Float[Tensor, "k 4"]

    @property
    def skewness(self) -> Float[Tensor, " k"]:
        """κ_3 / κ_2^{3/2}, shape (k,); zero for a constant."""
        return self.cumulants[:, 2] / self.cumulants[:, 1].clamp_min(1e-100) ** 1.5

    @property
    def excess_kurtosis(self) -> Float[Tensor, " k"]:
        """κ_4 / κ_2², shape (k,); zero for a constant."""
        return self.cumulants[:, 3] / self.cumulants[:, 1].clamp_min(1e-100) ** 2


class ReadoutEstimator(Estimator):
    """A mechanistic method that takes a :class:`TwoLayer`, with Hermite tensors as advice."""

    mechanistic: ClassVar[bool] = True
    explanations: ClassVar[tuple[type[Explanation], ...]] = (HermiteTensors,)

    def accepts(self, problem: Problem) -> str | None:
        """Takes two-layer networks."""
        if isinstance(problem, TwoLayer):
            return None
        return "it takes a TwoLayer; TwoLayer.from_module reads one from a module"

    @abstractmethod
    def _estimate(self, problem: Problem, explanation: Explanation | None) -> ReadoutEstimate: ...

    def estimate(self, problem: Problem, explanation: Explanation | None = None) -> ReadoutEstimate:
        """Estimate E[σ(f)] of ``problem``, with the help of Hermite tensors if they are given.

        Raises:
            UnsupportedProblem: if the estimator does not take this problem or explanation.
            NumericalError: if the arithmetic leaves the range of the dtype.
        """
        return cast(ReadoutEstimate, super().estimate(problem, explanation))


def two_layer_of(problem: Problem) -> TwoLayer:
    """The problem, typed, once ``accepts`` has let it in."""
    if isinstance(problem, TwoLayer):
        return problem
    raise UnsupportedProblem(f"{problem.describe()} is no TwoLayer")
