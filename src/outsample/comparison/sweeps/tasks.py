"""The units of a sweep: what a worker does, and what comes back.

A task is known by its content: the digest of what it computes, on what, with which version.
"""

import hashlib
import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.metadata import packages_distributions
from typing import TYPE_CHECKING, Any, Literal

import torch
from threadpoolctl import threadpool_limits

from outsample.comparison.cells import (
    Cell,
    Method,
    Truth,
    evaluation_flops,
    find_truth,
    run_cell,
)
from outsample.comparison.families import Fixed
from outsample.comparison.mechanistic import forbid_randomness
from outsample.comparison.opponents import opponents
from outsample.comparison.provenance import environment, package_version
from outsample.cost import count_flops
from outsample.errors import RandomnessError
from outsample.estimator import Estimator, input_hash
from outsample.problem import Family, Problem

if TYPE_CHECKING:
    from outsample.comparison.sweeps.study import AtBudget

#: Tasks of one process run one after the other: threads and generators belong to the process.
_RUNNING = threading.Lock()
#: The problem that this process worked on last, by family and seed: the next task often shares it.
_LAST: dict[tuple[str, int], Problem] = {}
#: Threads of a cluster's worker draw from global generators, too: a finding has to repeat itself.
_LOOKS_AGAIN = 2
#: Estimators for which this process has searched its memory for generators; once is enough.
_SEARCHED: set[type[Estimator]] = set()


Role = Literal["method", "opponent"]
#: What a piece of work gives: cells, or a truth.
Records = tuple[tuple[Cell, ...], Truth | None]


@dataclass(frozen=True)
class Done:
    """What became of a task."""

    key: str
    #: The family: its name, its kind and its settings.
    family: str
    kind: str
    parameters: Mapping[str, Any]
    problem: int
    #: Whether the cells are those of a method under test or of the samplers beside it.
    role: Role
    cells: tuple[Cell, ...] = ()
    truth: Truth | None = None
    #: Versions, machine, threads, dtype and device.
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def failed(self) -> bool:
        """Whether any part of it ended in an error."""
        records: Sequence[Cell | Truth] = (*self.cells, *([self.truth] if self.truth else []))
        return any(record.error is not None for record in records)


@dataclass(frozen=True)
class Estimating:
    """One method on one problem."""

    method: "Method | AtBudget"

    @property
    def request(self) -> dict[str, Any]:
        """What identifies this work, besides the problem."""
        estimator = self.method.estimator
        kind = estimator if isinstance(estimator, type) else type(estimator)
        explainer = self.method.explainer
        packages = [_package(k) for k in (kind, type(explainer)) if k is not type(None)]
        return {"cell": self.method.to_dict(), "packages": packages}

    def run(self, problem: Problem, seed: int) -> Records:
        """Do it; errors of the method are in the record."""
        cell = self._cell(problem, seed)
        for _ in range(_LOOKS_AGAIN):
            if not _drawn_elsewhere(cell.error):
                break
            cell = self._cell(problem, seed)
        return (cell,), None

    def _cell(self, problem: Problem, seed: int) -> Cell:
        try:
            method, seconds, flops = self._settled(problem)
        except Exception as error:
            return self.failure(seed, f"{type(error).__name__}: {error}")[0][0]
        kind = type(method.estimator)
        search = kind not in _SEARCHED
        _SEARCHED.add(kind)
        cell = run_cell(problem, seed, method, search=search)
        if flops and cell.flops is not None:
            cell = replace(cell, flops=cell.flops + flops)
        return replace(cell, seconds=cell.seconds + seconds)

    def _settled(self, problem: Problem) -> tuple[Method, float, int]:
        """The method with its settings, and what it took to find them: part of its cost."""
        budget = self.method
        if isinstance(budget, Method):
            return budget, 0.0, 0
        watch = forbid_randomness(False) if budget.estimator.mechanistic else nullcontext()
        with watch, torch.no_grad():
            flops = count_flops(lambda: budget.method(problem))
            start = time.perf_counter()
            method = budget.method(problem)
            return method, time.perf_counter() - start, flops

    def failure(self, seed: int, error: str) -> Records:
        """The record of a failure before the method could run."""
        request = self.method.to_dict()
        return (Cell(problem=seed, method=self.method.name, request=request, error=error),), None


