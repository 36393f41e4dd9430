"""Sampling: the baselines that every other estimator is compared with."""

from outsample.sampling.monte_carlo import MonteCarlo
from outsample.sampling.quasi_monte_carlo import QuasiMonteCarlo
from outsample.sampling.sampler import SampledEstimate, Sampler

__all__ = ["MonteCarlo", "QuasiMonteCarlo", "SampledEstimate", "Sampler"]
