"""WhestBench's own scoring: its baselines and submission folders, run and metered by itself."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outsample.errors import InputError
from outsample.whestbench.dataset import Dataset
from outsample.whestbench.packages import quiet

if TYPE_CHECKING:
    from whestbench.budget import RoundConfig

#: A busy machine may take longer to start a process than the 5 s that the benchmark allows set-up.
_START_SECONDS = 60.0

#: The benchmark's bundled estimators, by the names they have in tables.
BASELINES = {
    "mean propagation": "MeanPropagationEstimator",
    "covariance propagation": "CovariancePropagationEstimator",
}


def rules(dataset: Dataset) -> "RoundConfig":
    """The rules of the round with networks of this shape; those of the current round if none is."""
    from whestbench.budget import CURRENT_ROUND, ROUNDS

    shape = dataset.width, dataset.depth
    for settings in ROUNDS.values():
        if (settings.width, settings.depth) == shape:
            return settings
    return replace(CURRENT_ROUND, width=dataset.width, depth=dataset.depth)


def evaluate(estimator: Any, dataset: Dataset, advance: Callable[[float], None]) -> dict[str, Any]:
    """Score an estimator of WhestBench's kind; what its ``evaluate_estimator`` returns."""
    from whestbench.scoring import evaluate_estimator

    with quiet():
        return evaluate_estimator(estimator, _contest(dataset), lambda done: advance(1))


def evaluate_baseline(
    name: str, dataset: Dataset, advance: Callable[[float], None]
) -> dict[str, Any]:
    """Score one of :data:`BASELINES`."""
    from whestbench import estimators

    return evaluate(getattr(estimators, BASELINES[name])(), dataset, advance)


def evaluate_submission(
    folder: Path, dataset: Dataset, advance: Callable[[float], None]
) -> dict[str, Any]:
    """Score a submission folder in a process of its own, as ``whest run --runner subprocess``.

    Raises:
        InputError: if the folder holds no submission, or its set-up fails.
    """
    from whestbench.packaging import resolve_submission
    from whestbench.runner import (
        EstimatorEntrypoint,
        ResourceLimits,
        RunnerError,
        SubprocessRunner,
    )
    from whestbench.sdk import SetupContext

    try:
        _, entry, _ = resolve_submission(folder)
    except (OSError, ValueError) as error:
        raise InputError(f"submission {str(folder)!r}: {error}") from error
    spec = _spec(dataset)
    runner = SubprocessRunner()
    context = SetupContext(
        width=spec.width,
        depth=spec.depth,
        flop_budget=spec.flop_budget,
        api_version="1.0",
        submission_dir=str(entry.parent),
    )
    limits = ResourceLimits(
        setup_timeout_s=_START_SECONDS,
        predict_timeout_s=spec.predict_timeout_s,
        memory_limit_mb=spec.memory_limit_mb,
        flop_budget=spec.flop_budget,
        wall_time_limit_s=spec.wall_time_limit_s,
        residual_wall_time_limit_s=spec.residual_wall_time_limit_s,
    )
    try:
        runner.start(EstimatorEntrypoint(entry), context, limits)
        return evaluate(runner, dataset, advance)
    except RunnerError as error:
        raise InputError(f"submission {str(folder)!r}: {error}") from error
    finally:
        runner.close()


def _spec(dataset: Dataset) -> Any:
    """The contest, under the rules of this shape."""
    from whestbench.scoring import ContestSpec

    settings = rules(dataset)
    return ContestSpec(
        width=dataset.width,
        depth=dataset.depth,
        n_mlps=len(dataset.networks),
        flop_budget=settings.flop_budget,
        ground_truth_samples=dataset.samples,
        wall_time_limit_s=settings.wall_time_limit_s,
        residual_wall_time_limit_s=settings.residual_wall_time_limit_s,
        lambda_flops_per_second=settings.lambda_flops_per_second,
    )


def _contest(dataset: Dataset) -> Any:
    """The networks and truths as the benchmark holds them."""
    import flopscope.numpy as fnp
    from whestbench.domain import MLP
    from whestbench.scoring import ContestData
    from whestbench.seeds import resolve_salt

    protocol = dataset.metadata["seed_protocol"]
    version = protocol["version"]
    salt = resolve_salt(protocol) if version == "4.0" else None
    networks = [
        MLP.from_row(
            {"weights": n.weights, "mlp_seed": n.seed, "mlp_name": n.name},
            seed_protocol_version=version,
            seed_salt=salt,
        )
        for n in dataset.networks
    ]
    means = [fnp.asarray(n.means, dtype=fnp.float32) for n in dataset.networks]
    return ContestData(
        spec=_spec(dataset),
        mlps=networks,
        all_layer_targets=means,
        final_targets=[fnp.asarray(n.means[-1], dtype=fnp.float32) for n in dataset.networks],
        avg_variances=[n.variance for n in dataset.networks],
    )
