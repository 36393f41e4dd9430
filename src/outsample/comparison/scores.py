"""From records to figures: errors pooled over problems, and ratios to sampling at equal cost."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean, median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from outsample.comparison.cells import Cell, Truth
from outsample.comparison.statistics import (
    Verdict,
    pooled_error,
    ratio_to_opponent,
    ratio_to_sampling,
    truth_floor,
)
from outsample.estimator import Trust, worst_trust

Budget = Literal["flops", "seconds"]
_BUDGETS: tuple[Budget, Budget] = ("flops", "seconds")
_Values = NDArray[np.float64]

#: The opponent whose error is known without measuring: N samples have vn error 1/N.
PLAIN = "plain Monte Carlo"


@dataclass(frozen=True)
class Ratio:
    """An estimator against one opponent that is given the same cost.

    The interval covers which problems were drawn and how noisy their truths are; costs are taken
    as measured.
    """

    opponent: str
    budget: Budget
    #: Squared error of the opponent over that of the estimator: above 1 the estimator is better.
    value: float
    low: float
    high: float
    verdict: Verdict
    #: Why this verdict, in one sentence.
    reason: str
    #: ``"lower"`` if the estimator's error drowns in the truth's noise, so that ``value`` is the
    #: least that the ratio can be; ``"upper"`` if the opponent's does.
    bound: Literal["none", "lower", "upper"]


@dataclass(frozen=True)
class Score:
    """One estimator over all problems."""

    method: str
    #: Problems that the figures stand on, and those on which the estimator failed.
    problems: int
    failures: int
    #: The first failure, if any.
    error: str | None
    #: Squared error over Var M, a ratio of means over problems and outputs, with its interval.
    vn_error: float = math.nan
    low: float = math.nan
    high: float = math.nan
    #: Whether the error can be told from the truth's noise.
    resolved: bool = False
    #: Cost of one estimate: mean FLOPs, median time.
    flops: float = math.nan
    seconds: float = math.nan
    #: The same as numbers of plain samples.
    samples_at_flops: float = math.nan
    samples_at_seconds: float = math.nan
    trust: Trust = "ok"
    explanation_seconds: float | None = None
    ratios: tuple[Ratio, ...] = ()


@dataclass(frozen=True)
class Sampling:
    """One way of sampling, measured on the same problems."""

    name: str
    #: Numbers of samples N at which its error was measured …
    samples: tuple[int, ...]
    #: … N times the vn error there, by the spread of the sampler's independent terms …
    constants: tuple[float, ...]
    #: … and by the distance of its values from the truth: noisier, but it sees any bias.
    constants_from_truth: tuple[float, ...]
    flops_per_sample: float
    seconds_per_sample: float
    #: Batch size at which that time was measured; None for the sampler's own choice.
    batch: int | None
    #: N times the squared error: for each N a mapping from problem to mean over outputs.
    errors: tuple[Mapping[int, float], ...] = field(repr=False)

    @cached_property
    def problems(self) -> frozenset[int]:
        """Seeds of the problems on which it was measured, at every N."""
        return frozenset.intersection(*(frozenset(e) for e in self.errors))

    def cost_per_sample(self, budget: Budget) -> float:
        """FLOPs or seconds of one sample, drawing its input included."""
        return self.flops_per_sample if budget == "flops" else self.seconds_per_sample

    def weights(self, samples: float) -> _Values:
        """How the constants combine to the one at N = ``samples``.

        Linear in log N between the N measured, and constant below them, which favours sampling;
        above them the trend of the last two, if it falls, goes on as a power of N.
        """
        place, logs = math.log(max(samples, 1.0)), np.log(self.samples)
        weights = np.array([np.interp(place, logs, unit) for unit in np.eye(len(logs))])
        if place > logs[-1] and len(logs) > 1:
            last, before = self.constants[-1], self.constants[-2]
            if 0 < last < before:
                slope = math.log(last / before) / (logs[-1] - logs[-2])
                weights[-1] = math.exp(slope * (place - logs[-1]))
        return weights

    def constant(self, samples: float) -> float:
        """N times the vn error at N = ``samples``."""
        return float(self.weights(samples) @ np.array(self.constants))


class Pool:
    """The records of one comparison, ready to be pooled over problems."""

    def __init__(self, cells: Sequence[Cell], truths: Sequence[Truth]) -> None:
        self._cells = cells
        self._truths = {t.problem: t for t in truths if t.error is None}
        self._variance = {p: fmean(t.variance) for p, t in self._truths.items()}
        self._floor = _floors(self._truths.values())

    @property
    def noise(self) -> float:
        """The truth's own vn error: that of the mean of its two halves."""
        error = fmean(fmean(t.squared_error) / 2 for t in self._truths.values())
        return error / fmean(self._variance.values())

    @property
    def floor(self) -> float:
        """Smallest vn error that can be told from the noise of the truth (one deviation)."""
        squares = sum(noise**2 for noise in self._floor.values())
        return math.sqrt(squares) / sum(self._variance.values())

    def analytic(self, measured: Sampling | None) -> Sampling:
        """Plain Monte Carlo by its formula: vn error 1/N, Time(M) FLOPs, measured seconds."""
        return Sampling(
            name=PLAIN,
            samples=(1,),
            constants=(1.0,),
            constants_from_truth=measured.constants_from_truth if measured else (math.nan,),
            flops_per_sample=fmean(t.evaluation_flops for t in self._truths.values()),
            seconds_per_sample=measured.seconds_per_sample if measured else math.nan,
            batch=measured.batch if measured else None,
            errors=(self._variance,),
        )

    def sampling(self, name: str) -> Sampling | None:
        """Pool what one sampler did; None if it could not be run on these problems."""
        lengths: dict[int, list[Cell]] = {}
        batches: dict[int | None, list[Cell]] = {}
        for cell in self._of(name):
            if cell.error is None:
                batch = cell.request["settings"].get("batch")
                batches.setdefault(batch, []).append(cell)
                if batch is None:
                    lengths.setdefault(_length(cell), []).append(cell)
        if not lengths:
            return None
        samples = sorted(lengths)
        errors = [{c.problem: _own_error(c) for c in lengths[n]} for n in samples]
        distances = [
            {c.problem: (c.samples or 0) * self._truths[c.problem].error_of(c) for c in lengths[n]}
            for n in samples
        ]
        longest = lengths[samples[-1]]
        # Other batch sizes were timed on some problems, the sampler's own on all.
        batches[None] = longest
        times = {batch: _seconds_per_sample(cells) for batch, cells in batches.items()}
        best = min(times, key=lambda batch: times[batch])
        return Sampling(
            name=name,
            samples=tuple(samples),
            constants=tuple(self._pooled(e) for e in errors),
            constants_from_truth=tuple(self._pooled(d) for d in distances),
            flops_per_sample=fmean((c.flops or math.nan) / (c.samples or 1) for c in longest),
            seconds_per_sample=times[best],
            batch=best,
            errors=tuple(errors),
        )

    def score(self, method: str, opponents: Sequence[Sampling]) -> Score:
        """Pool what one estimator did, and set it beside the opponents, the formula first."""
        cells = self._of(method)
        good = [c for c in cells if c.error is None]
        failed = [c.error for c in cells if c.error is not None]
        if not good:
            return Score(method, 0, len(failed), next(iter(failed), None))
        errors = {c.problem: self._truths[c.problem].error_of(c) for c in good}
        pooled = pooled_error(*self._columns(errors))
        cost: dict[Budget, float] = {
            "flops": fmean(math.nan if c.flops is None else c.flops for c in good),
            "seconds": median(c.seconds for c in good),
        }
        trusts: list[Trust] = [c.trust for c in good]
        explained = [c.explanation_seconds for c in good if c.explanation_seconds is not None]
        return Score(
            method=method,
            problems=len(good),
            failures=len(failed),
            error=next(iter(failed), None),
            vn_error=pooled.value,
            low=pooled.interval.low,
            high=pooled.interval.high,
            resolved=pooled.resolved,
            flops=cost["flops"],
            seconds=cost["seconds"],
            samples_at_flops=_times(cost["flops"], opponents[0].flops_per_sample),
            samples_at_seconds=_times(cost["seconds"], opponents[0].seconds_per_sample),
            trust=worst_trust(*trusts),
            explanation_seconds=fmean(explained) if explained else None,
            ratios=tuple(
                self._ratio(errors, cost[budget], budget, opponent, bool(failed))
                for opponent in opponents
                for budget in _BUDGETS
                if cost[budget] > 0
                and opponent.cost_per_sample(budget) > 0
                and opponent.problems & errors.keys()
            ),
        )

    def _ratio(
        self,
        errors: Mapping[int, float],
        cost: float,
        budget: Budget,
        opponent: Sampling,
        failed: bool,
    ) -> Ratio:
        samples = cost / opponent.cost_per_sample(budget)
        shared = {p: e for p, e in errors.items() if p in opponent.problems}
        e, v, floor = self._columns(shared)
        if opponent.name == PLAIN:
            found = ratio_to_sampling(e, v, samples, floor)
        else:
            weights = opponent.weights(samples) / samples
            columns = np.array([[o[p] for o in opponent.errors] for p in shared])
            found = ratio_to_opponent(e, v, columns @ weights, floor)
        verdict, reason = found.verdict, found.reason
        if failed:
            verdict, reason = "inconclusive", "the estimator failed on some of the problems"
        return Ratio(
            opponent=opponent.name,
            budget=budget,
            value=found.value,
            low=found.interval.low,
            high=found.interval.high,
            verdict=verdict,
            reason=reason,
            bound=found.bound,
        )

    def _of(self, method: str) -> list[Cell]:
        return [c for c in self._cells if c.method == method and c.problem in self._truths]

    def _columns(self, errors: Mapping[int, float]) -> tuple[_Values, _Values, _Values]:
        """Errors, variances and floors of the same problems, as arrays."""
        e, v, floor = (
            np.array([column[p] for p in errors])
            for column in (errors, self._variance, self._floor)
        )
        return e, v, floor

    def _pooled(self, errors: Mapping[int, float]) -> float:
        return sum(errors.values()) / sum(self._variance[p] for p in errors)


def _floors(truths: Iterable[Truth]) -> dict[int, float]:
    """Noise that the truth gives squared errors; problems with equally many outputs together."""
    groups: dict[int, list[Truth]] = {}
    for truth in truths:
        groups.setdefault(len(truth.first), []).append(truth)
    floors: dict[int, float] = {}
    for group in groups.values():
        noise = truth_floor(
            np.array([t.first for t in group]),
            np.array([t.second for t in group]),
            np.array([t.squared_error for t in group]),
        )
        floors |= {t.problem: float(n) for t, n in zip(group, noise, strict=True)}
    return floors


def _length(cell: Cell) -> int:
    """Samples that are balanced together: those of one replicate, where there are replicates."""
    return (cell.samples or 0) // cell.request["settings"].get("replicates", 1)


def _own_error(cell: Cell) -> float:
    """N times the squared error that a sampler's own independent terms show."""
    if cell.squared_error is None:
        return math.nan
    return (cell.samples or 0) * fmean(cell.squared_error)


def _times(cost: float, unit: float) -> float:
    return cost / unit if unit > 0 else math.nan


def _seconds_per_sample(cells: Sequence[Cell]) -> float:
    return median(c.seconds / (c.samples or 1) for c in cells)
