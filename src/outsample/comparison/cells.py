"""The units of work of a comparison: one method on one problem, and the truth about one problem.

Each is a pure function of its arguments (times apart) and returns a record of plain numbers and
strings, so that records can be stored, sent elsewhere and merged.
"""

import dataclasses
import statistics
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from outsample.comparison.families import derive_seed
from outsample.comparison.mechanistic import forbid_randomness
from outsample.cost import count_flops
from outsample.errors import InputError
from outsample.estimator import Estimate, Estimator, Explainer, Explanation, Trust
from outsample.problem import Problem
from outsample.sampling import MonteCarlo, SampledEstimate

#: An estimate is timed so often; if mechanistic, more often until this many seconds have passed …
_RUNS, _SECONDS = 3, 0.2
#: … but not more often than this, and not again once this many seconds have passed.
_MOST_RUNS, _MOST_SECONDS = 30, 10.0
#: Samples behind the variance of M(x): about 1 % of it, for tails that are not heavy.
_VARIANCE_SAMPLES = 2**15
#: Rows of the batch on which one evaluation of M is metered.
_METERED_ROWS = 64
#: Fewest samples a coordinate for which a truth is moment-matched.
_MATCHED_RATIO = 64


@dataclass(frozen=True)
class Method:
    """One line of a comparison: an estimator, and who explains the problem to it, if anyone."""

    #: Name in tables and figures.
    name: str
    estimator: Estimator
    explainer: Explainer | None = None

    def to_dict(self) -> dict[str, Any]:
        """The request: the estimator's, and the explainer in words."""
        explainer = None if self.explainer is None else repr(self.explainer)
        return {**self.estimator.to_dict(), "explainer": explainer}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one method did on one problem."""

    #: Seed of the problem in its family.
    problem: int
    #: The method: its name in this comparison, and its settings (:meth:`Method.to_dict`).
    method: str
    request: Mapping[str, Any]
    #: Mean over runs of the estimate, flattened; empty if the method failed.
    value: tuple[float, ...] = ()
    #: Variance of the value over runs (divisor: number of runs); a random method gets a new seed
    #: in each run, a mechanistic one says the same every time.
    spread: tuple[float, ...] = ()
    #: Mean over runs of the squared standard error, where the method gives one.
    squared_error: tuple[float, ...] | None = None
    #: Median wall-clock time of one estimate, warm-up excluded, under ``no_grad``.
    seconds: float = float("nan")
    #: Floating-point operations of one estimate.
    flops: int | None = None
    #: Evaluations of the problem in one estimate, for samplers.
    samples: int | None = None
    trust: Trust = "ok"
    reasons: tuple[str, ...] = ()
    #: Time to build the explanation, and its size in numbers.
    explanation_seconds: float | None = None
    explanation_size: int | None = None
    #: Why there is no value: class and message of the error.
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The record as plain numbers, strings, lists and dictionaries."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known of one problem, independently of any method under test."""

    #: Seed of the problem in its family.
    problem: int
    #: Two independent unbiased values of E[M(x)], flattened; both exact if ``samples`` is 0.
    first: tuple[float, ...] = ()
    second: tuple[float, ...] = ()
    #: Squared standard error of one of them; that of rounding if exact.
    squared_error: tuple[float, ...] = ()
    #: Variance of M(x).
    variance: tuple[float, ...] = ()
    #: Floating-point operations of one evaluation of M.
    evaluation_flops: float = float("nan")
    #: Evaluations behind each of the two values, and how they were drawn.
    samples: int = 0
    sampler: Mapping[str, Any] = field(default_factory=dict[str, Any])
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The record as plain numbers, strings, lists and dictionaries."""
        return dataclasses.asdict(self)

    def error_of(self, cell: Cell) -> float:
        """Unbiased estimate of a cell's squared error, mean over outputs; may be negative.

        (G - T₁)(G - T₂), averaged over the runs of the cell.
        """
        terms = zip(cell.value, cell.spread, self.first, self.second, strict=True)
        return statistics.fmean(s + (g - a) * (g - b) for g, s, a, b in terms)


def run_cell(problem: Problem, seed: int, method: Method, *, search: bool = True) -> Cell:
    """Let one method estimate one problem, and time it; an error of the method is recorded.

    The first run warms up, verifies that a mechanistic estimator draws no random numbers, and is
    not timed.  An estimator that is not mechanistic and has a ``seed`` gets one of its own for
    every problem and run, derived from its seed, and runs four times in all.

    Args:
        problem: the problem that the family gives for ``seed``.
        seed: seed of the problem.
        method: what to run.
        search: whether to look for draws from generators made beforehand as well, see
            :func:`~outsample.comparison.mechanistic.forbid_randomness`.

    Returns:
        The record.  Only ``KeyboardInterrupt`` and the like pass through.
    """
    record: dict[str, Any] = {
        "problem": seed, "method": method.name, "request": method.to_dict(),
    }  # fmt: skip
    try:
        with torch.no_grad():
            record |= _explained_run(problem, seed, method, search)
    except Exception as error:
        return Cell(**record, error=f"{type(error).__name__}: {error}")
    return Cell(**record)


def _explained_run(problem: Problem, seed: int, method: Method, search: bool) -> dict[str, Any]:
    explanation: Explanation | None = None
    record: dict[str, Any] = {}
    if method.explainer is not None:
        start = time.perf_counter()
        explanation = method.explainer.explain(problem)
        record["explanation_seconds"] = time.perf_counter() - start
        record["explanation_size"] = explanation.size

    estimator = method.estimator
    with forbid_randomness(search) if estimator.mechanistic else nullcontext():
        estimates = [_seeded(estimator, seed, 0).estimate(problem, explanation)]
    times: list[float] = []
    while not _enough(times, estimator.mechanistic):
        fresh = _seeded(estimator, seed, len(estimates))
        start = time.perf_counter()
        estimates.append(fresh.estimate(problem, explanation))
        times.append(time.perf_counter() - start)
    estimate = estimates[-1]
    if estimate.value.shape != problem.output_shape:
        raise InputError(
            f"{estimator!r} gave a value of shape {tuple(estimate.value.shape)}; expected the "
            f"problem's output_shape {problem.output_shape}"
        )
    values = [e.value.double().flatten() for e in estimates]
    errors = [
        e.standard_error.double().flatten().square()
        for e in estimates
        if e.standard_error is not None
    ]
    value = torch.stack(values)
    return record | {
        "value": tuple(value.mean(0).tolist()),
        "spread": tuple(value.var(0, correction=0).tolist()),
        "squared_error": tuple(torch.stack(errors).mean(0).tolist()) if errors else None,
        "seconds": statistics.median(times),
        "flops": estimate.cost.flops,
        "samples": _samples(estimate),
        "trust": estimate.trust,
        "reasons": estimate.reasons,
    }


def _seeded(estimator: Estimator, problem: int, run: int) -> Estimator:
    """The estimator with its own seed for a problem and a run, if it has a seed to set."""
    seed = getattr(estimator, "seed", None)
    if estimator.mechanistic or seed is None:
        return estimator
    return dataclasses.replace(estimator, **{"seed": derive_seed("run", seed, problem, run)})


def _enough(times: list[float], mechanistic: bool) -> bool:
    """A random method runs a fixed number of times, so that its values do not depend on speed."""
    if not mechanistic or len(times) < _RUNS:
        return len(times) >= _RUNS or (mechanistic and sum(times) > _MOST_SECONDS)
    return sum(times) > _SECONDS or len(times) >= _MOST_RUNS


def _samples(estimate: Estimate) -> int | None:
    return estimate.samples if isinstance(estimate, SampledEstimate) else None


def find_truth(problem: Problem, seed: int, samples: int, stream: int) -> Truth:
    """Find the expectation of one problem: exactly, or by two independent sampled halves.

    The halves come from the problem's own sampler if it has one; else they are antithetic and
    moment-matched where the samples suffice for that, antithetic where they do not, plain where
    the inputs are not made from normals.  The variance of M(x) is that of a plain sample, unless
    the problem knows it.

    Args:
        problem: the problem that the family gives for ``seed``.
        seed: seed of the problem.
        samples: evaluations for each half, even.
        stream: number that sets this truth apart from others about the same problem.

    Returns:
        The record; an error of the problem is recorded in it.
    """
    try:
        with torch.no_grad():
            return _truth(problem, seed, samples, stream)
    except Exception as error:
        return Truth(problem=seed, error=f"{type(error).__name__}: {error}")


def _truth(problem: Problem, seed: int, samples: int, stream: int) -> Truth:
    flops = evaluation_flops(problem)
    exact = problem.exact() if problem.has_exact() else None
    if exact is not None:
        variance = _variance(problem, exact, stream, seed)
        value = exact.double().flatten()
        rounding = torch.finfo(problem.dtype).eps * value
        return Truth(
            problem=seed,
            first=tuple(value.tolist()),
            second=tuple(value.tolist()),
            squared_error=tuple(rounding.square().tolist()),
            variance=variance,
            evaluation_flops=flops,
        )
    halves = [
        _sampled(problem, samples, derive_seed("truth", stream, seed, half)) for half in (0, 1)
    ]
    first, second = (value.double().flatten() for value, _, _ in halves)
    mean = ((first + second) / 2).reshape(problem.output_shape)
    errors = [error.double().flatten().square() for _, error, _ in halves]
    return Truth(
        problem=seed,
        first=tuple(first.tolist()),
        second=tuple(second.tolist()),
        squared_error=tuple((sum(errors[1:], errors[0]) / len(errors)).tolist()),
        variance=_variance(problem, mean, stream, seed),
        evaluation_flops=flops,
        samples=samples,
        sampler=halves[0][2],
    )


def _sampled(problem: Problem, samples: int, seed: int) -> tuple[Tensor, Tensor, Mapping[str, Any]]:
    """A sampled value, its standard error, and who drew it: the problem's own sampler, if any."""
    own = problem.sampled_truth(samples, seed)
    if own is not None:
        return *own, {"method": f"{type(problem).__name__}.sampled_truth", "settings": {}}
    sampler = dataclasses.replace(truth_sampler(problem, samples), seed=seed)
    found = sampler.estimate(problem)
    if found.standard_error is None:
        raise TypeError("a sample of more than one term has a standard error")
    return found.value, found.standard_error, sampler.to_dict()


