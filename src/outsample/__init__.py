"""outsample: expectations of networks, formulas and programs without running them on samples.

A *problem* is a function with a random input; an *estimator* turns a problem into an
*estimate*; a *comparison* sets estimators side by side at equal cost.
"""

from importlib.metadata import version

from outsample.catastrophe import (
    CatastropheProbability,
    CrossEntropy,
    Detector,
    ExceedanceCurve,
    FromCumulants,
    SubsetSimulation,
    TailEstimate,
    Tilt,
    TiltedImportanceSampling,
    TiltEstimate,
    argmax,
    catastrophic_inputs,
    exceedance_curve,
    hidden,
    output,
    threshold_of,
)
from outsample.comparison import (
    Comparison,
    PrincipleReport,
    check_principle,
    compare,
    families,
)
from outsample.comparison.sweeps import AtBudget, Store, Study, sweep
from outsample.cost import Cost, FlopMeter, count_flops, report_flops
from outsample.cumulants import (
    CorrelationExplainer,
    CovariancePattern,
    CovarianceSubspace,
    CumulantEstimate,
    Cumulants,
    ExactCovariance,
    MeanPropagation,
    PairExplainer,
)
from outsample.default import estimate
from outsample.distributions import Bits, Gaussian, GaussianMixture, Permutations, Sphere
from outsample.errors import (
    BudgetError,
    FormatError,
    InputError,
    NumericalError,
    NumericalWarning,
    OutsampleError,
    OutsampleWarning,
    RandomnessError,
    UnsupportedProblem,
)
from outsample.estimator import Estimate, Estimator, Explainer, Explanation
from outsample.exact import Exact
from outsample.networks import Elementwise, NetworkMean
from outsample.problem import Distribution, Family, Problem
from outsample.products import (
    CommonDirection,
    DirectionExplainer,
    Directions,
    ExpectationPropagation,
    Genz,
    HalfspaceEstimate,
    HalfspaceIntersection,
    ObservedIntersection,
    Permanent,
    PermanentEstimate,
    Projection,
    SampledPermanent,
    SatisfyingEstimate,
    SatisfyingFraction,
    SequentialImportanceSampling,
)
from outsample.sampling import MonteCarlo, QuasiMonteCarlo, SampledEstimate
from outsample.tower import CumulantTower

__version__ = version("outsample")

__all__ = [
    "AtBudget",
    "Bits",
    "BudgetError",
    "CatastropheProbability",
    "CommonDirection",
    "Comparison",
    "CorrelationExplainer",
    "Cost",
    "CovariancePattern",
    "CovarianceSubspace",
    "CrossEntropy",
    "CumulantEstimate",
    "CumulantTower",
    "Cumulants",
    "Detector",
    "DirectionExplainer",
    "Directions",
    "Distribution",
    "Elementwise",
    "Estimate",
    "Estimator",
    "Exact",
    "ExactCovariance",
    "ExceedanceCurve",
    "ExpectationPropagation",
    "Explainer",
    "Explanation",
    "Family",
    "FlopMeter",
    "FormatError",
    "FromCumulants",
    "Gaussian",
    "GaussianMixture",
    "Genz",
    "HalfspaceEstimate",
    "HalfspaceIntersection",
    "InputError",
    "MeanPropagation",
    "MonteCarlo",
    "NetworkMean",
    "NumericalError",
    "NumericalWarning",
    "ObservedIntersection",
    "OutsampleError",
    "OutsampleWarning",
    "PairExplainer",
    "Permanent",
    "PermanentEstimate",
    "Permutations",
    "PrincipleReport",
    "Problem",
    "Projection",
    "QuasiMonteCarlo",
    "RandomnessError",
    "SampledEstimate",
    "SampledPermanent",
    "SatisfyingEstimate",
    "SatisfyingFraction",
    "SequentialImportanceSampling",
    "Sphere",
    "Store",
    "Study",
    "SubsetSimulation",
    "TailEstimate",
    "Tilt",
    "TiltEstimate",
    "TiltedImportanceSampling",
    "UnsupportedProblem",
    "__version__",
    "argmax",
    "catastrophic_inputs",
    "check_principle",
    "compare",
    "count_flops",
    "estimate",
    "exceedance_curve",
    "families",
    "hidden",
    "output",
    "report_flops",
    "sweep",
    "threshold_of",
]
