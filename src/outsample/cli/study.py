"""Estimators and sampling side by side on one classifier with one random input."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor

from outsample.cli.digits import Decision
from outsample.cumulants import Cumulants, ExactCovariance, MeanPropagation
from outsample.cumulants.argmax import argmax_probabilities
from outsample.estimator import Estimate, Estimator
from outsample.networks import NetworkMean
from outsample.sampling import MonteCarlo
from outsample.sampling.progress import progress

#: The method that the figure shows, and sampling that gets the same seconds.
CHOSEN = "cumulants, order 2"
RIVAL = "sampling, same time"
_ESTIMATORS: dict[str, Estimator] = {
    "mean propagation": MeanPropagation(),
    "cumulants, order 2, basic": Cumulants(order=2, variant="basic"),
    "exact covariance": ExactCovariance(),
    CHOSEN: Cumulants(order=2),
}
#: Timed runs of an estimator: at least this many, more within so many seconds.
_RUNS, _MOST_RUNS, _SECONDS = 3, 30, 0.3

#: What a method says of a classifier with k classes, as far as it does: "mean" (k,) and
#: "covariance" (k, k) of the logits, and "probabilities" (k,) of each argmax.
Answer = dict[str, Tensor]
T = TypeVar("T")


@dataclass(frozen=True)
class Effort:
    """How much sampling a study does."""

    #: Samples behind each of the two independent halves of the truth.
    truth: int
    #: Sample sizes on sampling's own line, and runs with different seeds at each.
    line: tuple[int, ...]
    runs: int


FULL = Effort(truth=1_000_000, line=(2048, 8192, 32768), runs=16)
QUICK = Effort(truth=40_000, line=(2048,), runs=4)


@dataclass(frozen=True)
class Line:
    """One method's errors and cost; an error is None where the method has no answer."""

    #: Root mean square error of the mean logits, each in its own standard deviations.
    mean_error: float
    #: Σ squared error / Σ variance of the logits: N plain samples have 1/N.
    vn_error: float
    #: Relative error of the covariance in the Frobenius norm.
    covariance_error: float | None
    #: Largest error of an argmax probability.
    argmax_error: float | None
    #: Time for mean and covariance, and what the argmax probabilities take on top.
    seconds: float
    argmax_seconds: float
    #: Time that moment-matched antithetic sampling needs for the same vn error; None if the
    #: error is too small to tell.
    sampling_seconds: float | None


@dataclass(frozen=True)
class Point:
    """Moment-matched antithetic sampling at one sample size."""

    samples: int
    seconds: float
    vn_error: float


@dataclass(frozen=True)
class Study:
    """What was measured on one problem."""

    problem: NetworkMean
    truth: Answer
    truth_samples: int
    #: Vn error of the truth itself, and the standard error of its least certain probability.
    truth_vn_error: float
    truth_argmax_error: float
    #: What :data:`CHOSEN` answers.
    chosen: Answer
    #: Every method by its name.
    lines: dict[str, Line]
    #: Samples of :data:`RIVAL`.
    rival_samples: int
    sampling: tuple[Point, ...]
    #: Time × vn error of moment-matched antithetic and of plain sampling.
    matched_cost: float
    plain_cost: float


class _Truth:
    """Two independent sampled halves: errors against them are free of their own noise."""

    def __init__(self, decision: Decision, samples: int, seed: int) -> None:
        runs = [_sampler(samples, 2 * seed + i).estimate(decision) for i in (0, 1)]
        self.halves = [_sampled(run) for run in runs]
        self.average = {k: (v + self.halves[1][k]) / 2 for k, v in self.halves[0].items()}
        self.variance = self.average["covariance"].diagonal()
        errors = [cast(Tensor, run.standard_error).double().square() for run in runs]
        mean, votes = ((errors[0] + errors[1]) / 4).tensor_split(2)
        self.vn_error = float(mean.sum() / self.variance.sum())
        self.argmax_error = float(votes.max().sqrt())

    def squared_error(self, found: Answer, key: str) -> Tensor:
        """(G - T₁)(G - T₂), unbiased for the squared error of every entry."""
        return (found[key] - self.halves[0][key]) * (found[key] - self.halves[1][key])


