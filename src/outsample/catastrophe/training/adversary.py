"""Adversaries: laws of the inputs that make a catastrophe likelier, within a budget."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from outsample.catastrophe.detectors import Detector
from outsample.catastrophe.problem import CatastropheProbability
from outsample.catastrophe.tilt import Tilt
from outsample.catastrophe.training.objective import Objective, Terms
from outsample.catastrophe.training.settings import positive_number
from outsample.distributions import Gaussian
from outsample.errors import InputError
from outsample.estimator import positive_integer

#: Halvings in search of the largest share of a move that keeps within the budget.
_HALVINGS = 40
#: Share of the largest variance below which the reference counts as singular.
_SINGULAR = 1e-12


class Adversary(nn.Module, ABC):
    """A law D of the inputs with parameters to raise a probability with, near a reference P0.

    All its parameters that matter are 0 where D = P0; after each step they are scaled back by
    one factor until :meth:`divergence` is within ``kl_budget``.

    Args:
        reference: P0, with a positive definite covariance; kept in float64.
        kl_budget: largest divergence from P0, in nats.

    Raises:
        InputError: for a reference that is no Gaussian or has a singular covariance, and a budget
            that is not positive and finite.
    """

    def __init__(self, reference: Gaussian, kl_budget: float) -> None:
        super().__init__()
        name = type(self).__name__
        if not isinstance(reference, Gaussian):
            raise InputError(
                f"{name}: reference is {type(reference).__name__}; expected a Gaussian"
            )
        self.kl_budget = positive_number(name, "kl_budget", kl_budget)
        mean, scale = reference.mean.detach().double(), reference.scale.detach().double()
        self.reference = Gaussian.trusted(mean, scale)
        #: A with A Aᵀ = the reference's covariance, columns along its principal axes.
        self.axes = _principal_axes(scale, len(mean), name)

    @abstractmethod
    def problem(self, network: nn.Module, detector: Detector) -> CatastropheProbability:
        """P(detector(network(x))), x ~ D; differentiable in D's parameters and the network's."""

    def divergence(self) -> Float64[Tensor, ""]:
        """What the budget bounds, shape (), in nats; 0 where D = P0."""
        return self.measure()()

    @abstractmethod
    def measure(self) -> Callable[[], Float64[Tensor, ""]]:
        """What computes the divergence, again and again as only :meth:`moves` change."""

    @abstractmethod
    def moves(self) -> list[nn.Parameter]:
        """The parameters that are 0 where D = P0."""

    @torch.no_grad()
    def project(self) -> None:
        """Scale D back towards P0, by one factor, until it is within the budget."""
        measure = self.measure()
        if float(measure()) <= self.kl_budget:
            return
        whole = [move.clone() for move in self.moves()]
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            share = (low + high) / 2
            self._place(whole, share)
            within = float(measure()) <= self.kl_budget
            low, high = (share, high) if within else (low, share)
        self._place(whole, low)

    def ascend(self, terms: Terms, optimizer: torch.optim.Optimizer) -> None:
        """One step of the optimiser up the gradient of ``terms``, and back into the budget."""
        parameters = [*self.parameters()]
        slopes = torch.autograd.grad(-terms.total, parameters, allow_unused=True)
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.grad = slope
        optimizer.step()
        self.project()

    def strengthen(
        self,
        network: nn.Module,
        detector: Detector,
        steps: int = 100,
        rate: float = 0.05,
        tilt: Tilt | None = None,
    ) -> list[float]:
        """Raise the detector's probability by Adam's method, and keep the best law met.

        Args:
            network: the model under attack; it is not changed.
            detector: what is to happen.
            steps: ascents.
            rate: step size, in units of the reference's standard deviations.
            tilt: how to estimate the probability; ``Tilt(order=3)`` unless given.

        Returns:
            log p before each ascent, and after the last.

        Raises:
            InputError: for settings out of range, and what CatastropheProbability refuses.
            NumericalError: if the cumulants diverge.
        """
        name = f"{type(self).__name__}.strengthen"
        positive_integer(name, "steps", steps)
        optimizer = torch.optim.Adam(self.parameters(), lr=positive_number(name, "rate", rate))
        bound = self.problem(network, detector)
        if not bound.conjunctions or not all(bound.conjunctions):
            raise InputError(f"{name}: {detector!r} is certain or impossible; nothing to raise")
        objective = Objective(detector, None, tilt or Tilt())
        met: list[float] = []
        best = {key: value.clone() for key, value in self.state_dict().items()}
        for step in range(steps + 1):
            terms = objective(partial(self.problem, network))
            met.append(float(terms.total.detach()))
            if met[-1] >= max(met):
                best = {key: value.clone() for key, value in self.state_dict().items()}
            if step < steps:
                self.ascend(terms, optimizer)
        self.load_state_dict(best)
        return met

    def _place(self, whole: list[Tensor], share: float) -> None:
        for move, value in zip(self.moves(), whole, strict=True):
            move.copy_(share * value)


def _principal_axes(scale: Tensor, n: int, name: str) -> Float64[Tensor, "n n"]:
    if scale.dim() == 2:
        values, vectors = torch.linalg.eigh(scale)
        axes = vectors * values.clamp_min(0).sqrt()
    else:
        values = scale.expand(n)
        axes = torch.diag(values.sqrt())
    low, high = float(values.min()), float(values.max())
    if low <= _SINGULAR * high:
        raise InputError(
            f"{name}: the reference's variance along an axis is {low:.3g}, the largest is "
            f"{high:.3g}; expected a positive definite covariance (add a little to its diagonal)"
        )
    return axes
