"""Catastrophes: probabilities of detectors behind networks, down to those no sample shows."""

from outsample.catastrophe.detectors import Detector, argmax, hidden, output
from outsample.catastrophe.estimate import TailEstimate
from outsample.catastrophe.event import Event
from outsample.catastrophe.from_cumulants import FromCumulants
from outsample.catastrophe.problem import CatastropheProbability
from outsample.catastrophe.samplers import CrossEntropy, SubsetSimulation

__all__ = [
    "CatastropheProbability",
    "CrossEntropy",
    "Detector",
    "Event",
    "FromCumulants",
    "SubsetSimulation",
    "TailEstimate",
    "argmax",
    "hidden",
    "output",
]
