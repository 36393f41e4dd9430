"""Which directions training singled out: an observer of the gradients, and an explainer."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.errors import InputError, UnsupportedProblem
from outsample.estimator import Explainer, positive_integer
from outsample.problem import Problem
from outsample.products.halfspaces.directions import Directions
from outsample.products.halfspaces.problem import HalfspaceIntersection


class GradientSketch:
    """The leading directions of all gradients so far, in time and space linear in theirs.

    Rows g go into a buffer of 2 ℓ; whenever it is full, its singular values are shrunk by the
    ℓ-th, and half of it is free again.  With S what is left, 0 <= Σ g gᵀ - Sᵀ S <= Σ |g|² / ℓ.

    Args:
        size: n, the length of a gradient.
        rows: ℓ; twice the number of directions wanted, and a few more, are enough.

    References:
        E. Liberty, KDD 2013 (frequent directions).
    """

    def __init__(self, size: int, rows: int) -> None:
        self._buffer = torch.zeros(2 * rows, size, dtype=torch.float64)
        self._filled = 0

    def see(self, gradients: Float[Tensor, "k n"]) -> None:
        """Take in one step's gradients, one for each neuron."""
        rows = len(self._buffer) // 2
        for part in gradients.detach().to(self._buffer).split(rows):
            if self._filled + len(part) > 2 * rows:
                _, values, right = torch.linalg.svd(self._buffer, full_matrices=False)
                left = (values.square() - values[rows - 1].square()).clamp_min(0).sqrt()
                self._buffer.zero_()
                self._buffer[:rows] = left[:rows, None] * right[:rows]
                self._filled = rows
            self._buffer[self._filled : self._filled + len(part)] = part
            self._filled += len(part)

    def directions(self, count: int) -> Float[Tensor, "r n"]:
        """The ``count`` leading directions, orthonormal, the strongest first."""
        return torch.linalg.svd(self._buffer, full_matrices=False)[2][:count].clone()


class ObservedIntersection(HalfspaceIntersection):
    """An intersection of halfspaces whose normals were trained while a sketch was watching."""

    #: What was kept of the gradients.
    sketch: GradientSketch


@dataclass(frozen=True)
class DirectionExplainer(Explainer):
    """Finds the few directions that trained normals share.

    Args:
        directions: how many, 1 to 3.
        source: ``"training"`` for the leading directions of all gradients of an
            :class:`ObservedIntersection`, gathered in linear time while it was trained;
            ``"normals"`` for the leading right singular vectors of the normals as they are now.

    Raises:
        InputError: for settings out of range.

    Example:
        >>> import torch
        >>> normals = torch.eye(8, 20, dtype=torch.float64) + 0.3
        >>> explainer = DirectionExplainer(directions=1, source="normals")
        >>> explainer.explain(HalfspaceIntersection(normals)).size
        20
    """

    directions: int = 3
    source: Literal["training", "normals"] = "training"

    def __post_init__(self) -> None:
        positive_integer("DirectionExplainer", "directions", self.directions)
        if self.directions > 3:
            raise InputError(
                f"DirectionExplainer: directions = {self.directions}; expected 1 to 3, as "
                "CommonDirection takes them"
            )
        if self.source not in ("training", "normals"):
            raise InputError(
                f"DirectionExplainer: source = {self.source!r}; expected 'training' or 'normals'"
            )

    @torch.no_grad()
    def explain(self, problem: Problem) -> Directions:
        """Advice on ``problem``, which depends on its normals' history or on the normals alone.

        Raises:
            UnsupportedProblem: for other problems, or normals whose training was not observed.
        """
        if not isinstance(problem, HalfspaceIntersection):
            raise UnsupportedProblem(
                f"DirectionExplainer: {problem.describe()} is no HalfspaceIntersection"
            )
        if self.source == "normals":
            unit = problem.normals / problem.normals.norm(dim=1, keepdim=True).clamp_min(1e-300)
            _, _, right = torch.linalg.svd(unit.double(), full_matrices=False)
            return Directions(right[: self.directions].to(problem.dtype))
        if not isinstance(problem, ObservedIntersection):
            raise UnsupportedProblem(
                "DirectionExplainer: nobody watched the training of these normals; use "
                "source='normals'"
            )
        return Directions(problem.sketch.directions(self.directions).to(problem.normals))
