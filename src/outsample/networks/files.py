"""Networks in ``.npz`` files: plain arrays, readable anywhere, with nothing to execute."""

import io
import os
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from outsample.distributions import Gaussian
from outsample.errors import FormatError, InputError, UnsupportedProblem
from outsample.files import read_npz, write_atomically
from outsample.networks.activations import Activation, Elementwise, from_name
from outsample.networks.graph import Affine
from outsample.networks.network_mean import NetworkMean

_Path = str | os.PathLike[str]


def load_network(path: _Path) -> tuple[nn.Sequential, Gaussian]:
    """Read a multilayer perceptron and its Gaussian input from a ``.npz`` file.

    The file may come from a stranger: see :func:`outsample.files.read_npz`.  Its arrays:

    - ``weight_0``, ``weight_1``, …: shape (out, in), all float32 or all float64;
    - ``bias_0``, ``bias_1``, …: shape (out,), each optional;
    - ``activation``: the name of the function between every two layers, such as ``relu`` (not
      needed for a single layer; the last layer is linear);
    - ``input_mean``, shape (n,), and ``input_cov``, shape (n, n), (n,) or (): optional, zero mean
      and unit variances by default.

    Other arrays are ignored.

    Returns:
        The network, and the law of its input in the network's dtype.

    Raises:
        InputError: if ``path`` is no readable file.
        FormatError: for anything else that is wrong, naming the path and the array.
    """
    arrays = read_npz(path)
    depth = sum(name.startswith("weight_") for name in arrays)
    known = {f"{kind}_{i}" for kind in ("weight", "bias") for i in range(depth)}
    strange = sorted(n for n in arrays if n.startswith(("weight_", "bias_")) and n not in known)
    if depth == 0 or strange:
        found = f"has {', '.join(strange)}" if strange else "has no weight_0"
        _fail(path, f"{found}; expected weight_0, weight_1, … with bias_0, bias_1, … or without")
    activation = _activation(path, arrays.get("activation")) if depth > 1 else None
    modules: list[nn.Module] = []
    width = None
    for i in range(depth):
        if activation is not None and i > 0:
            modules.append(Elementwise(activation))
        layer = _layer(path, arrays, i)
        if width is not None and layer.in_features != width:
            _fail(
                path,
                f"weight_{i} takes {layer.in_features} inputs but weight_{i - 1} gives {width}",
            )
        modules.append(layer)
        width = layer.out_features
    try:
        network = nn.Sequential(*modules)
        inputs = _inputs(path, arrays)
        NetworkMean(network, inputs)  # refuses what does not fit together
    except InputError as error:
        _fail(path, str(error), error)
    return network, inputs


def save_network(path: _Path, module: nn.Module, inputs: Gaussian) -> None:
    """Write a network and its input to a ``.npz`` file that :func:`load_network` reads.

    Batch norms are folded into their neighbours; dropout (in eval mode) is left out.

    Args:
        path: where to write; an existing file is replaced.
        module: linear layers with one and the same activation between every two of them.
        inputs: law of its input.

    Raises:
        InputError: if the network and the input do not fit, or ``path`` cannot be written to.
        UnsupportedProblem: if the format has no place for the network, naming the layer.
    """
    steps = NetworkMean(module, inputs).graph().merged().steps
    affine, others = steps[::2], steps[1::2]
    activation = others[0] if others else None
    arrays: dict[str, Tensor] = {"input_mean": inputs.mean, "input_cov": inputs.scale}
    for i, step in enumerate(affine):
        if not isinstance(step, Affine) or len(affine) == len(others):
            raise UnsupportedProblem(
                "save_network: the file format holds networks that begin and end with a linear "
                "layer and have one activation between every two"
            )
        arrays[f"weight_{i}"] = step.weight
        if step.bias is not None:
            arrays[f"bias_{i}"] = step.bias
    for step in others:
        if not isinstance(step, Activation) or step != activation or not _has_name(step):
            raise UnsupportedProblem(
                f"save_network: activation {getattr(step, 'name', step)!r}: the file format holds "
                "one activation for the whole network, by name and without parameters of its own"
            )
    named = {name: tensor.detach().cpu().numpy() for name, tensor in arrays.items()}
    if isinstance(activation, Activation):
        named["activation"] = np.array(activation.name)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **named)  # pyright: ignore[reportArgumentType]
    write_atomically(path, buffer.getvalue())


def _activation(path: _Path, array: NDArray[Any] | None) -> Activation:
    if array is None or array.dtype.kind != "U" or array.size != 1:
        _fail(path, "activation is missing or not one text; expected a name such as 'relu'")
    try:
        return from_name(str(array.reshape(()).item()))
    except InputError as error:
        _fail(path, str(error), error)


def _has_name(activation: Activation) -> bool:
    try:
        return from_name(activation.name) == activation
    except InputError:
        return False


def _layer(path: _Path, arrays: dict[str, NDArray[Any]], i: int) -> nn.Linear:
    weight, bias = _parameter(path, arrays, f"weight_{i}"), None
    if weight.dim() != 2 or weight.numel() == 0:
        _fail(path, f"weight_{i} has shape {tuple(weight.shape)}; expected (out, in), not empty")
    if f"bias_{i}" in arrays:
        bias = _parameter(path, arrays, f"bias_{i}")
        if bias.shape != weight.shape[:1]:
            _fail(
                path,
                f"bias_{i} has shape {tuple(bias.shape)}; expected ({weight.shape[0]},), as "
                f"weight_{i} has {weight.shape[0]} rows",
            )
    # Made on "meta", because nn.Linear would initialise itself from the global generator.
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return layer


def _parameter(path: _Path, arrays: dict[str, NDArray[Any]], name: str) -> Tensor:
    dtype = arrays["weight_0"].dtype
    if arrays[name].dtype != dtype:
        _fail(path, f"{name} is {arrays[name].dtype} but weight_0 is {dtype}; make them equal")
    return _tensor(path, arrays, name)


def _inputs(path: _Path, arrays: dict[str, NDArray[Any]]) -> Gaussian:
    weight = _tensor(path, arrays, "weight_0")
    mean = torch.zeros(weight.shape[1], dtype=weight.dtype)
    scale = torch.ones((), dtype=weight.dtype)
    if "input_mean" in arrays:
        mean = _tensor(path, arrays, "input_mean").to(weight.dtype)
    if "input_cov" in arrays:
        scale = _tensor(path, arrays, "input_cov").to(weight.dtype)
    return Gaussian(mean, scale)


def _tensor(path: _Path, arrays: dict[str, NDArray[Any]], name: str) -> Tensor:
    array = arrays[name]
    if array.dtype.name not in ("float32", "float64"):
        _fail(path, f"{name} has dtype {array.dtype}; expected float32 or float64")
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        _fail(path, f"{name} has {bad} non-finite entries of {array.size}")
    return torch.from_numpy(np.ascontiguousarray(array)).reshape(array.shape)


def _fail(path: _Path, reason: str, cause: BaseException | None = None) -> NoReturn:
    raise FormatError(f"{os.fspath(path)!r}: {reason}") from cause
