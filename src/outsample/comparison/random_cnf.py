"""Random k-CNF formulas, whose satisfying fractions are wanted."""

from dataclasses import dataclass

import torch

from outsample.comparison.seeds import derive_seed
from outsample.errors import InputError
from outsample.estimator import positive_integer
from outsample.problem import Family
from outsample.products.cnf import SatisfyingFraction


@dataclass(frozen=True)
class RandomCNF(Family):
    """Satisfying fractions of random k-CNF formulas, on fair bits.

    Clauses are independent: k distinct variables, each negated or not with equal chances.  A
    clause may come more than once.

    Args:
        variables: n.
        clauses: m, how many clauses.
        length: k, literals in each clause.

    Raises:
        InputError: for sizes below 1, or clauses longer than there are variables.

    Example:
        >>> RandomCNF(variables=20, clauses=30).problem(seed=0).describe()
        'SatisfyingFraction 20 variables, 30 clauses'
    """

    variables: int
    clauses: int
    length: int = 3

    def __post_init__(self) -> None:
        for name in ("variables", "clauses", "length"):
            positive_integer("RandomCNF", name, getattr(self, name))
        if self.length > self.variables:
            raise InputError(
                f"RandomCNF: length = {self.length} with {self.variables} variables; expected at "
                "most as many literals as variables, for those of a clause are distinct"
            )

    def problem(self, seed: int) -> SatisfyingFraction:
        """Return the formula drawn with ``seed``."""
        generator = torch.Generator().manual_seed(derive_seed("RandomCNF", seed))
        n, m, k = self.variables, self.clauses, self.length
        order = torch.rand(m, n, generator=generator, dtype=torch.float64).argsort(dim=1)
        signs = 2 * torch.randint(2, (m, k), generator=generator) - 1
        return SatisfyingFraction(((order[:, :k] + 1) * signs).tolist(), n)
