"""Smooth activations whose Gaussian mean is elementary: GELU, erf and sin."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from outsample.networks.activations import quadrature
from outsample.networks.activations.assembled import either
from outsample.networks.activations.base import (
    Activation,
    Expansion,
    off_diagonal_correlation,
    standard_deviation,
)
from outsample.networks.activations.bivariate import orthant, sum_over_pairs
from outsample.networks.activations.gaussian import HORIZON, density, hermite, upper_tail


class ClosedMean(Expansion):
    """Power one in closed form, higher powers by another expansion, made when it is needed."""

    def __init__(
        self,
        mean: Float[Tensor, " n"],
        scale: Float[Tensor, " n"],
        first: Callable[[int], Float[Tensor, " n"]],
        higher: Callable[[], Expansion],
    ) -> None:
        """Take e_{k,1} for k ≥ 1 as ``first``; mean and it in float64, results as ``scale``."""
        self.mean, self.scale = mean.to(scale.dtype), scale
        self._first, self._make_higher = first, higher

    @cached_property
    def _higher(self) -> Expansion:
        return self._make_higher()

    def coefficient(self, degree: int, power: int = 1) -> Float[Tensor, " n"]:
        """See the base class."""
        if power > 1:
            return self._higher.coefficient(degree, power)
        if degree == 0:
            return torch.zeros_like(self.mean)
        return self._first(degree).to(self.scale.dtype)


@dataclass(frozen=True)
class GELU(Activation):
    """x times the normal distribution function."""

    name: str = field(default="gelu", init=False)

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""
        return functional.gelu(x)

    def expand(self, mean: Float[Tensor, " n"], variance: Float[Tensor, " n"]) -> Expansion:
        """Closed form at power one, quadrature above (see ``quadrature.expand``).

        With s² = 1 + σ² and a = μ/s the mean is μ Φ(a) + (σ²/s) pdf(a).
        """
        scale = standard_deviation(variance)
        mu, sigma = mean.double(), scale.double()
        s = torch.sqrt(1 + sigma * sigma)
        r = sigma / s
        a = (mu / s).clamp(-HORIZON, HORIZON)
        pdf, cdf = density(a), upper_tail(-a)

        def first(degree: int) -> Tensor:
            if degree == 1:
                return r * (s * cdf + a * pdf / s)
            return (-r) ** degree * pdf * (hermite(degree - 2, a) * s - hermite(degree, a) / s)

        return ClosedMean(
            mu * cdf + sigma * r * pdf,
            scale,
            first,
            # torch's own gelu loses its digits where it is small.
            lambda: quadrature.expand(
                lambda x: x * upper_tail(-x), self.name, mean, variance, centre=0.0
            ),
        )


@dataclass(frozen=True)
class Erf(Activation):
    """The error function: a sign blurred by Gaussian noise of variance 1/2."""

    name: str = field(default="erf", init=False)

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""
        return torch.erf(x)

    def expand(self, mean: Float[Tensor, " n"], variance: Float[Tensor, " n"]) -> Expansion:
        """Closed form at power one, quadrature above (see ``quadrature.expand``)."""
        scale = standard_deviation(variance)
        mu, sigma = mean.double(), scale.double()
        s = torch.sqrt(0.5 + sigma * sigma)
        r = sigma / s
        a = (mu / s).clamp(-HORIZON, HORIZON)

        def first(degree: int) -> Tensor:
            return -2 * (-r) ** degree * hermite(degree - 1, a) * density(a)

        return ClosedMean(
            torch.erf(mu / s * math.sqrt(0.5)),
            scale,
            first,
            lambda: quadrature.expand(self, self.name, mean, variance, centre=0.0),
        )

    def covariance(
        self,
        mean: Float[Tensor, " n"],
        covariance: Float[Tensor, "n n"],
        expansion: Expansion,
        degree: int,
    ) -> tuple[Float[Tensor, "n n"], None]:
        """Exact for every pair: that of signs, with the noise added to the variances."""
        s = torch.sqrt(0.5 + expansion.scale * expansion.scale)
        correlation = off_diagonal_correlation(covariance, s)
        x = (-mean / s).clamp(-HORIZON, HORIZON)[None]
        result = sum_over_pairs(orthant, x, (2.0,), correlation)
        return torch.diagonal_scatter(result, expansion.coefficient(0, 2)), None


@dataclass(frozen=True)
class Sin(Activation):
    """Sine."""

    name: str = field(default="sin", init=False)

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""
        return torch.sin(x)

    def expand(self, mean: Float[Tensor, " n"], variance: Float[Tensor, " n"]) -> Expansion:
        """Closed form, but for higher powers at σ < 1.

        There the closed form is a difference of nearly equal waves while the quadrature
        converges at once.
        """
        scale = standard_deviation(variance)
        waves = Waves(mean.double(), scale.double())

        def wide(mean: Tensor, variance: Tensor) -> Expansion:
            return Waves(mean.double(), standard_deviation(variance).double())

        def narrow(mean: Tensor, variance: Tensor) -> Expansion:
            return quadrature.expand(self, self.name, mean, variance)

        return ClosedMean(
            waves.mean,
            scale,
            waves.coefficient,
            lambda: either(scale >= 1, wide, narrow, mean, variance),
        )

    def covariance(
        self,
        mean: Float[Tensor, " n"],
        covariance: Float[Tensor, "n n"],
        expansion: Expansion,
        degree: int,
    ) -> tuple[Float[Tensor, "n n"], None]:
        """Exact: exp(-(v_i + v_j)/2) (cos μ_i cos μ_j sinh C_ij + sin μ_i sin μ_j (cosh C_ij - 1)).

        The exponentials are combined so that none overflows.
        """
        half = expansion.scale * expansion.scale / 2
        above, zero = covariance > 0, torch.zeros_like(covariance)
        plus, minus = torch.where(above, covariance, zero), torch.where(above, zero, -covariance)
        outer = torch.exp(plus + minus - (half[:, None] + half))
        sinh = outer * (torch.expm1(-2 * minus) - torch.expm1(-2 * plus)) / 2
        cosh = outer * torch.expm1(-plus - minus).square() / 2
        sin, cos = torch.sin(mean), torch.cos(mean)
        result = sinh * (cos[:, None] * cos) + cosh * (sin[:, None] * sin)
        return torch.diagonal_scatter(result, expansion.coefficient(0, 2)), None


class Waves(Expansion):
    """Powers of a centred sine as sums of waves, E[He_k(g) exp(iωZ)] = (iωσ)^k E exp(iωZ)."""

    def __init__(self, mean: Float[Tensor, " n"], scale: Float[Tensor, " n"]) -> None:
        """Prepare the expansion at N(mean, scale²)."""
        self._mu, self.scale = mean, scale
        self._waves: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self.mean = self._moment(0, 1)

    def coefficient(self, degree: int, power: int = 1) -> Float[Tensor, " n"]:
        """See the base class."""
        if power == 1:
            return self._moment(degree, 1) if degree else torch.zeros_like(self.mean)
        total = torch.zeros_like(self.mean)
        for q in range(power + 1):
            shifts = math.comb(power, q) * (-self.mean) ** (power - q)
            total = total + shifts * self._moment(degree, q)
        return total

    def _moment(self, degree: int, power: int) -> Float[Tensor, " n"]:
        """E[He_degree(g) sin(Z)^power]."""
        total = torch.zeros_like(self._mu)
        quarters = degree - power  # cos(x + quarters π/2) is ±cos or ±sin: no rounded phases
        sign = -1 if quarters % 4 in (1, 2) else 1
        for j in range(power // 2 + 1):
            frequency = power - 2 * j
            cos, sin, reach = self._wave(frequency)
            weight = sign * (-1) ** j * math.comb(power, j) * 0.5 ** (power - (frequency > 0))
            total = total + weight * (sin if quarters % 2 else cos) * reach**degree
        return total

    def _wave(self, frequency: int) -> tuple[Tensor, Tensor, Tensor]:
        """E cos(ωZ), E sin(ωZ) and ωσ, the last bounded: further out the others are zero."""
        if frequency not in self._waves:
            reach = frequency * self.scale
            damping = torch.exp(-0.5 * reach * reach)
            x = frequency * self._mu
            wave = damping * torch.cos(x), damping * torch.sin(x), reach.clamp(max=60)
            self._waves[frequency] = wave
        return self._waves[frequency]
