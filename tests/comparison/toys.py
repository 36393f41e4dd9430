"""Problems and estimators that are known in closed form."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

import outsample as ou
from outsample.estimator import Explainer, Explanation


class Quadratic(ou.Problem):
    """M(x) = x A + x² B for standard normal x: mean 1ᵀB, variance Σ A² + 2 B² of every output."""

    def __init__(self, linear: Tensor, square: Tensor, known: bool = True) -> None:
        self.linear, self.square, self.known = linear, square, known
        self.inputs = ou.Gaussian.standard(len(linear), linear.dtype)
        self.output_shape = tuple(linear.shape[1:])

    def __call__(self, x: Tensor) -> Tensor:
        return x @ self.linear + x.square() @ self.square

    @property
    def mean(self) -> Tensor:
        return self.square.sum(0)

    @property
    def variance(self) -> Tensor:
        return self.linear.square().sum(0) + 2 * self.square.square().sum(0)

    def exact(self) -> Tensor | None:
        return self.mean if self.known else None

    def signature(self) -> object:
        return "quadratic", tuple(self.linear.shape), self.linear.dtype

    def tensors(self) -> list[Tensor]:
        return [self.linear, self.square]


@dataclass(frozen=True)
class Quadratics(ou.Family):
    """Quadratic problems with 3 inputs and 2 outputs."""

    known: bool = True
    name: str = "quadratics"  # type: ignore[misc]

    def problem(self, seed: int) -> Quadratic:
        generator = torch.Generator().manual_seed(seed)
        linear, square = torch.randn(2, 3, 2, generator=generator, dtype=torch.float64)
        return Quadratic(linear, square, self.known)


@dataclass(frozen=True)
class Shifted(ou.Estimator):
    """The right answer plus ``shift`` standard deviations of M."""

    shift: float = 0.0
    mechanistic: ClassVar[bool] = True

    def accepts(self, problem: ou.Problem) -> str | None:
        return None if isinstance(problem, Quadratic) else "it is not quadratic"

    def _estimate(self, problem: ou.Problem, explanation: Explanation | None) -> ou.Estimate:
        assert isinstance(problem, Quadratic)
        self.meddle(problem)
        return ou.Estimate(value=problem.mean + self.shift * problem.variance.sqrt())

    def meddle(self, problem: Quadratic) -> None:
        """What a subclass does wrong."""


@dataclass(frozen=True)
class Cheating(Shifted):
    def meddle(self, problem: Quadratic) -> None:
        torch.randn(3)


@dataclass(frozen=True)
class Failing(Shifted):
    def meddle(self, problem: Quadratic) -> None:
        raise ZeroDivisionError("by zero")


@dataclass(frozen=True)
class Overflowing(Shifted):
    shift: float = float("inf")


@dataclass(frozen=True)
class Misshapen(Shifted):
    def _estimate(self, problem: ou.Problem, explanation: Explanation | None) -> ou.Estimate:
        return ou.Estimate(value=torch.zeros(1))


@dataclass(frozen=True)
class Moody(Shifted):
    """Fails on every problem whose first coefficient is negative."""

    def meddle(self, problem: Quadratic) -> None:
        if problem.linear[0, 0] < 0:
            raise ValueError("not in the mood")


@dataclass(frozen=True)
class Stopping(Shifted):
    """Somebody presses Ctrl-C at its n-th estimate."""

    after: int = 0
    calls: list[int] = field(default_factory=list, compare=False)

    def meddle(self, problem: Quadratic) -> None:
        self.calls.append(1)
        if len(self.calls) > self.after:
            raise KeyboardInterrupt


class Hint(Explanation):
    """Advice that holds the shift to apply."""

    size = 1

    def __init__(self, shift: float) -> None:
        self.shift = shift

    def tensors(self) -> dict[str, Tensor]:
        return {"shift": torch.tensor(self.shift)}

    @classmethod
    def from_tensors(cls, tensors) -> "Hint":
        return cls(float(tensors["shift"]))


@dataclass(frozen=True)
class Teacher(Explainer):
    shift: float

    def explain(self, problem: ou.Problem) -> Hint:
        return Hint(self.shift)


@dataclass(frozen=True)
class Advised(Shifted):
    explanations: ClassVar = (Hint,)

    def _estimate(self, problem: ou.Problem, explanation: Explanation | None) -> ou.Estimate:
        assert isinstance(problem, Quadratic)
        shift = explanation.shift if isinstance(explanation, Hint) else self.shift
        return ou.Estimate(value=problem.mean + shift * problem.variance.sqrt())
