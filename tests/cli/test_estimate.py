"""``outsample estimate`` on good, bad, damaged and missing files."""

from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import Run
from tests.conftest import GOLDEN, Golden

MODEL = GOLDEN / "relu_16x3.npz"
DAMAGED = bytearray(MODEL.read_bytes())
DAMAGED[len(DAMAGED) // 2] ^= 0xFF


@pytest.mark.parametrize("variant", ["basic", "augmented"])
@pytest.mark.parametrize("order", [1, 2])
def test_golden_numbers(golden: Golden, order: int, variant: str, run: Run) -> None:
    if order == 1 and not golden.holds_at_order_1:
        return
    result = run("estimate", golden.path, "--order", order, "--variant", variant, "--json")
    assert result.code == 0
    estimate = result.document["estimate"]
    expected = golden.arrays[f"mean_{variant}_{order}"]
    np.testing.assert_allclose(estimate["value"], expected, rtol=0, atol=golden.tolerance)
    assert estimate["estimator"]["settings"]["order"] == order


def test_json_has_a_schema_version_and_nothing_else_is_printed(spawn: Run) -> None:
    result = spawn("estimate", MODEL, "--json")
    assert result.code == 0
    assert result.document["schema_version"] == 1
    assert result.document["command"] == "estimate"
    assert result.document["estimate"]["cost"]["flops"] > 0
    assert result.err == ""


def test_plain_is_the_default_through_a_pipe(run: Run) -> None:
    result = run("estimate", MODEL)
    assert "NetworkMean 16-16-relu" in result.out
    assert "\x1b" not in result.out
    rows = [line.split() for line in result.out.splitlines() if line[:1].isdigit()]
    assert [row[0] for row in rows] == [str(i) for i in range(16)]
    document = run("estimate", MODEL, "--json").document
    np.testing.assert_allclose(
        [float(row[1]) for row in rows], document["estimate"]["value"], rtol=1e-5
    )


def test_one_output_of_several(run: Run) -> None:
    whole = run("estimate", MODEL, "--json").document["estimate"]["value"]
    one = run("estimate", MODEL, "--json", "--output-index", 3).document["estimate"]
    np.testing.assert_allclose(one["value"], whole[3], rtol=1e-12)
    assert run("estimate", MODEL, "--output-index", 3).out.count("\n3 ") == 1


def test_samplers_follow_their_settings(run: Run) -> None:
    words = ("estimate", MODEL, "--json", "--samples", 2048, "--seed")
    for name in ("monte-carlo", "moment-matched", "quasi-monte-carlo"):
        first, again, other = (
            run(*words, seed, "--estimator", name).document["estimate"] for seed in (1, 1, 2)
        )
        assert first["value"] == again["value"] != other["value"]
        assert all(error > 0 for error in first["standard_error"])
        assert first["provenance"]["seed"] == 1
    assert "standard error" in run("estimate", MODEL, "--estimator", "monte-carlo").out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--order", "5"), "order = 5"),
        (("--variant", "best"), "variant = 'best'"),
        (("--samples", "10"), "cumulants has no setting 'samples'"),
        (("--estimator", "monte-carlo", "--samples", "0"), "samples = 0"),
        (("--estimator", "exact-covariance", "--order", "2"), "no setting 'order'"),
        (("--output-index", "16"), "16 outputs"),
    ],
)
def test_bad_settings_are_exit_code_2(words: tuple[str, ...], reason: str, run: Run) -> None:
    result = run("estimate", MODEL, *words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ") and reason in result.err


def test_too_few_samples_are_exit_code_1(run: Run) -> None:
    result = run("estimate", MODEL, "--estimator", "moment-matched", "--samples", 20)
    assert (result.code, result.out) == (1, "")
    assert "samples = 20" in result.err


def test_overflow_is_exit_code_1(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "large.npz"
    huge = np.full((2, 2), 1e200)
    np.savez(path, weight_0=huge, weight_1=huge, activation="relu")
    result = run("estimate", path)
    assert (result.code, result.out) == (1, "")
    assert "rescale" in result.err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "not a .npz file"),
        (b"PK\3\4 nonsense", "not a .npz file"),
        (MODEL.read_bytes()[:-400], "not a .npz file"),
        (DAMAGED, "damaged"),
    ],
)
def test_bad_files_are_exit_code_2(
    content: bytes | None, reason: str, run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "model.npz"
    if content is not None:
        path.write_bytes(content)
    result = run("estimate", path, "--json")
    assert (result.code, result.out) == (2, "")
    assert result.err.count("\n") == 1
    assert str(path) in result.err and reason in result.err


def test_unknown_activation_is_exit_code_2(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, weight_0=np.eye(2), weight_1=np.eye(2), activation="rleu")
    result = run("estimate", path)
    assert result.code == 2
    assert "'rleu' is not known; expected one of" in result.err
