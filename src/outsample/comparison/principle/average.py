"""The average of m runs of a problem, as a problem of its own: the principle without ε."""

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.comparison.seeds import derive_seed
from outsample.cost import count_flops
from outsample.estimator import positive_integer
from outsample.problem import Distribution, Problem
from outsample.sampling import MonteCarlo

#: Evaluations of M that are made together, and metered together.
_ROWS, _METERED_ROWS = 2**14, 64
#: Runs of M' behind its variance: within these limits as many as so many FLOPs pay for.
_FEWEST, _MOST, _FLOPS = 32, 1024, 2e9
#: Where the fewest would take more FLOPs than this, M' is not measured.
_MOST_FLOPS = 2e11


class Average(Problem):
    """M': the average of m runs of M on independent inputs, itself a function of a random input.

    Args:
        problem: M.
        runs: the number m.

    Raises:
        InputError: if ``runs`` is not a positive integer.
    """

    def __init__(self, problem: Problem, runs: int) -> None:
        positive_integer("Average", "runs", runs)
        self.problem, self.runs = problem, runs
        self.inputs = _Independent(problem.inputs, runs)
        self.output_shape = problem.output_shape

    def __call__(self, x: Float[Tensor, "batch m *inputs"]) -> Float[Tensor, "batch *outputs"]:
        """Evaluate M on the m inputs of each row, and average."""
        return self.problem(x.flatten(0, 1)).unflatten(0, (len(x), self.runs)).mean(1)

    def exact(self) -> Tensor | None:
        """Return the expectation of M, where that is known."""
        return self.problem.exact()

    def signature(self) -> Hashable:
        """That of M, and m."""
        return "Average", self.runs, self.problem.signature()

    def tensors(self) -> list[Tensor]:
        """Those of M."""
        return self.problem.tensors()

    def describe(self) -> str:
        """One line: ``average of 16 × …``."""
        return f"average of {self.runs} × {self.problem.describe()}"


class _Independent(Distribution):
    """m independent draws of one law, side by side."""

    def __init__(self, law: Distribution, runs: int) -> None:
        self._law, self._runs = law, runs
        self.shape = (runs, *law.shape)
        self.latent_size = runs * law.latent_size

    @property
    def mean(self) -> Tensor:
        return self._law.mean.expand(self.shape)

    @property
    def covariance(self) -> Tensor:
        return torch.block_diag(*[self._law.covariance] * self._runs)

    @property
    def dtype(self) -> torch.dtype:
        return self._law.dtype

    @property
    def device(self) -> torch.device:
        return self._law.device

    def to(self, dtype: torch.dtype, device: torch.device) -> "_Independent":
        return _Independent(self._law.to(dtype, device), self._runs)

    def tensors(self) -> list[Tensor]:
        return self._law.tensors()

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self._law.sample(n * self._runs, generator).unflatten(0, (n, self._runs))


@dataclass(frozen=True)
class Run:
    """What one run of an architecture takes, and how much it varies."""

    flops: float
    seconds: float
    #: Mean over outputs.
    variance: float


@torch.no_grad()
def measure(average: Average, seed: int, flops: float) -> Run | None:
    """Run M' on random inputs; None if that would take too long.

    Args:
        average: M'.
        seed: seed of the problem, for a stream of its own.
        flops: floating-point operations of one evaluation of M.
    """
    one = average.runs * flops
    if _FEWEST * one > _MOST_FLOPS:
        return None
    draws = min(max(int(_FLOPS / max(one, 1.0)), _FEWEST), _MOST)
    batch = max(_ROWS // average.runs, 1)
    sampler = MonteCarlo(draws, derive_seed("average", average.runs, seed), batch=batch)
    found = sampler.estimate(average)
    if found.standard_error is None:
        raise TypeError("a plain sample has a standard error")
    rows = max(_METERED_ROWS // average.runs, 1)
    x = average.inputs.sample(rows, torch.Generator(average.device).manual_seed(0))
    return Run(
        flops=count_flops(lambda: average(x)) / rows,
        seconds=found.cost.seconds / draws,
        variance=draws * float(found.standard_error.double().square().mean()),
    )
