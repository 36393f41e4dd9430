"""Checks the matching sampling principle for an estimator on a family of problems."""

import dataclasses
import math
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, cast

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from outsample.comparison.cells import Cell
from outsample.comparison.principle.average import Average, Run, measure
from outsample.comparison.principle.report import PrincipleReport
from outsample.comparison.principle.statements import (
    Allowance,
    Condition,
    Statement,
    Variant,
    cost_condition,
    error_condition,
    judge_step,
    mechanistic_condition,
    ratio_condition,
)
from outsample.comparison.result import Comparison
from outsample.comparison.scores import Sampling, Score
from outsample.comparison.sweeps import AtBudget, Store, Study, sweep
from outsample.comparison.trained import TrainedFamily, TrainedProblem
from outsample.cost import count_flops
from outsample.errors import InputError, NumericalError, UnsupportedProblem
from outsample.estimator import Estimator, Explainer, Explanation, positive_integer
from outsample.problem import Family, Problem

#: Tolerances that are checked if none are given.
EPSILONS = (1.0, 1 / 4, 1 / 16, 1 / 64)
#: Samples behind each half of a truth: so many times the largest N, within these limits.
_TRUTH_SHARE, _LEAST_TRUTH, _MOST_TRUTH = 8, 2**14, 2**22


def check_principle(
    family: Family,
    estimator: type[Estimator],
    *,
    settings: Mapping[str, Any] | None = None,
    explainer: Explainer | None = None,
    epsilons: Sequence[float] = EPSILONS,
    instances: int = 40,
    seed: int = 0,
    store: str | os.PathLike[str] = ":memory:",
    workers: int | None = None,
    progress: bool = True,
) -> PrincipleReport:
    """Check every variant of the matching sampling principle that applies.

    At each ε the estimator is ``estimator.at(ε, problem)``, with N = 1/ε² evaluations of the
    problem as its budget.  Which statements apply follows from the family: *no parameters* where
    problems are random throughout; *mainline* (one network, many contexts) and *train and explain*
    (many networks) where a family trains; *without ε*, about averages of m = N runs, always.

    Work is done by :func:`~outsample.comparison.sweeps.sweep`, in processes of one thread; in a
    script, call this under ``if __name__ == "__main__":``.

    Args:
        family: where problems come from.
        estimator: a class of estimators that has ``at``.
        settings: settings to put in place of those that ``at`` chooses.
        explainer: who explains a trained network to the estimator; it sees the network when
            training ends, never a context.
        epsilons: tolerances between 0 and 1; each is rounded so that N = 1/ε² is whole.
        instances: problems of each family, at least 2.
        seed: the first problem's seed.
        store: a DuckDB file that keeps what was computed: run into it again to resume.
        workers: number of processes; by default one for each processor.
        progress: whether to show progress on standard error.

    Raises:
        InputError: for arguments out of range, settings that do not exist, or an explainer for a
            family without parameters.
        UnsupportedProblem: if no setting of the estimator is governed by ε, or it does not take
            these problems.
        ImportError: if DuckDB is not installed.
        KeyboardInterrupt: if interrupted; a file given as ``store`` has what was finished.

    Example:
        >>> import outsample as ou
        >>> family = ou.families.RandomMLP(width=8, depth=1)
        >>> found = check_principle(
        ...     family, ou.Cumulants, epsilons=[1, 1 / 8], instances=8, progress=False
        ... )
        >>> print(*(statement.variant for statement in found.statements), sep=", ")
        no parameters, without ε
    """
    samples = _samples(epsilons)
    positive_integer("check_principle", "instances", instances)
    if instances < 2:
        raise InputError(
            "check_principle: instances = 1; expected several contexts to average over"
        )
    if explainer is not None and not isinstance(family, TrainedFamily):
        raise InputError(
            f"check_principle: {family.name} has no parameters apart from its context, so that "
            f"what {explainer!r} says would depend on the context; leave the explainer out, or use "
            "a family that trains, such as TrainedMLP"
        )
    beforehand = None if explainer is None else Beforehand(explainer)
    methods = [AtBudget(estimator, n, settings or {}, beforehand) for n in samples]
    variants = _variants(family, seed)
    for chosen in variants.values():
        _refuse_unless_fit(methods, chosen.problem(seed))
    study = Study(
        name=f"principle: {estimator.__name__} on {family.name}",
        families=list(variants.values()),
        methods=methods,
        seeds=range(seed, seed + instances),
        truth_samples=_truth_samples(samples),
    )
    with Store(store) as opened:
        sweep(study, opened, workers=workers, progress=progress)
        found = opened.comparisons(study)
    for comparison in found:
        if not comparison.samplings:
            raise NumericalError(
                f"no problem of {comparison.family} could be evaluated: "
                f"{comparison.truths[0].error}"
            )
    with _one_thread():
        parts = [
            _Part(variant, chosen, comparison, tuple(methods))
            for (variant, chosen), comparison in zip(variants.items(), found, strict=True)
        ]
        statements = [part.statement() for part in parts]
        missing = _missing(family)
        if (averaged := parts[0].without_epsilon()) is not None:
            statements.append(averaged)
        else:
            missing["without ε"] = "one run of an average takes too long to be measured"
    return PrincipleReport(
        family=family.name,
        estimator=methods[0].name.partition(" at N=")[0],
        explainer=None if explainer is None else repr(explainer),
        statements=tuple(statements),
        missing=missing,
        errors=_errors(found),
        provenance=found[0].provenance,
    )


