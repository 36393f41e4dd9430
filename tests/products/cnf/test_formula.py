"""Clean-up changes no model, and what is no formula is refused."""

import numpy as np
import pytest
from tests.products.cnf import oracles

import outsample as ou
from outsample.products.cnf.formula import Formula, check_clauses


def left(formula: Formula) -> list[list[int]]:
    units = [[v if x else -v] for v, x in formula.fixed.items()]
    return [*map(list, formula.clauses), *units, *([[]] if formula.contradiction else [])]


@pytest.mark.parametrize("seed", range(20))
def test_clean_up_keeps_the_models(seed: int) -> None:
    clauses = oracles.random_clauses(6, 9, seed, lengths=(1, 2, 3))
    clauses += [[2, -2, 3], clauses[0], [*clauses[1], clauses[1][0]]]
    formula = Formula.clean([tuple(c) for c in clauses], 6)
    assert (oracles.satisfied(left(formula), 6) == oracles.satisfied(clauses, 6)).all()
    assert all(len(c) >= 2 and not formula.fixed.keys() & {abs(x) for x in c} for c in left(formula)
               if len(c) > 1)  # fmt: skip
    assert len(set(formula.clauses)) == len(formula.clauses)


def test_units_propagate_through_chains() -> None:
    formula = Formula.clean([(1,), (-1, 2), (-2, 3, 4), (-2, -4)], 5)
    assert formula.fixed == {1: True, 2: True, 4: False, 3: True}
    assert formula.clauses == ()
    assert not formula.contradiction


@pytest.mark.parametrize("clauses", [[(1,), (-1,)], [()], [(1,), (-1, 2), (-2,)]])
def test_contradictions(clauses: list[tuple[int, ...]]) -> None:
    assert Formula.clean(clauses, 3).contradiction


def test_values_given_besides() -> None:
    formula = Formula.clean([(1, 2), (-1, 3), (4,)], 4)
    assert formula.given({1: True}).fixed == {1: True, 3: True, 4: True}
    assert formula.given({4: False}).contradiction
    assert formula.given({1: True, 3: False}).contradiction


def test_components_share_no_variables() -> None:
    formula = Formula.clean([(1, 2), (3, 4), (2, 5), (-4, 6)], 8)
    groups = sorted(sorted({abs(x) for c in g for x in c}) for g in formula.components)
    assert groups == [[1, 2, 5], [3, 4, 6]]


def test_chances_of_what_is_fixed() -> None:
    formula = Formula.clean([(2,), (-3,)], 3)
    assert formula.fixed_chances(np.array([0.1, 0.2, 0.3])) == [0.2, 0.7]


@pytest.mark.parametrize(
    ("clauses", "variables", "words"),
    [
        ([[1, 0]], None, "clauses\\[0\\]"),
        ([[1], [2.5]], None, "clauses\\[1\\]"),
        ([[True]], None, "signed integers"),
        ([["1"]], None, "signed integers"),
        (7, None, "lists of signed integers"),
        ([[1, 5]], 4, "outside 1 to 4"),
        ([], None, "variables=n"),
        ([[]], None, "variables=n"),
        ([[1]], 0, "variables = 0"),
        ([[1]], True, "variables = True"),
        ([[1]], 2.0, "variables = 2.0"),
    ],
)
def test_what_is_no_formula(clauses: object, variables: int | None, words: str) -> None:
    with pytest.raises(ou.InputError, match=words):
        check_clauses(clauses, variables, "Test")


def test_numpy_integers_are_integers() -> None:
    assert check_clauses(np.array([[1, -2], [2, 3]]), None, "Test") == ([(1, -2), (2, 3)], 3)
