"""Runs a comparison: the same problems for every estimator, the truth, and the opponents."""

import dataclasses
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, cast

import torch

from outsample.comparison.cells import Cell, Method, Truth, find_truth, run_cell, truth_sampler
from outsample.comparison.families import Fixed
from outsample.comparison.methods import Pair, pair_of
from outsample.comparison.opponents import opponents
from outsample.comparison.provenance import environment
from outsample.comparison.result import Comparison
from outsample.errors import InputError
from outsample.estimator import Estimator, Explainer, positive_integer
from outsample.problem import Family, Problem
from outsample.sampling.progress import progress as progress_bar

#: Problems of a family that has no end.
_INSTANCES = 10
#: The truth's own vn error is to be this many times below the smallest error under test …
_TRUTH_MARGIN = 8
#: … starting from this many samples a half, and spending at most this on one problem.
_TRUTH_START, _TRUTH_MOST, _TRUTH_FLOPS = 2**14, 2**22, 1e12


def compare(
    family: Family,
    estimators: Sequence[Estimator | tuple[Estimator, Explainer]],
    instances: int | None = None,
    *,
    seed: int = 0,
    truth_samples: int | None = None,
    threads: int | None = None,
    baselines: bool = True,
    progress: bool = True,
) -> Comparison:
    """Set estimators side by side, and beside sampling, on the same problems at equal cost.

    Every estimator gets the problems ``seed``, ``seed + 1``, … of the family, and spends what it
    spends: seconds (median of repeated runs under ``no_grad``, warm-up excluded) and FLOPs (a
    separate metered run).  Opponents are plain Monte Carlo by its formula, and measured: plain,
    antithetic and moment-matched antithetic sampling and scrambled Sobol points, each with its own
    error constant and its own time a sample, drawing included, at its best batch size and with
    the same threads.  Estimators that call themselves mechanistic are watched for random numbers
    (:func:`~outsample.comparison.mechanistic.forbid_randomness`); random ones get a seed of their
    own for every problem and run.

    An estimator that fails is recorded as failed with its error, and the others go on.  Ctrl-C
    ends the comparison early: what has been finished is returned, marked ``interrupted`` (or the
    KeyboardInterrupt goes on, if nothing has).

    Args:
        family: where problems come from, e.g. ``families.RandomMLP(width=64, depth=2)`` or
            ``families.Fixed(problem)``.
        estimators: each an estimator, or an estimator and the explainer that advises it on every
            problem; the explainer's time is reported apart.
        instances: number of problems; default 10, or each problem of a ``Fixed`` family once.
        seed: the first problem's seed.
        truth_samples: evaluations for each of the two halves of a sampled truth, an even number.
            By default 2^14, multiplied by 4 until on the first problem the truth's own error is 8
            times below the smallest error under test, or the next step would take more than 1e12
            FLOPs a problem or 2^22 samples a half.  Unused where the truth is exact.
        threads: threads for estimators and samplers alike; default: as they are set.
        baselines: whether to measure the opponents; without, only the formula of plain Monte
            Carlo at equal FLOPs remains.
        progress: whether to show a bar on standard error, if that is a terminal.

    Returns:
        The :class:`~outsample.comparison.result.Comparison`; print it, or see its ``scores()``.

    Raises:
        InputError: for an empty list, entries that are no estimators or are listed twice, numbers
            out of range, or more instances than a ``Fixed`` family has problems.
        KeyboardInterrupt: if interrupted before anything was finished.

    Example:
        >>> import outsample as ou
        >>> family = ou.families.RandomMLP(width=16, depth=1)
        >>> found = ou.compare(family, [ou.Cumulants(1), ou.Cumulants(2)], instances=4)
        >>> print(*(score.method for score in found.scores()))
        Cumulants(1) Cumulants(2)
    """
    if not isinstance(cast(object, family), Family):
        raise InputError(
            f"compare: family = {family!r}; expected a Family; for a problem, Fixed(problem)"
        )
    if isinstance(cast(object, seed), bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"compare: seed = {seed!r}; expected an integer of at least 0")
    methods = _methods(estimators)
    seeds = range(seed, seed + _instances(family, instances))
    if truth_samples is not None:
        positive_integer("compare", "truth_samples", truth_samples)
        if truth_samples % 2:
            raise InputError(f"compare: truth_samples = {truth_samples}; expected an even number")
    if threads is not None:
        positive_integer("compare", "threads", threads)

    work = _Work(methods, truth_samples, baselines)
    total = len(seeds) * (len(methods) + 1 + baselines)
    bar = progress_bar("compare", total) if progress else nullcontext(_unseen)
    interrupted = False
    with _threads(threads), bar as advance:
        provenance = environment() | {"seed": seed, "instances": len(seeds)}
        try:
            for i in seeds:
                work.run(family, i, advance)
        except KeyboardInterrupt:
            if not work.truths:
                raise
            interrupted = True
    return Comparison(
        family=family.name,
        methods=tuple(m.name for m in methods),
        opponents=tuple(work.opponents),
        cells=tuple(work.cells),
        truths=tuple(work.truths),
        provenance=provenance | work.seen,
        interrupted=interrupted,
        kind=type(family).__name__,
        parameters=family.parameters(),
    )


