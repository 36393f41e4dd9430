"""Tail probabilities from cumulants under the input's own law: baselines for shallow tails."""

from outsample.catastrophe.from_cumulants.estimator import FromCumulants

__all__ = ["FromCumulants"]
