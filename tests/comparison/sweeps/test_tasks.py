"""Tasks: known by their content, run whatever happens, with their own threads."""

import random
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from tests.comparison.sweeps.cases import study
from tests.comparison.toys import Advised, Cheating, Failing, Quadratics, Shifted, Teacher

import outsample as ou
from outsample.comparison.cells import Method
from outsample.comparison.sweeps import AtBudget, tasks
from outsample.comparison.sweeps.tasks import (
    Estimating,
    FindingTruth,
    MeasuringOpponents,
    Task,
    run_task,
)
from outsample.estimator import Explainer, Explanation

FAMILY = ou.families.RandomMLP(width=4, depth=1)


def estimating(
    estimator: ou.Estimator, explainer: Explainer | None = None, name: str = "m"
) -> Estimating:
    return Estimating(Method(name, estimator, explainer))


TASK = Task(FAMILY, 0, estimating(ou.Cumulants(2)), threads=1)


class TestKeys:
    def test_are_equal_for_equal_content(self) -> None:
        family = ou.families.RandomMLP(width=4, depth=1, activation="relu")
        assert Task(family, 0, estimating(ou.Cumulants(order=2)), 1).key == TASK.key

    @pytest.mark.parametrize(
        "other",
        [
            replace(TASK, problem=1),
            replace(TASK, threads=2),
            replace(TASK, family=ou.families.RandomMLP(width=5, depth=1)),
            replace(TASK, family=ou.families.RandomMLP(width=4, depth=1, dtype="float64")),
            replace(TASK, work=estimating(ou.Cumulants(3))),
            replace(TASK, work=estimating(ou.Cumulants(2, "basic"))),
            replace(TASK, work=estimating(ou.MonteCarlo(2))),
            replace(TASK, work=estimating(ou.Cumulants(2), ou.PairExplainer(3))),
            replace(TASK, work=estimating(ou.Cumulants(2), ou.PairExplainer(4))),
            replace(TASK, work=Estimating(AtBudget(ou.Cumulants, 16))),
            replace(TASK, work=Estimating(AtBudget(ou.Cumulants, 17))),
            replace(TASK, work=Estimating(AtBudget(ou.Cumulants, 16, {"variant": "basic"}))),
            replace(TASK, work=FindingTruth(64)),
            replace(TASK, work=FindingTruth(128)),
            replace(TASK, work=MeasuringOpponents(True)),
            replace(TASK, work=MeasuringOpponents(False)),
        ],
        ids=lambda task: repr(task.work) if task.family is FAMILY else task.family.name,
    )
    def test_differ_for_whatever_matters(self, other: Task) -> None:
        same = [task for task in OTHERS if task.key == other.key]
        assert len(same) == 1
        assert other.key != TASK.key

    def test_do_not_depend_on_names_in_tables(self) -> None:
        assert replace(TASK, work=estimating(ou.Cumulants(2), name="other")).key == TASK.key

    def test_of_truths_do_not_depend_on_threads(self) -> None:
        one, two = (Task(FAMILY, 0, FindingTruth(64), threads) for threads in (1, 2))
        assert one.key == two.key

    def test_are_the_same_in_another_process(self) -> None:
        code = (
            "import outsample as ou\n"
            "from outsample.comparison.cells import Method\n"
            "from outsample.comparison.sweeps.tasks import Estimating, Task\n"
            "family = ou.families.RandomMLP(width=4, depth=1)\n"
            "print(Task(family, 0, Estimating(Method('m', ou.Cumulants(2))), 1).key)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == TASK.key

    def test_tell_given_problems_apart_by_what_they_are(self) -> None:
        first, second = (
            ou.families.Fixed(Quadratics().problem(seed), name="mine") for seed in (0, 1)
        )
        again = ou.families.Fixed(Quadratics().problem(0), name="mine")
        assert Task(first, 0, FindingTruth(64), 1).key == Task(again, 0, FindingTruth(64), 1).key
        assert Task(first, 0, FindingTruth(64), 1).key != Task(second, 0, FindingTruth(64), 1).key

    def test_tell_families_of_one_name_apart_by_their_settings(self) -> None:
        known, unknown = (Task(Quadratics(k), 0, FindingTruth(64), 1) for k in (True, False))
        assert known.key != unknown.key

    def test_tell_classes_of_one_name_apart(self) -> None:
        ours, theirs = Shifted, type("Shifted", (Shifted,), {"__module__": "elsewhere.toys"})
        first, second = (Task(FAMILY, 0, estimating(cls(0.5)), 1) for cls in (ours, theirs))
        assert first.key != second.key

    def test_depend_on_the_version(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tasks._package.cache_clear()
        monkeypatch.setattr(tasks, "package_version", lambda name: "99.0")
        changed = replace(TASK).key
        tasks._package.cache_clear()
        assert changed != TASK.key


OTHERS: list[Task] = next(
    mark.args[1]
    for mark in TestKeys.test_differ_for_whatever_matters.pytestmark  # type: ignore[attr-defined]
)


class TestRuns:
    def test_what_comes_back(self) -> None:
        done = run_task(Task(Quadratics(), 3, estimating(Shifted(0.5)), 1))
        assert (done.family, done.kind, done.problem) == ("quadratics", "Quadratics", 3)
        assert (done.role, done.truth, done.failed) == ("method", None, False)
        [cell] = done.cells
        problem = Quadratics().problem(3)
        expected = problem.mean + 0.5 * problem.variance.sqrt()
        assert torch.allclose(torch.tensor(cell.value, dtype=torch.float64), expected)
        assert done.provenance["dtype"] == "float64"
        assert done.provenance["device"] == "cpu"
        assert done.provenance["threads"] == 1

    def test_truths_and_samplers(self) -> None:
        truth = run_task(Task(Quadratics(), 0, FindingTruth(64), 1))
        assert truth.cells == () and truth.truth is not None and truth.role == "method"
        assert torch.allclose(
            torch.tensor(truth.truth.first, dtype=torch.float64), Quadratics().problem(0).mean
        )
        sampled = run_task(Task(Quadratics(), 0, MeasuringOpponents(False), 1))
        assert sampled.role == "opponent"
        assert {c.method for c in sampled.cells} >= {"plain Monte Carlo", "antithetic"}

    def test_explainers_are_asked(self) -> None:
        [cell] = run_task(Task(Quadratics(), 0, estimating(Advised(), Teacher(0.0)), 1)).cells
        assert cell.explanation_size == 1

    @pytest.mark.parametrize("threads", [1, 2])
    def test_threads_are_those_of_the_task_and_then_put_back(self, threads: int) -> None:
        seen: list[int] = []

        class Spy(Shifted):
            def _estimate(
                self, problem: ou.Problem, explanation: Explanation | None
            ) -> ou.Estimate:
                seen.append(torch.get_num_threads())
                return super()._estimate(problem, explanation)

        before = torch.get_num_threads()
        done = run_task(Task(Quadratics(), 0, estimating(Spy()), threads))
        assert set(seen) == {threads}
        assert torch.get_num_threads() == before
        assert done.provenance["threads"] == threads


class TestFailures:
    @pytest.mark.parametrize(
        ("estimator", "error"),
        [
            (Failing(), "ZeroDivisionError: by zero"),
            (ou.Cumulants(2), "UnsupportedProblem: "),
            (Cheating(), "RandomnessError: "),
        ],
    )
    def test_of_estimators_are_recorded(self, estimator: ou.Estimator, error: str) -> None:
        done = run_task(Task(Quadratics(), 0, estimating(estimator), 1))
        assert done.failed
        [cell] = done.cells
        assert (cell.error or "").startswith(error)
        assert cell.value == ()

    def test_of_a_budget_are_recorded_under_its_name(self) -> None:
        method = AtBudget(Shifted, 16)
        [cell] = run_task(Task(Quadratics(), 0, Estimating(method), 1)).cells
        assert (cell.error or "").startswith("UnsupportedProblem: ")
        assert cell.method == "Shifted at N=16"
        assert cell.request["samples"] == 16

    @pytest.mark.parametrize(
        "work", [estimating(Shifted()), FindingTruth(64), MeasuringOpponents(False)]
    )
    def test_of_families_are_recorded_for_every_kind_of_work(self, work: Any) -> None:
        @dataclass(frozen=True)
        class Broken(Quadratics):
            def problem(self, seed: int) -> Any:
                raise ValueError("no such problem")

        done = run_task(Task(Broken(), 0, work, 1))
        assert done.failed
        records = [*done.cells, *([done.truth] if done.truth else [])]
        assert [r.error for r in records] == ["ValueError: no such problem"]
        assert done.provenance["threads"] == 1

    def test_without_running_name_the_task(self) -> None:
        [task] = [t for t in study([Shifted()], seeds=[2]).tasks() if not _is_truth(t)]
        done = task.failure("WorkerDied: gone")
        assert (done.key, done.problem, done.failed) == (task.key, 2, True)
        assert [(c.method, c.error) for c in done.cells] == [("Shifted(0.0)", "WorkerDied: gone")]

    @pytest.mark.parametrize("cluster", [True, False])
    def test_a_draw_by_somebody_else_is_no_failure(
        self, cluster: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A cluster's worker has threads that draw from Python's global generator."""
        monkeypatch.delitem(sys.modules, "distributed", raising=False)
        if cluster:
            monkeypatch.setitem(sys.modules, "distributed", sys)
        draw = random.random  # taken before: no refusal, but a changed state
        draws = [draw] * 2

        class Unlucky(Shifted):
            def _estimate(
                self, problem: ou.Problem, explanation: Explanation | None
            ) -> ou.Estimate:
                if draws:
                    draws.pop()()
                return super()._estimate(problem, explanation)

        [cell] = run_task(Task(Quadratics(), 0, estimating(Unlucky()), 1)).cells
        assert (cell.error is None) == cluster


def _is_truth(task: Task) -> bool:
    return isinstance(task.work, FindingTruth)


def test_a_process_does_not_mix_problems_of_one_name() -> None:
    """What a process keeps between tasks is known by content: workers of a cluster live long."""
    means = [
        run_task(
            Task(ou.families.Fixed(Quadratics().problem(seed), "mine"), 0, FindingTruth(64), 1)
        ).truth
        for seed in (0, 1)
    ]
    assert means[0] is not None and means[1] is not None
    assert means[0].first == tuple(Quadratics().problem(0).mean.tolist())
    assert means[1].first == tuple(Quadratics().problem(1).mean.tolist())
