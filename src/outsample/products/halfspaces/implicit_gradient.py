"""Derivatives of a log probability by the implicit function theorem at the fixed point.

With sites x* = F(x*, φ) and log p = G(x*, φ), φ the Gram matrix and the limits,

    d log p / dφ = G_φ + λᵀ F_φ,   (I - F_xᵀ) λ = G_x.

F is one sweep over all sites, differentiated by autograd; the iteration itself is not.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from outsample.products.halfspaces.corrections import (
    DEGREE,
    correlations,
    pair_terms,
    second_order,
    third_order,
)
from outsample.products.halfspaces.sites import (
    cavities,
    covariance,
    log_normaliser,
    matched_sites,
    tilt,
)
from outsample.products.halfspaces.truncated_normal import hermite_coefficients

#: Stands for an infinite limit, whose derivatives would be 0 · inf.
_FAR = 1e9


@dataclass(frozen=True)
class Linearisation:
    """Where to differentiate: a weighted sum of log probabilities over a batch of problems.

    Problem q has Gram matrix K - a aᵀ and limits shifted by -a t_q, for a fixed matrix a.
    """

    #: Sites at the fixed point, shape (Q, 2k): precisions, then shifts.
    sites: NDArray[np.float64]
    #: Weights of the problems, shape (Q,), sum 1; their shifts, shape (Q, k), and a aᵀ.
    weights: NDArray[np.float64]
    shifts: NDArray[np.float64]
    removed: NDArray[np.float64]
    #: Factors on the coefficients, shape (degrees, Q, 1), and on the corrections, shape (Q,).
    kept: NDArray[np.float64]
    corrected: NDArray[np.float64]
    #: Whether third-order corrections are in the value.
    third: bool

    def value(self, sites: Tensor, gram: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """The weighted sum of log probabilities, as a function of the sites and of φ."""
        k = gram.shape[0]
        tau, nu = sites[:, :k], sites[:, k:]
        cavity = cavities(gram, tau, nu, torch)
        law = tilt(cavity, lower, upper, torch)
        value = log_normaliser(gram, tau, cavity, law, torch)
        if self.corrected.any() and k > 1:
            rho = correlations(covariance(gram, tau, cavity.inverse, torch), torch)
            coefficients = hermite_coefficients(law, DEGREE, torch) * torch.from_numpy(self.kept)
            pairs = pair_terms(coefficients, rho, DEGREE)
            added = second_order(pairs)
            if self.third:
                added = added + third_order(coefficients, rho, pairs, torch)
            value = value + torch.from_numpy(self.corrected) * added
        return value @ torch.from_numpy(self.weights)

    def gradient(self, gram: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, ...]:
        """Derivatives of log p by gram, lower and upper, through the sites too."""
        arguments = [t.detach().clone().requires_grad_() for t in (gram, lower, upper)]
        sites = torch.from_numpy(self.sites).requires_grad_()
        with torch.enable_grad():
            rest = arguments[0] - torch.from_numpy(self.removed)
            moved = torch.from_numpy(self.shifts)
            low, high = (
                a.clamp(-_FAR, _FAR) - moved for a in arguments[1:]
            )  # a clamped limit has no derivative
            value = self.value(sites, rest, low, high)
            by_sites, *direct = torch.autograd.grad(
                value, [sites, *arguments], retain_graph=True, materialize_grads=True
            )
            k = rest.shape[0]
            cavity = cavities(rest, sites[:, :k], sites[:, k:], torch)
            update = torch.cat(matched_sites(cavity, tilt(cavity, low, high, torch), torch), dim=1)
            width = update.shape[1]
            units = torch.eye(width, dtype=update.dtype)[:, None].expand(-1, len(update), -1)
            rows = torch.autograd.grad(
                update, sites, units, retain_graph=True, is_grads_batched=True
            )[0]
            jacobian = rows.transpose(0, 1)  # (Q, 2k, 2k)
            system = torch.eye(width, dtype=update.dtype) - jacobian.mT
            adjoint = torch.linalg.solve(system, by_sites[..., None])[..., 0]
            through = torch.autograd.grad(update, arguments, adjoint, materialize_grads=True)
        return tuple(a + b for a, b in zip(direct, through, strict=True))


class LogProbability(torch.autograd.Function):
    """A log probability found without autograd, with its derivatives."""

    @staticmethod
    def forward(
        ctx: Any, gram: Tensor, lower: Tensor, upper: Tensor, found: float, at: Linearisation
    ) -> Tensor:
        """Return ``found``; ``at`` says where to differentiate."""
        ctx.save_for_backward(gram, lower, upper)
        ctx.at = at
        return gram.new_tensor(found)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Multiply the derivatives with the incoming gradient."""
        saved: tuple[Tensor, Tensor, Tensor] = ctx.saved_tensors
        parts = ctx.at.gradient(*(t.cpu() for t in saved))
        return *(grads[0] * part.to(saved[0].device) for part in parts), None, None