def study(problem: NetworkMean, seed: int, effort: Effort = FULL) -> Study:
    """Measure estimators and sampling on one classifier with one random input.

    Args:
        problem: a network with one output per class.
        seed: keeps the random numbers of one study apart from those of another.
        effort: how much sampling.
    """
    decision = Decision(problem)
    with torch.no_grad():
        truth = _Truth(decision, effort.truth, seed)
        points = [_point(problem, truth, n, seed, effort.runs) for n in effort.line]
        # The squared error of sampling falls as 1 / N; its constant is pooled over the sizes.
        constant = statistics.fmean(p.samples * p.vn_error for p in points)
        matched_cost = constant * points[-1].seconds / points[-1].samples
        found = {name: _line(e, problem, truth, matched_cost) for name, e in _ESTIMATORS.items()}
        chosen, line = found[CHOSEN]
        samples, rival = _rival(decision, truth, line, seed, effort.runs)
        plain = MonteCarlo(samples=effort.line[-1], seed=seed)
        # Plain sampling has vn error 1 / N, exactly.
        plain_cost = _timed(lambda: plain.estimate(problem))[1] / plain.samples
    return Study(
        problem=problem,
        truth=truth.average,
        truth_samples=2 * effort.truth,
        truth_vn_error=truth.vn_error,
        truth_argmax_error=truth.argmax_error,
        chosen=chosen,
        lines={name: line for name, (_, line) in found.items()} | {RIVAL: rival},
        rival_samples=samples,
        sampling=tuple(points),
        matched_cost=matched_cost,
        plain_cost=plain_cost,
    )


def _line(
    estimator: Estimator, problem: NetworkMean, truth: _Truth, matched_cost: float
) -> tuple[Answer, Line]:
    """A mechanistic estimator; its Gaussian for the logits gives the argmax probabilities."""
    estimate, seconds = _timed(lambda: estimator.estimate(problem))
    answer, argmax_seconds = {"mean": estimate.value.double()}, 0.0
    if (covariance := estimate.covariance) is not None:
        # In the estimate's own dtype, which says how far round-off may make it indefinite.
        votes, argmax_seconds = _timed(lambda: argmax_probabilities(estimate.value, covariance))
        answer |= {"covariance": covariance.double(), "probabilities": votes.double()}
    errors = _errors([answer], truth)
    sampling = matched_cost / errors[1] if errors[1] > truth.vn_error else None
    return answer, Line(*errors, seconds, argmax_seconds, sampling)


def _rival(decision: Decision, truth: _Truth, line: Line, seed: int, runs: int) -> tuple[int, Line]:
    """Sampling with the seconds that ``line`` took, argmax probabilities included."""
    seconds = line.seconds + line.argmax_seconds
    fewest = 16 * (decision.inputs.latent_size + 1)  # moment matching takes no less
    trial = _timed(lambda: _sampler(fewest, 0).estimate(decision))[1]
    samples = max(fewest, 2 * round(fewest / 2 * seconds / trial))
    found = [_sampler(samples, 1000 * (seed + 1) + i).estimate(decision) for i in range(runs)]
    errors = _errors([_sampled(f) for f in found], truth)
    taken = statistics.median(f.cost.seconds for f in found)
    return samples, Line(*errors, taken, 0.0, taken)


def _point(problem: NetworkMean, truth: _Truth, samples: int, seed: int, runs: int) -> Point:
    estimates: list[Estimate] = []
    with progress(f"{samples} samples", runs) as advance:
        for i in range(runs):
            estimates.append(_sampler(samples, 1_000_000 * (seed + 1) + i).estimate(problem))
            advance(1)
    vn_error = _errors([{"mean": e.value.double()} for e in estimates], truth)[1]
    return Point(samples, statistics.median(e.cost.seconds for e in estimates), vn_error)


def _errors(
    answers: list[Answer], truth: _Truth
) -> tuple[float, float, float | None, float | None]:
    """Errors of mean (twice), covariance and probabilities, root mean square over ``answers``."""

    def squares(key: str) -> Tensor:
        return torch.stack([truth.squared_error(answer, key) for answer in answers])

    mean = squares("mean").mean(0)
    mean_error = _root((mean / truth.variance).mean())
    vn_error = max(0.0, float(mean.sum() / truth.variance.sum()))
    covariance_error = argmax_error = None
    if "covariance" in answers[0]:
        size = truth.average["covariance"].norm()
        covariance_error = _root(squares("covariance").mean(0).sum() / size**2)
        argmax_error = _root(squares("probabilities").amax(1).mean())
    return mean_error, vn_error, covariance_error, argmax_error


def _sampler(samples: int, seed: int) -> MonteCarlo:
    return MonteCarlo(samples=samples, seed=seed, antithetic=True, moment_matched=True)


def _sampled(run: Estimate) -> Answer:
    """The sampled answer to a :class:`Decision`."""
    mean, probabilities = run.value.double().tensor_split(2)
    k = len(mean)
    covariance = cast(Tensor, run.covariance)[:k, :k].double()
    return {"mean": mean, "covariance": covariance, "probabilities": probabilities}


def _root(square: Tensor) -> float:
    return math.sqrt(max(0.0, float(square)))


def _timed(run: Callable[[], T]) -> tuple[T, float]:
    """The result, and the median time after a first run that warms up."""
    result = run()
    times: list[float] = []
    while len(times) < _RUNS or (sum(times) < _SECONDS and len(times) < _MOST_RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return result, statistics.median(times)
