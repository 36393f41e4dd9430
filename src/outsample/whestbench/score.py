"""Scoring estimators of this library, and submissions, on a WhestBench data set."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from outsample.comparison.provenance import environment, package_version
from outsample.errors import InputError, OutsampleError
from outsample.estimator import Estimator
from outsample.whestbench import machinery
from outsample.whestbench.dataset import Dataset
from outsample.whestbench.packages import require
from outsample.whestbench.scores import Metered, Raw, Rules, Scores


def score(
    dataset: Dataset,
    estimators: Sequence[Estimator] = (),
    submissions: Sequence[str | os.PathLike[str]] = (),
    dtype: torch.dtype = torch.float32,
    advance: Callable[[float], None] = lambda networks: None,
) -> Scores:
    """Score by WhestBench's metric, beside its baselines and its sampling reference.

    Estimators of this library run outside the benchmark's meter: they get the raw errors, with
    FLOPs and seconds by our own ledger.  The baselines and the submissions run under the
    benchmark's meter and get its adjusted score as well, under the rules of the round whose
    networks have this shape, or of the current round.  Ctrl-C ends the scoring early: entries that
    were finished are returned, marked ``interrupted``.

    Args:
        dataset: from :func:`read`.
        estimators: of networks' means; those that can tell the means of hidden layers are scored
            on all layers too.
        submissions: folders, such as :func:`export` writes; each runs in a process of its own.
        dtype: of the networks that ``estimators`` get.
        advance: called with the number of networks that were done since it was last called;
            every estimator, submission and baseline goes through all of them.

    Raises:
        InputError: if WhestBench is not installed, two entries have one name, or a submission
            cannot be started.
        KeyboardInterrupt: if interrupted before anything was finished.
    """
    require()
    names = [_label(e) for e in estimators] + [Path(s).resolve().name for s in submissions]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{name} is there {names.count(name)} times; name each entry once")
    found: list[Raw] = []
    metered: list[Metered] = []
    interrupted = False
    try:
        for estimator in estimators:
            found.append(_raw(estimator, dataset, dtype, advance))
        for name in machinery.BASELINES:
            report = machinery.evaluate_baseline(name, dataset, advance)
            metered.append(_metered(name, "baseline", report))
        for folder in submissions:
            report = machinery.evaluate_submission(Path(folder), dataset, advance)
            metered.append(_metered(Path(folder).resolve().name, "submission", report))
    except KeyboardInterrupt:
        if not (found or metered):
            raise
        interrupted = True
    settings = machinery.rules(dataset)
    packages = {name: package_version(name) for name in ("whestbench", "flopscope")}
    return Scores(
        dataset=str(dataset.path),
        width=dataset.width,
        depth=dataset.depth,
        networks=tuple(n.name for n in dataset.networks),
        seeds=tuple(n.seed for n in dataset.networks),
        samples=dataset.samples,
        variances=tuple(n.variance for n in dataset.networks),
        raw=tuple(found),
        metered=tuple(metered),
        rules=Rules.of(settings, float(np.mean([n.variance for n in dataset.networks]))),
        provenance=environment() | packages | {"dtype": str(dtype).removeprefix("torch.")},
        interrupted=interrupted,
    )


def _raw(
    estimator: Estimator,
    dataset: Dataset,
    dtype: torch.dtype,
    advance: Callable[[float], None],
) -> Raw:
    """One of our estimators on every network."""
    fields = {f.name for f in dataclasses.fields(estimator)}
    told = "hidden" in fields
    asked = dataclasses.replace(estimator, **{"hidden": True}) if told else estimator
    final: list[float] = []
    layers: list[float] = []
    seconds: list[float] = []
    flops: int | None = None
    for network in dataset.networks:
        try:
            with torch.no_grad():
                estimate = asked.estimate(network.problem(dtype))
                flops = estimate.cost.flops if flops is None else flops
        except OutsampleError as error:
            return Raw(_label(estimator), error=f"{network.name}: {error}")
        means = getattr(estimate, "hidden", None)
        value = estimate.value.double().numpy()
        final.append(_error(value, network.means[-1]))
        if means is not None:
            layers.append(_error(torch.stack(means).double().numpy(), network.means))
        seconds.append(estimate.cost.seconds)
        advance(1)
    return Raw(
        _label(estimator),
        final=tuple(final),
        all_layers=tuple(layers) or None,
        flops=flops,
        seconds=tuple(seconds),
    )


def _label(estimator: Estimator) -> str:
    """Class name with its first setting and those that are not at their defaults."""
    shown: list[str] = []
    for place, setting in enumerate(dataclasses.fields(estimator)):
        value = getattr(estimator, setting.name)
        if value != setting.default:
            shown.append(f"{setting.name}={value}" if place else str(value))
        elif not place and not isinstance(value, bool):
            shown.append(str(value))
    return f"{type(estimator).__name__}({', '.join(shown)})"


def _error(value: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    return float(np.mean((value - truth) ** 2))


def _metered(name: str, kind: str, report: dict[str, Any]) -> Metered:
    """What the benchmark's own scoring says of an entry."""
    rows = report["per_mlp"]
    failures: list[str] = []
    for row in rows:
        reason = next((flag for flag in _FLAGS if row.get(flag)), row.get("error_code"))
        if reason:
            failures.append(f"{row['mlp_name']}: {reason} {row.get('error', '')}".strip())
    return Metered(
        name,
        kind,
        final=tuple(row["final_layer_mse"] for row in rows),
        all_layers=tuple(row["all_layers_mse"] for row in rows),
        adjusted=tuple(row["adjusted_final_layer_score"] for row in rows),
        multiplier=report["mean_score_multiplier"],
        flops=float(np.mean([row["flops_used"] for row in rows])),
        seconds=tuple(row["wall_time_s"] for row in rows),
        residual=tuple(row["residual_wall_time_s"] for row in rows),
        failures=tuple(failures),
    )


_FLAGS = (
    "budget_exhausted",
    "time_exhausted",
    "residual_wall_time_exhausted",
    "combined_budget_exhausted",
)
