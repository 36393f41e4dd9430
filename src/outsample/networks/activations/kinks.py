"""Breakpoints: their validation, and the warning where a derivative at one does not exist."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from outsample.errors import InputError, warn


def check_breakpoints(breakpoints: Sequence[float]) -> tuple[float, ...]:
    """Return the breakpoints as floats; raise InputError unless finite and increasing."""
    points = tuple(float(point) for point in breakpoints)
    ordered = all(a < b for a, b in pairwise(points))
    if not ordered or not all(math.isfinite(point) for point in points):
        raise InputError(f"breakpoints is {points}; expected finite, strictly increasing numbers")
    return points


def warn_at_kinks(
    name: str,
    mean: Float[Tensor, " n"],
    variance: Float[Tensor, " n"],
    at_kink: Bool[Tensor, " n"],
) -> None:
    """Warn where a gradient is recorded at a kink with (nearly) zero variance.

    ``at_kink`` marks the neurons whose mean is within the reach of the density of a kink.
    There dE φ/dv grows like 1/σ, without limit.
    """
    if not (torch.is_grad_enabled() and (mean.requires_grad or variance.requires_grad)):
        return
    count = int((at_kink & (variance <= torch.finfo(variance.dtype).tiny)).sum())
    if count:
        warn(
            f"{count} neuron(s) have zero variance and their mean at a kink of '{name}', where "
            "the derivative of the mean activation in the variance is infinite; the gradient "
            "returned is finite but meaningless there: move the mean or add variance"
        )
