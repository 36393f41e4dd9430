"""Networks in .npz files: what is saved is read, and what does not fit is refused by name."""

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.conftest import Golden
from torch import Tensor, nn

from outsample.distributions import Gaussian
from outsample.errors import FormatError, InputError, UnsupportedProblem
from outsample.networks import Elementwise
from outsample.networks.files import load_network, save_network

Arrays = dict[str, NDArray[Any]]


def network(*widths: int, activation: nn.Module, dtype: torch.dtype, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for i, (n, m) in enumerate(pairwise(widths)):
        layers += [activation] * (i > 0)
        layer = nn.utils.skip_init(nn.Linear, n, m, bias=i % 2 == 0, dtype=dtype)
        for parameter in layer.parameters():
            nn.init.normal_(parameter, generator=generator)
        layers.append(layer)
    return nn.Sequential(*layers)


def law(n: int, kind: str, dtype: torch.dtype) -> Gaussian:
    mean = torch.linspace(-1, 1, n, dtype=dtype)
    scales = {"scalar": torch.tensor(0.3), "diagonal": mean + 2, "dense": torch.eye(n) + 0.1}
    return Gaussian(mean, scales[kind].to(dtype))


@given(
    widths=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    activation=st.sampled_from(
        [nn.ReLU(), nn.GELU(), nn.GELU("tanh"), nn.Tanh(), nn.LeakyReLU(), Elementwise("square")]
    ),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    kind=st.sampled_from(["scalar", "diagonal", "dense"]),
)
def test_what_is_saved_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    widths: list[int],
    activation: nn.Module,
    dtype: torch.dtype,
    kind: str,
) -> None:
    path = tmp_path_factory.getbasetemp() / "network.npz"
    module, inputs = (
        network(*widths, activation=activation, dtype=dtype),
        law(widths[0], kind, dtype),
    )
    save_network(path, module, inputs)
    read, read_inputs = load_network(path)
    x = torch.linspace(-2, 2, 3 * widths[0], dtype=dtype).reshape(3, -1)
    torch.testing.assert_close(read(x), module(x))
    for mine, theirs in zip(read.parameters(), module.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert read_inputs.dtype == dtype
    assert torch.equal(read_inputs.mean, inputs.mean)
    assert torch.equal(read_inputs.scale, inputs.scale)


def test_golden_files_are_read(golden: Golden) -> None:
    read, inputs = load_network(golden.path)
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "relu": torch.relu,
        "tanh": torch.tanh,
        "gelu": nn.functional.gelu,
        "square": torch.square,
    }
    x = torch.from_numpy(np.linspace(-1, 1, 4 * len(golden.arrays["input_mean"]))).reshape(4, -1)
    y = x
    for i, (weight, bias) in enumerate(golden.layers):
        y = functions[golden.activation](y) if i else y
        y = y @ torch.from_numpy(weight).T + (0 if bias is None else torch.from_numpy(bias))
    torch.testing.assert_close(read(x), y, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(inputs.mean, golden.arrays["input_mean"])
    np.testing.assert_array_equal(inputs.covariance, golden.arrays["input_cov"])


def test_batch_norm_and_dropout_are_folded(tmp_path: Path) -> None:
    norm = nn.BatchNorm1d(4)
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean += 0.5
    norm.running_var *= 3
    linear = network(3, 4, activation=nn.ReLU(), dtype=torch.float32)
    last = network(4, 2, activation=nn.ReLU(), dtype=torch.float32, seed=1)
    module = nn.Sequential(linear, norm, nn.ReLU(), nn.Dropout(), last).eval()
    save_network(tmp_path / "folded.npz", module, Gaussian.standard(3))
    read, _ = load_network(tmp_path / "folded.npz")
    x = torch.linspace(-2, 2, 15).reshape(5, 3)
    torch.testing.assert_close(read(x), module(x))


def test_equal_networks_give_equal_bytes(tmp_path: Path) -> None:
    module = network(3, 4, 2, activation=nn.ReLU(), dtype=torch.float64)
    for name in ("a", "b"):
        save_network(tmp_path / name, module, Gaussian.standard(3))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_defaults_are_a_standard_input_and_no_biases(tmp_path: Path) -> None:
    path = tmp_path / "bare.npz"
    np.savez(path, weight_0=np.eye(2), weight_1=np.ones((1, 2)), activation="relu", notes="mine")
    read, inputs = load_network(path)
    assert read(torch.tensor([[-1.0, 2.0]], dtype=torch.float64)).item() == 2.0
    np.testing.assert_array_equal(inputs.mean, np.zeros(2))
    np.testing.assert_array_equal(inputs.covariance, np.eye(2))


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.Sequential(nn.Linear(3, 4), nn.ReLU()), "begin and end"),
        (nn.Sequential(nn.ReLU(), nn.Linear(3, 4)), "begin and end"),
        (nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Tanh(), nn.Linear(4, 1)), "begin and end"),
        (
            nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)),
            "tanh",
        ),
        (nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(0.3), nn.Linear(4, 1)), "leaky_relu"),
        (
            nn.Sequential(nn.Linear(3, 4), Elementwise((1.0, 2.0, 3.0)), nn.Linear(4, 1)),
            "polynomial",
        ),
    ],
)
def test_what_the_format_cannot_hold_is_refused(
    module: nn.Module, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedProblem, match=reason):
        save_network(tmp_path / "x.npz", module, Gaussian.standard(3))
    assert not list(tmp_path.iterdir())