def _drawn_elsewhere(error: str | None) -> bool:
    """Whether a finding may be the doing of a cluster's worker, which draws in its own threads.

    It does so through functions that it bound before they could be watched, so that all there is
    to see is a changed state.
    """
    return (
        "distributed" in sys.modules
        and (error or "").startswith(RandomnessError.__name__)
        and "the global generator of random" in (error or "")
    )


@dataclass(frozen=True)
class FindingTruth:
    """The expectation of one problem."""

    samples: int

    @property
    def request(self) -> dict[str, Any]:
        """What identifies this work, besides the problem."""
        return {"truth": self.samples}

    def run(self, problem: Problem, seed: int) -> Records:
        """Do it; errors of the problem are in the record."""
        return (), find_truth(problem, seed, self.samples, stream=0)

    def failure(self, seed: int, error: str) -> Records:
        """The record of a failure before there was a problem."""
        return (), Truth(problem=seed, error=error)


@dataclass(frozen=True)
class MeasuringOpponents:
    """All samplers on one problem."""

    other_batches: bool

    @property
    def request(self) -> dict[str, Any]:
        """What identifies this work, besides the problem."""
        return {"opponents": self.other_batches}

    def run(self, problem: Problem, seed: int) -> Records:
        """Do it; errors of a sampler are in its record."""
        methods = opponents(problem, evaluation_flops(problem), self.other_batches)
        return tuple(run_cell(problem, seed, method) for method in methods), None

    def failure(self, seed: int, error: str) -> Records:
        """The record of a failure before any sampler could run."""
        return (Cell(problem=seed, method="sampling", request={}, error=error),), None


Work = Estimating | FindingTruth | MeasuringOpponents


@dataclass(frozen=True)
class Task:
    """One piece of work on one problem of one family."""

    family: Family
    problem: int
    work: Work
    threads: int

    @cached_property
    def key(self) -> str:
        """Digest of the content: what is computed twice has the same key."""
        content = {
            "family": self.family_key,
            "problem": self.problem,
            "work": self.work.request,
            # The truth does not depend on threads; everything else is timed.
            "threads": None if isinstance(self.work, FindingTruth) else self.threads,
            "outsample": _package(Task),
        }
        text = json.dumps(content, sort_keys=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @cached_property
    def family_key(self) -> str:
        """What the family is; one that was given its problems is those problems."""
        family = self.family
        problems = family.problems if isinstance(family, Fixed) else ()
        content = [family.name, family.parameters(), *map(input_hash, problems)]
        return json.dumps([_package(type(family)), *content], default=repr)

    def done(self, records: Records, about: Mapping[str, Any]) -> Done:
        """What became of this task."""
        family = self.family
        return Done(
            key=self.key,
            family=family.name,
            kind=type(family).__name__,
            parameters=family.parameters(),
            problem=self.problem,
            role="opponent" if isinstance(self.work, MeasuringOpponents) else "method",
            cells=records[0],
            truth=records[1],
            provenance={**environment(), **about},
        )

    def failure(self, error: str) -> Done:
        """The record of this task if it could not be run at all."""
        return self.done(self.work.failure(self.problem, error), {"threads": self.threads})


def run_task(task: Task) -> Done:
    """Run a task in this process, with its threads; errors come back as records."""
    with _RUNNING, threadpool_limits(task.threads):
        before = torch.get_num_threads()
        torch.set_num_threads(task.threads)
        try:
            return _run(task)
        finally:
            torch.set_num_threads(before)


def _run(task: Task) -> Done:
    try:
        problem = _problem(task)
        records = task.work.run(problem, task.problem)
    except Exception as error:
        return task.failure(f"{type(error).__name__}: {error}")
    dtype = str(problem.dtype).removeprefix("torch.")
    return task.done(records, {"dtype": dtype, "device": str(problem.device)})


def _problem(task: Task) -> Problem:
    name = (task.family_key, task.problem)
    if name not in _LAST:
        _LAST.clear()
        _LAST[name] = task.family.problem(task.problem)
    return _LAST[name]


@cache
def _distributions() -> Mapping[str, Sequence[str]]:
    """What every importable package was installed by; it takes a second to list."""
    return packages_distributions()


@cache
def _package(kind: type) -> str:
    """Where a class is from, with the version: classes of the same name are told apart."""
    top = kind.__module__.partition(".")[0]
    names = [top] if top == "outsample" else _distributions().get(top, [])
    return f"{top} {package_version(names[0]) if names else None} {kind.__qualname__}"
