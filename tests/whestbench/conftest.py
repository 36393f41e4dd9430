"""A small data set, made once for each test process; and no network for anybody."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from outsample import whestbench

WIDTH, DEPTH, SEEDS, SAMPLES = 8, 3, (11, 22, 33), 4096


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> NoReturn:
        raise AssertionError(f"a connection was opened: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="session")
def baked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a data set; not to be changed."""
    path = tmp_path_factory.mktemp("whestbench") / "small"
    return whestbench.bake(path, WIDTH, DEPTH, SEEDS, SAMPLES)


@pytest.fixture(scope="session")
def dataset(baked: Path) -> whestbench.Dataset:
    """The same, read."""
    return whestbench.read(baked)


@pytest.fixture
def copied(baked: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to be damaged."""
    return Path(shutil.copytree(baked, tmp_path / "copy"))


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a submission with the given body of ``predict``."""

    def write(body: str) -> Path:
        folder = tmp_path / "other"
        folder.mkdir()
        folder.joinpath("estimator.py").write_text(
            "import flopscope.numpy as fnp\nfrom whestbench import BaseEstimator\n\n\n"
            "class Estimator(BaseEstimator):\n    def predict(self, mlp, budget):\n"
            f"        {body}\n"
        )
        return folder

    return write
