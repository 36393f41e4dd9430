"""An estimator and a family for outsample, registered by this package's ``pyproject.toml``."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

import outsample as ou

#: Half the distance of the points of a central difference.
_STEP = 1e-2


class Ripple(ou.Problem):
    """M(x) = Σ_i a_i cos(b_i·x + c_i) for a standard normal x: an E[M] that is known.

    Args:
        amplitudes: a, shape (terms,).
        frequencies: b, shape (terms, n).
        phases: c, shape (terms,).
    """

    def __init__(
        self, amplitudes: torch.Tensor, frequencies: torch.Tensor, phases: torch.Tensor
    ) -> None:
        self.amplitudes, self.frequencies, self.phases = amplitudes, frequencies, phases
        self.inputs = ou.Gaussian.standard(frequencies.shape[1], frequencies.dtype)
        self.output_shape = ()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate on rows of inputs."""
        return torch.cos(x @ self.frequencies.T + self.phases) @ self.amplitudes

    def exact(self) -> torch.Tensor:
        """E cos(b·x + c) = exp(-|b|²/2) cos c."""
        shrink = torch.exp(-self.frequencies.square().sum(1) / 2)
        return (self.amplitudes * shrink * torch.cos(self.phases)).sum()

    def signature(self) -> object:
        """Shapes and dtype: what the cost depends on."""
        return "Ripple", tuple(self.frequencies.shape), self.frequencies.dtype

    def tensors(self) -> list[torch.Tensor]:
        """The three tensors that define the function."""
        return [self.amplitudes, self.frequencies, self.phases]


@dataclass(frozen=True)
class Ripples(ou.Family):
    """Random sums of waves.

    Args:
        size: number of inputs.
        terms: number of waves.
        roughness: length of the wave vectors, on average.
    """

    size: int = 8
    terms: int = 16
    roughness: float = 0.5

    @property
    def name(self) -> str:
        """All settings: equal names mean equal families."""
        return f"Ripples(size={self.size}, terms={self.terms}, roughness={self.roughness})"

    def problem(self, seed: int) -> Ripple:
        """Return the sum drawn with ``seed``."""
        generator = torch.Generator().manual_seed(seed)
        frequencies = torch.randn(self.terms, self.size, generator=generator, dtype=torch.float64)
        amplitudes = torch.randn(self.terms, generator=generator, dtype=torch.float64)
        phases = 2 * math.pi * torch.rand(self.terms, generator=generator, dtype=torch.float64)
        return Ripple(amplitudes, self.roughness / self.size**0.5 * frequencies, phases)


@dataclass(frozen=True)
class TaylorMean(ou.Estimator):
    """M at the mean of x, and in second order the curvature there: M(μ) + ½ tr(H Σ).

    The curvature is taken by central differences along the axes, so any smooth function will do.
    No gradients flow through it.

    Args:
        order: 1 (the value at the mean) or 2.
    """

    order: int = 2

    mechanistic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.order not in (1, 2):
            raise ou.InputError(f"TaylorMean: order = {self.order!r}; expected 1 or 2")

    @classmethod
    def at(cls, epsilon: float, problem: ou.Problem) -> "TaylorMean":
        """Order 2 where ε pays for its 2n + 1 evaluations, else order 1."""
        n = problem.inputs.mean.numel()
        evaluations = round(epsilon**-2, 6)  # round-off in ε is not to decide
        return cls(order=2 if 2 * n + 1 <= evaluations else 1)

    def accepts(self, problem: ou.Problem) -> str | None:
        """Takes problems with a flat vector as input."""
        if len(problem.inputs.shape) != 1:
            return f"its inputs have shape {problem.inputs.shape}; expected a flat vector"
        return None

    def _estimate(self, problem: ou.Problem, explanation: ou.Explanation | None) -> ou.Estimate:
        mean = problem.inputs.mean
        value = problem(mean[None])[0]
        if self.order == 2:
            # Along the axes of the covariance, the mixed derivatives do not matter.
            lengths, axes = torch.linalg.eigh(problem.inputs.covariance)
            moves = _STEP * axes.T
            around = problem(torch.cat([mean + moves, mean - moves]))
            bends = around.unflatten(0, (2, -1)).sum(0) - 2 * value
            value = value + (lengths.clamp_min(0) @ bends) / (2 * _STEP**2)
        return ou.Estimate(value=value)
