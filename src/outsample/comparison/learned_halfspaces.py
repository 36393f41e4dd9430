"""Halfspaces whose normals were learned: perceptrons trained on labels from related teachers."""

import dataclasses
import math
import time
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from outsample.comparison.seeds import derive_seed
from outsample.comparison.trained import TrainedFamily, TrainedProblem, Training
from outsample.errors import InputError
from outsample.estimator import positive_integer
from outsample.products.halfspaces import HalfspaceIntersection
from outsample.products.halfspaces.learned import ObservedIntersection

#: Trained perceptrons kept: the methods of a comparison take turns on one problem.
_KEPT = 4


class LearnedIntersection(ObservedIntersection, TrainedProblem):
    """P(v_i · x >= c_i for all i): learned normals v, and thresholds c as the context."""

    def __init__(
        self, training: Training, normals: Tensor, average: Tensor, offsets: Tensor
    ) -> None:
        super().__init__(normals, offsets)
        self.training = training
        self.average = average


@dataclass(frozen=True)
class LearnedHalfspaces(TrainedFamily):
    """Intersections of halfspaces learned by stochastic gradient descent, with random thresholds.

    There are k perceptrons w_i on inputs x ~ N(0, I).  The teacher of each says the sign of
    t_i · P x, with P a matrix of r orthonormal rows that all share; t_i = (1, 0, …) + 0.7 normals.
    They are trained on the logistic loss, on fresh inputs, from small weights.  Normals are w_i
    over their length: a part in the span of P, and what noise the descent has left across it.

    The context, of which training knows nothing, are the thresholds: independent normals.

    Args:
        count: k.
        dimension: n.
        teacher_directions: r.
        steps: steps of gradient descent.
        batch: inputs of one step.
        rate: length of a step.
        label_noise: how often a teacher says the opposite, at least 0 and below 1/2.
        offset_scale: standard deviation of the thresholds.
        network: seed of the one training run that all problems share; by default every problem
            has a run of its own.

    Raises:
        InputError: for sizes below 1, more teacher directions than dimensions, scales that are
            not finite and positive, label noise outside its range, a negative seed.

    Example:
        >>> problem = LearnedHalfspaces(count=4, dimension=10, steps=20).problem(seed=0)
        >>> problem.describe(), problem.training.size
        ('HalfspaceIntersection of 4 in 10 dimensions', 40)
    """

    count: int = 16
    dimension: int = 40
    teacher_directions: int = 3
    steps: int = 100
    batch: int = 8
    rate: float = 0.3
    label_noise: float = 0.2
    offset_scale: float = 0.5
    network: int | None = None

    def __post_init__(self) -> None:
        for name in ("count", "dimension", "teacher_directions", "steps", "batch"):
            positive_integer("LearnedHalfspaces", name, getattr(self, name))
        if self.teacher_directions > self.dimension:
            raise InputError(
                f"LearnedHalfspaces: teacher_directions = {self.teacher_directions} in "
                f"{self.dimension} dimensions; expected at most as many"
            )
        for name in ("rate", "offset_scale"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(
                    f"LearnedHalfspaces: {name} = {getattr(self, name)!r}; expected a finite "
                    "number > 0"
                )
        if not 0 <= self.label_noise < 0.5:
            raise InputError(
                f"LearnedHalfspaces: label_noise = {self.label_noise!r}; expected at least 0 and "
                "less than 0.5"
            )
        if self.network is not None and (type(self.network) is not int or self.network < 0):
            raise InputError(
                f"LearnedHalfspaces: network = {self.network!r}; expected an integer >= 0, or None"
            )

    def with_network(self, network: int) -> "LearnedHalfspaces":
        """The family whose problems share the normals trained with seed ``network``."""
        return dataclasses.replace(self, network=network)

    def problem(self, seed: int) -> LearnedIntersection:
        """Return the normals and the thresholds drawn with ``seed``."""
        run = seed if self.network is None else self.network
        # Neither the thresholds nor who shares the run changes the run.
        alike = dataclasses.replace(self, offset_scale=1.0, network=None)
        normals, average, training = _trained(alike, run)
        generator = torch.Generator().manual_seed(derive_seed("LearnedHalfspaces context", seed))
        normal = torch.randn(self.count, generator=generator, dtype=torch.float64)
        return LearnedIntersection(training, normals, average, self.offset_scale * normal)


@lru_cache(maxsize=_KEPT)
def _trained(family: LearnedHalfspaces, seed: int) -> tuple[Tensor, Tensor, Training]:
    generator = torch.Generator().manual_seed(derive_seed("LearnedHalfspaces training", seed))
    k, n, r = family.count, family.dimension, family.teacher_directions

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shared = torch.linalg.qr(draw(n, r))[0].T
    mixing = 0.7 * draw(k, r)
    mixing[:, 0] += 1
    teachers = mixing @ shared
    weights = draw(k, n) / (10 * math.sqrt(n))
    total = torch.zeros_like(weights)
    start = time.perf_counter()
    for _ in range(family.steps):
        x = draw(family.batch, n)
        flipped = torch.rand(family.batch, k, generator=generator) < family.label_noise
        labels = ((x @ teachers.T > 0) ^ flipped).double()
        errors = torch.sigmoid(x @ weights.T) - labels
        weights -= family.rate * (errors.T @ x) / family.batch
        total += weights
    seconds = time.perf_counter() - start
    normals = weights / weights.norm(dim=1, keepdim=True)
    flops = family.steps * (family.batch * k * (4 * n + 16) + 3 * k * n)
    training = Training(HalfspaceIntersection(normals), k * n, seconds, flops)
    return normals, total / family.steps, training
