"""Propagation of means, covariances and higher cumulants through the layers of a network."""

from outsample.cumulants.advice import CovariancePattern, CovarianceSubspace, TrackingAdvice
from outsample.cumulants.cumulants import Cumulants
from outsample.cumulants.estimate import CumulantEstimate
from outsample.cumulants.exact_covariance import ExactCovariance
from outsample.cumulants.explain import CorrelationExplainer, PairExplainer
from outsample.cumulants.mean_propagation import MeanPropagation

__all__ = [
    "CorrelationExplainer",
    "CovariancePattern",
    "CovarianceSubspace",
    "CumulantEstimate",
    "Cumulants",
    "ExactCovariance",
    "MeanPropagation",
    "PairExplainer",
    "TrackingAdvice",
]
