"""What ``outsample halfspaces``, ``cnf`` and ``permanent`` share: one estimate beside sampling."""

import math
from typing import TYPE_CHECKING, Annotated

import typer

from outsample.cli.output import Output, number, seconds

if TYPE_CHECKING:
    from outsample.estimator import Estimate, Estimator
    from outsample.problem import Problem

ExactOption = Annotated[bool, typer.Option("--exact", help="Also the exact answer, if cheap.")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything that is sampled.")]

#: Sampling at equal cost draws at least two samples, for a standard error, and at most so many.
_FEWEST_SAMPLES, _MOST_SAMPLES = 2, 10**7
#: Sampling at equal seconds: shortest time that a run can be stopped at with sense.
_SHORTEST = 1e-3


def report(
    output: Output, problem: "Problem", estimator: "Estimator | None", exact: bool, seed: int
) -> "Estimate":
    """Estimate ``problem``, and show the estimate with its cost beside sampling at equal cost.

    Sampling gets as many samples as have the same number of floating-point operations, and in a
    second run the same time; both are plain Monte Carlo with its own standard error.

    Args:
        output: where results are collected; the document gets ``problem``, ``estimate``,
            ``sampling`` and, if asked for, ``exact``.
        problem: what to estimate.
        estimator: how; the default of :func:`outsample.estimate` if None.
        exact: whether to add the exact answer.
        seed: seed of the sampling.

    Raises:
        UnsupportedProblem: if the estimator does not take the problem, or ``exact`` was asked for
            and there is no cheap exact answer.
    """
    import torch

    from outsample.comparison.cells import evaluation_flops
    from outsample.default import estimate
    from outsample.exact import Exact
    from outsample.sampling import MonteCarlo

    with torch.no_grad():
        # Warm: the first call of a process also pays for imports.
        (estimate(problem) if estimator is None else estimator.estimate(problem))
        found = estimate(problem) if estimator is None else estimator.estimate(problem)
        evaluation = evaluation_flops(problem)
        equal = (found.cost.flops or 0) / max(evaluation, 1.0)
        samples = min(max(math.ceil(equal), _FEWEST_SAMPLES), _MOST_SAMPLES)
        by_flops = MonteCarlo(samples, seed=seed).estimate(problem)
        by_time = MonteCarlo(
            _MOST_SAMPLES, seed=seed, seconds=max(found.cost.seconds, _SHORTEST)
        ).estimate(problem)
        truth = Exact().estimate(problem) if exact else None

    rows = [("estimate", found), ("sampling, equal FLOPs", by_flops)]
    rows.append(("sampling, equal time", by_time))
    if truth is not None:
        rows.append(("exact", truth))
    output.text(problem.describe())
    output.table(
        ["", "value", "standard error", "log", "time", "FLOPs", "samples"],
        [[name, *_row(e)] for name, e in rows],
    )
    output.text(f"estimate by {found.estimator!r}, worth {number(equal)} samples in FLOPs")
    if found.trust != "ok":
        output.text(f"trust: {found.trust.replace('_', ' ')}: {'; '.join(found.reasons)}")
    output.document |= {
        "problem": problem.describe(),
        "estimate": found.to_dict(),
        "samples_of_equal_flops": equal,
        "sampling": {"equal_flops": by_flops.to_dict(), "equal_seconds": by_time.to_dict()},
    }
    if truth is not None:
        output.document["exact"] = truth.to_dict()
    return found


def _row(found: "Estimate") -> list[str]:
    value = float(found.value)
    log = float(found.log_value) if found.log_value is not None else _log(value)
    error = None if found.standard_error is None else float(found.standard_error)
    samples = getattr(found, "samples", None)
    return [
        number(value, 10),
        number(error),
        number(log, 8),
        seconds(found.cost.seconds),
        number(found.cost.flops),
        number(samples, 8),
    ]


def _log(value: float) -> float:
    return math.log(abs(value)) if value else -math.inf
