"""CNF formulas: what is accepted, and the clean-up that changes no model."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import SupportsIndex, cast

import numpy as np
from numpy.typing import NDArray

from outsample.errors import InputError

#: Literals are signed integers, as in DIMACS: 3 is variable 3, -3 its negation.
Clause = tuple[int, ...]


@dataclass(frozen=True)
class Formula:
    """A formula after clean-up: equivalent to the one given, and with no unit clauses."""

    #: Number of variables, those without a clause included.
    variables: int
    #: Different clauses of two or more literals of different variables, none of them fixed.
    clauses: tuple[Clause, ...]
    #: Variables that unit clauses fix, and their values.
    fixed: Mapping[int, bool]
    #: Whether propagation has proved that there is no model.
    contradiction: bool

    @classmethod
    def clean(cls, given: Iterable[Clause], variables: int) -> "Formula":
        """Drop tautologies and repetitions and propagate unit clauses."""
        clauses = [_ordered(c) for c in given if not _tautology(c)]
        return cls._propagated(clauses, {}, variables)

    def given(self, values: Mapping[int, bool]) -> "Formula":
        """The same formula with some variables fixed besides (those of probability 0 or 1)."""
        if self.contradiction or any(self.fixed.get(v, x) != x for v, x in values.items()):
            return Formula(self.variables, (), {}, True)
        return self._propagated(list(self.clauses), {**values, **self.fixed}, self.variables)

    @classmethod
    def _propagated(
        cls, clauses: list[Clause], values: dict[int, bool], variables: int
    ) -> "Formula":
        known = -1
        while len(values) > known:
            known = len(values)
            left: dict[Clause, None] = {}
            for clause in clauses:
                if any(values.get(abs(x)) is (x > 0) for x in clause):
                    continue
                free = tuple(x for x in clause if abs(x) not in values)
                if not free:
                    return cls(variables, (), {}, True)
                if len(free) == 1:
                    values[abs(free[0])] = free[0] > 0
                else:
                    left[free] = None
            clauses = list(left)
        return cls(variables, tuple(clauses), values, False)

    @cached_property
    def components(self) -> list[list[Clause]]:
        """Groups of clauses that share no variables with other groups."""
        leader = {abs(x): abs(x) for clause in self.clauses for x in clause}

        def find(v: int) -> int:
            while leader[v] != v:
                leader[v] = v = leader[leader[v]]
            return v

        for clause in self.clauses:
            first = find(abs(clause[0]))
            for x in clause[1:]:
                leader[find(abs(x))] = first
        groups: dict[int, list[Clause]] = {}
        for clause in self.clauses:
            groups.setdefault(find(abs(clause[0])), []).append(clause)
        return list(groups.values())

    def fixed_chances(self, weights: NDArray[np.float64]) -> list[float]:
        """Probabilities that the fixed variables take their values, each P(x_j = 1) given."""
        return [float(weights[v - 1] if x else 1 - weights[v - 1]) for v, x in self.fixed.items()]


def check_clauses(clauses: object, variables: int | None, owner: str) -> tuple[list[Clause], int]:
    """Clauses as tuples of integers, and the number of variables.

    Raises:
        InputError: for anything but signed integers from 1 to ``variables`` in size, or if there
            is nothing to tell the number of variables from.
    """
    given = _integers(clauses, owner)
    largest = max((abs(x) for clause in given for x in clause), default=0)
    if variables is None:
        if largest == 0:
            raise InputError(f"{owner}: clauses hold no literals; give their number: variables=n")
        return given, largest
    if isinstance(variables, bool) or not isinstance(variables, int) or variables < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"{owner}: variables = {variables!r}; expected an integer of at least 1")
    if largest > variables:
        place = next(i for i, c in enumerate(given) if any(abs(x) > variables for x in c))
        raise InputError(
            f"{owner}: clauses[{place}] = {list(given[place])} has a literal outside 1 to "
            f"{variables}; give variables={largest} or mend the clause"
        )
    return given, variables


def _integers(clauses: object, owner: str) -> list[Clause]:
    try:
        rows = [tuple(cast(Iterable[object], c)) for c in cast(Iterable[object], clauses)]
    except TypeError:
        raise InputError(
            f"{owner}: clauses = {str(clauses)[:60]}; expected lists of signed integers, such as "
            "[[1, -2], [2, 3]]"
        ) from None
    given: list[Clause] = []
    for place, row in enumerate(rows):
        try:
            clause = tuple(_integer(x) for x in row)
        except TypeError:
            clause = (0,)
        if 0 in clause:
            raise InputError(
                f"{owner}: clauses[{place}] = {str(list(row))[:60]}; expected signed integers "
                "other than 0 (3 for variable 3, -3 for its negation)"
            )
        given.append(clause)
    return given


def _integer(value: object) -> int:
    if isinstance(value, bool | np.bool_):
        raise TypeError
    return operator.index(cast(SupportsIndex, value))


def _ordered(clause: Sequence[int]) -> Clause:
    return tuple(sorted(set(clause), key=abs))


def _tautology(clause: Sequence[int]) -> bool:
    literals = set(clause)
    return any(-x in literals for x in literals)
