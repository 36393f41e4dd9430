"""Permanents: the problem, its harmonic head and its own sampler."""

from outsample.products.permanents.estimate import PermanentEstimate, SampledPermanent
from outsample.products.permanents.importance_sampling import SequentialImportanceSampling
from outsample.products.permanents.problem import Permanent

__all__ = ["Permanent", "PermanentEstimate", "SampledPermanent", "SequentialImportanceSampling"]
