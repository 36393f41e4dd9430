"""A study's figures as columns of short numbers: all that the page shows, and no more.

Columns instead of records, four digits instead of seventeen, and places in a list instead of
repeated text make ten thousand rows small enough to travel inside the page.
"""

import math
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any, cast, get_args

from outsample.comparison.cells import Cell, Truth
from outsample.comparison.reports.axes import settings_of, varying
from outsample.comparison.result import Comparison
from outsample.comparison.scores import Budget, Ratio, Sampling, Score
from outsample.comparison.statistics import Verdict

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
BUDGETS: tuple[Budget, ...] = get_args(Budget)
#: Estimators that differ only in what follows belong to one line of the error plots.
_BUDGET_SUFFIX = re.compile(r" at N=[\d.e+]+(?= with |$)")
#: A sampler's line reaches this far beyond the dearest estimator.
_REACH = 10
#: Error messages are cut to this many characters.
_LONGEST = 400


def columns(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The document inside the page.

    Each entry is a table given by its columns; an entry called like another table holds places in
    that table.  Numbers are rounded to four digits.  None stands for a number that does not exist
    (and for an upper limit or a ratio without end).
    """
    return _Columns(comparisons).document()


def short(value: float | None) -> float | int | None:
    """Four significant digits; None for what is no finite number."""
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{value:.4g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def line_of(estimator: str) -> str:
    """The line of the error plots that an estimator belongs to: its name for every budget N."""
    return _BUDGET_SUFFIX.sub(" at budget N", estimator)


class _Names:
    """Distinct texts in order of appearance, and the place of each."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def __getitem__(self, name: str) -> int:
        return self.places.setdefault(name, len(self.places))

    def list(self) -> list[str]:
        return list(self.places)


class _Columns:
    """Collects rows table by table."""

    def __init__(self, comparisons: Sequence[Comparison]) -> None:
        self.comparisons = comparisons
        self.estimators, self.opponents, self.reasons = _Names(), _Names(), _Names()
        self.families: list[dict[str, Any]] = []
        self.scores: list[dict[str, Any]] = []
        self.ratios: list[dict[str, Any]] = []
        self.samplings: list[dict[str, Any]] = []
        self.cells: list[dict[str, Any]] = []
        for place, comparison in enumerate(comparisons):
            self._add(place, comparison)

    def document(self) -> dict[str, Any]:
        names = self.estimators.list()
        lines = _Names()
        line = [lines[line_of(name)] for name in names]
        settings = [settings_of(c) for c in self.comparisons]
        keys = dict.fromkeys(key for s in settings for key in s)
        return {
            "schema_version": 1,
            "kinds": varying(self.comparisons),
            "parameters": {key: [s.get(key) for s in settings] for key in keys},
            "verdicts": VERDICTS,
            "budgets": BUDGETS,
            "lines": lines.list(),
            "opponents": self.opponents.list(),
            "reasons": self.reasons.list(),
            "estimators": {"name": names, "line": line},
            "families": _turned(self.families),
            "scores": _turned(self.scores),
            "ratios": _turned(self.ratios),
            "samplings": _turned(self.samplings),
            "cells": _turned(self.cells),
            "troubles": _turned(_troubles(self.comparisons)),
            "provenance": _turned(_provenance(self.comparisons)),
        }

    def _add(self, place: int, comparison: Comparison) -> None:
        truths = {t.problem: t for t in comparison.truths if t.error is None}
        scores = comparison.scores()
        self.families.append(_family(comparison, truths.values()))
        most = [_most_samples(scores, sampling) for sampling in comparison.samplings]
        for sampling, samples in zip(comparison.samplings, most, strict=True):
            self.samplings.append(self._sampling(place, sampling, samples))
        rows = {score.method: len(self.scores) + i for i, score in enumerate(scores)}
        for score in scores:
            row = rows[score.method]
            self.scores.append(self._score(place, score))
            self.ratios.extend(self._ratio(row, ratio) for ratio in score.ratios)
        for cell in comparison.cells:
            if cell.method in rows and cell.error is None and cell.problem in truths:
                self.cells.append(_cell(rows[cell.method], cell, truths[cell.problem]))

    def _score(self, place: int, score: Score) -> dict[str, Any]:
        return {
            "family": place,
            "estimator": self.estimators[score.method],
            "problems": score.problems,
            "failures": score.failures,
            "error": short(score.vn_error),
            "low": short(score.low),
            "high": short(score.high),
            "resolved": int(score.resolved),
            "flops": short(score.flops),
            "seconds": short(score.seconds),
            "samples_at_flops": short(score.samples_at_flops),
            "samples_at_seconds": short(score.samples_at_seconds),
            "explained": short(score.explanation_seconds),
            "trust": score.trust,
        }

    def _ratio(self, row: int, ratio: Ratio) -> dict[str, Any]:
        return {
            "score": row,
            "opponent": self.opponents[ratio.opponent],
            "budget": BUDGETS.index(ratio.budget),
            "value": short(ratio.value),
            "low": short(ratio.low),
            "high": short(ratio.high),
            "verdict": VERDICTS.index(ratio.verdict),
            "bound": {"none": 0, "lower": 1, "upper": -1}[ratio.bound],
            # What the figures do not say already: that it failed somewhere, or drowns in noise.
            "reason": self.reasons[_remark(ratio)],
        }

    def _sampling(self, place: int, sampling: Sampling, most: float) -> dict[str, Any]:
        samples = _places(sampling, most)
        return {
            "family": place,
            "opponent": self.opponents[sampling.name],
            "flops": short(sampling.flops_per_sample),
            "seconds": short(sampling.seconds_per_sample),
            "batch": sampling.batch,
            "measured": sampling.samples,
            "constants": [short(c) for c in sampling.constants],
            "by_truth": [short(c) for c in sampling.constants_from_truth],
            "samples": [short(n) for n in samples],
            "errors": [short(sampling.constant(n) / n) for n in samples],
        }


def _family(comparison: Comparison, truths: Iterable[Truth]) -> dict[str, Any]:
    truth = next(iter(truths), None)
    return {
        "name": comparison.family,
        "kind": comparison.kind,
        "problems": len(comparison.truths),
        "interrupted": int(comparison.interrupted),
        "truth_samples": None if truth is None else truth.samples,
        "evaluation": None if truth is None else short(truth.evaluation_flops),
        "noise": short(comparison.noise),
        "floor": short(comparison.floor),
    }


def _cell(row: int, cell: Cell, truth: Truth) -> dict[str, Any]:
    return {
        "score": row,
        "problem": cell.problem,
        "error": short(truth.error_of(cell) / fmean(truth.variance)),
        "flops": short(cell.flops),
        "seconds": short(cell.seconds),
    }


def _remark(ratio: Ratio) -> str:
    if "fail" in ratio.reason:
        return ratio.reason
    return ratio.reason.partition(": ")[2] if ratio.bound != "none" else ""


def _most_samples(scores: Sequence[Score], sampling: Sampling) -> float:
    """Where a sampler's line may end: the samples that the dearest estimator pays for."""
    costs: dict[Budget, list[float]] = {
        "flops": [s.flops for s in scores if s.flops > 0],
        "seconds": [s.seconds for s in scores if s.seconds > 0],
    }
    samples = [
        max(costs[budget], default=0.0) / sampling.cost_per_sample(budget)
        for budget in BUDGETS
        if sampling.cost_per_sample(budget) > 0
    ]
    return _REACH * max([*samples, *sampling.samples, 1.0])


def _places(sampling: Sampling, most: float) -> list[float]:
    """Numbers of samples at which to draw a line: its ends suffice where N × error is constant."""
    if len(sampling.samples) == 1:
        return [1.0, most]
    bounds = [1.0, *(float(n) for n in sampling.samples), most]
    inner = [math.sqrt(a * b) for a, b in pairwise(bounds)]
    return sorted({*bounds, *inner})


def _troubles(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """What failed, was left out or is doubtful, one row for each method and reason."""
    found: dict[tuple[int, str, str, str], list[int]] = {}
    for place, comparison in enumerate(comparisons):
        missing = comparison.missing
        for truth in comparison.truths:
            if truth.error is not None:
                found.setdefault((place, "problem", "failed", truth.error), []).append(
                    truth.problem
                )
        for cell in comparison.cells:
            what, reasons = "failed", [cell.error]
            if cell.method in missing:
                what = "missing sampler"
            elif cell.error is None:
                what = "" if cell.trust == "ok" else cell.trust.replace("_", " ")
                reasons = cell.reasons or [what]
            for reason in reasons if what else ():
                key = (place, cell.method, what, str(reason))
                found.setdefault(key, []).append(cell.problem)
    return [
        {
            "family": place,
            "who": who,
            "what": what,
            "reason": reason if len(reason) <= _LONGEST else reason[:_LONGEST] + " …",
            "problems": ranges(problems),
        }
        for (place, who, what, reason), problems in found.items()
    ]


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers in few words: 0–4, 7."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("–".join(map(str, run)) for run in runs)


def _provenance(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """One row for each entry and value; several rows for an entry mean that it differs."""
    found: dict[str, dict[str, int]] = {}
    for comparison in comparisons:
        for key, value in comparison.provenance.items():
            for each in values_of(key, value):
                count = found.setdefault(key, {})
                count[each] = count.get(each, 0) + 1
    return [
        {"entry": key, "value": value, "families": families}
        for key, values in found.items()
        for value, families in values.items()
    ]


def values_of(key: str, value: Any) -> list[str]:
    """The values of an entry of the provenance, in words; several if rows of a family differ."""
    if not isinstance(value, list | tuple):
        return ["not known" if value is None else str(value)]
    several = cast(Sequence[Any], value)
    if key == "seeds" and all(isinstance(v, int) for v in several):
        return [ranges(several)]
    return list(dict.fromkeys(str(v) for v in several))


def _turned(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Records of the same entries as columns."""
    return {key: [row[key] for row in rows] for key in rows[0]} if rows else {}
