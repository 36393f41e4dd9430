"""Catastrophes: probabilities of detectors behind networks, down to those no sample shows."""

from outsample.catastrophe.detectors import Detector, argmax, hidden, output
from outsample.catastrophe.estimate import TailEstimate
from outsample.catastrophe.event import Event
from outsample.catastrophe.problem import CatastropheProbability
from outsample.catastrophe.samplers import CrossEntropy, SubsetSimulation
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
    "GaussianAdversary",
    "GeneratorAdversary",
    "MechanisticDistillation",
    "MechanisticTraining",
    "SubsetSimulation",
    "TailEstimate",
    "Tilt",
    "TiltEstimate",
    "TrainingStep",
    "anomaly_detector",
    "argmax",
    "hidden",
    "mechanistic_distillation",
    "mechanistic_training",
    "output",
]