@dataclass(frozen=True)
class Beforehand(Explainer):
    """Explains a trained problem before there is a context: on what its training knew.

    Args:
        explainer: who explains.
    """

    explainer: Explainer

    def explain(self, problem: Problem) -> Explanation:
        """Return advice on the parameters of a :class:`TrainedProblem`.

        Raises:
            UnsupportedProblem: if the problem does not come from training.
        """
        if not isinstance(problem, TrainedProblem):
            raise UnsupportedProblem(
                f"{problem.describe()} does not come from training; expected a TrainedProblem"
            )
        return self.explainer.explain(problem.training.problem)

    def __repr__(self) -> str:
        return f"{self.explainer!r} beforehand"


def _samples(epsilons: Sequence[float]) -> list[int]:
    """N = 1/ε² for every tolerance, smallest N first."""
    for epsilon in epsilons:
        if not isinstance(cast(object, epsilon), int | float) or not 0 < epsilon <= 1:
            raise InputError(
                f"check_principle: epsilons holds {epsilon!r}; expected numbers above 0, at most 1"
            )
    samples = sorted({round(epsilon**-2) for epsilon in epsilons})
    if not samples:
        raise InputError("check_principle: epsilons is empty; expected at least one tolerance")
    return samples


def _truth_samples(samples: Sequence[int]) -> int:
    return min(max(_TRUTH_SHARE * samples[-1], _LEAST_TRUTH), _MOST_TRUTH)


def _variants(family: Family, seed: int) -> dict[Variant, Family]:
    if isinstance(family, TrainedFamily):
        return {"mainline": family.with_network(seed), "train and explain": family}
    return {"no parameters": family}


def _missing(family: Family) -> dict[Variant, str]:
    if isinstance(family, TrainedFamily):
        return {"no parameters": "the family has parameters, which come from training"}
    text = "the family has no parameters: all its randomness is context"
    return {"mainline": text, "train and explain": text}


def _refuse_unless_fit(methods: Sequence[AtBudget], problem: Problem) -> None:
    """Raise before any work what would otherwise fail on every problem."""
    for budgeted in methods:
        method = budgeted.method(problem)
        reason = method.estimator.accepts(problem)
        if reason is not None:
            raise UnsupportedProblem(
                f"{method.estimator!r} does not take {problem.describe()}: {reason}"
            )


def _errors(found: Sequence[Comparison]) -> tuple[str, ...]:
    """Every error of the estimator, or of a problem, once."""
    errors: dict[str, None] = {}
    for comparison in found:
        cells = [c for c in comparison.cells if c.method in comparison.methods]
        errors |= {r.error: None for r in (*cells, *comparison.truths) if r.error is not None}
    return tuple(errors)


