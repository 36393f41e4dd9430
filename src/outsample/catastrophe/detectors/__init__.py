"""Detectors: a small algebra of events over a network's outputs and hidden units."""

from outsample.catastrophe.detectors.argmax import argmax
from outsample.catastrophe.detectors.detector import Detector
from outsample.catastrophe.detectors.quantity import Quantity, hidden, output

__all__ = ["Detector", "Quantity", "argmax", "hidden", "output"]
