"""Training against catastrophes: adversaries, anomalies, and distillation without samples."""

from outsample.catastrophe.training.adversary import Adversary
from outsample.catastrophe.training.anomaly import anomaly_detector
from outsample.catastrophe.training.check import Check
from outsample.catastrophe.training.distillation import (
    DistillationStep,
    MechanisticDistillation,
    mechanistic_distillation,
)
from outsample.catastrophe.training.gaussian_adversary import GaussianAdversary
from outsample.catastrophe.training.generator_adversary import GeneratorAdversary
from outsample.catastrophe.training.loop import MechanisticTraining, TrainingStep
from outsample.catastrophe.training.training import mechanistic_training

__all__ = [
    "Adversary",
    "Check",
    "DistillationStep",
    "GaussianAdversary",
    "GeneratorAdversary",
    "MechanisticDistillation",
    "MechanisticTraining",
    "TrainingStep",
    "anomaly_detector",
    "mechanistic_distillation",
    "mechanistic_training",
]
