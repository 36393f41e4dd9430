"""``outsample catastrophe``: the demo in a few seconds, and estimates of stored networks."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli.conftest import Result, Run
from typer.testing import CliRunner

from outsample.cli import app
from outsample.cli import catastrophe_findings as f
from outsample.cli import catastrophe_study as s
from outsample.cli.digits import load_digits
from outsample.cli.output import probability, times

TINY = s.Effort(
    epochs=3, margins=3, spacing=1.0, truth=2_000, plain=2_000, importance=2_000, subset=2_000,
    steps=2, ascents=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("catastrophe") / "made" / "here"


@pytest.fixture(scope="module")
def study() -> f.CatastropheStudy:
    return s.study(0, 1.5, TINY, lambda message: None)


@pytest.fixture(scope="module")
def result(study: f.CatastropheStudy, folder: Path) -> Result:
    def stored(seed: int, margin: float, effort: s.Effort, say: Any) -> f.CatastropheStudy:
        assert (seed, margin, effort) == (0, 1.5, s.QUICK)
        say("training the catastrophe away …")
        return study

    words = ["catastrophe", "demo", "--quick", "--margin", "1.5", "--output", str(folder), "--json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s, "study", stored)
        done = CliRunner().invoke(app, words)
    return Result(done.exit_code, done.stdout, done.stderr)


def test_it_prints_what_it_writes(result: Result, folder: Path) -> None:
    assert result.code == 0, result.err
    document = result.document
    assert document["schema_version"] == 1
    assert document["command"] == "catastrophe demo"
    assert json.loads((folder / "catastrophe.json").read_text("utf-8")) == document
    names = ["catastrophe.html", "catastrophe.json", "catastrophe.png"]
    assert sorted(p.name for p in folder.iterdir()) == names
    assert (folder / "catastrophe.png").read_bytes().startswith(b"\x89PNG")
    assert "training the catastrophe away" in result.err


def test_the_curves_hold_the_estimate_the_truth_and_plain_sampling(result: Result) -> None:
    document = result.document
    assert set(document["curves"]) == {f.BEFORE, f.AFTER}
    for points in document["curves"].values():
        assert [point["margin"] for point in points] == [0, 1, 1.5, 2]
        values = [point["tilt"]["log_value"] for point in points]
        assert values == sorted(values, reverse=True)
        for point in points:
            gap = point["tilt"]["log_value"] - point["truth"]["log_value"]
            assert abs(gap) < 5 * point["truth"]["relative_error"] + 0.3
            assert point["tilt"]["relative_error"] is None
            assert point["tilt"]["samples"] is None
            share, error = point["plain"], point["plain_error"]
            assert share * 2_000 == pytest.approx(round(share * 2_000))
            assert abs(share - math.exp(point["truth"]["log_value"])) < 5 * error + 5e-3


def test_confirmations_are_of_every_case_and_by_three_methods(result: Result) -> None:
    document = result.document
    cases = [(one["law"], one["network"]) for one in document["confirmations"]]
    assert cases == list(f.CASES)
    for one in document["confirmations"]:
        assert one["importance"]["samples"] and one["subset"]["samples"]
    falls = document["falls"]
    assert set(falls) == {f.REFERENCE, f.TRAINED_AGAINST, f.FRESH}
    for law in falls:
        old, new = (
            next(o for o in document["confirmations"] if (o["law"], o["network"]) == (law, name))
            for name in (f.BEFORE, f.AFTER)
        )
        for method, factor in falls[law].items():
            log = old[method]["log_value"] - new[method]["log_value"]
            assert math.log(factor) == pytest.approx(log)
    assert len(document["training"]["steps"]) == 2
    assert document["training"]["steps"][-1]["divergence"] <= 1 + 1e-6
    assert set(document["test_accuracy"]) == {f.BEFORE, f.TASK_ONLY, f.AFTER}


def test_the_page_is_one_file_that_loads_nothing(result: Result, folder: Path) -> None:
    del result
    text = (folder / "catastrophe.html").read_text("utf-8")
    assert text.count("<table>") == 3
    assert 'src="data:image/png;base64,' in text
    for word in ("<script", "http://", "https://", "url(", "@import"):
        assert word not in text
    assert "default-src 'none'" in text


def test_text_on_the_page_is_text() -> None:
    from outsample.cli.catastrophe_page import Table, page

    bad = '<img src=x onerror="alert(1)">$title & "'
    table = Table(bad, [bad], [[bad]], [bad])
    text = page(bad, [bad], b"png", bad, [table], bad)
    assert "<img src=x" not in text
    assert text.count("&lt;img src=x onerror=&quot;alert(1)&quot;&gt;$title &amp; &quot;") == 9


def test_the_tables_are_printed(
    study: f.CatastropheStudy, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setattr(s, "study", lambda *given: study)
    answer = run("catastrophe", "demo")
    assert answer.code == 0
    for words in ("before training", "after training", "subset simulation", f.FRESH):
        assert words in answer.out
    assert "\x1b" not in answer.out


def test_plain_sampling_answers_every_margin_at_once() -> None:
    import torch

    digits = load_digits()
    from outsample.cli.digits import train_network

    network = train_network(digits, epochs=1, widths=(64, 16, 10))
    margins = [0.0, 1.0, 3.0]
    calls = s.Calls(network, s.class_law(digits, 8), margins)
    x = calls.inputs.sample(500, torch.Generator().manual_seed(0))
    logits = network(x)
    others = logits.index_fill(1, torch.tensor([8]), -torch.inf).amax(1)
    expected = [(logits[:, 8] - others > margin).double() for margin in margins]
    assert torch.equal(calls(x).double(), torch.stack(expected, 1))
    assert 0 < calls(x).mean() < 1


def test_the_law_of_a_class_is_that_of_its_images_with_noise() -> None:
    import torch

    digits = load_digits()
    law = s.class_law(digits, 3)
    images = digits.images[digits.labels == 3]
    torch.testing.assert_close(law.mean, images.mean(0))
    own = np.cov(images.numpy().T) + 0.01 * np.eye(64)
    np.testing.assert_allclose(law.covariance, own, atol=1e-6)


def test_what_would_stop_the_writing_is_found_before_the_work(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    answer = run("catastrophe", "demo", "--output", tmp_path / "file")
    assert answer.code == 2
    assert answer.err.startswith("error: cannot make the folder")
    monkeypatch.setattr("outsample.cli.output.find_spec", lambda name: None)
    answer = run("catastrophe", "demo", "--output", tmp_path / "folder")
    assert answer.code == 2
    assert answer.err.startswith("error: figures take Matplotlib")


@pytest.mark.parametrize(
    "words",
    [("--margin", "-1"), ("--margin", "inf"), ("--margin", "nan"), ("--margin", "wide"),
     ("--seed", "-1"), ("--format", "xml"), ("--json", "--format", "plain"), ("three",)],
)  # fmt: skip
def test_bad_usage_is_exit_code_2(words: tuple[str, ...], run: Run) -> None:
    answer = run("catastrophe", "demo", *words)
    assert (answer.code, answer.out) == (2, "")


@pytest.mark.parametrize("command", ["demo", "estimate"])
def test_help_has_formats_and_examples(command: str, run: Run) -> None:
    answer = run("catastrophe", command, "--help")
    assert answer.code == 0
    for words in ("--format", "--json", "Examples", f"outsample catastrophe {command}"):
        assert words in answer.out


def test_a_margin_that_is_never_seen_is_refused(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr(s, "QUICK", TINY)
    answer = run("catastrophe", "demo", "--quick", "--margin", 60)
    assert (answer.code, answer.out) == (2, "")
    assert "error: margin = 60: the network calls a 3 an 8 by so much" in answer.err


def test_interruption_exits_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(s, "study", stop)
    answer = run("catastrophe", "demo")
    assert (answer.code, answer.out) == (130, "")
    assert answer.err.startswith("interrupted. To run it again: outsample")


@pytest.mark.parametrize(
    ("log10", "shown"),
    [(-10.0, "1.0e-10"), (-400.5, "3.2e-401"), (-0.00001, "1.0e+00"), (-math.inf, "0"),
     (math.nan, "–")],
)  # fmt: skip
def test_probabilities_are_shown_however_small(log10: float, shown: str) -> None:
    assert probability(log10) == shown


def test_factors_are_shown_in_full_while_short() -> None:
    assert [times(x) for x in (3.14159, 123_456.0, 2.7e10, math.inf)] == [
        "3.1", "120,000", "2.7e+10", "–",
    ]  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A linear network with a standard normal output, and one of twice that."""
    path = tmp_path / "model.npz"
    weight = np.zeros((2, 4))
    weight[0, 0], weight[1, 1] = 1.0, 2.0
    np.savez(path, weight_0=weight)
    return path


