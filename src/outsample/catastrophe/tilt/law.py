"""Gaussian tilts of the standard normal law."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from jaxtyping import Float64
from torch import Tensor


@dataclass(frozen=True)
class TiltedLaw:
    """Q = N(mean, covariance), as the tilt dQ / dP ∝ exp(q) of P = N(0, I) by a quadratic q.

    q(x) = meanᵀ y + yᵀ A y / 2 with y = x - mean and A = I - covariance⁻¹, up to a constant.
    """

    mean: Float64[Tensor, " n"]
    precision: Float64[Tensor, "n n"]

    @classmethod
    def untilted(cls, like: Float64[Tensor, " n"]) -> Self:
        """N(0, I) on as many entries as ``like`` has."""
        eye = torch.eye(like.shape[0], dtype=like.dtype, device=like.device)
        return cls(torch.zeros_like(like), eye)

    @classmethod
    def of(cls, linear: Float64[Tensor, " n"], precision: Float64[Tensor, "n n"]) -> Self:
        """The law ∝ exp(linearᵀ x - xᵀ precision x / 2).

        Raises:
            torch.linalg.LinAlgError: if there is none: ``precision`` is not positive definite.
        """
        factor = torch.linalg.cholesky(precision)
        law = cls(torch.cholesky_solve(linear[:, None], factor)[:, 0], precision)
        law.__dict__.update(linear=linear, factor=factor)
        return law

    @cached_property
    def factor(self) -> Float64[Tensor, "n n"]:
        """Lower Cholesky factor of the precision."""
        return torch.linalg.cholesky(self.precision)

    @cached_property
    def axes(self) -> tuple[Float64[Tensor, " n"], Float64[Tensor, "n n"]]:
        """Eigenvalues of the precision, ascending, and eigenvectors in columns."""
        return torch.linalg.eigh(self.precision)

    @cached_property
    def covariance(self) -> Float64[Tensor, "n n"]:
        """Covariance of Q, shape (n, n)."""
        return torch.cholesky_inverse(self.factor)

    @cached_property
    def linear(self) -> Float64[Tensor, " n"]:
        """Precision times mean: the linear term of the log density."""
        return self.precision @ self.mean

    @cached_property
    def curvature(self) -> Float64[Tensor, "n n"]:
        """Second derivative A of q."""
        return torch.eye(len(self.mean)).to(self.precision) - self.precision

    @cached_property
    def divergence(self) -> float:
        """Kullback-Leibler divergence KL(Q ‖ P), in nats."""
        n = len(self.mean)
        log_det = 2 * float(self.factor.diagonal().log().sum())
        return 0.5 * (float(self.covariance.trace() + self.mean @ self.mean) - n + log_det)

    @cached_property
    def variance(self) -> float:
        """Var_Q(q)."""
        scaled = self.curvature @ self.covariance
        linear = self.mean @ self.covariance @ self.mean
        return float(linear + 0.5 * (scaled * scaled.T).sum())

    def moved(self, amount: float) -> "TiltedLaw":
        """Q tilted once more, by exp(amount · q)."""
        precision = self.precision - amount * self.curvature
        return TiltedLaw.of(precision @ self.mean + amount * self.mean, precision)

    def mixed(self, other: "TiltedLaw", share: float) -> "TiltedLaw":
        """The law between this and ``other`` in natural parameters, at ``share`` of the way."""
        return TiltedLaw.of(
            torch.lerp(self.linear, other.linear, share),
            torch.lerp(self.precision, other.precision, share),
        )
