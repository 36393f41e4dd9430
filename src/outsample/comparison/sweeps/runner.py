"""Runs a study into a store: what is there already is not computed again."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from outsample.comparison.provenance import code_digest
from outsample.comparison.sweeps.pools import Pool, cluster_pool, local_pool
from outsample.comparison.sweeps.progress import Progress
from outsample.comparison.sweeps.store import Store
from outsample.comparison.sweeps.study import Study
from outsample.comparison.sweeps.tasks import Done, FindingTruth, Task, run_task
from outsample.comparison.sweeps.truth_cache import TruthCache
from outsample.errors import InputError, OutsampleWarning, warn
from outsample.estimator import positive_integer

_DIED = "WorkerDied: the process that ran this was killed twice, perhaps for want of memory"


@dataclass(frozen=True)
class Outcome:
    """What a sweep did, in tasks: cells, truths, and the samplers of one problem as one."""

    #: Run now, found in the store, and found in the cache of truths.
    computed: int
    stored: int
    cached: int
    #: Of those computed now, the ones that ended in an error (recorded in the store).
    failed: int


def sweep(
    study: Study,
    store: Store,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    cache: str | os.PathLike[str] | None = None,
    retry: bool = False,
    progress: bool = True,
) -> Outcome:
    """Run everything of a study that is not in the store yet.

    Tasks run in processes of this machine, or on a Dask cluster; each result is in the store
    before the next is waited for.  Ctrl-C, a full disk or the end of this process lose no result
    that was counted: run the same again to go on.  A task that fails is recorded with its error.

    In a script, call this under ``if __name__ == "__main__":``; worker processes import it.

    Args:
        study: what to run.
        store: where results go.
        workers: number of processes; by default as many as leave each its threads.
        scheduler: address of a Dask scheduler, to run there instead (its workers should have one
            thread each: tasks of one process run one after the other).
        cache: folder of truths that studies share, see :class:`TruthCache`.
        retry: whether to run again what failed.
        progress: whether to say on standard error how far it is.

    Raises:
        InputError: if the scheduler cannot be reached, or the store cannot be written.
        KeyboardInterrupt: if interrupted; the store has what was finished.
    """
    if workers is not None:
        positive_integer("sweep", "workers", workers)
    if workers is not None and scheduler is not None:
        raise InputError("sweep: workers are processes of this machine; a scheduler has its own")
    store.begin(study)
    run = _Sweep(study, store, TruthCache(cache), retry)
    rest = run.rest()
    first = next(rest, None)
    if first is None:
        return run.outcome()
    if scheduler is None:
        count = max((os.cpu_count() or 1) // study.threads, 1) if workers is None else workers
        make = partial(local_pool, count)
    else:
        make = partial(cluster_pool, scheduler)
    with Progress(study.name, study.size, enabled=progress) as bar:
        run.bar = bar
        bar.found(run.stored)
        run.go(first, rest, make)
    return run.outcome()


class _Sweep:
    """The state of one sweep."""

    bar: Progress

    def __init__(self, study: Study, store: Store, cache: TruthCache, retry: bool) -> None:
        self._study, self._store, self._cache = study, store, cache
        self._have = store.keys(failures=not retry)
        self.stored = self._computed = self._cached = self._failed = 0
        self._code = code_digest()
        self._warned = False

    def outcome(self) -> Outcome:
        return Outcome(self._computed, self.stored, self._cached, self._failed)

    def rest(self) -> Iterator[Task]:
        """The tasks still to be run; what a cache has is stored on the way."""
        for task in self._study.tasks():
            if task.key in self._have:
                self.stored += 1
            elif (known := self._known(task)) is not None:
                self._store.add([known])
                self._cached += 1
            else:
                yield task

    def _known(self, task: Task) -> Done | None:
        return self._cache.find(task) if isinstance(task.work, FindingTruth) else None

    def go(
        self, first: Task, rest: Iterator[Task], make: Callable[[], AbstractContextManager[Pool]]
    ) -> None:
        """Run the tasks; a pool that breaks is replaced, and the guilty task found."""
        left: list[Task] = [first]
        suspects: list[Task] = []
        while left or suspects or (left := _next(rest)):
            if suspects:
                # One at a time, so that it is known which task it was if a worker dies again.
                alone = suspects.pop()
                with make() as pool:
                    if self._run(pool, iter([alone]), []):
                        self._take([alone.failure(_DIED)])
                continue
            with make() as pool:
                suspects = self._run(pool, rest, left)
            left = []

    def _run(self, pool: Pool, rest: Iterator[Task], left: list[Task]) -> list[Task]:
        """Run tasks until there are none, or the pool breaks; then return those it had."""
        waiting: dict[Future[Done], Task] = {}
        broken: list[Task] = []
        while True:
            while not broken and len(waiting) < pool.ahead:
                task = left.pop() if left else next(rest, None)
                if task is None:
                    break
                try:
                    waiting[pool.executor.submit(run_task, task)] = task
                except BrokenProcessPool:
                    broken.append(task)
            self.bar.found(self.stored + self._cached)
            if not waiting:
                return broken
            ready = wait(waiting, return_when=FIRST_COMPLETED).done
            results: list[Done] = []
            for future in ready:
                task = waiting.pop(future)
                try:
                    results.append(future.result())
                except (BrokenProcessPool, CancelledError):
                    broken.append(task)
                except Exception as error:  # it could not be sent, or a cluster gave it up
                    results.append(task.failure(f"{type(error).__name__}: {error}"))
            self._take(results)

    def _take(self, results: list[Done]) -> None:
        if not results:
            return
        self._store.add(results)
        for done in results:
            self._cache.keep(done)
            if done.provenance.get("code") != self._code and not self._warned:
                self._warn_of_other_code(done.provenance.get("code"))
        self._computed += len(results)
        failed = sum(done.failed for done in results)
        self._failed += failed
        self.bar.advance(len(results), failed)

    def _warn_of_other_code(self, code: object) -> None:
        warn(
            f"a worker runs other code ({code}) than this process ({self._code}): results carry "
            "their own; install the same version everywhere",
            OutsampleWarning,
        )
        self._warned = True


def _next(rest: Iterator[Task]) -> list[Task]:
    task = next(rest, None)
    return [] if task is None else [task]
