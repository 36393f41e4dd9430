"""Projection of formulas: where it is exact, what leaves it alone, what it costs and refuses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.products.cnf import oracles

import outsample as ou
from outsample.products.cnf import fourier_head, heads
from outsample.products.cnf.messages import Edges, Messages

N = 7
SEEDS = st.integers(0, 10**6)
BASES: tuple[fourier_head.Basis, ...] = ("messages", "uniform")
PIGEONS = [[1, 2], [3, 4], [5, 6]] + [
    [-a, -b] for hole in ([1, 3, 5], [2, 4, 6]) for a in hole for b in hole if a < b
]


def estimate(
    clauses: oracles.Clauses,
    method: ou.Projection,
    weights: oracles.Array | None = None,
    n: int | None = N,
    dtype: torch.dtype = torch.float64,
) -> ou.SatisfyingEstimate:
    found = method.estimate(ou.SatisfyingFraction(clauses, n, weights, dtype))
    assert isinstance(found, ou.SatisfyingEstimate)
    return found


def value(
    clauses: oracles.Clauses,
    method: ou.Projection,
    weights: oracles.Array | None = None,
    n: int | None = N,
) -> float:
    return float(estimate(clauses, method, weights, n).value)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from(BASES), st.integers(0, N + 1), st.integers(0, 3))
def test_degree_and_conditioning_that_cover_all_variables(
    seed: int, basis: fourier_head.Basis, conditioned: int, more: int
) -> None:
    """Each branch has N - conditioned variables or fewer: that degree is exact, and any above."""
    clauses, weights = oracles.random_clauses(N, 11, seed), oracles.random_weights(N, seed)
    method = ou.Projection(max(N - conditioned, 0) + more, basis, conditioned)
    truth = oracles.fraction(clauses, weights)
    assert value(clauses, method, weights) == pytest.approx(truth, rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("conditioned", [0, 2])
@pytest.mark.parametrize("seed", range(4))
def test_arbitrary_messages(seed: int, conditioned: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """P is the product of normalisers times E of the residuals, for any messages in (0, 1]."""
    rng = np.random.default_rng(seed)
    sent: list[Messages] = []

    def any_messages(edges: Edges, prior: oracles.Array) -> Messages:
        violating = rng.uniform(0.3, 1, len(edges.cell))
        mass = prior * edges.product(violating)
        total = mass[: edges.half] + mass[edges.half :]
        false, change = mass / np.concatenate([total, total]), np.zeros(len(edges.cell))
        sent.append(Messages(violating, false, np.log(total), change, 1, 0))
        return sent[-1]

    monkeypatch.setattr(heads, "propagate", any_messages)
    clauses, weights = oracles.random_clauses(N, 9, seed), oracles.random_weights(N, seed)
    found = value(clauses, ou.Projection(N, "messages", conditioned), weights)
    assert len(sent) == 1
    assert found == pytest.approx(oracles.fraction(clauses, weights), rel=1e-11)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_one_clause_is_exact_at_any_degree(degree: int, basis: fourier_head.Basis) -> None:
    weights = oracles.random_weights(N, 3)
    found = value([[2, -3, 5, -7]], ou.Projection(degree, basis), weights)
    violated = (1 - weights[1]) * weights[2] * (1 - weights[4]) * weights[6]
    assert found == pytest.approx(1 - violated, rel=1e-13)


@pytest.mark.parametrize("seed", range(5))
def test_degree_1_is_exact_along_a_path(seed: int) -> None:
    """One variable links what came before to what comes after: its mean is all that is needed."""
    rng = np.random.default_rng(seed)
    path = [
        [int(s) * i, int(t) * (i + 1)] for i, (s, t) in enumerate(rng.choice([-1, 1], (11, 2)), 1)
    ]
    weights = oracles.random_weights(12, seed)
    found = value([path[i] for i in rng.permutation(11)], ou.Projection(1, "uniform"), weights, 12)
    assert found == pytest.approx(oracles.fraction(path, weights), rel=1e-12)


def test_degree_2_is_exact_along_a_cycle() -> None:
    """Two variables link the arc so far to the rest."""
    cycle, weights = [[i, -(i % 9 + 1)] for i in range(1, 10)], oracles.random_weights(9, 1)
    found, truth = value(cycle, ou.Projection(2), weights, 9), oracles.fraction(cycle, weights)
    assert found == pytest.approx(truth, rel=1e-12)
    # All equal: 1 -> 2 -> … -> 9 -> 1.
    assert truth == pytest.approx(weights.prod() + (1 - weights).prod(), rel=1e-12)


@pytest.mark.parametrize(
    "method", [ou.Projection(1), ou.Projection(2), ou.Projection(2, "uniform")]
)
def test_formulas_side_by_side_multiply(method: ou.Projection) -> None:
    left = oracles.random_clauses(N, 8, 1)
    right = [[x + int(math.copysign(N, x)) for x in c] for c in oracles.random_clauses(N, 8, 2)]
    first = value(left, method)
    second = value(right, method, n=2 * N)
    # Messages stop where all have settled: those of one part at another iteration.
    both = value([*left, *right], method, n=2 * N)
    assert both == pytest.approx(first * second, rel=1e-3 if method.basis == "messages" else 1e-11)


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(0, 2))
def test_what_cannot_matter_at_any_degree(seed: int, conditioned: int) -> None:
    """Repeated clauses and literals, tautologies and variables that no clause mentions."""
    clauses = oracles.random_clauses(N, 10, seed)
    method = ou.Projection(2, conditioned=conditioned)
    before = value(clauses, method)
    more = [[3, -3], *clauses, clauses[0][::-1], [*clauses[1], clauses[1][0]], [1, 2, -1]]
    assert value(more, method) == pytest.approx(before, rel=1e-12, abs=1e-15)
    assert value(clauses, method, n=N + 5) == pytest.approx(before, rel=1e-12, abs=1e-15)


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_the_order_given_does_not_matter_where_exact(seed: int) -> None:
    clauses, weights = oracles.random_clauses(N, 10, seed), oracles.random_weights(N, seed)
    shuffled = [clauses[i] for i in np.random.default_rng(seed).permutation(10)]
    for method in (ou.Projection(N), ou.Projection(0, conditioned=N)):
        pair = value(clauses, method, weights), value(shuffled, method, weights)
        assert pair[0] == pytest.approx(pair[1], rel=1e-11, abs=1e-14)


@pytest.mark.parametrize("conditioned", [0, 2, N])
@pytest.mark.parametrize("seed", range(4))
def test_marginals(seed: int, conditioned: int) -> None:
    """Of variables in clauses, fixed by a unit, certain, and in no clause."""
    clauses = [*oracles.random_clauses(5, 7, seed), [-6]]
    weights = oracles.random_weights(8, seed)
    weights[7] = 1.0
    found = estimate(clauses, ou.Projection(5, conditioned=conditioned), weights, 8)
    expected = oracles.marginals(clauses, weights)
    np.testing.assert_allclose(found.marginals, expected, rtol=1e-10, atol=1e-12)
    assert float(found.marginals[5]) == 0
    assert float(found.marginals[6]) == weights[6]
    assert float(found.marginals[7]) == 1


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_marginals_of_a_low_degree_are_probabilities(degree: int) -> None:
    for seed in range(10):
        clauses = oracles.random_clauses(N, 9, seed)
        found = estimate(clauses, ou.Projection(degree), oracles.random_weights(N, seed))
        assert float(found.value) > 0
        assert ((found.marginals >= 0) & (found.marginals <= 1)).all()


@pytest.mark.parametrize("method", [
    ou.Projection(0), ou.Projection(1), ou.Projection(2), ou.Projection(2, "uniform"),
    ou.Projection(3), ou.Projection(2, conditioned=1), ou.Projection(0, conditioned=6),
], ids=str)  # fmt: skip
def test_three_pigeons_in_two_holes(method: ou.Projection) -> None:
    """No models: zero, or said to be doubtful, with reasons."""
    assert not oracles.satisfied(PIGEONS, 6).any()
    found = estimate(PIGEONS, method, n=None)
    assert (float(found.value), found.trust) == (0.0, "ok") or (
        found.trust != "ok" and len(found.reasons) > 0
    )
    assert 0 <= float(found.value) < 1


def test_a_proof_of_no_models() -> None:
    """Conditioning on all variables leaves no branch."""
    found = estimate(PIGEONS, ou.Projection(0, conditioned=6), n=None)
    assert (float(found.value), found.trust) == (0.0, "ok")
    assert found.log_value is not None
    assert found.sign is not None
    assert float(found.log_value) == -math.inf
    assert float(found.sign) == 0
    assert found.log2_models == -math.inf
    with pytest.raises(ou.NumericalError, match="no models"):
        _ = found.marginals


def test_a_certain_variable_that_contradicts() -> None:
    found = estimate([[1, 2], [-2, 3]], ou.Projection(2), np.array([0.0, 0.0, 0.5]), 3)
    assert (float(found.value), found.trust) == (0.0, "ok")


def test_values_are_probabilities() -> None:
    """Crowded formulas at low degree, where heads leave the range and are clamped."""
    none = 0
    for seed in range(20):
        clauses = oracles.random_clauses(N, 30, seed, (2, 3))
        for degree in (1, 2, 3):
            found = estimate(clauses, ou.Projection(degree, "uniform"))
            assert 0 <= float(found.value) <= 1
            assert found.log_value is not None
            assert float(found.log_value.exp()) == pytest.approx(float(found.value), rel=1e-12)
            # Where there are no models, no value above 0 may pass for sure.
            truth = oracles.fraction(clauses, np.full(N, 0.5))
            none += truth == 0
            assert truth > 0 or float(found.value) == 0 or found.trust != "ok"
    assert none > 0


def test_float32() -> None:
    clauses = oracles.random_clauses(N, 9, 4)
    found = estimate(clauses, ou.Projection(N), dtype=torch.float32)
    assert found.value.dtype == found.marginals.dtype == torch.float32
    truth = oracles.fraction(clauses, np.full(N, 0.5))
    assert float(found.value) == pytest.approx(truth, rel=1e-6)
