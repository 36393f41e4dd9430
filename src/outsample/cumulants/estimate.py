"""What propagation estimators share: the problems they take and the estimate they return."""

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, cast

from jaxtyping import Float
from torch import Tensor

from outsample.cumulants.expected_error import Layers
from outsample.cumulants.gaussian_input import refuse_unless_network
from outsample.estimator import Estimate, Estimator, Explanation
from outsample.problem import Problem
from outsample.tower import CumulantTower


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CumulantEstimate(Estimate):
    """An estimate by propagation through the layers of a network."""

    #: Means after every activation, first to last, each of shape (width,); None unless asked for.
    hidden: tuple[Float[Tensor, " width"], ...] | None = None
    #: Joint cumulants of the outputs, up to the order kept; None unless asked for.
    tower: CumulantTower | None = None
    _layers: Layers | None = field(default=None)

    @property
    def expected_error(self) -> float | None:
        """Predicted vn error of ``value``: squared error over the variance of M(x), or None.

        A law in the figures of ``diagnostics``, fitted on random networks and tested on others;
        see the documentation, theory/cumulants.  It knows nothing of trained networks.  Infinite
        where ``trust`` is not "ok"; None at order 1 and for inputs that are not Gaussian.
        """
        if self._layers is None:
            return None
        if self.trust != "ok":
            return math.inf
        method = self.estimator
        order, variant = getattr(method, "order", 0), getattr(method, "variant", "")
        return self._layers.expected_error(order, variant)


class Propagation(Estimator):
    """A mechanistic method that goes through the layers of a network on a Gaussian input."""

    mechanistic: ClassVar[bool] = True

    def accepts(self, problem: Problem) -> str | None:
        """Takes a NetworkMean whose input is Gaussian."""
        return refuse_unless_network(problem)

    @abstractmethod
    def _estimate(self, problem: Problem, explanation: Explanation | None) -> CumulantEstimate: ...

    def estimate(
        self, problem: Problem, explanation: Explanation | None = None
    ) -> CumulantEstimate:
        """Estimate E[M(x)] of a network, with the help of ``explanation`` if the method takes one.

        Raises:
            UnsupportedProblem: if the method does not take this network's input, the problem is
                no network, or the method cannot use this explanation.
            NumericalError: if the arithmetic overflows the dtype.
        """
        return cast(CumulantEstimate, super().estimate(problem, explanation))
