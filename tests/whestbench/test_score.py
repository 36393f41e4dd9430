"""Scoring: the metric, the truth about costs, failures, and what is shown."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from tests.whestbench.conftest import DEPTH, SAMPLES, WIDTH

import outsample as ou
from outsample import whestbench
from outsample.errors import InputError, NumericalError
from outsample.estimator import Explanation
from outsample.whestbench import machinery
from outsample.whestbench.scores import Raw, Rules

ESTIMATORS = [ou.MeanPropagation(), ou.Cumulants(2, "basic"), ou.Cumulants(2)]


@dataclass(frozen=True)
class Fails(ou.Estimator):
    """Overflows on all but the first network that it sees."""

    mechanistic: ClassVar[bool] = True

    def accepts(self, problem: ou.Problem) -> str | None:
        return None

    def _estimate(self, problem: ou.Problem, explanation: Explanation | None) -> ou.Estimate:
        raise NumericalError("the arithmetic overflowed | here")


@pytest.fixture(scope="module")
def scores(dataset: whestbench.Dataset) -> whestbench.Scores:
    return whestbench.score(dataset, [*ESTIMATORS, ou.MonteCarlo(64, seed=0)])


def by_name(scores: whestbench.Scores) -> dict[str, Raw | whestbench.Metered]:
    return {entry.method: entry for entry in (*scores.raw, *scores.metered)}


def test_its_baselines_are_two_of_our_estimators(scores: whestbench.Scores) -> None:
    found = by_name(scores)
    for ours, theirs in (
        ("MeanPropagation()", "mean propagation"),
        ("Cumulants(2, variant=basic)", "covariance propagation"),
    ):
        assert found[ours].final == pytest.approx(found[theirs].final, rel=1e-3)
        assert found[ours].all_layers == pytest.approx(found[theirs].all_layers, rel=1e-3)


def test_the_metric_is_the_mean_squared_distance_from_the_truth(
    dataset: whestbench.Dataset, scores: whestbench.Scores
) -> None:
    entry = by_name(scores)["Cumulants(2)"]
    for place, network in enumerate(dataset.networks):
        estimate = ou.Cumulants(2, hidden=True).estimate(network.problem())
        hidden = torch.stack(estimate.hidden).double().numpy()
        squares = (hidden - network.means) ** 2
        assert entry.final[place] == pytest.approx(squares[-1].mean())
        assert entry.all_layers is not None
        assert entry.all_layers[place] == pytest.approx(squares.mean())


def test_samplers_have_no_figure_for_hidden_layers(scores: whestbench.Scores) -> None:
    entry = by_name(scores)["MonteCarlo(64)"]
    assert entry.all_layers is None
    noise = np.mean(scores.variances) / 64
    assert 0.3 * noise < np.mean(entry.final) < 3 * noise


def test_only_what_flopscope_meters_has_an_adjusted_score(scores: whestbench.Scores) -> None:
    document = json.loads(scores.to_json())
    assert all("adjusted" not in entry for entry in document["raw"])
    budget = document["rules"]["budget"]
    for entry in document["metered"]:
        assert entry["multiplier"] == pytest.approx(max(0.1, entry["flops"] / budget))
        assert entry["adjusted"] == pytest.approx([entry["multiplier"] * e for e in entry["final"]])
    for entry in scores.raw:
        assert entry.flops is not None and entry.flops > 0
        assert all(s > 0 for s in entry.seconds)
    assert "flopscope does not meter" in " ".join(scores.notes)


def test_flops_are_those_of_our_own_ledger(
    dataset: whestbench.Dataset, scores: whestbench.Scores
) -> None:
    estimator = ou.Cumulants(2, hidden=True)
    wanted = estimator.flops(dataset.networks[0].problem())
    assert by_name(scores)["Cumulants(2)"].flops == wanted


def test_the_sampling_reference_is_the_variance_over_what_the_budget_buys(
    scores: whestbench.Scores,
) -> None:
    rules = scores.rules
    samples = rules.budget / rules.sample_flops
    assert rules.sampling_score == pytest.approx(np.mean(scores.variances) / samples)
    assert 2 * DEPTH * WIDTH**2 < rules.sample_flops < 4 * DEPTH * WIDTH**2
    assert scores.noise == pytest.approx(np.mean(scores.variances) / SAMPLES)


@pytest.mark.parametrize(
    ("shape", "tag", "gate"),
    [
        ((256, 8), "v1-warmup", None),
        ((256, 32), "v1-phase1", None),
        ((1024, 16), "v2-phase2", 0.4),
        ((8, 3), "v2-phase2", 0.4),
    ],
)
def test_rules_are_those_of_the_round_with_this_shape(
    dataset: whestbench.Dataset, shape: tuple[int, int], tag: str, gate: float | None
) -> None:
    width, depth = shape
    weights = np.broadcast_to(np.float32(0), (depth, width, width))
    network = whestbench.Network("", 0, weights, np.zeros((depth, width)), 1.0)
    settings = machinery.rules(replace(dataset, networks=(network,)))
    rules = Rules.of(settings, 1.0)
    assert (settings.tag, settings.residual_wall_time_limit_s) == (tag, gate)
    assert rules.sample_flops > 2 * depth * width**2


def test_intervals_hold_the_mean_and_shrink_with_agreement(scores: whestbench.Scores) -> None:
    for entry in by_name(scores).values():
        assert np.mean(entry.final) in scores.interval(entry.final)
    variances = np.array(scores.variances)
    same, spread = 100 * variances, variances * np.array([1, 100, 199])
    tight, wide = scores.interval(list(same)), scores.interval(list(spread))
    assert tight.high - tight.low < (wide.high - wide.low) / 10


def test_a_failure_is_shown_and_does_not_stop_the_others(dataset: whestbench.Dataset) -> None:
    done: list[float] = []
    scores = whestbench.score(dataset, [Fails(), ou.Cumulants(2)], advance=done.append)
    failed, fine = scores.raw
    assert failed.error is not None and "overflowed" in failed.error and not failed.final
    assert len(fine.final) == 3
    assert sum(done) == 3 * 3  # two baselines and the one that works
    assert "Fails() has no figures" in str(scores)
    assert "overflowed \\| here" in scores.to_markdown()
    assert json.loads(scores.to_json())["raw"][0]["error"] == failed.error


def test_un_metered_time_above_the_gate_is_said(scores: whestbench.Scores) -> None:
    slow = replace(scores.raw[0], seconds=(0.1, 0.5, 0.2))
    assert any("would fail at the gate of 0.4 s" in n for n in replace(scores, raw=(slow,)).notes)
    assert not any("would fail" in note for note in scores.notes)


def test_a_submission_is_run_and_metered_by_the_benchmark(
    dataset: whestbench.Dataset, written: Callable[[str], Path]
) -> None:
    folder = written("return fnp.ones((mlp.depth, mlp.width)) + fnp.ones((mlp.depth, mlp.width))")
    entry = whestbench.score(dataset, submissions=[folder]).metered[-1]
    assert (entry.method, entry.kind, entry.failures) == ("other", "submission", ())
    wanted = [np.mean((2 - n.means[-1]) ** 2) for n in dataset.networks]
    assert entry.final == pytest.approx(wanted, rel=1e-5)
    # two arrays of float64 ones, their sum and its conversion, at twice the price of float32
    assert entry.flops == pytest.approx(8 * DEPTH * WIDTH)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return fnp.ones((1, 1))", "PREDICT_ERROR|shape"),
        ("raise KeyError('lost')", "lost"),
        ("import time; time.sleep(0.5); return fnp.ones((mlp.depth, mlp.width))", "residual"),
        ("import os; os._exit(3)", "WORKER_EOF|closed"),
    ],
)
def test_submissions_that_fail(
    dataset: whestbench.Dataset, written: Callable[[str], Path], body: str, reason: str
) -> None:
    one = replace(dataset, networks=dataset.networks[:1])
    scores = whestbench.score(one, submissions=[written(body)])
    entry = scores.metered[-1]
    assert len(entry.failures) == 1
    assert any(word in entry.failures[0] for word in reason.split("|"))
    assert entry.multiplier == 1
    assert any("other failed on" in note for note in scores.notes)


def test_what_cannot_be_started_is_refused(
    dataset: whestbench.Dataset, written: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = written("return 1")
    for submissions, reason in (
        ([tmp_path / "absent"], "absent"),
        ([tmp_path], "estimator.py"),
        ([folder, folder], "2 times"),
    ):
        with pytest.raises(InputError, match=reason):
            whestbench.score(dataset, submissions=submissions)
    (folder / "estimator.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(InputError, match="nothing_of_that_name"):
        whestbench.score(dataset, submissions=[folder])
    with pytest.raises(InputError, match="2 times"):
        whestbench.score(dataset, [ou.Cumulants(2), ou.Cumulants(2)])


def test_tables(scores: whestbench.Scores) -> None:
    text, markdown = str(scores), scores.to_markdown()
    for entry in by_name(scores).values():
        shown = f"{np.mean(entry.final):.3e}"
        assert shown in text and shown in markdown
    rows: Sequence[str] = [line for line in markdown.splitlines() if line.startswith("| ")]
    counts = {line.count(" |") for line in rows}
    assert counts == {5, 4, 7}
    assert repr(scores) == "Scores(WhestBench 8 × 3, 3 networks, 6 entries)"
