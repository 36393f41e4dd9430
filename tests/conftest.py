"""What every test file shares: one thread, a Hypothesis profile, the golden numbers."""

import os

# Before torch and NumPy load: tests run in parallel workers, and subprocesses inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["OUTSAMPLE_CACHE"] = ""  # no truths are shared between tests, nor with the user

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

torch.set_num_threads(1)

# Its assertions are to explain themselves like those of test files.
pytest.register_assert_rewrite("tests.battery")

# No deadlines: the time of one example says more about the machine than about the code.
settings.register_profile("outsample", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "outsample-ci", settings.get_profile("outsample"), derandomize=True, database=None
)
settings.load_profile("outsample-ci" if os.environ.get("CI") else "outsample")

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Golden:
    """One network with reference numbers; tests/golden/README.md explains the fields."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def arrays(self) -> dict[str, NDArray]:
        with np.load(self.path, allow_pickle=False) as data:
            return {key: data[key] for key in data.files}

    @property
    def activation(self) -> str:
        return str(self.arrays["activation"])

    @property
    def layers(self) -> list[tuple[NDArray, NDArray | None]]:
        """Weight and bias (or None) of every affine layer, in order."""
        count = sum(key.startswith("weight_") for key in self.arrays)
        return [(self.arrays[f"weight_{i}"], self.arrays.get(f"bias_{i}")) for i in range(count)]

    @property
    def tolerance(self) -> float:
        """How far a right answer may be from the reference, absolutely."""
        return 1e-10 if self.activation in ("relu", "square") else 5e-6

    @property
    def holds_at_order_1(self) -> bool:
        """False where the order-1 numbers were made for the spherical part of the input."""
        cov = self.arrays["input_cov"]
        return bool(np.allclose(cov, cov[0, 0] * np.eye(len(cov)), rtol=0, atol=1e-12))


@pytest.fixture(params=sorted(GOLDEN.glob("*.npz")), ids=lambda path: path.stem)
def golden(request: pytest.FixtureRequest) -> Golden:
    """Each golden file in turn."""
    return Golden(request.param)
