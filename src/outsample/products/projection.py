"""Deduction and projection: multiply in one factor exactly, project to low degree, repeat."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from outsample.errors import InputError, UnsupportedProblem
from outsample.estimator import Estimate, Estimator, Explanation
from outsample.problem import Problem
from outsample.products.cnf import SatisfyingFraction, fourier_head
from outsample.products.halfspaces import HalfspaceIntersection, polynomial_head
from outsample.products.permanents import Permanent, harmonic_head

_TAKEN = "it takes products: HalfspaceIntersection, SatisfyingFraction and Permanent"


@dataclass(frozen=True)
class Projection(Estimator):
    """Expectation of a product of simple factors, by a head of low degree.

    M is a product of factors, each known in full.  A function of degree at most d, the *head*,
    stands for the product of the factors so far; it is multiplied by the next factor, exactly,
    and what exceeds degree d is projected away.  What is left at the end has the estimate as its
    constant term.  The functions of degree d are

    - for a :class:`HalfspaceIntersection`, polynomials in the Hermite basis;
    - for a :class:`SatisfyingFraction`, functions on the cube in the Fourier basis, uniform or
      re-centred on the messages of belief propagation;
    - for a :class:`Permanent`, functions on the slices of the Johnson scheme.

    Args:
        degree: d, at least 0.  The cost grows as k^(d+1), m n^(d-1) and n^(d+1), for k halfspaces,
            m clauses in n variables and matrices n by n.
        basis: of a SatisfyingFraction: ``"messages"`` (tempered messages of belief propagation
            re-centre the product measure) or ``"uniform"``.
        conditioned: of a SatisfyingFraction: how many of the most constrained variables are set
            to all their values, at 2^conditioned times the cost.
        scaling: of a Permanent with entries >= 0: ``"shrunk"`` (rows, and columns as far as they
            differ by more than chance), ``"full"`` (rows and columns) or ``"none"``.

    Raises:
        InputError: for settings outside their ranges.

    Source: ARC, "Mechanistic estimation for expectations of random products" (2026).

    Example:
        >>> import torch, outsample as ou
        >>> problem = ou.Permanent(torch.ones(5, 5, dtype=torch.float64))
        >>> ou.Projection(degree=1).estimate(problem).value
        tensor(1., dtype=torch.float64)
    """

    degree: int = 2
    basis: Literal["messages", "uniform"] = "messages"
    conditioned: int = 0
    scaling: Literal["shrunk", "full", "none"] = "shrunk"

    mechanistic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("degree", "conditioned"):
            value: object = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InputError(f"Projection: {name} = {value!r}; expected an integer >= 0")
        for name, known in (("basis", _BASES), ("scaling", _SCALINGS)):
            if getattr(self, name) not in known:
                raise InputError(
                    f"Projection: {name} = {getattr(self, name)!r}; expected one of "
                    f"{', '.join(map(repr, known))}"
                )

    def accepts(self, problem: Problem) -> str | None:
        """Takes products: halfspaces, formulas and permanents, while the head fits in memory."""
        match problem:
            case HalfspaceIntersection():
                return polynomial_head.refusal(problem, self.degree)
            case SatisfyingFraction():
                return fourier_head.refusal(problem, self.degree, self.basis, self.conditioned)
            case Permanent():
                return harmonic_head.refusal(problem, self.degree, self.scaling)
            case _:
                return _TAKEN

    def _estimate(self, problem: Problem, explanation: Explanation | None) -> Estimate:
        match problem:
            case HalfspaceIntersection():
                return polynomial_head.project(problem, self.degree)
            case SatisfyingFraction():
                return fourier_head.project(problem, self.degree, self.basis, self.conditioned)
            case Permanent():
                return harmonic_head.project(problem, self.degree, self.scaling)
            case _:
                raise TypeError("accepts() lets only products in")

    @classmethod
    def at(cls, epsilon: float, problem: Problem) -> Self:
        """The settings at tolerance ε: the largest degree that 1/ε² evaluations pay for.

        For a SatisfyingFraction, also how many variables to condition on.

        Raises:
            UnsupportedProblem: if the problem is no product.
            InputError: if ε is no finite number above 0.
        """
        chooser = next((c for kind, c in _SETTINGS.items() if isinstance(problem, kind)), None)
        if chooser is None:
            raise UnsupportedProblem(
                f"{cls.__name__} does not take this problem ({problem.describe()}): {_TAKEN}"
            )
        return cls(**chooser(epsilon, problem))


_BASES = ("messages", "uniform")
_SCALINGS = ("shrunk", "full", "none")
_SETTINGS: dict[type[Problem], Callable[[float, Any], dict[str, Any]]] = {
    HalfspaceIntersection: polynomial_head.settings_at,
    SatisfyingFraction: fourier_head.settings_at,
    Permanent: harmonic_head.settings_at,
}
