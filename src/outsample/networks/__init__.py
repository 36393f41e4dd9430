"""Networks as problems: torch modules read into one typed chain of steps."""

from outsample.networks.activations import Elementwise
from outsample.networks.graph import Affine, Graph
from outsample.networks.network_mean import NetworkMean

__all__ = ["Affine", "Elementwise", "Graph", "NetworkMean"]
