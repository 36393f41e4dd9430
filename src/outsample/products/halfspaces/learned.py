"""Which directions training singled out: learned normals whose training was watched, explained."""

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


class ObservedIntersection(HalfspaceIntersection):
    """An intersection of halfspaces whose normals were trained while an observer averaged them.

    The average costs one addition of all weights a step.  It has much less of the noise of
    stochastic gradient descent than the weights of any one step (B. T. Polyak and A. B. Juditsky,
    SIAM J. Control Optim. 30, 1992), and so shows better what training pulled towards.
    """

    #: Mean of the weights over the steps of training, shape (k, n).
    average: Float[Tensor, "k n"]


@dataclass(frozen=True)
class DirectionExplainer(Explainer):
    """Finds the few directions that trained normals share: leading right singular vectors.

    Those of the average over training are the explanation that a transcript gives.  Those of the
    normals as they stand have the noise of the last steps in them, and serve to compare with; for
    normals alone, :class:`CommonDirection` finds better ones by itself.

    Args:
        directions: how many, 1 to 3.
        source: ``"training"`` for the average of an :class:`ObservedIntersection`, or
            ``"normals"``.

    Raises:
        InputError: for settings out of range.

    Example:
        >>> import torch
        >>> normals = torch.eye(8, 20, dtype=torch.float64) + 0.3
        >>> explainer = DirectionExplainer(directions=1, source="normals")
        >>> explainer.explain(HalfspaceIntersection(normals)).size
        20
    """

    directions: int = 1
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
        """Advice on ``problem``, which depends on its normals or their history, not on offsets.

        Raises:
            UnsupportedProblem: for other problems, or normals whose training was not observed.
        """
        if not isinstance(problem, HalfspaceIntersection):
            raise UnsupportedProblem(
                f"DirectionExplainer: {problem.describe()} is no HalfspaceIntersection"
            )
        rows = problem.normals
        if self.source == "training":
            if not isinstance(problem, ObservedIntersection):
                raise UnsupportedProblem(
                    "DirectionExplainer: nobody watched the training of these normals; use "
                    "source='normals'"
                )
            rows = problem.average
        rows = rows.double()
        rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-300)
        _, _, right = torch.linalg.svd(rows, full_matrices=False)
        return Directions(right[: self.directions].to(problem.normals))
