"""Finds the Gaussian tilt under which a network's outputs reach their thresholds."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.catastrophe.tilt.law import TiltedLaw
from outsample.catastrophe.tilt.order2 import Local, local
from outsample.catastrophe.tilt.saddle import Quadratic, saddle
from outsample.networks.graph import Graph

#: Share of the way to the model's tilt that a step goes, at first and at least; a step that moves
#: the tilt no less than the one before makes the next ones shorter.
_SHARE, _LEAST_SHARE = 0.85, 0.2
_SLOW, _SHORTER = 0.8, 0.7


@dataclass(frozen=True)
class Solution:
    """A tilt, with how strongly it weighs each output."""

    law: TiltedLaw
    strength: Float64[Tensor, " d"]
    steps: int
    converged: bool


def solve(
    graph: Graph,
    thresholds: Float64[Tensor, " d"],
    start: TiltedLaw,
    most_steps: int,
    tolerance: float,
    known: Callable[[TiltedLaw], bool] = lambda _: False,
    outputs: Local | None = None,
) -> Solution:
    """The fixed point at order 2: Q is P tilted by the outputs' own quadratic model under Q.

    Every step expands the outputs under Q to second order, finds how strongly the expansion must
    be weighed for its means to reach the thresholds, and goes most of the way to that tilt.  It is
    found when its mean moves by less than ``tolerance``, in its own standard deviations, and its
    covariance by less than twice as much of itself; the search ends early at a law that is
    ``known``.  ``outputs``, if given, are those under the first law.
    """
    law, strength = start, torch.zeros_like(thresholds)
    share, last = _SHARE, math.inf
    for step in range(1, most_steps + 1):
        if step > 1 or outputs is None:
            outputs = local(graph, law.mean, law.covariance)
        try:
            new, strength = improved(law, outputs, thresholds, strength, share)
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            # The tilt runs away: no input reaches the thresholds.
            return Solution(law, strength, step, converged=False)
        step_in_mean = new.mean - law.mean
        moved = math.sqrt(max(float(step_in_mean @ law.precision @ step_in_mean), 0.0))
        spread = float((law.covariance @ (new.precision - law.precision)).norm())
        law = new
        if (moved < tolerance and spread < 2 * tolerance) or known(law):
            return Solution(law, strength, step, converged=True)
        if moved + spread > _SLOW * last:
            share = max(_SHORTER * share, _LEAST_SHARE)
        last = moved + spread
    return Solution(law, strength, most_steps, converged=False)


def improved(
    law: TiltedLaw,
    outputs: Local,
    thresholds: Float64[Tensor, " d"],
    strength: Float64[Tensor, " d"],
    share: float,
) -> tuple[TiltedLaw, Float64[Tensor, " d"]]:
    """The tilt by the outputs' quadratic model, or a law on the way to it, and its strengths."""
    model = Quadratic(law, outputs)
    strength = saddle(model, thresholds, strength)
    target = model.tilted(strength)
    return (target if share == 1.0 else law.mixed(target, share)), strength
