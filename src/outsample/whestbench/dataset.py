"""WhestBench's data sets: reading them into problems, and baking new ones; all on this machine."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import nn

from outsample.distributions import Gaussian
from outsample.errors import FormatError, InputError
from outsample.networks import NetworkMean
from outsample.whestbench.packages import quiet, require

#: Most weights that a data set may hold, so that a forged one cannot fill the memory.
_MOST_WEIGHTS = 2**31
#: Rows of inputs that are sampled at a time: what fits the cache is sampled in half the time.
_CHUNK = 2048
_COLUMNS = ("mlp_name", "mlp_seed", "weights", "all_layer_means", "avg_variance")


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """One network of a data set: ``depth`` square layers without biases, a ReLU after each."""

    name: str
    #: From which WhestBench made the network.
    seed: int
    #: As stored: layer l is x ↦ max(x @ weights[l], 0).
    weights: Float[NDArray[np.float32], "depth width width"]
    #: Truth by sampling: mean activations of every layer on N(0, I).
    means: Float[NDArray[np.float64], "depth width"]
    #: Variance of an activation of the last layer, the mean over its neurons.
    variance: float

    def problem(self, dtype: torch.dtype = torch.float32) -> NetworkMean:
        """The mean of the last layer's activations as a problem, with ``width`` outputs."""
        layers: list[nn.Module] = []
        for weight in self.weights:
            n = weight.shape[0]
            linear = nn.utils.skip_init(nn.Linear, n, n, bias=False, dtype=dtype)
            linear.weight = nn.Parameter(torch.tensor(weight.T, dtype=dtype), requires_grad=False)
            layers += [linear, nn.ReLU()]
        return NetworkMean(nn.Sequential(*layers), Gaussian.standard(self.weights.shape[1]))

    def __repr__(self) -> str:
        depth, width, _ = self.weights.shape
        return f"Network({self.name!r}, seed={self.seed}, {width} × {depth})"


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Networks of one shape with sampled truths."""

    path: Path
    networks: tuple[Network, ...]
    #: How many inputs each truth is an average over.
    samples: int
    #: The data set's own record of how it was made.
    metadata: Mapping[str, Any]

    @property
    def width(self) -> int:
        """Neurons in every layer."""
        return self.networks[0].weights.shape[1]

    @property
    def depth(self) -> int:
        """Number of layers, all with a ReLU."""
        return self.networks[0].weights.shape[0]

    def __repr__(self) -> str:
        return (
            f"Dataset({str(self.path)!r}, {len(self.networks)} networks {self.width} × "
            f"{self.depth}, {self.samples} samples)"
        )


def read(
    path: str | os.PathLike[str], split: str | None = None, networks: int | None = None
) -> Dataset:
    """Read a data set from a folder that ``whest dataset bake`` or :func:`bake` has written.

    Args:
        path: the folder.
        split: which split, where there are several.
        networks: how many, from the first; all if None.

    Raises:
        InputError: if WhestBench is not installed, there is no such folder or split, or
            ``networks`` is out of range.
        FormatError: if the folder holds no data set of this format, or a damaged one.
    """
    require()
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(
            f"path = {str(folder)!r} is no folder; expected one that `whest dataset bake` wrote"
        )
    metadata, split = _metadata(folder, split)
    table = _table(folder, split)
    count = table.num_rows if networks is None else networks
    whole = isinstance(count, int) and not isinstance(count, bool)
    if not whole or not 1 <= count <= table.num_rows:
        raise InputError(f"networks = {networks!r}; expected 1 to {table.num_rows}, all there are")
    table = table.slice(0, count)
    shape = _shape(folder, metadata)
    depth, width = shape
    if count * depth * width**2 > _MOST_WEIGHTS:
        raise FormatError(
            f"{folder}: {count} networks {width} × {depth} have more than {_MOST_WEIGHTS:.2g} "
            "weights; read fewer with networks="
        )
    weights = _floats(folder, table, "weights", (count, depth, width, width))
    means = _floats(folder, table, "all_layer_means", (count, depth, width))
    variances = _floats(folder, table, "avg_variance", (count,))
    if not (variances > 0).all():
        raise FormatError(f"{folder}: an avg_variance is not positive")
    return Dataset(
        folder,
        tuple(
            Network(str(name), int(seed), w, m.astype(np.float64), float(v))
            for name, seed, w, m, v in zip(
                table["mlp_name"].to_pylist(),
                table["mlp_seed"].to_pylist(),
                weights.astype(np.float32, copy=False),
                means,
                variances,
                strict=True,
            )
        ),
        metadata["n_samples"],
        metadata,
    )


def bake(
    path: str | os.PathLike[str],
    width: int,
    depth: int,
    seeds: Sequence[int],
    samples: int,
    advance: Callable[[float], None] = lambda share: None,
) -> Path:
    """Make a data set with WhestBench's own code: He-initialised networks and sampled truths.

    Equal seeds give the networks of ``whest dataset bake --torch --mlp-seeds``; the truths are
    averages over other inputs of the same law.  Nothing is left behind if it is interrupted.

    Args:
        path: the folder to make; must not exist.
        width: neurons in every layer.
        depth: number of layers.
        seeds: one for each network, distinct, from 0 to 2⁶³ − 1.
        samples: inputs for each truth; its squared error is the activations' variance over this.
        advance: called with the share of the work done since it was last called.

    Raises:
        InputError: if WhestBench is not installed, ``path`` exists already or cannot be made, or
            an argument is out of range.
    """
    require()
    target = Path(path)
    if target.exists():
        raise InputError(f"path = {str(target)!r} exists already; name a new folder")
    if not target.parent.is_dir():
        raise InputError(f"cannot make {str(target)!r}: there is no folder {str(target.parent)!r}")
    for name, value in (("width", width), ("depth", depth), ("samples", samples)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} = {value!r}; expected an integer of at least 1")
    good = [isinstance(s, int) and not isinstance(s, bool) and 0 <= s < 2**63 for s in seeds]
    if not good or not all(good) or len(set(seeds)) < len(good):
        raise InputError(f"seeds = {seeds!r}; expected distinct integers from 0 to 2^63 - 1")
    from whestbench.dataset_torch import create_dataset_torch

    done = 0.0

    def report(event: Mapping[str, Any]) -> None:
        nonlocal done
        if event["phase"] == "sampling":
            share = event["completed"] / event["total"]
            advance(share - done)
            done = share

    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with quiet():
            create_dataset_torch(
                n_mlps=len(good),
                n_samples=samples,
                width=width,
                depth=depth,
                mlp_seeds=list(seeds),
                output_path=folder / "baked",
                device="cpu",
                mlps_per_batch=1,
                chunk_size=_CHUNK,
                progress=report,
            )
        os.rename(folder / "baked", target)
    finally:
        shutil.rmtree(folder)
    return target


def _metadata(folder: Path, split: str | None) -> tuple[dict[str, Any], str]:
    """The record of one split, and its name."""
    from whestbench.dataset_io import InvalidDatasetError, read_metadata, validate_metadata

    try:
        metadata = read_metadata(folder)
        if not isinstance(metadata, dict):
            raise FormatError(f"{folder}: metadata.json is no JSON object")
        validate_metadata(metadata)
    except (InvalidDatasetError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise FormatError(f"{folder} is no WhestBench data set: {error}") from error
    splits = metadata.get("splits") or {metadata.get("split", "public"): {}}
    if split is None:
        split = metadata.get("default_split") or (next(iter(splits)) if len(splits) == 1 else None)
    if split is None or split not in splits:
        raise InputError(
            f"split = {split!r}; {folder} has {', '.join(sorted(splits))}: name one with split="
        )
    own = splits[split]
    return {k: v for k, v in metadata.items() if k != "splits"} | own, split


def _shape(folder: Path, metadata: Mapping[str, Any]) -> tuple[int, int]:
    for name in ("depth", "width", "n_samples"):
        value = metadata.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise FormatError(f"{folder}: metadata.json has {name} = {value!r}; expected a number")
    return metadata["depth"], metadata["width"]


def _table(folder: Path, split: str) -> Any:
    """The rows of a split, read from Parquet without any cache beside it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted((folder / "data").glob(f"{split}-*.parquet"))
    if not files:
        raise FormatError(f"{folder}: there is no data/{split}-*.parquet")
    try:
        parts = [pq.ParquetFile(file).read(columns=list(_COLUMNS)) for file in files]
        table = pa.concat_tables(parts)
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{folder}: the Parquet files cannot be read: {error}") from error
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing or not table.num_rows:
        raise FormatError(f"{folder}: no rows, or no columns {', '.join(missing)}")
    return table


def _floats(
    folder: Path, table: Any, column: str, shape: tuple[int, ...]
) -> NDArray[np.float32 | np.float64]:
    """A column of nested lists of numbers as one array."""
    import pyarrow as pa

    entries = table[column].combine_chunks()
    if isinstance(entries, pa.ChunkedArray):
        entries = pa.concat_arrays(entries.chunks)
    if isinstance(entries.type, pa.BaseExtensionType):
        entries = entries.storage
    while pa.types.is_list(entries.type) or pa.types.is_fixed_size_list(entries.type):
        entries = entries.flatten()
    numeric = pa.types.is_floating(entries.type)
    if not numeric or entries.null_count or len(entries) != np.prod(shape, dtype=np.int64):
        raise FormatError(
            f"{folder}: column {column!r} has {len(entries)} entries of type {entries.type}; "
            f"expected numbers of shape {shape}, as metadata.json says"
        )
    values = entries.to_numpy(zero_copy_only=False).reshape(shape)
    if not np.isfinite(values).all():
        raise FormatError(f"{folder}: column {column!r} has entries that are not finite")
    return values
