import io
import json
import math
import re
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tests.battery import Coin
from tests.comparison.toys import (
    Advised,
    Cheating,
    Failing,
    Moody,
    Quadratics,
    Shifted,
    Stopping,
    Teacher,
)

import outsample as ou
from outsample.comparison import Comparison
from outsample.comparison.scores import PLAIN

COUNT = 6


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return ou.compare(
        Quadratics(),
        [
            Shifted(0.1),
            Shifted(1e-9),
            ou.MonteCarlo(400),
            Moody(0.1),
            Failing(),
            Cheating(),
            (Advised(), Teacher(0.1)),
        ],
        instances=COUNT,
        seed=3,
        progress=False,
    )


def score(comparison: Comparison, name: str):
    return next(s for s in comparison.scores() if s.method == name)


def test_every_method_gets_the_same_problems(comparison: Comparison) -> None:
    seeds = set(range(3, 3 + COUNT))
    assert {t.problem for t in comparison.truths} == seeds
    for method in (*comparison.methods, *comparison.opponents):
        assert {c.problem for c in comparison.cells if c.method == method} == seeds


def test_names(comparison: Comparison) -> None:
    assert comparison.methods == (
        "Shifted(0.1)", "Shifted(1e-09)", "MonteCarlo(400)", "Moody(0.1)", "Failing()",
        "Cheating()", "Advised() with Teacher(shift=0.1)",
    )  # fmt: skip
    assert comparison.opponents == (
        PLAIN, "antithetic", "moment-matched", "scrambled Sobol",
    )  # fmt: skip


def test_vn_errors(comparison: Comparison) -> None:
    # The truth is exact; the variance is known to about 1 %.
    assert score(comparison, "Shifted(0.1)").vn_error == pytest.approx(0.01, rel=0.05)
    assert score(comparison, "Shifted(1e-09)").vn_error == pytest.approx(1e-18, rel=0.05)
    assert score(comparison, "Advised() with Teacher(shift=0.1)").vn_error == pytest.approx(
        0.01, rel=0.05
    )
    # Relative error of a variance from 6 problems, 4 runs and 2 outputs: 0.2.
    assert score(comparison, "MonteCarlo(400)").vn_error == pytest.approx(1 / 400, rel=0.8)
    # Exact to rounding, in float64.
    assert 0 < comparison.noise < 1e-30
    assert 0 < comparison.floor < 1e-30


def test_sampling_is_measured(comparison: Comparison) -> None:
    found = {s.name: s for s in comparison.samplings}
    assert found[PLAIN].constants == (1.0,)
    assert found[PLAIN].constants_from_truth[0] == pytest.approx(1, rel=0.8)
    # Pairs cancel the linear part of A x + B x² and double the rest: 4 B² of A² + 2 B².
    problems = [Quadratics().problem(t.problem) for t in comparison.truths]
    even = sum(float(4 * p.square.square().sum()) for p in problems)
    total = sum(float(p.variance.sum()) for p in problems)
    assert found["antithetic"].constants[0] == pytest.approx(even / total, rel=0.1)
    # Matched moments make a quadratic function exact.
    assert found["moment-matched"].constants[0] == pytest.approx(0, abs=1e-20)
    sobol = found["scrambled Sobol"]
    assert sobol.samples == (128, 1024, 8192)
    assert sobol.constants[0] > sobol.constants[1] > sobol.constants[2]
    assert all(s.flops_per_sample > 0 and s.seconds_per_sample > 0 for s in found.values())


def test_verdicts_name_every_opponent_at_both_costs(comparison: Comparison) -> None:
    ratios = score(comparison, "Shifted(1e-09)").ratios
    assert {(r.opponent, r.budget) for r in ratios} == {
        (o, b) for o in comparison.opponents for b in ("flops", "seconds")
    }
    assert {r.verdict for r in ratios if r.opponent in (PLAIN, "antithetic")} == {"beats"}
    # 10 % of a standard deviation is 100 samples' worth, and costs far less than 100 samples.
    crude = score(comparison, "Shifted(0.1)")
    assert crude.samples_at_flops < 10
    assert next(r for r in crude.ratios if r.budget == "flops").verdict == "beats"


def test_failures_do_not_stop_the_others(comparison: Comparison) -> None:
    failing, moody = score(comparison, "Failing()"), score(comparison, "Moody(0.1)")
    assert (failing.problems, failing.failures) == (0, COUNT)
    assert failing.error == "ZeroDivisionError: by zero"
    assert 0 < moody.failures < COUNT
    assert moody.problems + moody.failures == COUNT
    assert {r.verdict for r in moody.ratios} == {"inconclusive"}
    assert (score(comparison, "Cheating()").error or "").startswith("RandomnessError")


