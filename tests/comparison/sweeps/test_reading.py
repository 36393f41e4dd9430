"""From a store back to comparisons, where tasks were run more than once."""

from dataclasses import replace

from tests.comparison.sweeps.cases import study
from tests.comparison.toys import Quadratics, Shifted

from outsample.comparison.sweeps import Store
from outsample.comparison.sweeps.tasks import MeasuringOpponents, Task, run_task

STUDY = study([Shifted(0.1)], seeds=[0], baselines=True)


def test_a_failure_that_was_mended_is_forgotten() -> None:
    truth, cell, samplers = STUDY.tasks()
    with Store(":memory:") as store:
        store.begin(STUDY)
        store.add([task.failure("WorkerDied: gone") for task in (truth, cell, samplers)])
        assert store.keys(failures=False) == set()
        store.add([run_task(task) for task in (truth, cell, samplers)])
        assert store.keys(failures=False) == store.keys() == {truth.key, cell.key, samplers.key}
        [comparison] = store.comparisons()
    assert all(record.error is None for record in (*comparison.cells, *comparison.truths))
    assert "sampling" not in comparison.opponents  # the name under which the failure stood


def test_a_result_that_failed_later_is_a_failure() -> None:
    _, cell, _ = STUDY.tasks()
    with Store(":memory:") as store:
        store.add([run_task(cell)])
        store.add([cell.failure("WorkerDied: gone")])
        assert store.keys(failures=False) == set()
        assert store.keys() == {cell.key}
        [comparison] = store.comparisons()
    assert [c.error for c in comparison.cells] == ["WorkerDied: gone"]


def test_one_sampler_that_fails_makes_its_task_fail() -> None:
    task = Task(Quadratics(), 0, MeasuringOpponents(False), 1)
    done = run_task(task)
    broken = replace(done, cells=(*done.cells[:-1], replace(done.cells[-1], error="E: no")))
    with Store(":memory:") as store:
        store.add([broken])
        assert (store.keys(failures=False), store.keys()) == (set(), {task.key})


def test_thread_counts_are_apart() -> None:
    with Store(":memory:") as store:
        for threads in (1, 2):
            of = replace(STUDY, threads=threads, baselines=False)
            store.begin(of)
            store.add([run_task(task) for task in of.tasks()])
        one, two = store.comparisons()
        [narrow] = store.comparisons(replace(STUDY, threads=2, baselines=False))
    assert (one.family, two.family) == ("quadratics, 1 threads", "quadratics, 2 threads")
    assert [c.provenance["threads"] for c in (one, two, narrow)] == [1, 2, 2]
    assert narrow.family == "quadratics"
