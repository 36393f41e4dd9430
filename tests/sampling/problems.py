"""Small problems with known expectations, and ones that misbehave."""

import math
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from outsample.distributions import Gaussian
from outsample.problem import Distribution, Problem


class Function(Problem):
    """Any function of the rows of its input; remembers the inputs and outputs it saw."""

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        inputs: Distribution,
        output_shape: tuple[int, ...] = (),
        truth: Tensor | float | None = None,
        tensors: Sequence[Tensor] = (),
    ) -> None:
        self.function, self.inputs, self.output_shape = function, inputs, output_shape
        self.truth = None if truth is None else torch.as_tensor(truth, dtype=self.dtype)
        self.own = list(tensors)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def __call__(self, x: Tensor) -> Tensor:
        y = self.function(x)
        self.seen.append((x, y))
        return y

    def exact(self) -> Tensor | None:
        return self.truth

    def signature(self) -> Hashable:
        shapes = tuple(tuple(t.shape) for t in self.tensors())
        return self.function, shapes, self.output_shape, self.dtype, self.device

    def tensors(self) -> list[Tensor]:
        return [*self.own, *self.inputs.tensors()]

    @property
    def batches(self) -> list[int]:
        """Rows of each call."""
        return [len(x) for x, _ in self.seen]

    @property
    def values(self) -> Tensor:
        """All outputs so far, one row a sample, in float64."""
        return torch.cat([y.reshape(len(y), -1).double() for _, y in self.seen])


class Uniform(Distribution):
    """Uniform numbers, of which nobody says how to make them from normals."""

    def __init__(self, n: int) -> None:
        self.shape = (n,)

    @property
    def mean(self) -> Tensor:
        return torch.full(self.shape, 0.5, dtype=torch.float64)

    @property
    def covariance(self) -> Tensor:
        return torch.eye(self.shape[0], dtype=torch.float64) / 12

    def to(self, dtype: torch.dtype, device: torch.device) -> "Uniform":
        return self

    def tensors(self) -> list[Tensor]:
        return []

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.rand(n, *self.shape, generator=generator, dtype=torch.float64)


def gaussian(n: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Gaussian:
    """A Gaussian with a mean and a dense covariance."""
    g = torch.Generator().manual_seed(seed)
    factor = torch.randn(n, n, generator=g, dtype=torch.float64)
    cov = factor @ factor.T / n + 0.1 * torch.eye(n, dtype=torch.float64)
    return Gaussian(torch.randn(n, generator=g, dtype=torch.float64).to(dtype), cov.to(dtype))


def linear(n: int, outputs: int, seed: int = 0) -> Function:
    """A x + b on a Gaussian."""
    inputs = gaussian(n, seed)
    g = torch.Generator().manual_seed(seed + 1)
    a = torch.randn(outputs, n, generator=g, dtype=torch.float64)
    b = torch.randn(outputs, generator=g, dtype=torch.float64)
    return Function(lambda x: x @ a.T + b, inputs, (outputs,), a @ inputs.mean + b, tensors=[a, b])


def quadratic(n: int, seed: int = 0) -> Function:
    """xᵀ Q x + c·x on a Gaussian: tr(Q Σ) + μᵀ Q μ + c·μ."""
    inputs = gaussian(n, seed)
    g = torch.Generator().manual_seed(seed + 1)
    q = torch.randn(n, n, generator=g, dtype=torch.float64)
    c = torch.randn(n, generator=g, dtype=torch.float64)
    mu = inputs.mean
    truth = (q * inputs.covariance).sum() + mu @ q @ mu + c @ mu
    return Function(lambda x: ((x @ q) * x).sum(1) + x @ c, inputs, (), truth, tensors=[q, c])


def relu(n: int, outputs: int, seed: int = 0) -> Function:
    """ReLU(A x) on a standard Gaussian: |a| / √(2π) for each row a."""
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(outputs, n, generator=g, dtype=torch.float64)
    truth = a.norm(dim=1) / math.sqrt(2 * math.pi)
    inputs = Gaussian.standard(n, dtype=torch.float64)
    return Function(lambda x: (x @ a.T).relu(), inputs, (outputs,), truth, tensors=[a])


def mixture() -> Function:
    """Hermite degrees 1 to 4 together: every sampler has something left to average."""

    def function(x: Tensor) -> Tensor:
        a, b, c = x.unbind(1)
        return torch.stack([a + a * b + a.pow(3) + b.pow(4) / 4, (a + b).exp() / 3 + c * c * c], 1)

    inputs = Gaussian.standard(3, dtype=torch.float64)
    return Function(function, inputs, (2,), torch.tensor([0.75, math.e / 3]))


def step(threshold: float) -> Function:
    """Whether a normal exceeds a threshold."""
    inputs = Gaussian.standard(1, dtype=torch.float64)
    truth = 0.5 * math.erfc(threshold / math.sqrt(2))
    return Function(lambda x: x[:, 0] > threshold, inputs, (), truth)
