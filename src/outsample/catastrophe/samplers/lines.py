"""Draws along a direction, each beyond the place where the catastrophe begins on its own line."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

Score = Callable[[Float64[Tensor, "rows n"]], Float64[Tensor, " rows"]]

#: One draw in so many stays where its normal put it, so that no weight is large where a line
#: meets the catastrophe elsewhere.
_STAY = 8
#: How far before the beginning draws begin, in units of what the tilt falls off by.
_MARGIN = 0.1
#: Lines that tell the slope of them all, and the step that it is taken over.
_PROBES, _STEP = 256, 0.5
#: How far along a line, in its own deviations, a beginning is believed, at first and at last.
_FIRST, _LAST = 3.0, 4.0
#: Secants are taken between these multiples of the slope of all lines.
_LEAST, _MOST = 0.3, 3.0


class Positions(NamedTuple):
    """Where on its line each draw is, and the log density of a normal over the draw's; (rows,)."""

    value: Float64[Tensor, " rows"]
    log_ratio: Float64[Tensor, " rows"]


def beyond(
    origins: Float64[Tensor, "rows n"],
    direction: Float64[Tensor, " n"],
    own: Float64[Tensor, " rows"],
    pull: float,
    score: Score,
) -> Positions:
    """Positions along ``direction`` from ``origins``, drawn where the weights are; shape (rows,).

    Under the tilt a position is a standard normal, ``own``; its weight falls off like
    exp(-pull · s) beyond the place where ``score`` becomes positive, and is zero before.  Two
    secant steps find that place on every line, and an exponential takes the normal's place there.
    Any error of it costs accuracy, but no bias: it depends on the origins alone.

    Source: C. P. Robert, "Simulation of truncated normal variables" (1995), for the rate; the rest
    is line sampling, P. S. Koutsourelakis et al., Probabilistic Engineering Mechanics 19 (2004),
    with a draw on each line in place of a root.
    """
    begin = _beginnings(origins, direction, score) - _MARGIN / pull
    depth = begin + pull
    rate = (depth + (depth.square() + 4).sqrt()) / 2
    value = begin - torch.special.log_ndtr(own) / rate
    value[::_STAY] = own[::_STAY]
    stay = len(own[::_STAY]) / len(own)  # of few rows it is more than one in _STAY
    normal = -0.5 * value.square() - 0.5 * math.log(2 * math.pi)
    exponential = torch.where(value > begin, rate.log() - rate * (value - begin), -torch.inf)
    move = math.log1p(-stay) if stay < 1 else -math.inf
    drawn = torch.logaddexp(exponential + move, normal + math.log(stay))
    return Positions(value, normal - drawn)


def _beginnings(
    origins: Float64[Tensor, "rows n"], direction: Float64[Tensor, " n"], score: Score
) -> Float64[Tensor, " rows"]:
    at_origin = score(origins)
    probes = origins[:_PROBES]
    rise = score(probes + _STEP * direction) - at_origin[:_PROBES]
    slope = (rise.mean() / _STEP).clamp_min(1e-300)
    first = (-at_origin / slope).clamp(-_FIRST, _FIRST)
    there = score(origins + first[:, None] * direction)
    secant = ((there - at_origin) / first).clamp(_LEAST * slope, _MOST * slope)
    secant = torch.where(first == 0, slope, secant)
    return (first - there / secant).clamp(-_LAST, _LAST)
