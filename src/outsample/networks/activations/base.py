"""What an activation owes the estimators: its values and its Hermite coefficients."""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor


class Expansion(ABC):
    r"""Hermite expansion of one activation at n Gaussian pre-activations.

    For neuron i with pre-activation :math:`Z_i = \mu_i + \sigma_i g`, g standard normal, and the
    activation's own Gaussian mean :math:`\bar m_i = E\,\varphi(Z_i)`, it gives

    .. math:: e_{k,p}(i) = E[He_k(g)\,(\varphi(\mu_i + \sigma_i g) - \bar m_i)^p]
              = \sigma_i^k\,E[\partial^k (\varphi - \bar m_i)^p (Z_i)],

    derivatives in the distribution sense (Stein's identity).  Powers are centred at
    :math:`\bar m` because cumulants do not see the shift and the uncentred ones cancel badly when
    :math:`|\mu| \gg \sigma`; scaled by :math:`\sigma^k` because dividing by it loses every digit
    as :math:`\sigma \to 0`.  Coefficients are computed when asked for.

    ``scale`` is the :math:`\sigma` that the coefficients are scaled by: the square root of the
    variance, kept positive.  Ratios such as ``coefficient(1) / scale``, which tends to
    :math:`\varphi'(\mu)`, are right at zero variance only with this very tensor.
    """

    mean: Float[Tensor, " n"]
    scale: Float[Tensor, " n"]

    @abstractmethod
    def coefficient(self, degree: int, power: int = 1) -> Float[Tensor, " n"]:
        """Return e_{degree, power}, shape (n,); ``coefficient(0, 1)`` is zero by definition.

        Where the value itself leaves the range of the dtype the result is infinite.
        """


class Activation(ABC):
    """A function of one variable applied to every neuron."""

    name: str

    @abstractmethod
    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""

    @abstractmethod
    def expand(self, mean: Float[Tensor, " n"], variance: Float[Tensor, " n"]) -> Expansion:
        """Hermite expansion at pre-activations N(mean, variance), both of shape (n,)."""

    def covariance(
        self,
        mean: Float[Tensor, " n"],
        covariance: Float[Tensor, "n n"],
        expansion: Expansion,
        degree: int,
    ) -> tuple[Float[Tensor, "n n"], Float[Tensor, ""] | None]:
        """Covariance of φ(Z) for Gaussian Z ~ N(mean, covariance), and a bound on its error.

        ``expansion`` is this activation's own, at the same means and variances; its exact
        variances are put on the diagonal.  This default sums Mehler's series
        Σ_k e_k(i) e_k(j) ρ_ij^k / k! over 1 ≤ k ≤ ``degree``; activations with a closed form
        override it, ignore ``degree`` and return None for the bound.

        Returns the covariance, shape (n, n), and the largest bound over pairs on the error of an
        entry in units of sqrt(Var φ(Z_i) Var φ(Z_j)): by Cauchy and Schwarz the terms left out
        are at most |ρ|^(degree+1) sqrt(tail_i tail_j), tail_i = Var φ(Z_i) − Σ_k e_k(i)²/k!.
        """
        correlation = off_diagonal_correlation(covariance, expansion.scale)
        variance = expansion.coefficient(0, 2)
        total = torch.zeros_like(correlation)
        power = torch.ones_like(correlation)
        explained = torch.zeros_like(variance)
        for k in range(1, degree + 1):
            power = power * correlation
            e = expansion.coefficient(k) / math.sqrt(math.factorial(k))
            total = total + power * (e * e[:, None])
            explained = explained + e * e
        share = ((variance - explained) / variance).detach().clamp_min(0).nan_to_num(0.0).sqrt()
        bound = ((power * correlation).detach().abs() * share * share[:, None]).max()
        return torch.diagonal_scatter(total, variance), bound


def positive(variance: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Variances raised to the dtype's smallest normal number, in value only.

    Their gradient passes through, so that dE/dv = (dE/dσ) / 2σ is evaluated next to the limit of
    zero variance and not as 0 · ∞.  Multiply by ``scale.reciprocal()`` rather than divide by the
    root: the derivative of a quotient, μ/σ², overflows.
    """
    floor = torch.finfo(variance.dtype).tiny
    if torch.is_grad_enabled() and variance.requires_grad:
        return (variance - variance.detach()) + variance.detach().clamp_min(floor)
    return variance.clamp_min(floor)


def standard_deviation(variance: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Square root, kept above zero, with the right gradient in the limit of zero variance."""
    return positive(variance).sqrt()


def off_diagonal_correlation(
    covariance: Float[Tensor, "n n"], scale: Float[Tensor, " n"]
) -> Float[Tensor, "n n"]:
    """Correlations in [-1, 1] with a zero diagonal, where closed forms in pairs do not apply.

    Rounding beyond ±1 is clipped in value only, so that duplicated neurons keep their gradient.
    """
    precision = scale.reciprocal()
    ratio = (covariance * (precision[:, None] * precision)).clamp(-2, 2)
    ratio = (ratio - ratio.detach()) + ratio.detach().clamp(-1, 1)
    return torch.diagonal_scatter(ratio, torch.zeros_like(scale))
