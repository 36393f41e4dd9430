"""Samplers of catastrophes: baselines beside plain Monte Carlo."""

from outsample.catastrophe.samplers.conditional import catastrophic_inputs
from outsample.catastrophe.samplers.cross_entropy import CrossEntropy
from outsample.catastrophe.samplers.subset_simulation import SubsetSimulation
from outsample.catastrophe.samplers.tilted import TiltedImportanceSampling

__all__ = [
    "CrossEntropy",
    "SubsetSimulation",
    "TiltedImportanceSampling",
    "catastrophic_inputs",
]