def test_estimates_of_a_stored_network(model: Path, run: Run) -> None:
    words = ("catastrophe", "estimate", model, "--detector")
    answer = run(*words, "(output[0] > 6) & (output[1] < -8)", "--json")
    assert answer.code == 0, answer.err
    log_p = math.log(9.865876450377e-10) + math.log(3.167124183312e-05)
    found = answer.document["estimates"]
    assert found["tilt"]["log_value"] == pytest.approx(log_p, abs=1e-8)
    sampled = found["importance sampling"]
    assert sampled["log_value"] == pytest.approx(log_p, abs=5 * sampled["relative_error"])
    assert answer.document["detector"] == "(output[0] > 6) & (output[1] < -8)"
    plain = run(*words, "output[0] > 6", "--samples", 0)
    assert "9.9e-10" in plain.out and "importance" not in plain.out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--detector", "output[7] > 1"), "output"),
        (("--detector", "hidden[0][0] > 1"), "hidden"),
        (("--detector", "output[0]"), "is no event"),
        (("--detector", "__import__('os')"), "cannot take"),
        (("--detector", "output[0] > 1", "--order", "1"), "order = 1"),
    ],
)
def test_bad_detectors_are_exit_code_2(
    words: tuple[str, ...], reason: str, model: Path, run: Run
) -> None:
    answer = run("catastrophe", "estimate", model, *words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: ") and reason in answer.err


def test_bad_files_are_exit_code_2(tmp_path: Path, run: Run) -> None:
    (tmp_path / "model.npz").write_bytes(b"PK\3\4 nonsense")
    for path in (tmp_path / "model.npz", tmp_path / "none.npz"):
        answer = run("catastrophe", "estimate", path, "--detector", "output[0] > 1")
        assert (answer.code, answer.out) == (2, "")
        assert str(path) in answer.err
