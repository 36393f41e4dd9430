"""Estimators whose errors and costs are known, and a family that only says that it trains."""

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from tests.comparison.toys import Quadratic, Quadratics

import outsample as ou
from outsample.comparison.trained import TrainedFamily, TrainedProblem, Training
from outsample.cost import report_flops
from outsample.estimator import Explainer, Explanation


@dataclass(frozen=True)
class Governed(ou.Estimator):
    """Errs by √(share/N) standard deviations of M, up or down, and costs price · N^power runs."""

    samples: int = 1
    share: float = 0.25
    price: float = 1.0
    power: float = 1.0
    mechanistic: ClassVar[bool] = True

    @classmethod
    def at(cls, epsilon: float, problem: ou.Problem) -> "Governed":
        return cls(samples=round(epsilon**-2))

    def accepts(self, problem: ou.Problem) -> str | None:
        return None if isinstance(problem, Quadratic) else "it is not quadratic"

    def _estimate(self, problem: ou.Problem, explanation: Explanation | None) -> ou.Estimate:
        assert isinstance(problem, Quadratic)
        # 6 inputs-to-outputs products of 2 matrices: what one evaluation of Quadratic takes.
        report_flops(round(29 * self.price * self.samples**self.power), "toy")
        size = math.sqrt(self.share / self.samples)
        # Between 0.5 and 1.5 on different problems, mean square 1 or nearly.
        size *= math.sqrt(0.5 + float(problem.linear.abs().sum()) % 1)
        return ou.Estimate(value=problem.mean + size * problem.variance.sqrt())


@dataclass(frozen=True)
class Drawing(Governed):
    """Says that it is mechanistic, and draws."""

    def _estimate(self, problem: ou.Problem, explanation: Explanation | None) -> ou.Estimate:
        torch.randn(1)
        return super()._estimate(problem, explanation)


class Notes(Explanation):
    def __init__(self, size: int) -> None:
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"size": torch.tensor(self._size)}

    @classmethod
    def from_tensors(cls, tensors) -> "Notes":
        return cls(int(tensors["size"]))


@dataclass(frozen=True)
class NoteTaker(Explainer):
    """Writes ``size`` numbers after ``flops`` of thought."""

    size: int = 1
    flops: int = 1

    def explain(self, problem: ou.Problem) -> Notes:
        assert problem.describe() == "at the end of training"  # it must not see a context
        report_flops(self.flops, "thought")
        return Notes(self.size)


@dataclass(frozen=True)
class Reading(Governed):
    """Takes notes."""

    explanations: ClassVar = (Notes,)


@dataclass(frozen=True)
class Tracking(ou.MeanPropagation):
    """Mean propagation, whose cost no tolerance changes."""

    @classmethod
    def at(cls, epsilon: float, problem: ou.Problem) -> "Tracking":
        return cls()


class TrainedQuadratic(Quadratic, TrainedProblem):
    pass


class Ended(Quadratic):
    def describe(self) -> str:
        return "at the end of training"


@dataclass(frozen=True)
class TrainedQuadratics(TrainedFamily):
    """10 parameters, 1000 FLOPs and a second of training."""

    network: int | None = None

    @property
    def name(self) -> str:
        return f"trained quadratics({self.network})"

    def with_network(self, network: int) -> "TrainedQuadratics":
        return dataclasses.replace(self, network=network)

    def problem(self, seed: int) -> TrainedQuadratic:
        run = seed if self.network is None else self.network
        square = Quadratics().problem(run).square
        problem = TrainedQuadratic(Quadratics().problem(seed + 1000).linear, square)
        ended = Ended(torch.ones_like(square), square)
        problem.training = Training(problem=ended, size=10, seconds=1.0, flops=1000)
        return problem
