"""The estimator to use when none is named."""

from outsample.cumulants import Cumulants
from outsample.estimator import Estimate, Estimator
from outsample.exact import Exact
from outsample.problem import Problem
from outsample.sampling import MonteCarlo

#: First to last: the first that takes the problem is used.
_PREFERRED: tuple[Estimator, ...] = (Cumulants(), Exact(), MonteCarlo())


def estimate(problem: Problem) -> Estimate:
    """Estimate E[M(x)] with the default estimator for this kind of problem.

    Networks with a Gaussian input: ``Cumulants(order=2)``.  Others: the exact answer where there
    is one, else ``MonteCarlo()``.  The estimate's ``estimator`` says which was used.

    Example:
        >>> import torch, outsample as ou
        >>> ou.estimate(ou.NetworkMean(torch.nn.ReLU(), ou.Gaussian.standard(1))).estimator
        Cumulants(order=2, variant='augmented', ...)
    """
    if not isinstance(problem, Problem):
        return _PREFERRED[0].estimate(problem)  # which says what is expected
    chosen = next(e for e in _PREFERRED if e.accepts(problem) is None)
    return chosen.estimate(problem)
