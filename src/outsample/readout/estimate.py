"""The estimate of a two-layer network: with the cumulants of the sum f."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from outsample.estimator import Estimate


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ReadoutEstimate(Estimate):
    """E[σ(f)], and the cumulants of f that came out on the way."""

    #: Mean, variance, third and fourth cumulant of each readout f, shape (k, 4).
    cumulants: Float[Tensor, "k 4"]

    @property
    def skewness(self) -> Float[Tensor, " k"]:
        """κ_3 / κ_2^{3/2}, shape (k,); zero for a constant."""
        return self.cumulants[:, 2] / self.cumulants[:, 1].clamp_min(1e-100) ** 1.5

    @property
    def excess_kurtosis(self) -> Float[Tensor, " k"]:
        """κ_4 / κ_2², shape (k,); zero for a constant."""
        return self.cumulants[:, 3] / self.cumulants[:, 1].clamp_min(1e-100) ** 2
