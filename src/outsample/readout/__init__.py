"""Two-layer networks with a trained second layer: their mean behind any output function."""

from outsample.readout.conditioned_readout import ConditionedReadout
from outsample.readout.estimate import ReadoutEstimate
from outsample.readout.explainer import HermiteExplainer
from outsample.readout.hermite_tensors import HermiteTensors
from outsample.readout.outputs import Function, Hinge, Identity, Output, Sigmoid, Threshold
from outsample.readout.problem import TwoLayer
from outsample.readout.stream import HermiteStream
from outsample.readout.tensor_network_cumulants import TensorNetworkCumulants

__all__ = [
    "ConditionedReadout",
    "Function",
    "HermiteExplainer",
    "HermiteStream",
    "HermiteTensors",
    "Hinge",
    "Identity",
    "Output",
    "ReadoutEstimate",
    "Sigmoid",
    "TensorNetworkCumulants",
    "Threshold",
    "TwoLayer",
]
