"""The fraction of assignments that satisfy a CNF formula."""

import hashlib
import os
from collections.abc import Hashable, Iterable
from typing import Self, SupportsIndex

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from outsample.distributions import ArrayLike, Bits
from outsample.errors import InputError
from outsample.problem import Problem
from outsample.products.cnf.dimacs import read_dimacs
from outsample.products.cnf.enumeration import enumerable, enumerate_models
from outsample.products.cnf.formula import Formula, check_clauses

_OWNER = "SatisfyingFraction"
#: Assignments that are evaluated as the bits of one word: their sum of powers of 2 is exact.
_WORD = {torch.float64: 32, torch.float32: 16}


class SatisfyingFraction(Problem):
    """Probability that random bits satisfy a CNF formula: M(x) = 1 if every clause holds.

    With fair bits it is the number of models over 2^n; with other weights, a weighted count.
    Tautologies and repeated literals and clauses are dropped and unit clauses propagated: neither
    changes M.

    Args:
        clauses: each a list of signed integers, as in DIMACS: 3 is variable 3, -3 its negation.
            An empty clause cannot be satisfied; no clauses hold always.
        variables: their number n; the largest that occurs unless given.
        weights: P(x_j = 1), shape (n,); 1/2 each unless given.
        dtype: float64 or float32, of inputs and outputs.

    Raises:
        InputError: for literals that are no integers, 0 or beyond n, no variables at all,
            weights outside [0, 1] or of another shape, another dtype.

    Example:
        >>> SatisfyingFraction([[1, 2], [-1, 3]]).exact()
        tensor(0.5000, dtype=torch.float64)
    """

    def __init__(
        self,
        clauses: Iterable[Iterable[SupportsIndex]],
        variables: int | None = None,
        weights: Float[Tensor, " n"] | ArrayLike | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        if dtype not in _WORD:
            raise InputError(f"{_OWNER}: dtype = {dtype}; expected float64 or float32")
        given, n = check_clauses(clauses, variables, _OWNER)
        law = Bits(n, weights, dtype)
        self.inputs: Bits = law  # pyright: ignore[reportIncompatibleVariableOverride]
        self.output_shape = ()
        chances = law.probabilities.detach().double().cpu().numpy()
        #: P(x_j = 1) in float64, shape (n,).
        self.weights: NDArray[np.float64] = chances
        whole = Formula.clean(given, n)
        certain = {int(j) + 1: bool(chances[j]) for j in np.flatnonzero((chances % 1) == 0)}
        #: The formula after clean-up, variables of weight 0 or 1 fixed.
        self.formula: Formula = whole.given(certain) if certain else whole
        self._contradiction = whole.contradiction
        units = [(v if x else -v,) for v, x in whole.fixed.items()]
        # Longest first: those with a literal at position i are then a prefix.
        rows = sorted([*whole.clauses, *units], key=len, reverse=True)
        self._literals = torch.tensor(
            [x for row in rows for x in row], dtype=torch.int64, device=self.device
        )
        self._positions = [
            torch.tensor([_row(r[i], n) for r in rows if len(r) > i], device=self.device)
            for i in range(len(rows[0]) if rows else 0)
        ]
        self._lengths = tuple(len(row) for row in rows)
        self._shifts = torch.arange(_WORD[dtype], device=self.device)[:, None]
        self._powers = (2.0 ** self._shifts[:, 0]).to(dtype)

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Read a formula in DIMACS format, with weights if the file has ``c p weight`` lines.

        Raises:
            InputError: if ``path`` is no readable file.
            FormatError: for a missing or wrong header, literals out of range, another number of
                clauses than the header says, anything unreadable or too large; with the line.
        """
        file = read_dimacs(path)
        return cls(file.clauses, file.variables, file.weights, dtype)

    def __call__(self, x: Float[Tensor, "batch n"]) -> Float[Tensor, " batch"]:
        """1 where all clauses hold and 0 elsewhere; the entries of ``x`` must be 0 or 1.

        Assignments are packed as the bits of integers, so that one operation evaluates one
        literal for a whole word of them.
        """
        if self._contradiction:
            return x.new_zeros(len(x))
        if not self._positions:
            return x.new_ones(len(x))
        batch, n = x.shape
        bits = len(self._powers)
        words = -(-batch // bits)
        padded = (
            x if words * bits == batch else torch.nn.functional.pad(x, (0, 0, 0, -batch % bits))
        )
        packed = (self._powers @ padded.reshape(bits, words * n)).view(words, n)
        ones = packed.T.contiguous().long()
        literals = torch.cat([ones, ~ones])
        holds = literals.index_select(0, self._positions[0])
        for position in self._positions[1:]:
            holds[: len(position)] |= literals.index_select(0, position)
        while len(holds) > 1:
            half = len(holds) // 2
            rest = holds[2 * half :]
            holds = holds[:half] & holds[half : 2 * half]
            if len(rest):
                holds[:1] &= rest
        unpacked = torch.bitwise_right_shift(holds, self._shifts) & 1
        return unpacked.view(-1)[:batch].to(x.dtype)

    def exact(self) -> Tensor | None:
        """By enumeration, if no connected component has more than 24 variables; else None."""
        if not self.has_exact():
            return None
        chance = enumerate_models(self.formula, self.weights)
        return torch.tensor(chance, dtype=self.dtype, device=self.device)

    def has_exact(self) -> bool:
        """Whether every connected component has at most 24 variables."""
        return enumerable(self.formula)

    def variance(self, mean: Tensor) -> Tensor:
        """P (1 - p), of an event."""
        return mean * (1 - mean)

    def signature(self) -> Hashable:
        """The formula and its weights: what they are decides how much work there is."""
        digest = hashlib.sha256(self._literals.cpu().numpy().tobytes())
        digest.update(repr((self._lengths, self._contradiction)).encode())
        digest.update(self.weights.tobytes())
        return "SatisfyingFraction", self.inputs.shape[0], str(self.dtype), digest.hexdigest()

    def tensors(self) -> list[Tensor]:
        """The weights, and the literals of all clauses after clean-up, longest clauses first."""
        return [self.inputs.probabilities, self._literals]

    def describe(self) -> str:
        """Numbers of variables and clauses."""
        n, formula = self.inputs.shape[0], self.formula
        left = "contradictory" if formula.contradiction else f"{len(formula.clauses)} clauses"
        return f"SatisfyingFraction {n} variables, {left}"


def _row(literal: int, n: int) -> int:
    """Row of a literal in the table of packed variables and then their negations."""
    return literal - 1 if literal > 0 else n - literal - 1
