"""Two-layer networks with a trained second layer: their mean behind any output function."""

from outsample.readout.conditioned_readout import ConditionedReadout
from outsample.readout.estimate import ReadoutEstimate
from outsample.readout.hermite_tensors import HermiteTensors
from outsample.readout.outputs import Function, Hinge, Identity, Output, Sigmoid, Threshold
from outsample.readout.problem import TwoLayer

__all__ = [
    "ConditionedReadout",
    "Function",
    "HermiteTensors",
    "Hinge",
    "Identity",
    "Output",
    "ReadoutEstimate",
    "Sigmoid",
    "Threshold",
    "TwoLayer",
]