def test_json(comparison: Comparison) -> None:
    document = json.loads(comparison.to_json())
    assert document["schema_version"] == 1
    assert document["family"] == "quadratics"
    assert document == comparison.to_dict()
    assert len(document["cells"]) == len(comparison.cells)
    first = document["scores"][0]
    assert first["vn_error"] == comparison.scores()[0].vn_error
    assert document["scores"][4]["vn_error"] is None
    provenance = document["provenance"]
    assert provenance["seed"] == 3
    assert provenance["instances"] == COUNT
    assert provenance["dtype"] == "float64"
    assert provenance["threads"] == torch.get_num_threads()
    assert provenance["torch"] == torch.__version__


def test_printing(comparison: Comparison) -> None:
    text = str(comparison)
    for expected in ("Shifted(0.1)", "moment-matched", "beats", "inconclusive", "Truth: exact"):
        assert expected in text
    assert "failed on 6 of 6: ZeroDivisionError: by zero" in " ".join(
        re.sub(r"[│\s]+", " ", text).split()
    )
    assert "\x1b" not in text
    screen = io.StringIO()
    Console(file=screen, width=80, force_terminal=True).print(comparison)
    assert "Shifted(0.1)" in screen.getvalue()
    assert repr(comparison) == "Comparison(quadratics, 7 estimators, 6 problems)"


def test_markdown(comparison: Comparison) -> None:
    lines = comparison.to_markdown().splitlines()
    rows = [line for line in lines if line.startswith("| Shifted(0.1) |")]
    assert len(rows) == len(comparison.opponents)
    assert all(line.count("|") == rows[0].count("|") for line in rows)
    assert any("Failing() | failed: ZeroDivisionError" in line for line in lines)


