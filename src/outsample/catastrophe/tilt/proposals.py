"""Tilted laws to draw catastrophes from."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.catastrophe.problem import CatastropheProbability
from outsample.catastrophe.tilt.conjunction import Mode
from outsample.catastrophe.tilt.events import log_probability_of
from outsample.catastrophe.tilt.law import TiltedLaw
from outsample.catastrophe.tilt.response import closure_of
from outsample.catastrophe.tilt.search import Settings
from outsample.distributions import Gaussian

#: Combinations of modes of independent parts that are kept for one event, likeliest first.
_MOST = 16
#: How precisely the fixed point is found: a proposal need not be exact.
_TOLERANCE = 0.25


class Proposal(NamedTuple):
    """A tilt of the whitened inputs, and the log probability that it accounts for."""

    log_value: float
    law: TiltedLaw


def proposals(problem: CatastropheProbability, law: Gaussian, starts: int) -> list[Proposal]:
    """The tilts of all the detector's conjunctions, found at order 2."""
    settings = Settings(closure_of(2, "basic"), starts, 0, steps=60, tolerance=_TOLERANCE)
    found: list[Proposal] = []
    with torch.no_grad():
        for event in problem.events():
            one = log_probability_of(event, law, settings)
            found += _joined(one.parts, law.mean.double())
    return found


def _joined(parts: Sequence[Sequence[Mode]], like: Float64[Tensor, " n"]) -> list[Proposal]:
    """Every choice of one mode for each independent part: their tilts add up."""
    found = [Proposal(0.0, TiltedLaw.untilted(like))]
    for modes in parts:
        found = [
            Proposal(known.log_value + float(mode.log_value), _both(known.law, mode.solution.law))
            for known in found
            for mode in modes
        ]
        found = sorted(found, key=lambda proposal: -proposal.log_value)[:_MOST]
    return found


def _both(one: TiltedLaw, other: TiltedLaw) -> TiltedLaw:
    eye = torch.eye(len(one.mean)).to(one.precision)
    return TiltedLaw.of(one.linear + other.linear, one.precision + other.precision - eye)
