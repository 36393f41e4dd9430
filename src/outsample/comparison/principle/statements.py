"""What each statement of the principle says of one estimator on one family of problems.

A statement is an inequality with a constant that is not given, O(·), and one without, the error.
Both need a convention before they can be judged; the conventions are the constants below.

**Error.**  The vn error times N = 1/ε² is to be at most 1, and sampling itself has exactly 1: no
number of problems will ever show that *it* is at most 1.  So an estimator *fails* where the
interval lies above 1, *holds* where it reaches up to at most :data:`MARGIN` (a test of
non-inferiority), and is *inconclusive* otherwise.  To say *holds* of a range of tolerances, each
must hold, which needs no correction for their number; to say *fails*, one is enough, so the
lower limit is corrected for the number of tolerances.

**O(·).**  A cost over its budget may be any constant, but must not grow as ε falls.  Fixed prices
that matter at large ε only are no breach, so the constant is the one at the smallest ε.  Above
:data:`LIMIT` it *fails*, unless cost over budget still falls (by a power of N beyond
:data:`GROWTH`): then smaller ε must tell.  Above 1 it *fails* if cost over budget grows by such a
power.  Lengths of explanations and the time of explaining are held to :data:`LIMIT` too.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from outsample.comparison.cells import Cell
from outsample.comparison.scores import Score
from outsample.comparison.statistics import LEVEL

Finding = Literal["holds", "fails", "inconclusive"]
Variant = Literal["no parameters", "mainline", "train and explain", "without ε"]

#: Largest constant that passes for O(1).
LIMIT = 10.0
#: Largest growth of cost over budget, as a power of N, that passes for none.
GROWTH = 0.1
#: An error is shown to hold up to this factor.
MARGIN = 2.0

_ORDER: tuple[Finding, ...] = ("holds", "inconclusive", "fails")


@dataclass(frozen=True)
class Allowance:
    """The right-hand sides at one ε: what the estimator may spend, and how far it may err."""

    flops: float
    seconds: float
    #: Vn error that is allowed, and the standard error of that figure, if it was measured.
    error: float
    error_spread: float = 0.0


@dataclass(frozen=True)
class Step:
    """One tolerance ε of a statement."""

    epsilon: float
    #: N = 1/ε².
    samples: int
    #: The settings that the estimator was given at this ε, as far as they say anything.
    settings: str
    #: N times the vn error that the statement allows: 1, or measured on the averaged architecture.
    allowed: float
    #: Error over what is allowed, with its 95 % interval.
    error: float
    low: float
    high: float
    finding: Finding
    #: Why, in one sentence.
    reason: str
    #: Cost over budget, in FLOPs and in seconds.
    flops: float
    seconds: float


@dataclass(frozen=True)
class Condition:
    """One thing that a statement demands, over all tolerances."""

    name: str
    finding: Finding
    reason: str


@dataclass(frozen=True)
class Statement:
    """One variant of the principle, judged for one estimator on one family."""

    variant: Variant
    #: What was averaged over and what was held fixed.
    family: str
    steps: tuple[Step, ...]
    conditions: tuple[Condition, ...]
    #: The same in wall-clock time; these depend on the machine and do not decide.
    timings: tuple[Condition, ...]

    @property
    def finding(self) -> Finding:
        """*Holds* if all conditions hold, *fails* if one fails."""
        return worst(condition.finding for condition in self.conditions)


def worst(findings: Iterable[Finding]) -> Finding:
    """The least favourable of several findings."""
    return max(findings, key=_ORDER.index)


def judge_step(samples: int, settings: str, score: Score, allowance: Allowance, steps: int) -> Step:
    """Judge the error at one ε, out of ``steps`` that are judged together."""
    spread = 2 * allowance.error_spread
    least = allowance.error - spread
    error = score.vn_error / allowance.error
    low = score.low / (allowance.error + spread)
    high = score.high / least if least > 0 else math.inf
    finding, reason = _judge_error(score, error, low, high, steps)
    return Step(
        epsilon=1 / math.sqrt(samples),
        samples=samples,
        settings=settings,
        allowed=samples * allowance.error,
        error=error,
        low=low,
        high=high,
        finding=finding,
        reason=reason,
        flops=score.flops / allowance.flops,
        seconds=score.seconds / allowance.seconds,
    )


def _judge_error(
    score: Score, error: float, low: float, high: float, steps: int
) -> tuple[Finding, str]:
    if score.failures:
        total = score.failures + score.problems
        return "inconclusive", f"it failed on {score.failures} of {total} problems: {score.error}"
    least = _joint_lower(error, low, score.problems, steps)
    if least > 1:
        return "fails", f"the error is at least {least:.3g} times what is allowed"
    if high <= 1:
        return "holds", f"the error is at most {high:.3g} times what is allowed"
    if high <= MARGIN:
        return "holds", f"the error is between {low:.3g} and {high:.3g} times what is allowed"
    return "inconclusive", (
        f"the error is between {low:.3g} and {high:.3g} times what is allowed: take more problems"
    )


def _joint_lower(error: float, low: float, problems: int, steps: int) -> float:
    """A lower limit so far out that all of ``steps`` limits hold at once (Bonferroni).

    The limit of one error is Student's on the logarithm: its distance grows with the quantile.
    """
    if not low > 0:
        return 0.0
    one, joint = special.stdtrit(problems - 1, [LEVEL, 1 - (1 - LEVEL) / (2 * steps)])
    return error * (low / error) ** float(joint / one)


def error_condition(steps: Sequence[Step]) -> Condition:
    """Whether the error is within what is allowed, at every ε."""
    finding = worst(step.finding for step in steps)
    guilty = [step for step in steps if step.finding == finding]
    if finding == "holds":
        high = max(step.high for step in steps)
        return Condition("error", finding, f"at every ε at most {high:.3g} times what is allowed")
    at = ", ".join(f"{step.samples}" for step in guilty)
    return Condition("error", finding, f"at N = {at}; {guilty[-1].reason}")


def cost_condition(
    name: str, steps: Sequence[Step], measure: Literal["flops", "seconds"]
) -> Condition:
    """Whether cost over budget is O(1) as ε falls."""
    ratios = np.array([getattr(step, measure) for step in steps])
    if not (np.isfinite(ratios) & (ratios > 0)).all():
        return Condition(name, "inconclusive", "there are no figures at some ε")
    order = np.argsort([step.samples for step in steps])
    logs, ratios = np.log([steps[i].samples for i in order]), ratios[order]
    constant, text = float(ratios[-1]), f"{ratios[-1]:.2g} of the budget at the smallest ε"
    growth = 0.0
    if len(steps) > 1:
        growth = float(np.polyfit(logs, np.log(ratios), 1)[0])
        # Said beside the trend: a fixed price at large ε hides growth at small ε.  It decides
        # nothing, since an order that rises by one is a jump and no trend.
        end = float(np.diff(np.log(ratios[-2:]))[0] / np.diff(logs[-2:])[0])
        text += (
            f", {ratios.max():.2g} at most; cost ÷ budget goes as N^{growth:.2f}, at the end as "
            f"N^{end:.2f}"
        )
    if constant > LIMIT and growth < -GROWTH:
        return Condition(name, "inconclusive", f"{text}: it still falls, take a smaller ε")
    if constant > LIMIT:
        return Condition(name, "fails", f"{text}; a constant above {LIMIT:g} is not taken for O(1)")
    if constant > 1 and growth > GROWTH:
        return Condition(name, "fails", f"{text}: it grows")
    return Condition(name, "holds", text)


def mechanistic_condition(claimed: bool, cells: Sequence[Cell]) -> Condition:
    """Whether no random numbers were drawn, as watched while the estimator ran."""
    drew = [cell.error for cell in cells if (cell.error or "").startswith("RandomnessError")]
    if not claimed:
        return Condition("mechanistic", "fails", "the estimator says itself that it draws samples")
    if drew:
        return Condition("mechanistic", "fails", str(drew[0]).partition(": ")[2])
    watched = sum(cell.error is None for cell in cells)
    if not watched:
        return Condition("mechanistic", "inconclusive", "no run was finished")
    return Condition("mechanistic", "holds", f"no random numbers drawn in {watched} watched runs")


def ratio_condition(name: str, ratio: float, what: str) -> Condition:
    """Whether a length or a time is O(1) times what it is held against."""
    text = f"{ratio:.3g} times {what}"
    if ratio > LIMIT:
        return Condition(name, "fails", f"{text}; a constant above {LIMIT:g} is not taken for O(1)")
    finding: Finding = "holds" if ratio >= 0 else "inconclusive"
    return Condition(name, finding, text)
