"""Adapter to WhestBench, a benchmark of estimators of the mean activations of random ReLU MLPs.

It reads and bakes WhestBench's data sets, scores estimators of this library on them beside the
benchmark's own baselines, and writes submissions that the benchmark runs and meters.  Nothing here
uses the network.  Needs ``pip install 'outsample[whestbench]'``.
"""

from outsample.whestbench.dataset import Dataset, Network, bake, read
from outsample.whestbench.export import export
from outsample.whestbench.machinery import BASELINES
from outsample.whestbench.score import score
from outsample.whestbench.scores import Metered, Raw, Rules, Scores

__all__ = [
    "BASELINES",
    "Dataset",
    "Metered",
    "Network",
    "Raw",
    "Rules",
    "Scores",
    "bake",
    "export",
    "read",
    "score",
]
