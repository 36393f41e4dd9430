"""Reading and baking data sets: what WhestBench itself would make and read; damage; limits."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.whestbench.conftest import DEPTH, SAMPLES, SEEDS, WIDTH

import outsample as ou
from outsample import whestbench
from outsample.errors import FormatError, InputError
from outsample.whestbench import packages


def test_networks_are_those_that_the_benchmark_makes_of_these_seeds(
    dataset: whestbench.Dataset,
) -> None:
    import flopscope.numpy as fnp
    from whestbench.generation import sample_mlp
    from whestbench.seeds import derive_seed_streams

    assert [n.seed for n in dataset.networks] == list(SEEDS)
    for network in dataset.networks:
        stream, _, _ = derive_seed_streams(network.seed)
        made = sample_mlp(WIDTH, DEPTH, fnp.random.default_rng(stream))
        assert np.array_equal(network.weights, np.stack([np.asarray(w) for w in made.weights]))


def test_the_problem_is_the_network(dataset: whestbench.Dataset) -> None:
    network = dataset.networks[0]
    x = np.random.default_rng(0).standard_normal((5, WIDTH))
    wanted = x
    for weight in network.weights.astype(np.float64):
        wanted = np.maximum(wanted @ weight, 0)
    problem = network.problem(torch.float64)
    assert problem.output_shape == (WIDTH,)
    assert np.allclose(problem(torch.tensor(x)).numpy(), wanted, rtol=1e-12)
    assert network.problem().dtype == torch.float32


def test_truths_are_means_of_every_layer(dataset: whestbench.Dataset) -> None:
    for network in dataset.networks:
        sampled = ou.MonteCarlo(samples=200_000, seed=1).estimate(network.problem())
        variance = np.diag(sampled.covariance.double().numpy())
        allowed = 6 * np.sqrt(variance / SAMPLES)
        assert (np.abs(network.means[-1] - sampled.value.double().numpy()) < allowed).all()
        assert network.variance == pytest.approx(variance.mean(), rel=0.1)
        # one layer on N(0, I) has a closed form: σ / √2π
        scale = np.linalg.norm(network.weights[0], axis=0)
        wanted = scale / np.sqrt(2 * np.pi)
        assert (np.abs(network.means[0] - wanted) < 6 * scale / np.sqrt(SAMPLES)).all()


def test_what_its_command_line_bakes_has_the_same_networks(
    dataset: whestbench.Dataset, tmp_path: Path
) -> None:
    seeds = tmp_path / "seeds.json"
    seeds.write_text(json.dumps(SEEDS))
    words = f"dataset bake --n-mlps 3 --n-samples 2000 --width {WIDTH} --depth {DEPTH} --torch"
    paths = ["--device", "cpu", "--mlp-seeds", str(seeds), "--output", str(tmp_path / "baked")]
    command = "from whestbench.cli import main; raise SystemExit(main())"
    subprocess.run(
        [sys.executable, "-c", command, *words.split(), *paths],
        check=True,
        capture_output=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
    )
    theirs = whestbench.read(tmp_path / "baked")
    assert theirs.samples == 2000
    for ours, other in zip(dataset.networks, theirs.networks, strict=True):
        assert (ours.name, ours.seed) == (other.name, other.seed)
        assert np.array_equal(ours.weights, other.weights)
        assert np.allclose(ours.means, other.means, atol=0.2)


def test_the_first_few(baked: Path) -> None:
    assert [n.seed for n in whestbench.read(baked, networks=2).networks] == [11, 22]
    for wrong in (0, 4, True, "2"):
        with pytest.raises(InputError, match=f"networks = {wrong!r}"):
            whestbench.read(baked, networks=wrong)


def test_splits(copied: Path) -> None:
    old = _metadata(copied)
    counts = {"n_mlps": 3}
    own = {k: v for k, v in old.items() if k not in ("n_mlps", "split", "config")}
    _write_metadata(copied, own | {"splits": {"public": counts, "holdout": counts}})
    data = copied / "data"
    file = next(data.iterdir())
    table = pq.read_table(file)
    pq.write_table(table.slice(1, 2), data / "holdout-00000-of-00001.parquet")
    assert len(whestbench.read(copied, "public").networks) == 3
    assert [n.seed for n in whestbench.read(copied, "holdout").networks] == [22, 33]
    with pytest.raises(InputError, match="holdout, public: name one"):
        whestbench.read(copied)
    with pytest.raises(InputError, match="'private'"):
        whestbench.read(copied, "private")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"width": 9}, "expected numbers of shape"),
        ({"depth": 10**9}, "weights"),
        ({"depth": 0}, "depth = 0"),
        ({"width": "8"}, "width = '8'"),
        ({"n_samples": None}, "n_samples = None"),
        ({"schema_version": "1.0"}, "schema"),
        ({"seed_protocol": {"name": "x", "version": "9"}}, "seed_protocol"),
        ({"is_partial": True}, "partial"),
    ],
)
def test_forged_metadata(copied: Path, change: dict[str, Any], reason: str) -> None:
    _write_metadata(copied, _metadata(copied) | change)
    with pytest.raises(FormatError, match=reason):
        whestbench.read(copied)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\ud800"])
def test_metadata_that_is_none(copied: Path, text: str) -> None:
    (copied / "metadata.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(FormatError, match="copy"):
        whestbench.read(copied)


def test_damaged_rows(copied: Path) -> None:
    file = next((copied / "data").iterdir())
    table, whole = pq.read_table(file), file.read_bytes()

    def column(name: str, values: pa.Array) -> None:
        place = table.column_names.index(name)
        pq.write_table(table.set_column(place, name, values), file)

    for bytes_kept in (0, 10, len(whole) // 2):
        file.write_bytes(whole[:bytes_kept])
        with pytest.raises(FormatError, match="cannot be read"):
            whestbench.read(copied)
    column("avg_variance", pa.array([1.0, 0.0, 1.0]))
    with pytest.raises(FormatError, match="not positive"):
        whestbench.read(copied)
    column("avg_variance", pa.array([1.0, float("nan"), 1.0]))
    with pytest.raises(FormatError, match="not finite"):
        whestbench.read(copied)
    column("avg_variance", pa.array(["1", "2", "3"]))
    with pytest.raises(FormatError, match="'avg_variance'"):
        whestbench.read(copied)
    column("all_layer_means", pa.array([[[1.0]]] * 3))
    with pytest.raises(FormatError, match="'all_layer_means' has 3 entries"):
        whestbench.read(copied)
    pq.write_table(table.drop_columns(["weights"]), file)
    with pytest.raises(FormatError, match="weights"):
        whestbench.read(copied)
    pq.write_table(table.slice(0, 0), file)
    with pytest.raises(FormatError, match="no rows"):
        whestbench.read(copied)
    file.unlink()
    with pytest.raises(FormatError, match="there is no"):
        whestbench.read(copied)


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no WhestBench data set"):
        whestbench.read(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        whestbench.read(tmp_path / "absent")
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InputError, match="no folder"):
        whestbench.read(file)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"width": 0}, "width = 0"),
        ({"depth": 2.0}, "depth = 2.0"),
        ({"samples": True}, "samples = True"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [1, 1]}, "distinct"),
        ({"seeds": [-1]}, "seeds"),
        ({"seeds": [2**63]}, "seeds"),
    ],
)
def test_bad_requests(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    request = {"width": 4, "depth": 1, "seeds": [1], "samples": 10} | change
    with pytest.raises(InputError, match=reason):
        whestbench.bake(tmp_path / "new", **request)
    assert not list(tmp_path.iterdir())


def test_bake_changes_nothing_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        whestbench.bake(tmp_path, 4, 1, [1], 10)
    with pytest.raises(InputError, match="there is no folder"):
        whestbench.bake(tmp_path / "no" / "new", 4, 1, [1], 10)


def test_an_interrupted_bake_leaves_nothing(tmp_path: Path) -> None:
    shares: list[float] = []

    def stop(share: float) -> None:
        shares.append(share)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        whestbench.bake(tmp_path / "new", 4, 1, [1, 2], 10, stop)
    assert shares == [0.5]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["whestbench", "flopscope"])
def test_a_missing_package_is_named_with_the_extra(
    baked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    real = packages.find_spec
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == package else real(name))
    for call in (
        lambda: whestbench.read(baked),
        lambda: whestbench.bake(tmp_path / "new", 4, 1, [1], 10),
        lambda: whestbench.score(whestbench.Dataset(baked, (), 1, {})),
    ):
        with pytest.raises(InputError, match=rf"'{package}'.*outsample\[whestbench\]"):
            call()


def _metadata(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metadata.json").read_text())


def _write_metadata(folder: Path, metadata: dict[str, Any]) -> None:
    (folder / "metadata.json").write_text(json.dumps(metadata))