def test_figure(comparison: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    figure = comparison.plot(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    flops, seconds = figure.axes
    assert "FLOPs" in flops.get_xlabel()
    assert "seconds" in seconds.get_xlabel()
    assert {flops.get_xscale(), flops.get_yscale()} == {"log"}
    names = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert {"Shifted(0.1)", "MonteCarlo(400)", f"{PLAIN}: 1/N"} <= names
    assert "Failing()" not in names
    comparison.plot(tmp_path / "figure.svg")
    assert "<svg" in (tmp_path / "figure.svg").read_text()
    with pytest.raises(ou.InputError, match="cannot write"):
        comparison.plot(tmp_path / "missing" / "figure.png")


def test_figure_without_matplotlib(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"outsample\[plot\]"):
        comparison.plot()


def test_an_estimator_without_error_is_only_known_to_rounding() -> None:
    found = ou.compare(Quadratics(), [Shifted(0.0)], 4, baselines=False)
    (score,) = found.scores()
    assert abs(score.vn_error) < 1e-30
    assert not score.resolved
    ratio = score.ratios[0]
    assert (ratio.bound, ratio.verdict) == ("lower", "beats")
    assert 1e20 < ratio.value < math.inf
    assert "≥" in str(found)
    found.plot()


def test_without_baselines_the_formula_remains() -> None:
    found = ou.compare(Quadratics(), [Shifted(0.1)], 2, baselines=False)
    assert found.opponents == ()
    assert [(r.opponent, r.budget) for r in found.scores()[0].ratios] == [(PLAIN, "flops")]
    assert PLAIN in str(found)
    found.plot()


def test_same_seeds_same_values() -> None:
    runs = [
        ou.compare(Quadratics(known=False), [ou.MonteCarlo(100)], 2, truth_samples=200)
        for _ in range(2)
    ]
    values = [
        [
            (c.method, c.value, c.spread)
            for c in run.cells
            if c.request["settings"].get("batch") is None
        ]
        for run in runs
    ]
    assert values[0] == values[1]
    assert runs[0].truths == runs[1].truths


def test_the_truth_is_sampled_until_it_is_better_than_the_estimators() -> None:
    family = ou.families.RandomMLP(width=6, depth=2)
    crude = ou.compare(family, [ou.MonteCarlo(100)], 1, baselines=False)
    sharp = ou.MonteCarlo(100_000, antithetic=True, moment_matched=True)
    fine = ou.compare(family, [sharp], 1, baselines=False)
    assert crude.truths[0].samples == 2**14
    assert fine.truths[0].samples > crude.truths[0].samples
    assert fine.noise < crude.noise
    given = ou.compare(family, [ou.MonteCarlo(100)], 1, baselines=False, truth_samples=5000)
    assert given.truths[0].samples == 5000
    assert 0 < given.scores()[0].vn_error < 0.1


def test_an_interrupted_comparison_keeps_what_was_finished() -> None:
    # Two estimates on the first problem are its check and its metering; the rest are timed.
    first = Stopping(after=10**9)
    ou.compare(Quadratics(), [first], 1, baselines=False)
    stopping = Stopping(after=len(first.calls) + 20)
    found = ou.compare(Quadratics(), [Shifted(0.1), stopping], 50, baselines=False)
    assert found.interrupted
    done = {t.problem for t in found.truths}
    assert 0 < len(done) < 50
    assert {c.problem for c in found.cells} == done
    assert found.scores()[0].problems == len(done)
    assert "interrupted" in str(found)
    assert found.to_dict()["interrupted"] is True


def test_an_interruption_before_anything_was_finished() -> None:
    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        ou.compare(Quadratics(), [Stopping()], 3, threads=threads + 1)
    assert torch.get_num_threads() == threads


def test_threads_are_set_and_put_back() -> None:
    threads = torch.get_num_threads()
    found = ou.compare(Quadratics(), [Shifted()], 1, threads=threads + 1, baselines=False)
    assert found.provenance["threads"] == threads + 1
    assert torch.get_num_threads() == threads


def test_a_fixed_family_is_compared_on_each_problem_once() -> None:
    problems = [Quadratics().problem(i) for i in range(3)]
    found = ou.compare(ou.families.Fixed(problems), [Shifted(0.1)], baselines=False)
    assert len(found.truths) == 3
    single = ou.compare(ou.families.Fixed(problems[0]), [Shifted(0.1)], baselines=False)
    assert len(single.truths) == 1
    assert single.scores()[0].low == pytest.approx(single.scores()[0].vn_error)


def test_samplers_that_do_not_take_the_problem_are_named() -> None:
    found = ou.compare(ou.families.Fixed(Coin(), name="coin"), [ou.MonteCarlo(100)])
    assert [s.name for s in found.samplings] == [PLAIN]
    assert set(found.missing) == {"antithetic", "moment-matched", "scrambled Sobol"}
    assert "not made from standard normals" in str(found)
    assert found.scores()[0].vn_error == pytest.approx(0.01, rel=3)


class Fragile(Quadratics):
    """A family one of whose problems cannot be made, and another one not evaluated."""

    def problem(self, seed: int):
        if seed == 0:
            raise RuntimeError("no such problem")
        problem = super().problem(seed)
        if seed == 1:
            problem.linear.fill_(math.nan)
        return problem


def test_broken_problems_do_not_stop_the_others() -> None:
    found = ou.compare(Fragile(), [Shifted(0.1)], 4, baselines=False)
    assert [t.error is None for t in found.truths] == [False, False, True, True]
    assert found.truths[0].error == "RuntimeError: no such problem"
    assert found.scores()[0].problems == 2
    hopeless = ou.compare(Fragile(), [Shifted(0.1)], 1, baselines=False)
    assert hopeless.scores()[0].problems == 0
    assert "No problem could be evaluated" in str(hopeless)
    assert json.loads(hopeless.to_json())["truth_noise"] is None
    hopeless.plot()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"estimators": []}, "estimators is empty"),
        ({"estimators": Shifted()}, "expected a list"),
        ({"estimators": [3]}, "holds 3; expected an estimator"),
        ({"estimators": [Shifted]}, "expected an estimator"),
        ({"estimators": [(Shifted(), 3)]}, "with 3; expected an Explainer"),
        ({"estimators": [Shifted(), Shifted()]}, r"Shifted\(\) 2 times"),
        ({"instances": 0}, "instances = 0"),
        ({"instances": 2.5}, "instances = 2.5"),
        ({"seed": -1}, "seed = -1"),
        ({"threads": 0}, "threads = 0"),
        ({"truth_samples": 7}, "truth_samples = 7; expected an even number"),
        ({"truth_samples": 0}, "truth_samples = 0"),
        ({"family": Quadratics().problem(0)}, r"expected a Family; for a problem, Fixed"),
        (
            {"family": ou.families.Fixed(Quadratics().problem(0), "q"), "instances": 2},
            "instances = 2, but q has 1 different problem;",
        ),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ou.InputError, match=message):
        ou.compare(**{"family": Quadratics(), "estimators": [Shifted()]} | arguments)
