"""``outsample permanent`` on good, bad, damaged and hostile files."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import Run
from tests.products.permanents import oracles

from outsample.errors import FormatError, InputError
from outsample.files import read_npy

MATRIX = oracles.matrices(7)["uniform"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.save(tmp_path / "A.npy", MATRIX)
    return tmp_path / "A.npy"


def test_estimate_cost_sampling_and_exact(path: Path, run: Run) -> None:
    document = run("permanent", path, "--degree", 3, "--exact", "--json").document
    exact = oracles.average(MATRIX)
    assert document["schema_version"] == 1
    assert document["command"] == "permanent"
    assert document["problem"] == "Permanent of a 7 by 7 matrix"
    assert document["exact"]["value"] == pytest.approx(exact, rel=1e-12)
    estimate = document["estimate"]
    assert estimate["value"] == pytest.approx(exact, rel=1e-12)
    log = math.log(exact) + math.lgamma(8)
    assert estimate["log_permanent"] == pytest.approx(log, rel=1e-12)
    assert estimate["cost"]["flops"] > 0
    sampled = document["sampling"]["equal_flops"]
    assert abs(sampled["value"] - exact) < 5 * sampled["standard_error"]


def test_plain_output(path: Path, run: Run) -> None:
    result = run("permanent", path, "--exact", "--marginals")
    assert result.code == 0
    assert "Permanent of a 7 by 7 matrix" in result.out
    assert "log |perm(A)|:" in result.out
    assert "columns sum to 1 within" in result.out


def test_marginals(path: Path, run: Run) -> None:
    document = run("permanent", path, "--degree", 3, "--marginals", "--json").document
    np.testing.assert_allclose(document["edge_marginals"], oracles.marginals(MATRIX), atol=1e-11)
    assert document["largest_column_error"] < 1e-11


def test_importance_sampling(path: Path, run: Run) -> None:
    words = ("permanent", path, "--samples", 2000, "--json", "--seed")
    one, other = (run(*words, seed).document["estimate"] for seed in (1, 2))
    assert one["estimator"]["method"] == "SequentialImportanceSampling"
    exact = oracles.average(MATRIX)
    for found in (one, other):
        assert abs(found["value"] - exact) < 5 * found["standard_error"]
    assert one["value"] != other["value"]
    refused = run("permanent", path, "--samples", 10, "--marginals")
    assert refused.code == 2
    assert "--marginals" in refused.err


@pytest.mark.parametrize("dtype", ["float32", "int8", "bool", ">f8"])
def test_other_dtypes(dtype: str, tmp_path: Path, run: Run) -> None:
    np.save(tmp_path / "A.npy", np.asfortranarray(np.ones((4, 4))).astype(dtype))
    estimate = run("permanent", tmp_path / "A.npy", "--json").document["estimate"]
    assert estimate["value"] == pytest.approx(1)
    assert estimate["provenance"]["dtype"] == ("float32" if dtype == "float32" else "float64")


def test_no_perfect_matching(tmp_path: Path, run: Run) -> None:
    matrix = np.ones((6, 6))
    matrix[:4, :3] = 0
    np.save(tmp_path / "A.npy", matrix)
    document = run("permanent", tmp_path / "A.npy", "--json", "--exact").document
    assert document["estimate"]["value"] == 0 == document["exact"]["value"]
    assert document["estimate"]["log_permanent"] is None


BAD = {
    "not square": (np.ones((2, 3)), "(2, 3)"),
    "not finite": (np.array([[1.0, np.nan], [1.0, 1.0]]), "non-finite"),
    "text": (np.array([["a"]]), "expected real numbers"),
    "objects": (np.array([[{}]], dtype=object), "dtype"),
    "complex": (np.ones((2, 2), complex), "dtype"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_matrices(case: str, tmp_path: Path, run: Run) -> None:
    matrix, message = BAD[case]
    np.save(tmp_path / "A.npy", matrix, allow_pickle=True)
    result = run("permanent", tmp_path / "A.npy")
    assert result.code == 2
    assert message in result.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--degree", "-1"), "degree = -1"),
        (("--scaling", "odd"), "scaling = 'odd'"),
        (("--samples", "0"), "samples = 0"),
        (("--samples", "5", "--seed", "-1"), "seed = -1"),
    ],
)
def test_bad_settings(words: tuple[str, ...], message: str, path: Path, run: Run) -> None:
    result = run("permanent", path, *words)
    assert result.code == 2
    assert message in result.err


def header(text: str, data: bytes = b"") -> bytes:
    raw = text.encode()
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw + data


HOSTILE = {
    "empty": b"",
    "no magic": b"not a numpy file at all, but long enough for one",
    "claims 256 TiB": header("{'descr':'<f8','fortran_order':False,'shape':(16777216,2097152)}"),
    "more than there is": header("{'descr':'<f8','fortran_order':False,'shape':(3,3)}", bytes(71)),
    "less than there is": header("{'descr':'<f8','fortran_order':False,'shape':(3,3)}", bytes(73)),
    "pickle": header("{'descr':'|O','fortran_order':False,'shape':(1,1)}", b"cos\nsystem\n"),
    "code in the header": header("__import__('os').getcwd()"),
    "version 3": b"\x93NUMPY\x03\x00" + bytes(100),
    "negative": header("{'descr':'<f8','fortran_order':False,'shape':(-1,-1)}"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files(case: str, tmp_path: Path, run: Run) -> None:
    target = tmp_path / "A.npy"
    target.write_bytes(HOSTILE[case])
    with pytest.raises(FormatError, match=str(target)):
        read_npy(target)
    result = run("permanent", target)
    assert result.code == 2
    assert str(target) in result.err


def test_damaged_files_give_a_value_or_our_error(path: Path) -> None:
    raw, draws = path.read_bytes(), random.Random(5)
    for _ in range(200):
        damaged = bytearray(raw)
        if draws.random() < 0.5:
            del damaged[draws.randrange(len(raw)) :]
        else:
            damaged[draws.randrange(len(raw))] ^= 1 << draws.randrange(8)
        path.write_bytes(bytes(damaged))
        try:
            assert read_npy(path).nbytes <= len(raw)
        except FormatError as error:
            assert str(path) in str(error)


def test_limits_and_missing_files(path: Path, tmp_path: Path) -> None:
    assert np.array_equal(read_npy(path, max_elements=49), MATRIX)
    with pytest.raises(FormatError, match="max_elements = 48"):
        read_npy(path, max_elements=48)
    for missing in (tmp_path / "no.npy", tmp_path):
        with pytest.raises(InputError, match=str(missing)):
            read_npy(missing)
