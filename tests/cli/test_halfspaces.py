"""``outsample halfspaces`` on good, bad, damaged and hostile files."""

import math
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import Run

ESTIMATORS = ("projection", "ep", "common-direction", "genz", "monte-carlo")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "V.npy", rng.standard_normal((5, 30)))
    np.save(tmp_path / "two.npy", np.array([[1.0, 0.0], [0.6, 0.8]]))
    np.save(tmp_path / "b.npy", np.array([0.3, -0.4]))
    np.save(tmp_path / "m.npy", np.array([0.3, 0.5]))
    np.save(tmp_path / "C.npy", np.array([[1.0, 0.2], [0.2, 2.0]]))
    np.save(tmp_path / "variances.npy", np.array([1.0, 2.0]))
    return tmp_path


def test_estimate_cost_sampling_and_exact(folder: Path, run: Run) -> None:
    document = run("halfspaces", folder / "two.npy", "--exact", "--json").document
    exact = 0.25 + math.asin(0.6) / (2 * math.pi)
    assert document["schema_version"] == 1
    assert document["command"] == "halfspaces"
    assert document["problem"] == "HalfspaceIntersection of 2 in 2 dimensions"
    assert document["exact"]["value"] == pytest.approx(exact, rel=1e-14)
    estimate = document["estimate"]
    assert estimate["value"] == pytest.approx(exact, rel=1e-2)
    assert estimate["estimator"]["method"] == "ExpectationPropagation"
    assert estimate["cost"]["flops"] > 0
    sampled = document["sampling"]["equal_flops"]
    assert abs(sampled["value"] - exact) < 5 * sampled["standard_error"]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_agree(name: str, folder: Path, run: Run) -> None:
    words = ("halfspaces", folder / "V.npy", "--estimator", name, "--degree", 4, "--json")
    document = run(*words).document
    reference = run("halfspaces", folder / "V.npy", "--json").document["estimate"]["value"]
    estimate = document["estimate"]
    error = estimate["standard_error"] or 0.0
    assert abs(estimate["value"] - reference) < 4 * error + 0.02 * reference


def test_settings_arrive(folder: Path, run: Run) -> None:
    def settings(*words: object) -> dict[str, object]:
        return run("halfspaces", folder / "V.npy", "--json", *words).document["estimate"][
            "estimator"
        ]["settings"]

    assert settings("--estimator", "projection", "--degree", 3)["degree"] == 3
    assert settings("--corrections", "none")["corrections"] is None
    assert settings("--corrections", "D2")["corrections"] == "D2"
    drawn = settings("--estimator", "genz", "--samples", 2000, "--seed", 7)
    assert (drawn["points"], drawn["seed"]) == (2000, 7)


@pytest.mark.parametrize("covariance", ["C.npy", "variances.npy"])
def test_offsets_and_laws(covariance: str, folder: Path, run: Run) -> None:
    words = ("halfspaces", folder / "two.npy", "--exact", "--json")
    law = ("--mean", folder / "m.npy", "--covariance", folder / covariance)
    exact = run(*words, "--offsets", folder / "b.npy", *law).document["exact"]["value"]
    scale = np.load(folder / covariance)
    root = np.linalg.cholesky(scale if scale.ndim == 2 else np.diag(scale))
    noise = np.random.default_rng(1).standard_normal((10**6, 2))
    draws = np.load(folder / "m.npy") + noise @ root.T
    inside = (draws @ np.load(folder / "two.npy").T >= np.load(folder / "b.npy")).all(axis=1)
    assert exact == pytest.approx(inside.mean(), abs=0.003)


def test_plain_output(folder: Path, run: Run) -> None:
    result = run("halfspaces", folder / "V.npy")
    assert result.code == 0
    assert "HalfspaceIntersection of 5 in 30 dimensions" in result.out
    assert "sampling, equal time" in result.out
    doubtful = run("halfspaces", folder / "two.npy", "--estimator", "projection", "--degree", 0)
    assert "trust: low confidence" in doubtful.out


def test_what_has_no_exact_answer_fails(folder: Path, run: Run) -> None:
    result = run("halfspaces", folder / "V.npy", "--exact")
    assert result.code != 0
    assert "no exact answer" in result.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("two.npy", "--estimator", "magic"), "--estimator 'magic'"),
        (("two.npy", "--corrections", "D4"), "corrections = 'D4'"),
        (("two.npy", "--estimator", "projection", "--degree", "-1"), "degree = -1"),
        (("two.npy", "--estimator", "genz", "--samples", "10"), "points = 10"),
        (("b.npy",), "normals has shape (2,)"),
        (("V.npy", "--offsets", "b.npy"), "offsets has shape (2,)"),
        (("V.npy", "--mean", "m.npy"), "inputs has 2 entries"),
        (("two.npy", "--covariance", "V.npy"), "covariance has shape (5, 30)"),
        (("missing.npy",), "missing.npy"),
        (("two.npy", "--offsets", "missing.npy"), "missing.npy"),
    ],
)
def test_bad_input(words: tuple[str, ...], message: str, folder: Path, run: Run) -> None:
    named = [str(folder / w) if w.endswith(".npy") else w for w in words]
    result = run("halfspaces", *named)
    assert result.code == 2
    assert message in result.err


def test_bad_files(folder: Path, run: Run) -> None:
    path = folder / "bad.npy"
    for array in (np.array(["a"]), np.full((2, 3), np.nan), np.zeros((2, 2), complex)):
        np.save(path, array)
        assert run("halfspaces", path).code == 2
    path.write_bytes((folder / "V.npy").read_bytes()[:-3])
    result = run("halfspaces", path)
    assert result.code == 2
    assert "bad.npy" in result.err
    np.save(path, np.array([{"run": "me"}], dtype=object), allow_pickle=True)
    assert run("halfspaces", path).code == 2