def _unseen(amount: float) -> None:
    del amount


@dataclass
class _Work:
    """What has been done so far."""

    methods: list[Method]
    truth_samples: int | None
    baselines: bool
    cells: list[Cell] = field(default_factory=list[Cell])
    truths: list[Truth] = field(default_factory=list[Truth])
    #: Names of the samplers that were measured.
    opponents: dict[str, None] = field(default_factory=dict[str, None])
    #: What the first problem told for the provenance.
    seen: dict[str, Any] = field(default_factory=dict[str, Any])

    def run(self, family: Family, seed: int, advance: Callable[[float], None]) -> None:
        """Do everything there is to do on one problem."""
        try:
            problem = family.problem(seed)
        except Exception as error:
            self.truths.append(Truth(problem=seed, error=f"{type(error).__name__}: {error}"))
            return
        done: list[Cell] = []
        for method in self.methods:
            done.append(run_cell(problem, seed, method, search=not self.truths))
            advance(1)
        if self.truth_samples is None:
            self.truth_samples = _enough_samples(problem, seed, done)
        truth = find_truth(problem, seed, self.truth_samples, stream=0)
        advance(1)
        # From here on the problem counts, also if the opponents are interrupted.
        self.cells += done
        self.truths.append(truth)
        if not self.seen:
            self.seen = {
                "dtype": str(problem.dtype).removeprefix("torch."),
                "device": str(problem.device),
                "truth_samples": truth.samples,
            }
        if self.baselines and truth.error is None:
            first = not self.opponents
            for method in opponents(problem, truth.evaluation_flops, other_batches=first):
                self.opponents[method.name] = None
                self.cells.append(run_cell(problem, seed, method))
            advance(1)


def _methods(entries: Sequence[Estimator | tuple[Estimator, Explainer]]) -> list[Method]:
    if not isinstance(cast(object, entries), Sequence):
        raise InputError(f"compare: estimators = {entries!r}; expected a list of estimators")
    pairs = [pair_of("compare: estimators", entry) for entry in entries]
    if not pairs:
        raise InputError("compare: estimators is empty; expected at least one")
    names = [_name(pair, pairs) for pair in pairs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"compare: estimators holds {name} {names.count(name)} times")
    return [Method(name, *pair) for name, pair in zip(names, pairs, strict=True)]


def _name(pair: Pair, pairs: list[Pair]) -> str:
    """Class name with the settings that are not at their defaults or differ among the entries."""
    estimator, explainer = pair
    family = [other for other, _ in pairs if type(other) is type(estimator)]
    shown: list[str] = []
    positional = True
    for setting in dataclasses.fields(estimator):
        value = getattr(estimator, setting.name)
        differs = any(getattr(other, setting.name) != value for other in family)
        if differs or value != setting.default:
            shown.append(str(value) if positional else f"{setting.name}={value}")
        else:
            positional = False
    advised = "" if explainer is None else f" with {explainer!r}"
    return f"{type(estimator).__name__}({', '.join(shown)}){advised}"


def _instances(family: Family, instances: int | None) -> int:
    size = family.size if isinstance(family, Fixed) else None
    if instances is None:
        return _INSTANCES if size is None else size
    positive_integer("compare", "instances", instances)
    if size is not None and instances > size:
        raise InputError(
            f"compare: instances = {instances}, but {family.name} has {size} different problem"
            f"{'s' if size > 1 else ''}; the same problem twice would count for two"
        )
    return instances


def _enough_samples(problem: Problem, seed: int, cells: list[Cell]) -> int:
    """Samples a half for which the truth is more precise than the methods under test."""
    # A truth of its own: samples chosen for how they came out would be biased.
    truth = find_truth(problem, seed, _TRUTH_START, stream=1)
    if truth.error is not None or truth.samples == 0:
        return _TRUTH_START
    sampler = truth_sampler(problem, _TRUTH_START)
    with torch.no_grad():
        flops = max(sampler.flops(problem) / sampler.samples, 1.0)
    most = min(_TRUTH_MOST, _TRUTH_FLOPS / (2 * flops))
    good = [cell for cell in cells if cell.error is None]
    samples = _TRUTH_START
    while good and 4 * samples <= most and truth.error is None:
        noise = fmean(truth.squared_error) / 2
        if _TRUTH_MARGIN * noise <= min(truth.error_of(cell) for cell in good):
            break
        samples *= 4
        truth = find_truth(problem, seed, samples, stream=1)
    return samples


@contextmanager
def _threads(threads: int | None) -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before if threads is None else threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
