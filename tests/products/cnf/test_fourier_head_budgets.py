"""Projection of formulas: what it costs, what a budget buys and what is refused."""

import math

import numpy as np
import pytest
from tests.battery import Coin
from tests.products.cnf import oracles

import outsample as ou
from outsample.products.cnf import fourier_head


def test_the_ledger() -> None:
    problem = ou.SatisfyingFraction(oracles.random_clauses(40, 60, 0, (3,)))
    flops = [ou.Projection(2, conditioned=s).estimate(problem).cost.flops for s in (0, 2, 4, 6)]
    counts = [f for f in flops if f is not None]
    assert len(counts) == 4
    assert counts[0] > 0
    assert counts == sorted(set(counts))
    # No messages, fewer operations; so also with a lower degree.
    for cheaper in (ou.Projection(2, "uniform"), ou.Projection(1), ou.Projection(0)):
        assert 0 < cheaper.flops(problem) < counts[0]


class TestSettings:
    def test_more_budget_buys_more(self) -> None:
        problem = ou.families.RandomCNF(30, 60).problem(1)
        found = [ou.Projection.at(e, problem) for e in (1.0, 0.1, 0.03, 0.01, 0.003, 1e-5)]
        ranks = [(p.degree, p.basis == "messages", p.conditioned) for p in found]
        assert ranks == sorted(ranks)
        assert ranks[0] < ranks[-1]
        assert found[-1] == ou.Projection(2, conditioned=12), "the most that a budget is spent on"

    def test_few_variables_need_no_more(self) -> None:
        problem = ou.SatisfyingFraction([[1, 2], [2, 3]])
        assert ou.Projection.at(1e-4, problem) == ou.Projection(2, conditioned=3)

    def test_nothing_to_spend_on(self) -> None:
        contradiction = ou.SatisfyingFraction([[1], [-1]])
        assert ou.Projection.at(0.01, contradiction) == ou.Projection(0)

    def test_a_tolerance_is_positive(self) -> None:
        problem = ou.SatisfyingFraction([[1, 2]])
        for epsilon in (0.0, -1.0, math.nan):
            with pytest.raises(ou.InputError, match="epsilon"):
                ou.Projection.at(epsilon, problem)


class TestRefusals:
    def test_other_problems(self) -> None:
        assert "SatisfyingFraction" in str(fourier_head.refusal(Coin(), 2, "messages", 0))

    def test_branches_beyond_memory_name_what_fits(self) -> None:
        problem = ou.SatisfyingFraction([[i, i + 1] for i in range(1, 1025)])  # 2^11 literals
        assert fourier_head.refusal(problem, 2, "messages", 15) is None
        refused = "makes up to 2\\^16 copies of 2048 literals; at most 2\\^15 fit: lower it to 15"
        with pytest.raises(ou.UnsupportedProblem, match=refused):
            ou.Projection(2, conditioned=16).estimate(problem)

    def test_conditioning_stops_at_the_variables(self) -> None:
        """Deeper trees than there are variables have no more branches."""
        clauses = oracles.random_clauses(7, 10, 6)
        problem = ou.SatisfyingFraction(clauses, 7)
        found = ou.Projection(0, conditioned=10**6).estimate(problem)
        truth = oracles.fraction(clauses, np.full(7, 0.5))
        assert float(found.value) == pytest.approx(truth, rel=1e-12)

    def test_a_head_beyond_memory(self) -> None:
        problem = ou.SatisfyingFraction(oracles.random_clauses(300, 900, 0, (3,)))
        with pytest.raises(ou.BudgetError, match=r"degree = 5 takes .* lower the degree"):
            ou.Projection(5).estimate(problem)


@pytest.mark.parametrize(
    ("clauses", "degree"),
    [
        ([list(range(1, 401)), [1, 2]], 2),
        ([list(range(60 * i + 1, 60 * i + 61)) for i in range(3000)], 1),
        ([[i, i + 1, i + 2] for i in range(1, 1099)], 550),
    ],
    ids=["a long clause", "many variables", "a high degree"],
)
def test_what_does_not_fit_is_refused_before_any_work(
    clauses: list[list[int]], degree: int
) -> None:
    with pytest.raises(ou.BudgetError, match="lower"):
        ou.Projection(degree).estimate(ou.SatisfyingFraction(clauses))


def test_degrees_beyond_the_number_of_variables() -> None:
    estimate = ou.Projection(10_000).estimate(ou.SatisfyingFraction([[1, 2]]))
    assert float(estimate.value) == pytest.approx(0.75, rel=1e-14)


def test_weights_beyond_what_odds_can_hold() -> None:
    weights = [1e-310, 1e-310, 0.5, 0.5]
    problem = ou.SatisfyingFraction([[-1, -2, 3], [1, 4], [2, -4]], 4, weights)
    with pytest.raises(ou.NumericalError, match="make them 0 or 1"):
        ou.Projection(2).estimate(problem)


def test_what_unit_clauses_settle_is_trusted() -> None:
    estimate = ou.Projection(2).estimate(ou.SatisfyingFraction([[i] for i in range(1, 8)]))
    assert float(estimate.value) == pytest.approx(2.0**-7, rel=1e-14)
    assert (estimate.trust, estimate.reasons) == ("ok", ())
