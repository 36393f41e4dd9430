"""An adversary that shifts and stretches the reference's normal law."""

from collections.abc import Callable

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from outsample.catastrophe.detectors import Detector
from outsample.catastrophe.problem import CatastropheProbability
from outsample.catastrophe.training.adversary import Adversary
from outsample.distributions import Gaussian


class GaussianAdversary(Adversary):
    """D = N(μ + A δ, A diag(e^2s) Aᵀ) for the reference N(μ, A Aᵀ): a shift δ and log scales s.

    A has the reference's principal axes as columns, the coordinates themselves where they are
    independent.  The budget bounds KL(D ‖ P0) = Σ (e^2s + δ² - 1 - 2 s) / 2 itself.

    Args:
        reference: P0, with a positive definite covariance; kept in float64.
        kl_budget: largest KL(D ‖ P0), in nats.

    Raises:
        InputError: for a reference that is no Gaussian or has a singular covariance, and a budget
            that is not positive and finite.

    Example:
        >>> import outsample as ou
        >>> adversary = GaussianAdversary(ou.Gaussian.standard(4), kl_budget=1.0)
        >>> float(adversary.divergence().detach())
        0.0
    """

    def __init__(self, reference: Gaussian, kl_budget: float) -> None:
        super().__init__(reference, kl_budget)
        zeros = torch.zeros_like(self.reference.mean)
        #: Shift along each axis in its standard deviations, and log of what these grow by.
        self.shift = nn.Parameter(zeros.clone())
        self.log_scale = nn.Parameter(zeros.clone())

    def law(self) -> Gaussian:
        """D as it stands, differentiable in the parameters."""
        mean = self.reference.mean + self.axes @ self.shift
        if self.reference.scale.dim() < 2:
            return Gaussian.trusted(mean, self.reference.variance * (2 * self.log_scale).exp())
        root = self.axes * self.log_scale.exp()
        return Gaussian.trusted(mean, root @ root.T)

    def problem(self, network: nn.Module, detector: Detector) -> CatastropheProbability:
        """P(detector(network(x))), x ~ D."""
        return CatastropheProbability(network, self.law(), detector)

    def measure(self) -> Callable[[], Float64[Tensor, ""]]:
        """What computes KL(D ‖ P0)."""
        return self._divergence

    def _divergence(self) -> Float64[Tensor, ""]:
        grown = 2 * self.log_scale
        return 0.5 * (grown.expm1() - grown + self.shift.square()).sum()

    def moves(self) -> list[nn.Parameter]:
        """The shift and the log scales."""
        return [self.shift, self.log_scale]
