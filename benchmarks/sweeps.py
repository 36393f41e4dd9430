"""What a sweep costs beside its cells: throughput, overhead a cell, memory, and the same on Dask.

- Throughput: a study of cells of fixed work that take 100 ms and more, on two processes, against
  the bare loop: the same tasks in two plain processes, half of them each, with no store, pool or
  progress.
- Overhead: (wall-clock time × workers − time inside tasks) / cells on a study of 2,000 small
  cells; the start of the processes is reported apart.  The time inside tasks is taken twice, by
  the wall clock and as processor time: the second counts as overhead whatever else the machine did.
- Memory of the driver at 10 %, 50 % and 100 % of those cells.
- The same 2,000 cells on a local Dask cluster of two workers: every number is to be equal.

Seeds 0, 1, …; one thread a worker, two workers.  About three minutes on two cores.

    python benchmarks/sweeps.py
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import outsample as ou
from common import machine, write_results
from outsample.comparison.sweeps import Store, Study, runner, sweep
from outsample.comparison.sweeps.tasks import Done, Task, run_task

WORKERS = 2
#: What depends on the moment and not on the study.
TIMES = ("seconds", "explanation_seconds", "finished", "provenance")


@dataclass(frozen=True)
class Timed(Done):
    """What became of a task, and when: on the clock that all processes share, and as work."""

    start: float = 0.0
    stop: float = 0.0
    processor: float = 0.0


def timed(task: Task) -> Timed:
    """A task as a sweep runs it, with its times."""
    start, used = time.perf_counter(), time.process_time()
    done = run_task(task)
    used = time.process_time() - used
    shared = {f.name: getattr(done, f.name) for f in fields(Done)}
    return Timed(**shared, start=start, stop=time.perf_counter(), processor=used)


@dataclass
class Log:
    """What a sweep did, as seen from its store."""

    called: float = field(default_factory=time.perf_counter)
    tasks: list[tuple[float, float, float]] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    last: float = 0.0
    returned: float = 0.0

    @property
    def start_up(self) -> float:
        return min(start for start, _, _ in self.tasks) - self.called

    @property
    def wall(self) -> float:
        """From the start of the first task until the last result was stored."""
        return self.last - min(start for start, _, _ in self.tasks)

    def overhead(self, inside: float) -> float:
        return (self.wall * WORKERS - inside) / len(self.tasks)


class LoggingStore(Store):
    """A store that notes when results come in, and the memory of this process."""

    def __init__(self, path: Path, log: Log) -> None:
        super().__init__(path)
        self.log = log

    def add(self, done: Sequence[Done]) -> None:
        super().add(done)
        self.log.last = time.perf_counter()
        for result in done:
            if isinstance(result, Timed):
                self.log.tasks.append((result.start, result.stop, result.processor))
                self.log.memory.append(resident_bytes())


def resident_bytes() -> int:
    """Memory of this process, as Linux counts it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def swept(study: Study, scheduler: str | None = None) -> tuple[Log, list[Any]]:
    """Run a study into a store of its own; what happened, and all rows without times."""
    with tempfile.TemporaryDirectory() as folder:
        log = Log()
        with LoggingStore(Path(folder) / "results.duckdb", log) as store:
            log.called = time.perf_counter()
            workers = WORKERS if scheduler is None else None
            outcome = sweep(study, store, workers=workers, scheduler=scheduler, progress=False)
            log.returned = time.perf_counter()
            if outcome.failed or outcome.computed != study.size:
                raise RuntimeError(f"the study did not run as a whole: {outcome}")
            rows = [*store.select("cells", "true", []), *store.select("truths", "true", [])]
    kept = [{k: v for k, v in row.items() if k not in TIMES} for row in rows]
    return log, sorted(kept, key=repr)


def bare_half(tasks: list[Task], ready: Any, answer: Any) -> None:
    ready.wait()
    start = time.perf_counter()
    for task in tasks:
        run_task(task)
    answer.put((start, time.perf_counter()))


def bare_loop(study: Study) -> float:
    """Seconds that two plain processes take for the tasks of a study."""
    context = multiprocessing.get_context("forkserver")
    tasks = list(study.tasks())
    ready, answer = context.Barrier(WORKERS), context.Queue()
    processes = [
        context.Process(target=bare_half, args=(tasks[i::WORKERS], ready, answer))
        for i in range(WORKERS)
    ]
    for process in processes:
        process.start()
    times = [answer.get() for _ in processes]
    for process in processes:
        process.join()
    return max(stop for _, stop in times) - min(start for start, _ in times)


def large_cells(seeds: int) -> Study:
    """Cells whose work is fixed, so that a slower machine shows: random methods run four times."""
    return Study(
        "large cells",
        [ou.families.RandomMLP(width=64, depth=4)],
        [ou.MonteCarlo(2**15), ou.MonteCarlo(2**15, antithetic=True), ou.MonteCarlo(2**16)],
        seeds=range(seeds),
        truth_samples=2**16,
        baselines=False,
    )


