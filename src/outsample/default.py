"""The estimator to use when none is named."""

from outsample.catastrophe import Tilt
from outsample.cumulants import Cumulants
from outsample.estimator import Estimate, Estimator
from outsample.exact import Exact
from outsample.problem import Problem
from outsample.products import recommended
from outsample.sampling import MonteCarlo

#: First to last, before and after the method recommended for a product.
_FIRST: tuple[Estimator, ...] = (Cumulants(), Exact(), Tilt())
_LAST = MonteCarlo()


def estimate(problem: Problem) -> Estimate:
    """Estimate E[M(x)] with the default estimator for this kind of problem.

    Networks with a Gaussian input: ``Cumulants(order=2)``.  Others: the exact answer where it is
    cheap; ``Tilt()`` for detectors of catastrophes; the method that
    :func:`outsample.products.recommended` names for halfspaces, formulas and permanents; else
    ``MonteCarlo()``.  The estimate's ``estimator`` says which was used.

    Example:
        >>> import torch, outsample as ou
        >>> ou.estimate(ou.NetworkMean(torch.nn.ReLU(), ou.Gaussian.standard(1))).estimator
        Cumulants(order=2, variant='augmented', ...)
    """
    if not isinstance(problem, Problem):
        return _FIRST[0].estimate(problem)  # which says what is expected
    chosen = next((e for e in _FIRST if e.accepts(problem) is None), None)
    return (chosen or recommended(problem) or _LAST).estimate(problem)
