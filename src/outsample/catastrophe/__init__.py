"""Catastrophes: probabilities of detectors behind networks, down to those no sample shows."""

from outsample.catastrophe.detectors import Detector, argmax, hidden, output
from outsample.catastrophe.estimate import TailEstimate
from outsample.catastrophe.event import Event
from outsample.catastrophe.exceedance import ExceedanceCurve, exceedance_curve, threshold_of
from outsample.catastrophe.from_cumulants import FromCumulants
from outsample.catastrophe.problem import CatastropheProbability
from outsample.catastrophe.samplers import (
    CrossEntropy,
    SubsetSimulation,
    TiltedImportanceSampling,
    catastrophic_inputs,
)
from outsample.catastrophe.tilt import CatastropheMode, Tilt, TiltEstimate
from outsample.catastrophe.training import (
    DistillationStep,
    GaussianAdversary,
    GeneratorAdversary,
    MechanisticDistillation,
    MechanisticTraining,
    TrainingStep,
    anomaly_detector,
    mechanistic_distillation,
    mechanistic_training,
)

__all__ = [
    "CatastropheMode",
    "CatastropheProbability",
    "CrossEntropy",
    "Detector",
    "DistillationStep",
    "Event",
    "ExceedanceCurve",
    "FromCumulants",
    "GaussianAdversary",
    "GeneratorAdversary",
    "MechanisticDistillation",
    "MechanisticTraining",
    "SubsetSimulation",
    "TailEstimate",
    "Tilt",
    "TiltEstimate",
    "TiltedImportanceSampling",
    "TrainingStep",
    "anomaly_detector",
    "argmax",
    "catastrophic_inputs",
    "exceedance_curve",
    "hidden",
    "mechanistic_distillation",
    "mechanistic_training",
    "output",
    "threshold_of",
]
