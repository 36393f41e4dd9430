"""The estimate of a halfspace probability: with the law of x given that it lies in all of them."""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from outsample.distributions import Gaussian
from outsample.estimator import Estimate
from outsample.problem import Problem
from outsample.products.halfspaces.problem import HalfspaceIntersection
from outsample.products.halfspaces.sites import cavities


@dataclass(frozen=True)
class Mixture:
    """Gaussians with sites on y = V z, z ~ N(0, I), mixed over values of t ~ N(0, I).

    U = Cov(t, z).  Expectation propagation has one component and no t: U has no rows.
    """

    #: V, shape (k, n), and U with U Uᵀ <= I, shape (r, n): the covariance of t and z.
    directions: NDArray[np.float64]
    axes: NDArray[np.float64]
    #: Weights of sum 1, shape (Q,), and values of t, shape (Q, r).
    weights: NDArray[np.float64]
    nodes: NDArray[np.float64]
    #: Sites of each component, shape (Q, k).
    precision: NDArray[np.float64]
    shift: NDArray[np.float64]

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean (n,) and covariance (n, n) of z."""
        n = self.directions.shape[1]
        rest = self.directions - self.directions @ self.axes.T @ self.axes
        found = cavities(rest @ self.directions.T, self.precision, self.shift)
        means = self.nodes @ self.axes + found.weights @ rest
        mean = self.weights @ means
        reduction = np.einsum("q,qij,qj->ij", self.weights, found.inverse, self.precision)
        covariance = np.eye(n) - self.axes.T @ self.axes - rest.T @ reduction @ rest
        spread = means - mean
        covariance += (spread.T * self.weights) @ spread
        return mean, (covariance + covariance.T) / 2


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HalfspaceEstimate(Estimate):
    """Probability of an intersection of halfspaces, and x given that it lies there."""

    #: The law of z, the whitened x; None if the intersection is empty.
    _mixture: Mixture | None = field(default=None)

    @property
    def truncated_mean(self) -> Float[Tensor, " n"] | None:
        """Mean of x in the intersection, shape (n,); None if that is empty.  No gradient."""
        return self._moments and self._moments[0]

    @property
    def truncated_covariance(self) -> Float[Tensor, "n n"] | None:
        """Covariance of x in the intersection, shape (n, n); None if that is empty."""
        return self._moments and self._moments[1]

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor] | None:
        if self._mixture is None:
            return None
        mean, covariance = map(torch.from_numpy, self._mixture.moments())
        return in_coordinates(self._problem, mean, covariance)


def in_coordinates(problem: Problem, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of x from those of z, where x is made from z ~ N(0, I).

    On a sphere x = z / |z|; direction and length are independent, also given a cone that z lies
    in, so that E[x] = E[z] / E|z| and E[x xᵀ] = E[z zᵀ] / n.
    """
    if not isinstance(problem, HalfspaceIntersection):
        raise TypeError(f"{type(problem).__name__} has no whitened coordinates")
    law = problem.inputs
    like = problem.normals
    if isinstance(law, Gaussian):
        with torch.no_grad():
            root = law.to(torch.float64, torch.device("cpu")).square_root()
            mean = law.mean.detach().cpu().double() + root @ mean
            covariance = root @ covariance @ root.T
    else:
        n = law.shape[0]
        length = math.sqrt(2) * math.exp(math.lgamma((n + 1) / 2) - math.lgamma(n / 2))
        second = (covariance + torch.outer(mean, mean)) / n
        mean = mean / length
        covariance = second - torch.outer(mean, mean)
    return mean.to(like.device, like.dtype), covariance.to(like.device, like.dtype)
