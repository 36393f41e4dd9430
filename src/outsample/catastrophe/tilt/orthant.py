"""Log probability that jointly Gaussian numbers exceed their thresholds."""

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.estimator import Trust
from outsample.products import ExpectationPropagation, HalfspaceIntersection

#: Deviations at which a threshold is sure to hold: P = 1e-19.
_SURE = 9.0
#: Nats of corrections up to which the method's own doubts are beside the point here: a tilt is
#: trusted to some ten percent.
_SLIGHT = 0.1
#: Share of the largest eigenvalue below which one is round-off.
_ROUND_OFF = 1e-13


def log_orthant(
    mean: Float64[Tensor, " d"],
    covariance: Float64[Tensor, "d d"],
    thresholds: Float64[Tensor, " d"],
) -> tuple[Tensor, Trust, tuple[str, ...]]:
    """Log P(y > thresholds), y ~ N(mean, covariance), with the trust of the method.

    One threshold in closed form, several by expectation propagation; differentiable.  Thresholds
    that hold even where the hardest one is met are left out.
    """
    ease = ((mean - thresholds) * covariance.diagonal().rsqrt()).detach()
    kept = (ease <= max(_SURE, float(ease.min())) - ease.min().clamp_max(0)).nonzero()[:, 0]
    mean, thresholds, covariance = mean[kept], thresholds[kept], covariance[kept][:, kept]
    if len(mean) == 1:
        z = (mean - thresholds) * covariance.diagonal().rsqrt()
        return torch.special.log_ndtr(z)[0], "ok", ()
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if int(failed):
        values, vectors = torch.linalg.eigh(covariance)
        floor = values.detach().amax() * _ROUND_OFF
        factor = vectors * values.clamp_min(floor).sqrt()
    problem = HalfspaceIntersection(factor, thresholds - mean)
    found = ExpectationPropagation("D3").estimate(problem)
    if found.log_value is None:
        raise TypeError("expectation propagation always gives a logarithm")
    corrections = abs(found.diagnostics.get("D2", 1.0)) + abs(found.diagnostics.get("D3", 1.0))
    if found.trust == "low_confidence" and corrections < _SLIGHT:
        return found.log_value, "ok", ()
    return found.log_value, found.trust, found.reasons