@contextmanager
def _one_thread() -> Generator[None]:
    """What is timed here is to be set against what the sweep timed on one thread."""
    before = torch.get_num_threads()
    with threadpool_limits(1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@dataclass(frozen=True)
class _Part:
    """What was found on one family, to be judged as one or more statements."""

    variant: Variant
    family: Family
    found: Comparison
    methods: tuple[AtBudget, ...]

    def statement(self) -> Statement:
        """The statement whose contexts, and networks, the family draws."""
        flops, seconds = self._sampling.flops_per_sample, self._sampling.seconds_per_sample
        allowances = {n: Allowance(n * flops, n * seconds, 1 / n) for n in self._samples}
        return self._judged(self.variant, allowances)

    def without_epsilon(self) -> Statement | None:
        """The statement about the average of m runs, at ε = 1, for every m that was checked.

        Time and variance are measured on that architecture; the mean of its outputs, and with it
        the error, is that of M, and the estimator at ε = 1 is the one for M at 1/√m.
        """
        allowances: dict[int, Allowance] = {}
        variance = {t.problem: fmean(t.variance) for t in self.found.truths if t.error is None}
        for m in self._samples:
            runs = {i: self._run(i, m) for i in variance}
            measured = {i: run for i, run in runs.items() if run is not None}
            if measured:
                allowances[m] = _allowance(measured, variance)
        if not allowances:
            return None
        found = self._judged("without ε", allowances)
        if not (left := [str(m) for m in self._samples if m not in allowances]):
            return found
        reason = f"one run of the average of m = {', '.join(left)} takes too long to be measured"
        condition = Condition("every m", "inconclusive", reason)
        return dataclasses.replace(found, conditions=(*found.conditions, condition))

    def _judged(self, variant: Variant, allowances: Mapping[int, Allowance]) -> Statement:
        names = self._settings()
        steps = [
            judge_step(n, names[n], self._score(n), allowance, len(allowances))
            for n, allowance in allowances.items()
        ]
        conditions, timings = self._advice(variant)
        return Statement(
            variant=variant,
            family=self.family.name,
            steps=tuple(steps),
            conditions=(
                error_condition(steps),
                cost_condition("cost", steps, "flops"),
                mechanistic_condition(self.methods[0].estimator.mechanistic, self._cells()),
                *conditions,
            ),
            timings=(cost_condition("cost in seconds", steps, "seconds"), *timings),
        )

    def _advice(self, variant: Variant) -> tuple[list[Condition], list[Condition]]:
        """Length of the explanation, and what it takes to find it."""
        explainer = self.methods[0].explainer
        cells = [c for c in self._cells() if c.explanation_size is not None]
        if explainer is None or not cells:
            return [], []
        # Made here, so that no training is counted as explaining.
        problems = {
            i: cast(TrainedProblem, self.family.problem(i)) for i in {c.problem for c in cells}
        }
        trainings = {i: problem.training for i, problem in problems.items()}
        size = max((c.explanation_size or 0) / trainings[c.problem].size for c in cells)
        conditions = [ratio_condition("explanation", size, "as long as the parameters")]
        if variant != "train and explain":
            return conditions, []
        first, problem = next(iter(problems.items()))
        flops = count_flops(lambda: explainer.explain(problem))
        spent = median(
            (c.explanation_seconds or math.nan) / trainings[c.problem].seconds for c in cells
        )
        what = "as long as training"
        return (
            [*conditions, ratio_condition("explaining", flops / trainings[first].flops, what)],
            [ratio_condition("explaining in seconds", spent, what)],
        )

    @property
    def _samples(self) -> list[int]:
        return [int(method.samples) for method in self.methods]

    @property
    def _sampling(self) -> Sampling:
        return self.found.samplings[0]

    def _score(self, samples: int) -> Score:
        name = self.methods[self._samples.index(samples)].name
        return next(score for score in self.found.scores() if score.method == name)

    def _cells(self) -> list[Cell]:
        names = {method.name for method in self.methods}
        return [cell for cell in self.found.cells if cell.method in names]

    def _run(self, seed: int, runs: int) -> Run | None:
        average = Average(self.family.problem(seed), runs)
        return measure(average, seed, self._sampling.flops_per_sample)

    def _settings(self) -> dict[int, str]:
        """Settings at each N: those that vary, or are not at their defaults."""
        kind = self.methods[0].estimator
        defaults = {f.name: f.default for f in dataclasses.fields(kind)}
        settings = [c.request["settings"] for c in self._cells() if c.error is None]
        varied = {
            name
            for name, default in defaults.items()
            if len({str(s[name]) for s in settings} | {str(default)}) > 1
        }
        names: dict[int, str] = {}
        for method in self.methods:
            chosen = list(
                dict.fromkeys(
                    ", ".join(f"{k}={v}" for k, v in c.request["settings"].items() if k in varied)
                    for c in self._cells()
                    if c.method == method.name and c.error is None
                )
            )
            more = f" or {len(chosen) - 2} others" if len(chosen) > 2 else ""
            names[int(method.samples)] = " or ".join(chosen[:2]) + more
        return names


def _allowance(runs: Mapping[int, Run], variance: Mapping[int, float]) -> Allowance:
    """What one run of M' costs, and its variance over that of M, pooled over problems."""
    ours = np.array([run.variance for run in runs.values()])
    single = np.array([variance[i] for i in runs])
    ratio = float(ours.sum() / single.sum())
    residuals = (ours - ratio * single) / single.sum()
    spread = math.sqrt(float(residuals @ residuals) * len(runs) / max(len(runs) - 1, 1))
    return Allowance(
        flops=fmean(run.flops for run in runs.values()),
        seconds=median(run.seconds for run in runs.values()),
        error=ratio,
        error_spread=spread,
    )
