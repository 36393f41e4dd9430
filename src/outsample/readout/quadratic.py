"""The law of a quadratic function of Gaussians: all networks of degrees up to 2, summed."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.errors import NumericalError
from outsample.networks.activations.gaussian import density, upper_tail
from outsample.readout.outputs import Output
from outsample.readout.series_read_outs import expectation

#: Bins of the inverted characteristic function, over so many standard deviations to either side.
_BINS, _WIDTH = 1 << 15, 60.0


@dataclass(frozen=True)
class QuadraticLaw:
    """mean + Σ_i [b_i z_i + l_i (z_i² - 1) / 2] + an independent normal of variance ``rest``."""

    mean: float
    slopes: Float[Tensor, " n"]
    curvatures: Float[Tensor, " n"]
    rest: float

    @classmethod
    def of(
        cls,
        mean: float,
        variance: float,
        linear: Float[Tensor, " n"],
        matrix: Float[Tensor, "n n"],
    ) -> "QuadraticLaw":
        """From T_0, the whole variance, T_1 and T_2; what variance they lack is made normal."""
        curvatures, axes = torch.linalg.eigh(matrix)
        slopes = axes.T @ linear
        own = float(slopes.square().sum() + curvatures.square().sum() / 2)
        return cls(mean, slopes, curvatures, max(variance - own, 0.0))

    @property
    def deviation(self) -> float:
        """Standard deviation."""
        own = self.slopes.square().sum() + self.curvatures.square().sum() / 2
        return math.sqrt(float(own) + self.rest)

    def expectation(self, output: Output) -> Tensor:
        """E σ by inversion of the characteristic function into masses of bins."""
        width = 2 * _WIDTH * self.deviation / _BINS
        t = 2 * math.pi * torch.fft.fftfreq(_BINS, d=width, dtype=torch.float64)
        factor = 1 - 1j * t[:, None] * self.curvatures
        exponent = (
            -0.5 * torch.log(factor)
            - 0.5j * t[:, None] * self.curvatures
            - t[:, None] ** 2 * self.slopes**2 / (2 * factor)
        ).sum(1) - t**2 * self.rest / 2
        transform = torch.exp(exponent) * torch.sinc(t * width / (2 * math.pi))
        masses = torch.fft.fftshift(torch.fft.fft(transform).real / _BINS)
        places = (torch.arange(_BINS, dtype=torch.float64) - _BINS // 2) * width + self.mean
        return expectation(output, places, masses)

    def tail(self, level: float) -> Tensor:
        """P(f > level) by the saddlepoint formula of R. Lugannani and S. O. Rice (1980).

        Raises:
            NumericalError: within a thousandth of a standard deviation of the mean, where the
                formula is 0 / 0, or where there is no saddlepoint.
        """
        if level < self.mean:
            mirrored = QuadraticLaw(-self.mean, -self.slopes, -self.curvatures, self.rest)
            return 1 - mirrored.tail(-level)
        gap = level - self.mean
        if gap < 1e-3 * self.deviation:
            raise NumericalError(
                "Lugannani and Rice's formula is undefined at the mean; use readout = 'quadratic'"
            )
        steepest = float(self.curvatures.max())
        low, high = 0.0, (1 - 1e-12) / steepest if steepest > 0 else 1e3 / self.deviation
        while steepest <= 0 and self._slope(high) < gap and high < 1e12 / self.deviation:
            high *= 2
        if self._slope(high) < gap:
            raise NumericalError(f"no saddlepoint at {level:.6g}: f does not reach that far")
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if self._slope(middle) < gap else (low, middle)
        t = (low + high) / 2
        factor = 1 - t * self.curvatures
        value = (
            -0.5 * torch.log(factor)
            - t * self.curvatures / 2
            + t**2 * self.slopes**2 / (2 * factor)
        ).sum() + t**2 * self.rest / 2
        bend = (self.curvatures**2 / (2 * factor**2) + self.slopes**2 / factor**3).sum() + self.rest
        w, u = torch.sqrt(2 * (t * gap - value)), t * torch.sqrt(bend)
        return upper_tail(w) + density(w) * (1 / u - 1 / w)

    def _slope(self, t: float) -> float:
        """Derivative of the cumulant generating function of f - mean."""
        factor = 1 - t * self.curvatures
        own = t * self.curvatures**2 / (2 * factor) + self.slopes**2 * (
            t / factor + t**2 * self.curvatures / (2 * factor**2)
        )
        return float(own.sum()) + t * self.rest
