"""The statements of the principle: judged rightly, from studies that run."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.comparison import toys
from tests.comparison.principle_toys import (
    Drawing,
    Governed,
    NoteTaker,
    Reading,
    Tracking,
    TrainedQuadratics,
)

import outsample as ou
from outsample.comparison.cells import Method
from outsample.comparison.principle import Average, check, check_principle
from outsample.comparison.principle.average import measure
from outsample.comparison.principle.statements import (
    Allowance,
    Finding,
    Step,
    cost_condition,
    error_condition,
    judge_step,
    worst,
)
from outsample.comparison.scores import PLAIN, Score
from outsample.comparison.statistics import pooled_error
from outsample.comparison.sweeps import Outcome, Store, Study, tasks


@pytest.fixture(autouse=True, scope="module")
def here() -> Iterator[None]:
    """Sweeps run in this process, and measure plain sampling only; they have their own tests."""

    def sweep(study: Study, store: Store, **_: object) -> Outcome:
        stored = store.keys()
        todo = [task for task in study.tasks() if task.key not in stored]
        store.add([tasks.run_task(task) for task in todo])
        return Outcome(len(todo), study.size - len(todo), 0, 0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "sweep", sweep)
        plain = [Method(PLAIN, ou.MonteCarlo(1024))]
        patch.setattr(tasks, "opponents", lambda *_: plain)
        yield


def checked(estimator: type[ou.Estimator] = Governed, **changes: object) -> check.PrincipleReport:
    given = {"family": toys.Quadratics(), "instances": 8, "epsilons": [1, 1 / 8], **changes}
    return check_principle(estimator=estimator, **given)


def finding(report: check.PrincipleReport, condition: str, variant: str = "no parameters") -> str:
    return next(c.finding for c in report[variant].conditions if c.name == condition)


# What is said of whole studies.


def test_an_estimator_that_is_better_than_its_budget_holds() -> None:
    report = checked()
    assert report.finding == "holds"
    assert [s.variant for s in report.statements] == ["no parameters", "without ε"]
    assert set(report.missing) == {"mainline", "train and explain"}
    steps = report["no parameters"].steps
    assert [step.samples for step in steps] == [1, 64]
    assert [step.settings for step in steps] == ["samples=1", "samples=64"]
    for step in steps:
        assert step.low < 0.25 < step.high  # a quarter of what is allowed, by construction
    # 29 FLOPs per sample as reported, and a few in putting the value together.
    assert steps[1].flops == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(
    ("settings", "condition"),
    [({"share": 9.0}, "error"), ({"price": 12.0}, "cost"), ({"power": 1.4}, "cost")],
)
def test_a_breach_of_one_condition_fails(settings: dict[str, float], condition: str) -> None:
    report = checked(settings=settings)
    assert report.finding == "fails"
    for statement in report.statements:
        found = {c.name: c.finding for c in statement.conditions}
        assert found.pop(condition) == "fails"
        assert set(found.values()) == {"holds"}


def test_sampling_itself_holds_in_error_and_cost_but_is_not_mechanistic() -> None:
    report = checked(ou.MonteCarlo, instances=40, epsilons=[1, 1 / 4, 1 / 16])
    for variant in ("no parameters", "without ε"):
        assert finding(report, "error", variant) == "holds"
        assert finding(report, "cost", variant) == "holds"
        assert finding(report, "mechanistic", variant) == "fails"
    assert report.finding == "fails"


def test_an_estimator_that_draws_although_it_says_it_does_not_is_caught() -> None:
    report = checked(Drawing, instances=2)
    assert finding(report, "mechanistic") == "fails"
    assert finding(report, "error") == "inconclusive"
    assert any("randn" in error for error in report.errors)


def test_cumulants_hold_on_random_networks() -> None:
    family = ou.families.RandomMLP(width=8, depth=2)
    report = checked(ou.Cumulants, family=family, instances=16, epsilons=[1, 1 / 4, 1 / 8])
    assert report.finding == "holds"
    assert [s.settings for s in report["no parameters"].steps] == ["order=1", "order=1", "order=2"]


def test_statements_about_training_are_two_families() -> None:
    report = checked(Reading, family=TrainedQuadratics(), explainer=NoteTaker(size=20, flops=2000))
    assert report.finding == "holds"
    assert [s.variant for s in report.statements] == ["mainline", "train and explain", "without ε"]
    assert report["mainline"].family == "trained quadratics(0)"
    assert report["train and explain"].family == "trained quadratics(None)"
    texts = {c.name: c.reason for c in report["train and explain"].conditions}
    assert texts["explanation"] == "2 times as long as the parameters"
    assert texts["explaining"] == "2 times as long as training"
    assert "no parameters" in report.missing


@pytest.mark.parametrize(
    ("explainer", "condition"),
    [(NoteTaker(size=101), "explanation"), (NoteTaker(flops=10_001), "explaining")],
)
def test_an_explainer_that_is_too_long_or_too_slow_is_caught(
    explainer: NoteTaker, condition: str
) -> None:
    report = checked(Reading, family=TrainedQuadratics(), explainer=explainer, instances=3)
    assert finding(report, condition, "train and explain") == "fails"
    assert report.finding == "fails"
    limit = replace(explainer, size=min(explainer.size, 100), flops=min(explainer.flops, 10_000))
    allowed = checked(Reading, family=TrainedQuadratics(), explainer=limit, instances=3)
    assert finding(allowed, condition, "train and explain") == "holds"


def test_a_trained_network_is_explained_to_mean_propagation() -> None:
    family = ou.families.TrainedMLP(width=8, depth=2, steps=20)
    given = {"family": family, "instances": 4, "epsilons": [1]}
    alone = checked(Tracking, **given)
    report = checked(Tracking, explainer=ou.PairExplainer(pairs=28), **given)
    # Every pair of the first hidden layer, each as two numbers, next to 682 parameters.
    texts = {c.name: c.reason for c in report["mainline"].conditions}
    assert float(texts["explanation"].split()[0]) == pytest.approx(56 / 682, rel=0.01)
    assert report["mainline"].steps[0].error < alone["mainline"].steps[0].error
    assert finding(report, "explaining", "train and explain") == "holds"


def test_averages_that_take_too_long_are_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outsample.comparison.principle.average._MOST_FLOPS", 32 * 29 * 10)
    report = checked(instances=2)
    assert [step.samples for step in report["without ε"].steps] == [1]
    assert finding(report, "every m", "without ε") == "inconclusive"
    assert report.finding == "inconclusive"
    report = checked(instances=2, epsilons=[1 / 8])
    assert "takes too long" in report.missing["without ε"]


def test_a_store_is_resumed(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = checked(instances=3, store=tmp_path / "found.duckdb")

    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(tasks, "run_task", refuse)
    again = checked(instances=3, store=tmp_path / "found.duckdb")
    assert again["no parameters"] == first["no parameters"]


# What is refused.


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"epsilons": []}, ou.InputError, "epsilons is empty"),
        ({"epsilons": [0.0]}, ou.InputError, r"epsilons holds 0\.0"),
        ({"epsilons": [2]}, ou.InputError, "epsilons holds 2"),
        ({"epsilons": ["1"]}, ou.InputError, "epsilons holds '1'"),
        ({"instances": 1}, ou.InputError, "instances = 1"),
        ({"instances": 0}, ou.InputError, "instances = 0"),
        ({"settings": {"shrae": 1}}, ou.InputError, "no setting 'shrae'"),
        ({"explainer": NoteTaker()}, ou.InputError, "no parameters apart from its context"),
        ({"estimator": toys.Shifted}, ou.UnsupportedProblem, "no setting that a tolerance governs"),
        ({"estimator": ou.Cumulants}, ou.UnsupportedProblem, "needs the layers of a network"),
        ({"family": ou.families.RandomMLP(4, 1)}, ou.UnsupportedProblem, "it is not quadratic"),
    ],
)
def test_bad_arguments_are_refused(
    changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        checked(**changes)


def test_an_explanation_is_made_before_there_is_a_context() -> None:
    with pytest.raises(ou.UnsupportedProblem, match="does not come from training"):
        check.Beforehand(NoteTaker()).explain(toys.Quadratics().problem(0))


# How findings follow from figures.


def step(samples: int, *, low: float = 0.5, high: float = 0.9, failures: int = 0) -> Step:
    score = Score("x", 10, failures, None, low, low, high, flops=1.0, seconds=1.0)
    return judge_step(samples, "", score, Allowance(1.0, 1.0, 1.0), 1)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.5, 0.9, "holds"),
        (0.5, 1.9, "holds"),  # no more than twice what is allowed
        (0.5, 2.1, "inconclusive"),
        (1.5, 2.1, "fails"),
        (0.0, 0.0, "holds"),
    ],
)
def test_the_finding_follows_from_the_interval(low: float, high: float, expected: Finding) -> None:
    assert step(1, low=low, high=high).finding == expected


def test_one_tolerance_is_enough_to_fail_and_all_are_needed_to_hold() -> None:
    good, bad, vague = step(1), step(4, low=3, high=4), step(16, high=5.0)
    assert error_condition([good]).finding == "holds"
    assert error_condition([good, vague]).finding == "inconclusive"
    assert error_condition([good, vague, bad]).finding == "fails"
    assert "N = 4" in error_condition([good, vague, bad]).reason


def test_an_estimator_that_fails_on_a_problem_is_not_judged() -> None:
    assert step(1, failures=1).finding == "inconclusive"


def test_several_tolerances_need_more_evidence_to_fail() -> None:
    score = Score("x", 10, 0, None, 2.0, 1.4, 3.0, flops=1.0, seconds=1.0)
    found = [judge_step(1, "", score, Allowance(1, 1, 1), k).finding for k in (1, 2, 10)]
    assert found == ["fails", "fails", "inconclusive"]
    clear = replace(score, low=1.9)
    assert judge_step(1, "", clear, Allowance(1, 1, 1), 10).finding == "fails"


def test_noise_of_the_allowance_widens_the_interval() -> None:
    score = Score("x", 10, 0, None, 0.5, 0.4, 0.6, flops=1.0, seconds=1.0)
    sharp = judge_step(4, "", score, Allowance(1, 1, 0.5), 1)
    noisy = judge_step(4, "", score, Allowance(1, 1, 0.5, error_spread=0.1), 1)
    assert (sharp.error, sharp.low, sharp.high) == pytest.approx((1.0, 0.8, 1.2))
    assert (noisy.error, noisy.low, noisy.high) == pytest.approx((1.0, 4 / 7, 2.0))
    assert sharp.allowed == pytest.approx(2)


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([0.1, 0.1, 0.1], "holds"),
        ([500.0, 50.0, 5.0], "holds"),  # a fixed price
        ([9.0, 9.0, 9.0], "holds"),
        ([11.0, 11.0, 11.0], "fails"),
        ([0.1, 0.6, 4.0], "fails"),  # grows
        ([0.001, 0.01, 0.1], "holds"),  # within the budget
        ([900.0, 200.0, 50.0], "inconclusive"),  # still falling
        ([1.0, math.nan, 1.0], "inconclusive"),
        ([3.0], "holds"),
        ([30.0], "fails"),
    ],
)
def test_cost_is_judged_by_constant_and_growth(ratios: list[float], expected: Finding) -> None:
    steps = [replace(step(16**i), flops=ratio, seconds=1.0) for i, ratio in enumerate(ratios)]
    assert cost_condition("cost", steps, "flops").finding == expected
    assert cost_condition("cost", steps[::-1], "flops").finding == expected
    assert cost_condition("time", steps, "seconds").finding == "holds"


def test_the_worst_finding_counts() -> None:
    assert worst(["holds", "inconclusive"]) == "inconclusive"
    assert worst(["fails", "inconclusive", "holds"]) == "fails"


@pytest.mark.parametrize("problems", [10, 40])
def test_sampling_with_its_own_budget_is_rarely_said_to_fail(problems: int) -> None:
    """400 studies of four tolerances: what sampling with N samples errs, four runs a problem."""
    generator = np.random.default_rng(problems)
    failed = held = 0
    for _ in range(400):
        variances = generator.lognormal(0, 0.7, problems)
        steps: list[Step] = []
        for samples in (1, 16, 256, 4096):
            squares = generator.standard_normal((problems, 4)) ** 2
            pooled = pooled_error(variances * squares.mean(1) / samples, variances)
            interval = pooled.interval
            score = Score(
                "x", problems, 0, None, pooled.value, interval.low, interval.high,
                flops=1.0, seconds=1.0,
            )  # fmt: skip
            steps.append(judge_step(samples, "", score, Allowance(1, 1, 1 / samples), 4))
        found = error_condition(steps).finding
        failed += found == "fails"
        held += found == "holds"
    assert failed <= 16  # 4 %: it is 2 % or 3 %
    assert held >= (370 if problems == 40 else 0)


# The averaged architecture.


def test_an_average_is_an_architecture_of_its_own() -> None:
    problem = toys.Quadratics().problem(0)
    average = Average(problem, 16)
    x = average.inputs.sample(5, torch.Generator().manual_seed(0))
    assert x.shape == (5, 16, 3)
    by_hand = torch.stack([problem(row).mean(0) for row in x])
    torch.testing.assert_close(average(x), by_hand)
    torch.testing.assert_close(average.exact(), problem.exact())
    assert average.inputs.covariance.shape == (48, 48)
    assert average.signature() != Average(problem, 4).signature()
    estimate = ou.MonteCarlo(samples=4000, batch=500).estimate(average)
    assert ((estimate.value - problem.mean).abs() < 5 * estimate.standard_error).all()


@pytest.mark.parametrize("runs", [1, 9, 1000])
def test_time_and_variance_of_the_average_are_measured(runs: int) -> None:
    problem = toys.Quadratics().problem(1)
    found = measure(Average(problem, runs), seed=1, flops=29)
    assert found is not None
    # 29 FLOPs an evaluation, an addition of two outputs, and a division at the end.
    assert found.flops == pytest.approx(29 * runs + 2 * runs, rel=0.1)
    assert found.seconds > 0
    # 1024 draws: a relative deviation of 6 % or a little more.
    assert found.variance == pytest.approx(float(problem.variance.mean()) / runs, rel=0.3)


def test_an_average_that_would_take_too_long_is_left_out() -> None:
    assert measure(Average(toys.Quadratics().problem(1), 10), seed=1, flops=1e9) is None


@pytest.mark.parametrize("runs", [0, 1.5, True])
def test_a_number_of_runs_that_is_none_is_refused(runs: object) -> None:
    with pytest.raises(ou.InputError, match="runs"):
        Average(toys.Quadratics().problem(0), runs)


# The report.


def test_a_report_is_a_document_and_a_table() -> None:
    report = checked(instances=3)
    document = json.loads(report.to_json())
    assert document["schema_version"] == 1
    assert document["finding"] == report.finding
    assert [s["variant"] for s in document["statements"]] == ["no parameters", "without ε"]
    assert document["statements"][0]["steps"][1]["samples"] == 64
    assert document["largest_constant"] == 10
    lines = report.to_markdown().splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert len(tables) == 2 * (2 + 2)
    assert len({line.count("|") for line in tables}) == 1
    assert "No parameters, quadratics: holds" in str(report)
    assert "mainline: does not apply" in str(report)
    assert repr(report).startswith("PrincipleReport(Governed on quadratics; no parameters: holds")
    with pytest.raises(KeyError, match="no parameters: all its"):
        report["mainline"]