def small_cells(count: int) -> Study:
    """Four methods and a truth on every problem."""
    return Study(
        "small cells",
        [ou.families.RandomMLP(width=4, depth=1)],
        [ou.MeanPropagation(), ou.Cumulants(1), ou.MonteCarlo(64), ou.MonteCarlo(128)],
        seeds=range(count // 5),
        truth_samples=256,
        baselines=False,
    )


def throughput(seeds: int, rounds: int) -> dict[str, Any]:
    """Sweep and bare loop in turns, so that the ratio holds on a noisy machine."""
    study = large_cells(seeds)
    bare: list[float] = []
    with_store: list[float] = []
    averages: list[float] = []
    for _ in range(rounds):
        bare.append(bare_loop(study))
        log, _ = swept(study)
        with_store.append(log.wall)
        averages.append(statistics.fmean(stop - start for start, stop, _ in log.tasks))
    ratios = [b / s for b, s in zip(bare, with_store, strict=True)]
    return {
        "cells": study.size,
        "seconds_a_cell": statistics.median(averages),
        "bare_seconds": bare,
        "sweep_seconds": with_store,
        "ratios": ratios,
        "ratio": statistics.median(ratios),
    }


def overhead(count: int, rounds: int) -> tuple[dict[str, Any], list[Any]]:
    """The study of small cells, and its rows."""
    study = small_cells(count)
    logs: list[Log] = []
    rows: list[Any] = []
    for _ in range(rounds):
        log, rows = swept(study)
        logs.append(log)
    parts = (0.1, 0.5, 1.0)
    last = logs[0]  # the first: memory is not yet what an earlier round left
    return {
        "cells": study.size,
        "cell_ms": [1e3 * statistics.fmean(b - a for a, b, _ in log.tasks) for log in logs],
        "overhead_ms": [1e3 * log.overhead(sum(b - a for a, b, _ in log.tasks)) for log in logs],
        "overhead_by_processor_time_ms": [
            1e3 * log.overhead(sum(used for _, _, used in log.tasks)) for log in logs
        ],
        "wall_seconds": [log.wall for log in logs],
        "start_up_seconds": [log.start_up for log in logs],
        "shut_down_seconds": [log.returned - log.last for log in logs],
        "memory_mb": {
            f"{part:.0%}": last.memory[int(part * len(last.memory)) - 1] / 1e6 for part in parts
        },
    }, rows


def on_dask(count: int, here: list[Any]) -> dict[str, Any]:
    """The same on two workers of Dask."""
    from distributed import LocalCluster

    local: Any = LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with local as cluster:
        log, rows = swept(small_cells(count), cluster.scheduler_address)
    return {"identical": rows == here, "rows": len(rows), "wall_seconds": log.wall}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=30, help="problems of the large study")
    parser.add_argument("--cells", type=int, default=2000, help="cells of the small study")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", default="benchmarks/results/sweeps.json")
    options = parser.parse_args()

    os.environ["OUTSAMPLE_CACHE"] = ""  # every truth is computed
    runner.run_task = timed
    first, _ = swept(large_cells(1))  # starts the server that processes are forked from
    large = throughput(options.seeds, options.rounds)
    small, rows = overhead(options.cells, options.rounds)
    dask = on_dask(options.cells, rows)

    middle = statistics.median
    print(f"| seeds 0, 1, …; {WORKERS} workers, 1 thread each | |\n| --- | ---: |")
    print(f"| first start of processes | {first.start_up:.2f} s |")
    print(f"| later starts | {middle(small['start_up_seconds']):.2f} s |")
    print(f"| cells of {large['seconds_a_cell'] * 1e3:.0f} ms: throughput of the bare loop "
          f"| {large['ratio']:.1%} |")  # fmt: skip
    print(f"| {small['cells']} cells of {middle(small['cell_ms']):.1f} ms: overhead a cell "
          f"| {middle(small['overhead_ms']):.2f} ms |")  # fmt: skip
    print("| the same against processor time in tasks "
          f"| {middle(small['overhead_by_processor_time_ms']):.2f} ms |")  # fmt: skip
    for part, megabytes in small["memory_mb"].items():
        print(f"| memory of the driver at {part} | {megabytes:.0f} MB |")
    print(f"| on Dask | {'identical' if dask['identical'] else 'DIFFERENT'} |")
    write_results(
        options.output,
        {
            "machine": machine(),
            "workers": WORKERS,
            "threads_a_worker": 1,
            "first_start_seconds": first.start_up,
            "throughput": large,
            "overhead": small,
            "dask": dask,
        },
    )


if __name__ == "__main__":
    main()