def good() -> Arrays:
    return {
        "weight_0": np.ones((4, 3)),
        "bias_0": np.zeros(4),
        "weight_1": np.ones((2, 4)),
        "activation": np.array("relu"),
        "input_mean": np.zeros(3),
        "input_cov": np.eye(3),
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"weight_0": None}, "weight_1; expected weight_0"),
        ({"weight_0": None, "weight_1": None, "bias_0": None}, "no weight_0"),
        ({"weight_3": np.eye(2)}, "weight_3; expected"),
        ({"weight_01": np.eye(2)}, "weight_01; expected"),
        ({"bias_2": np.zeros(2)}, "bias_2; expected"),
        ({"weight_x": np.zeros(2)}, "weight_x; expected"),
        ({"weight_1": np.ones((2, 5))}, "weight_1 takes 5 inputs but weight_0 gives 4"),
        ({"weight_0": np.ones(4)}, r"weight_0 has shape \(4,\)"),
        ({"weight_0": np.ones((0, 3))}, r"weight_0 has shape \(0, 3\)"),
        ({"weight_0": np.ones((4, 3), int)}, "weight_0 has dtype int64"),
        ({"weight_0": np.ones((4, 3), "f2")}, "bias_0|float16"),
        ({"weight_1": np.ones((2, 4), "f4")}, "weight_1 is float32 but weight_0 is float64"),
        ({"weight_1": np.full((2, 4), np.nan)}, "weight_1 has 8 non-finite"),
        ({"bias_0": np.array([0, np.inf, 0, 0])}, "bias_0 has 1 non-finite"),
        ({"bias_0": np.zeros(3)}, r"bias_0 has shape \(3,\)"),
        ({"bias_0": np.zeros((4, 1))}, r"bias_0 has shape \(4, 1\)"),
        ({"activation": None}, "activation is missing"),
        ({"activation": np.array(3.0)}, "activation is missing or not one text"),
        ({"activation": np.array(["relu", "tanh"])}, "not one text"),
        ({"activation": np.array("rleu")}, "'rleu' is not known; expected one of"),
        ({"input_mean": np.zeros(4), "input_cov": np.eye(4)}, "4"),
        ({"input_mean": np.zeros((3, 1))}, "mean has shape"),
        ({"input_mean": np.array([0, 0, np.nan])}, "input_mean has 1 non-finite"),
        ({"input_cov": np.eye(2)}, "covariance has shape"),
        ({"input_cov": np.diag([1.0, 1.0, -1.0])}, "indefinite"),
        ({"input_cov": np.triu(np.ones((3, 3)))}, "symmetric"),
        ({"input_cov": np.eye(3, dtype=bool)}, "input_cov has dtype bool"),
    ],
)
def test_arrays_that_make_no_network_are_refused(
    changes: dict[str, NDArray | None], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.npz"
    arrays = good() | changes
    np.savez(path, allow_pickle=False, **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(FormatError, match=reason) as caught:
        load_network(path)
    assert str(path) in str(caught.value)


def test_damaged_files_give_a_network_or_our_error(golden: Golden, tmp_path: Path) -> None:
    """Whatever the damage; checksums make a changed network very unlikely."""
    rng = random.Random(golden.name)
    raw = golden.path.read_bytes()
    path = tmp_path / "damaged.npz"
    for _ in range(40):
        damaged = bytearray(raw)
        if rng.random() < 0.3:
            del damaged[rng.randrange(len(raw)) :]
        else:
            damaged[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            load_network(path)
        except FormatError as error:
            assert str(path) in str(error)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_network(tmp_path / "missing.npz")
