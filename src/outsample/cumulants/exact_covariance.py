"""Covariance propagation with exact bivariate Gaussian expectations."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from outsample.cumulants.estimate import CumulantEstimate, Propagation
from outsample.cumulants.gaussian_input import (
    affine_mean,
    dense,
    network_of,
    pushed_covariance,
)
from outsample.cumulants.monitor import VarianceMonitor
from outsample.estimator import Explanation, positive_integer
from outsample.networks.graph import Affine
from outsample.problem import Problem

#: A Mehler tail above this share of the standard deviations' product lowers trust.
_TAIL_TRUSTED = 1e-3


@dataclass(frozen=True)
class ExactCovariance(Propagation):
    """Assumed density filtering: every layer's pre-activations are taken as jointly Gaussian.

    Under that one assumption mean and covariance of the activations are exact: closed forms or
    one-dimensional integrals to round-off for ReLU, leaky ReLU, abs, hardtanh, sign, step, erf,
    sin and polynomials; for other activations the Mehler series E[φ(Z_i) φ(Z_j)] =
    Σ_k h_k(i) h_k(j) ρ^k / k! up to ``degree``, with a Cauchy–Schwarz bound on its tail in
    ``diagnostics["mehler_tail"]`` (relative to the standard deviations, largest over pairs and
    layers).

    Unlike :class:`~outsample.Cumulants` of order 2 it keeps every power of the correlation, but
    no correction for the fact that deeper pre-activations are not Gaussian.

    Args:
        degree: where the Mehler series stops for activations without a closed form.
        hidden: also return the means after every activation.

    Source: P. S. Maybeck, Stochastic Models, Estimation and Control, vol. 2 (1982), ch. 12
    (assumed density); Price's theorem (IRE Trans. Inf. Theory 4, 1958) for the covariances.
    """

    degree: int = 12
    hidden: bool = False

    def __post_init__(self) -> None:
        positive_integer("ExactCovariance", "degree", self.degree)

    @classmethod
    def at(cls, epsilon: float, problem: Problem) -> Self:
        """The default settings: the cost is fixed, whatever the tolerance."""
        del epsilon, problem
        return cls()

    def _estimate(self, problem: Problem, explanation: Explanation | None) -> CumulantEstimate:
        network, inputs = network_of(problem)
        mean, covariance = inputs.mean, inputs.scale
        hidden: list[Tensor] = []
        tails: list[Tensor] = []
        monitor = VarianceMonitor()
        for step in network.graph().steps:
            if isinstance(step, Affine):
                mean = affine_mean(step, mean)
                covariance = pushed_covariance(step.weight, covariance)
                continue
            covariance = dense(covariance, mean.shape[0])
            monitor.note(covariance.diagonal())
            expansion = step.expand(mean, covariance.diagonal())
            covariance, tail = step.covariance(mean, covariance, expansion, self.degree)
            mean = expansion.mean
            hidden.append(mean)
            if tail is not None:
                tails.append(tail.detach())
        trust, reasons, diagnostics = monitor.verdict()
        if tails:
            diagnostics["mehler_tail"] = worst = float(torch.stack(tails).amax())
            if worst > _TAIL_TRUSTED:
                trust = "low_confidence"
                reasons = (
                    *reasons,
                    f"the Mehler series cut at degree {self.degree} may be off by {worst:.2g} of "
                    "the standard deviations' product; raise degree",
                )
        return CumulantEstimate(
            value=mean.reshape(problem.output_shape),
            covariance=dense(covariance, mean.shape[0]),
            hidden=tuple(hidden) if self.hidden else None,
            trust=trust,
            reasons=reasons,
            diagnostics=diagnostics,
        )