def _variance(problem: Problem, mean: Tensor, stream: int, seed: int) -> tuple[float, ...]:
    """Var M(x) of each output: what the problem knows, else that of a plain sample."""
    known = problem.variance_given(mean)
    if known is None:
        plain = MonteCarlo(_VARIANCE_SAMPLES, seed=derive_seed("variance", stream, seed))
        deviation = plain.estimate(problem).standard_error
        if deviation is None:
            raise TypeError("a plain sample has a standard error")
        known = deviation.double().square() * plain.samples
    variance = tuple(known.double().flatten().tolist())
    if not any(variance):
        raise InputError("the output does not vary, so that any sampler is exact: left out")
    return variance


def evaluation_flops(problem: Problem) -> float:
    """Time(M): metered on a batch, so that what a batch shares is not counted for each row."""
    x = problem.inputs.sample(_METERED_ROWS, torch.Generator(problem.device).manual_seed(0))
    return count_flops(lambda: problem(x)) / _METERED_ROWS


def truth_sampler(problem: Problem, samples: int) -> MonteCarlo:
    """The strongest simple sampler that ``samples`` evaluations of ``problem`` allow."""
    matched = MonteCarlo(samples, antithetic=True, moment_matched=True)
    if matched.accepts(problem) is not None:
        return MonteCarlo(samples)
    if samples < _MATCHED_RATIO * problem.inputs.latent_size:
        return MonteCarlo(samples, antithetic=True)
    return matched
