"""Propagation of means, covariances and higher cumulants through the layers of a network."""

from outsample.cumulants.cumulants import Cumulants
from outsample.cumulants.estimate import CumulantEstimate
from outsample.cumulants.exact_covariance import ExactCovariance

__all__ = ["CumulantEstimate", "Cumulants", "ExactCovariance"]
