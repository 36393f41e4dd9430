"""The tilt of a network's quadratic model under which its outputs reach their thresholds."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from scipy.optimize import brentq, nnls
from torch import Tensor

from outsample.catastrophe.tilt.law import TiltedLaw
from outsample.catastrophe.tilt.order2 import Local

#: The tilt stops short of where the model's moment generating function becomes infinite.
_SHORT = 0.98
#: Newton steps for several thresholds, and when they have converged.
_STEPS, _TOLERANCE = 30, 1e-6
#: How precisely the strength of a single threshold is found.
_ROUND = np.float64(1e-9)


class Quadratic:
    """f_j(x) ≈ its Taylor expansion about Q in expectation, and an independent remainder."""

    def __init__(self, law: TiltedLaw, local: Local) -> None:
        """Take the outputs to second order under ``law``."""
        mean, covariance = law.mean, law.covariance
        self.hessian = local.hessian
        self.slope = local.gradient - local.hessian @ mean
        curved = local.hessian @ covariance
        self.constant = (
            local.mean
            - local.gradient @ mean
            + 0.5 * (local.hessian @ mean) @ mean
            - 0.5 * curved.diagonal(dim1=1, dim2=2).sum(1)
        )
        explained = local.gradient @ covariance @ local.gradient.T
        explained = explained + 0.5 * torch.einsum("aij,bji->ab", curved, curved)
        #: Covariance of the remainder, shape (d, d), positive semidefinite.
        self.residual = _positive_part(local.covariance - explained)

    def tilted(self, strength: Float64[Tensor, " d"]) -> TiltedLaw:
        """N(0, I) tilted by exp(Σ strength_j f_j) of the model."""
        return TiltedLaw.of(strength @ self.slope, self.precision(strength))

    def precision(self, strength: Float64[Tensor, " d"]) -> Float64[Tensor, "n n"]:
        """The tilt's precision; there is no such tilt unless it is positive definite."""
        negative = -torch.tensordot(strength, self.hessian, 1)
        negative.diagonal().add_(1)
        return negative

    def means(self, law: TiltedLaw) -> Float64[Tensor, " d"]:
        """E_Q f_j of the model, without the remainder."""
        x = law.mean
        curved = (self.hessian @ x) @ x + (self.hessian * law.covariance).sum((1, 2))
        return self.constant + self.slope @ x + 0.5 * curved

    def covariances(self, law: TiltedLaw) -> Float64[Tensor, "d d"]:
        """Cov_Q f of the model, with the remainder."""
        gradient = self.slope + self.hessian @ law.mean
        curved = self.hessian @ law.covariance
        explained = gradient @ law.covariance @ gradient.T
        return self.residual + explained + 0.5 * torch.einsum("aij,bji->ab", curved, curved)


def saddle(
    model: Quadratic, thresholds: Float64[Tensor, " d"], start: Float64[Tensor, " d"]
) -> Float64[Tensor, " d"]:
    """Strengths b ≥ 0 with E_b f ≥ thresholds, and equality where b > 0.

    For several thresholds Newton's method starts from ``start``.
    """
    if len(thresholds) == 1:
        return _one(model, float(thresholds[0]))
    # What an earlier model could bear may be too much for this one.
    strength = _feasible(lambda share: model.precision(share * start)) * start
    law = model.tilted(strength)
    for _ in range(_STEPS):
        gap = thresholds - model.means(law) - model.residual @ strength
        step = _projected_step(strength, gap, model.covariances(law)) - strength
        share = _feasible(lambda s, b=strength, d=step: model.precision(b + s * d))
        strength = strength + share * step
        law = model.tilted(strength)
        if float((share * step).abs().max()) <= _TOLERANCE * (1 + float(strength.max())):
            break
    return strength


def is_definite(precision: Float64[Tensor, "n n"]) -> bool:
    """Whether a precision is positive definite, with room to spare."""
    less = precision.clone()
    less.diagonal().sub_(1 - _SHORT)
    return int(torch.linalg.cholesky_ex(less)[1]) == 0


def _one(model: Quadratic, threshold: float) -> Float64[Tensor, " 1"]:
    """The same for one threshold, in the eigenbasis of the Hessian."""
    values, vectors = torch.linalg.eigh(model.hessian[0])
    squares = (vectors.T @ model.slope[0]).square().cpu().numpy()
    h = values.cpu().numpy()
    constant, residual = float(model.constant[0]), float(model.residual[0, 0])

    def gap(strength: float) -> float:
        spread = 1 / (1 - strength * h)  # the tilt's variances
        bent = h * spread
        linear = float(squares @ (spread * (strength + 0.5 * strength * strength * bent)))
        mean = constant + linear + 0.5 * float(bent.sum())
        return mean + strength * residual - threshold

    most = _SHORT / float(h[-1]) if h[-1] > 1e-12 else math.inf
    if gap(0.0) >= 0:
        return torch.zeros_like(model.constant)
    high = min(1.0, most)
    while gap(high) < 0 and high < most:
        high = min(2 * high, most)
        if high > 1e12:
            break
    found: Any = high if gap(high) <= 0 else brentq(gap, 0.0, high, xtol=1e-12, rtol=_ROUND)
    return torch.full_like(model.constant, float(found))


def _projected_step(strength: Tensor, gap: Tensor, covariance: Tensor) -> Tensor:
    """The b ≥ 0 that minimises (b - strength)ᵀ C (b - strength) / 2 - gap · (b - strength)."""
    scale = covariance.diagonal().clamp_min(1e-300).rsqrt()
    correlation = covariance * scale * scale[:, None]
    eye = torch.eye(len(gap)).to(covariance)
    factor, failed = torch.linalg.cholesky_ex(correlation + 1e-8 * eye)
    if int(failed):
        factor = torch.linalg.cholesky(correlation + 1e-4 * eye)
    scaled = strength / scale
    right = factor.T @ scaled + torch.linalg.solve_triangular(
        factor, (gap * scale)[:, None], upper=False
    ).squeeze(1)
    solution = nnls(factor.T.cpu().numpy(), right.cpu().numpy())[0]
    return torch.from_numpy(np.asarray(solution)).to(strength) * scale


def _feasible(precision: Callable[[float], Tensor]) -> float:
    """The largest of 1, ½, ¼, … at which the law exists."""
    share = 1.0
    while share > 1e-6 and not is_definite(precision(share)):
        share /= 2
    return share if share > 1e-6 else 0.0


def _positive_part(matrix: Tensor) -> Tensor:
    if matrix.shape[0] == 1:
        return matrix.clamp_min(0)
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * values.clamp_min(0)) @ vectors.T
