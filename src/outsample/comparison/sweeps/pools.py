"""Where the tasks of a sweep run: processes of this machine, or the workers of a Dask cluster.

Both are executors as :mod:`concurrent.futures` knows them, so that a sweep is the same code.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from outsample.errors import InputError

#: Seconds to wait for a scheduler to answer.
_PATIENCE = 10
#: Tasks on their way for each worker: enough that none ever waits for the next.
_AHEAD = 8
#: Tasks on their way to a cluster at least; it may grow.
_CLUSTER_AHEAD = 32


@dataclass(frozen=True)
class Pool:
    """An executor, and how many tasks to keep on their way to it."""

    executor: Executor
    ahead: int
    workers: int


@contextmanager
def local_pool(workers: int) -> Generator[Pool]:
    """Processes of this machine; whatever ends the block ends them at once."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        # Imported once, before any thread exists, then forked: workers start in milliseconds.
        context.set_forkserver_preload(["outsample.comparison.sweeps.tasks"])
    before = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(workers, context, initializer=_start)
    finished = False
    try:
        _require_start(executor)
        yield Pool(executor, _AHEAD * workers, workers)
        finished = True
    finally:
        executor.shutdown(wait=finished, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.kill()


def _require_start(executor: Executor) -> None:
    """Processes that cannot even start are no fault of a task's."""
    try:
        executor.submit(os.getpid).result()
    except BrokenProcessPool as error:
        raise InputError(
            "sweep: worker processes do not start. They import the script that calls sweep: put "
            'the call under `if __name__ == "__main__":`'
        ) from error


def _start() -> None:
    """Ctrl-C is for the parent to handle; a worker whose parent is gone has nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


@contextmanager
def cluster_pool(address: str) -> Generator[Pool]:
    """The workers of a Dask cluster, by the address of its scheduler.

    Raises:
        ImportError: if Dask is not installed.
        InputError: if the scheduler does not answer.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(
            "clusters need Dask, which is not installed: pip install 'outsample[distributed]'"
        ) from error
    try:
        client = Client(address, timeout=_PATIENCE)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"scheduler {address!r} cannot be reached: {_reason(error)}; expected the "
            "address of a running Dask scheduler, such as tcp://127.0.0.1:8786"
        ) from error
    try:
        threads: Any = client.nthreads()
        workers = int(sum(threads.values()))
        executor = client.get_executor(pure=False)
        try:
            yield Pool(executor, _AHEAD * workers + _CLUSTER_AHEAD, workers)
        finally:
            executor.shutdown(wait=False)
    finally:
        with suppress(OSError):
            client.close()
