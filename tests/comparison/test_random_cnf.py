"""The family of random formulas: its law, and that a seed is a formula."""

import pytest
import torch

import outsample as ou
from outsample.comparison.random_cnf import RandomCNF


def test_clauses_have_their_length_and_fair_signs() -> None:
    formula = RandomCNF(variables=30, clauses=3000, length=4).problem(0).formula
    clauses = formula.clauses
    assert len(clauses) > 2900  # a few come twice
    assert all(len({abs(v) for v in c}) == 4 for c in clauses)
    literals = [v for c in clauses for v in c]
    assert abs(sum(v > 0 for v in literals) / len(literals) - 0.5) < 0.03
    counts = torch.bincount(torch.tensor([abs(v) for v in literals]))[1:]
    assert len(counts) == 30
    assert 300 < int(counts.min()) <= int(counts.max()) < 500


def test_fractions_have_the_expectation_of_independent_clauses() -> None:
    family = RandomCNF(variables=10, clauses=12)
    values = torch.stack([family.problem(seed).exact() for seed in range(200)])
    error = values.std() / 200**0.5
    assert abs(float(values.mean()) - (7 / 8) ** 12) < 5 * float(error)


def test_a_seed_is_a_formula() -> None:
    family, before = RandomCNF(12, 20), torch.get_rng_state()
    one, same, other = (family.problem(s).formula.clauses for s in (3, 3, 4))
    assert one == same != other
    assert torch.equal(before, torch.get_rng_state())
    assert family.name == "RandomCNF(variables=12, clauses=20)"
    assert ou.families.RandomCNF is RandomCNF


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((0, 5), "variables = 0"),
        ((5, 0), "clauses = 0"),
        ((5, 5, 0), "length = 0"),
        ((5, 5, True), "length = True"),
        ((2, 5), "length = 3 with 2 variables"),
    ],
)
def test_bad_settings(settings: tuple[int, ...], message: str) -> None:
    with pytest.raises(ou.InputError, match=message):
        RandomCNF(*settings)
