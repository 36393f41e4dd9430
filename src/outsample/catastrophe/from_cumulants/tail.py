"""A probability beyond a threshold, as formulas in cumulants give it."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float64
from scipy import special
from torch import Tensor


class Standardised(NamedTuple):
    """How far a threshold lies beyond a mean, in standard deviations, and the law's shape."""

    #: Distance z >= 0, skewness κ_3 / σ³ and excess kurtosis κ_4 / σ⁴; scalars in float64.
    z: Float64[Tensor, ""]
    skewness: Float64[Tensor, ""]
    kurtosis: Float64[Tensor, ""]


class Tail(NamedTuple):
    """P(x > z) of a standardised law, in log space, and what is wrong with it."""

    log_value: Float64[Tensor, ""]
    #: Why the formula does not hold here, or None.
    failure: str | None = None


def log_upper(z: Float64[Tensor, ""]) -> Float64[Tensor, ""]:
    """Log Q(z), Q the standard normal tail."""
    return torch.special.log_ndtr(-z)


def hazard(z: Float64[Tensor, ""]) -> Float64[Tensor, ""]:
    """φ(z) / Q(z)."""
    return (-z * z / 2 - math.log(2 * math.pi) / 2 - log_upper(z)).exp()


def deviate(log_value: Float64[Tensor, ""]) -> Float64[Tensor, ""]:
    """The z with log Q(z) = ``log_value`` < 0, differentiable, however small the probability."""
    start = torch.as_tensor(-special.ndtri_exp(log_value.item())).to(log_value)
    # Newton's step changes nothing but the derivative.
    return start + (log_upper(start) - log_value) / hazard(start)


def corrected(z: Float64[Tensor, ""], factor: Float64[Tensor, ""]) -> Tail:
    """Q(z) times a factor that may leave what a probability can be."""
    nothing = torch.full_like(z, -torch.inf)
    if not factor.item() > 0:
        return Tail(nothing, "the formula gives a negative probability; 0 stands for it")
    log_value = log_upper(z) + factor.log()
    if log_value.item() > 0:
        return Tail(torch.zeros_like(z), "the formula gives a probability above 1; 1 stands for it")
    return Tail(log_value)


def undefined(z: Float64[Tensor, ""], why: str) -> Tail:
    """What a formula that has no value here returns."""
    return Tail(torch.full_like(z, -torch.inf), f"{why}; 0 stands for the missing value")
