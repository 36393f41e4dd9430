"""Conditioning splits a formula without changing it."""

import itertools

import numpy as np
import pytest

import outsample as ou
from outsample.products.cnf.branches import split


def fraction(clauses: list[list[int]], variables: int) -> float:
    """By looking at all assignments, one by one."""
    held = [
        all(any(bits[abs(x) - 1] == (x > 0) for x in clause) for clause in clauses)
        for bits in itertools.product([False, True], repeat=variables)
    ]
    return sum(held) / len(held)


def clauses_of(problem: ou.SatisfyingFraction) -> list[list[int]]:
    units = [[v if x else -v] for v, x in problem.formula.fixed.items()]
    return [*map(list, problem.formula.clauses), *units]


@pytest.mark.parametrize("conditioned", [0, 1, 3, 6])
@pytest.mark.parametrize("clauses", [12, 30, 42])
def test_branches_add_up(clauses: int, conditioned: int) -> None:
    """Degree 10 is exact in 10 variables, whatever the branches; so they must add up."""
    for seed in range(8):
        problem = ou.families.RandomCNF(10, clauses).problem(seed)
        truth = fraction(clauses_of(problem), 10)
        estimate = ou.Projection(10, conditioned=conditioned).estimate(problem)
        assert float(estimate.value) == pytest.approx(truth, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("conditioned", [2, 3, 6])
def test_a_single_branch_that_is_left_is_packed(conditioned: int) -> None:
    """Where contradictions leave one branch, its literals still come first and once."""
    # x1 or x2 false contradicts itself, so that one branch of each split survives.
    forced = [[1, 3, 4], [1, 3, -4], [1, -3, 4], [1, -3, -4]]
    forced += [[2, 5, 6], [2, 5, -6], [2, -5, 6], [2, -5, -6]]
    rest = [[-1, 7, 8], [8, -2, 9], [-1, 7, 8, -2], [-7, -8, -9], [10, -1, 3], [-10, -2, -4, 5]]
    problem = ou.SatisfyingFraction(forced + rest, variables=10)
    branches = split(problem.formula, problem.weights, conditioned)
    filled = branches.literals != 0
    assert (filled.cumsum(1)[:, -1] == branches.lengths).all()
    assert (filled[:, :-1] >= filled[:, 1:]).all(), "padding comes last"
    rows = np.column_stack([branches.branch, branches.literals])
    assert len(np.unique(rows, axis=0)) == len(rows)
    truth = fraction(forced + rest, 10)
    estimate = ou.Projection(10, conditioned=conditioned).estimate(problem)
    assert float(estimate.value) == pytest.approx(truth, rel=1e-10)


@pytest.mark.parametrize(("clauses", "seed"), [(69, 3029), (70, 3035), (72, 3039), (74, 3016)])
@pytest.mark.parametrize(("degree", "conditioned"), [(2, 3), (3, 3), (2, 6)])
def test_nearly_unsatisfiable_formulas(
    clauses: int, seed: int, degree: int, conditioned: int
) -> None:
    """Formulas of which contradictions leave few branches: what is trusted is right."""
    problem = ou.families.RandomCNF(20, clauses).problem(seed)
    estimate = ou.Projection(degree, conditioned=conditioned).estimate(problem)
    models, found = (2.0**20 * float(p) for p in (problem.exact(), estimate.value))
    assert abs(found - models) < max(0.01 * models, 1e-3) or estimate.trust != "ok"
    assert abs(found - models) <= 1
    exact = {69: [(2, 6)], 72: [(2, 6)], 74: [(3, 3), (2, 6)]}
    assert estimate.trust == "ok" or (degree, conditioned) not in exact.get(clauses, [])


@pytest.mark.parametrize(
    ("method", "least"),
    [
        (ou.Projection(2, "uniform"), 10),
        (ou.Projection(2), 10),
        (ou.Projection(3), 30),
        (ou.Projection(2, conditioned=3), 30),
        (ou.Projection(3, conditioned=3), 40),
        (ou.Projection(2, conditioned=6), 60),
    ],
    ids=str,
)
def test_what_is_trusted_is_right(method: ou.Projection, least: int) -> None:
    errors: list[float] = []
    for ratio in (0.5, 1, 1.5, 2, 3, 4):
        for seed in range(100, 115):
            problem = ou.families.RandomCNF(14, round(14 * ratio)).problem(seed)
            estimate = method.estimate(problem)
            if estimate.trust == "ok" and (truth := float(problem.exact())):
                errors.append(abs(float(estimate.value) / truth - 1))
    assert len(errors) >= least
    assert max(errors) < 0.3
    assert sum(e > 0.1 for e in errors) <= 0.05 * len(errors)


@pytest.mark.parametrize(
    "method", [ou.Projection(0), ou.Projection(0, "uniform"), ou.Projection(1)], ids=str
)
def test_degrees_that_have_nothing_to_judge_by(method: ou.Projection) -> None:
    """Messages absorb degree 1: without models, by all eight clauses on three variables, too."""
    unsatisfiable = [[i * 1, j * 2, k * 3] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]
    for clauses in ([[4, 5, 6], *unsatisfiable], [[1, 2, 3], [-1, -2, 4], [2, -3, -4]]):
        estimate = method.estimate(ou.SatisfyingFraction(clauses))
        assert estimate.trust != "ok"
        assert any("nothing to judge it by" in reason for reason in estimate.reasons)
