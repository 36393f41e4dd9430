"""outsample: expectations of networks, formulas and programs without running them on samples.

A *problem* is a function with a random input; an *estimator* turns a problem into an
*estimate*; a *comparison* sets estimators side by side at equal cost.
"""

from importlib.metadata import version

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
from outsample.distributions import Bits, Gaussian, Permutations, Sphere
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
from outsample.readout import (
    ConditionedReadout,
    HermiteExplainer,
    HermiteStream,
    HermiteTensors,
    ReadoutEstimate,
    TensorNetworkCumulants,
    TwoLayer,
)
from outsample.sampling import MonteCarlo, QuasiMonteCarlo, SampledEstimate
from outsample.tower import CumulantTower

__version__ = version("outsample")

__all__ = [
    "AtBudget",
    "Bits",
    "BudgetError",
    "CommonDirection",
    "Comparison",
    "ConditionedReadout",
    "CorrelationExplainer",
    "Cost",
    "CovariancePattern",
    "CovarianceSubspace",
    "CumulantEstimate",
    "CumulantTower",
    "Cumulants",
    "DirectionExplainer",
    "Directions",
    "Distribution",
    "Elementwise",
    "Estimate",
    "Estimator",
    "Exact",
    "ExactCovariance",
    "ExpectationPropagation",
    "Explainer",
    "Explanation",
    "Family",
    "FlopMeter",
    "FormatError",
    "Gaussian",
    "Genz",
    "HalfspaceEstimate",
    "HalfspaceIntersection",
    "HermiteExplainer",
    "HermiteStream",
    "HermiteTensors",
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
    "ReadoutEstimate",
    "SampledEstimate",
    "SampledPermanent",
    "SatisfyingEstimate",
    "SatisfyingFraction",
    "SequentialImportanceSampling",
    "Sphere",
    "Store",
    "Study",
    "TensorNetworkCumulants",
    "TwoLayer",
    "UnsupportedProblem",
    "__version__",
    "check_principle",
    "compare",
    "count_flops",
    "estimate",
    "families",
    "report_flops",
    "sweep",
]
