"""SatisfyingFraction, its estimates by a Fourier head, and what does not change them."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.products.cnf import oracles

import outsample as ou

N = 7
SEEDS = st.integers(0, 10**6)


def problem(seed: int, m: int = 12, weighted: bool = True) -> ou.SatisfyingFraction:
    weights = oracles.random_weights(N, seed) if weighted else None
    return ou.SatisfyingFraction(oracles.random_clauses(N, m, seed), N, weights)


def value(problem: ou.SatisfyingFraction, method: ou.Projection | None = None) -> float:
    return float((method or ou.Projection(2)).estimate(problem).value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("batch", [1, 31, 32, 33, 128])
def test_evaluation(dtype: torch.dtype, batch: int) -> None:
    clauses = [*oracles.random_clauses(N, 8, 1), [3]]
    found = ou.SatisfyingFraction(clauses, N, dtype=dtype)
    rows = oracles.cube(N)[:batch]
    held = found(torch.tensor(rows, dtype=dtype))
    assert held.dtype == dtype
    assert held.tolist() == oracles.satisfied(clauses, N)[:batch].tolist()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("basis", ["messages", "uniform"])
@pytest.mark.parametrize("conditioned", [0, 2])
def test_full_degree_is_exact(seed: int, basis: str, conditioned: int) -> None:
    given_, weights = problem(seed), oracles.random_weights(N, seed)
    truth = oracles.fraction(oracles.random_clauses(N, 12, seed), weights)
    found = ou.Projection(N, basis, conditioned).estimate(given_)  # type: ignore[arg-type]
    assert isinstance(found, ou.SatisfyingEstimate)
    assert float(found.value) == pytest.approx(truth, rel=1e-11)
    assert float(given_.exact()) == pytest.approx(truth, rel=1e-13)  # type: ignore[arg-type]
    marginals = oracles.marginals(oracles.random_clauses(N, 12, seed), weights)
    np.testing.assert_allclose(found.marginals, marginals, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_certain_variables(weight: float) -> None:
    weights = oracles.random_weights(N, 5)
    weights[2] = weight
    clauses = oracles.random_clauses(N, 10, 5)
    found = ou.SatisfyingFraction(clauses, N, weights)
    truth = oracles.fraction(clauses, weights)
    assert truth > 0
    assert value(found, ou.Projection(N)) == pytest.approx(truth, rel=1e-11)
    estimate = ou.Projection(2).estimate(found)
    assert isinstance(estimate, ou.SatisfyingEstimate)
    assert float(estimate.marginals[2]) == weight
    assert estimate.log2_models is None


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_names_signs_and_repetitions(seed: int) -> None:
    """Renaming variables, negating one and repeating clauses leave exact values alone."""
    rng = np.random.default_rng(seed)
    clauses, weights = oracles.random_clauses(N, 9, seed), oracles.random_weights(N, seed)
    method = ou.Projection(N)
    before = value(ou.SatisfyingFraction(clauses, N, weights), method)
    names = rng.permutation(N)
    renamed = [[int(np.sign(x)) * (int(names[abs(x) - 1]) + 1) for x in c] for c in clauses]
    moved = np.empty(N)
    moved[names] = weights
    flipped = [[-x if abs(x) == 1 else x for x in c] for c in clauses]
    other = np.r_[1 - weights[0], weights[1:]]
    again = [*clauses, clauses[0], [2, -2], clauses[1][::-1]]
    for changed, chances in ((renamed, moved), (flipped, other), (again, weights)):
        found = value(ou.SatisfyingFraction(changed, N, chances), method)
        assert found == pytest.approx(before, rel=1e-10, abs=1e-14)


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_a_negated_variable_changes_nothing_at_low_degree(seed: int) -> None:
    clauses, weights = oracles.random_clauses(N, 9, seed), oracles.random_weights(N, seed)
    flipped = [[-x if abs(x) == 1 else x for x in c] for c in clauses]
    other = np.r_[1 - weights[0], weights[1:]]
    pair = [
        value(ou.SatisfyingFraction(c, N, w)) for c, w in ((clauses, weights), (flipped, other))
    ]
    assert pair[0] == pytest.approx(pair[1], rel=1e-9, abs=1e-14)


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_degree_2_is_near(seed: int) -> None:
    found = problem(seed, 5)
    assert value(found) == pytest.approx(float(found.exact()), rel=0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("clauses", "n", "models"),
    [
        ([[1, 2, 3]], 3, 7), ([[1, 2], [-1, 3]], 3, 4), ([], 4, 16), ([[1, -1]], 2, 4),
        ([[2]], 5, 16), ([[1, 2], [3, 4]], 6, 36),
    ],
)  # fmt: skip
def test_models(clauses: list[list[int]], n: int, models: int) -> None:
    estimate = ou.Projection(4).estimate(ou.SatisfyingFraction(clauses, n))
    assert isinstance(estimate, ou.SatisfyingEstimate)
    assert estimate.log2_models == pytest.approx(math.log2(models), abs=1e-12)
    assert estimate.trust == "ok"


@pytest.mark.parametrize(
    ("clauses", "conditioned"),
    [([[1], [-1]], 0), ([[]], 2), ([[1, 2], [1, -2], [-1, 2], [-1, -2]], 1)],
)
def test_no_models(clauses: list[list[int]], conditioned: int) -> None:
    estimate = ou.Projection(2, conditioned=conditioned).estimate(ou.SatisfyingFraction(clauses, 3))
    assert isinstance(estimate, ou.SatisfyingEstimate)
    assert float(estimate.value) == 0
    assert estimate.log2_models == -math.inf
    assert estimate.to_dict()["log2_models"] is None
    with pytest.raises(ou.NumericalError, match="no models"):
        _ = estimate.marginals


@pytest.mark.parametrize("seed", range(10))
def test_unsatisfiable_formulas_are_never_trusted_above_0(seed: int) -> None:
    """Pigeons: four in three holes, over shuffled names."""
    holes, pigeons = 3, 4
    name = np.random.default_rng(seed).permutation(holes * pigeons).reshape(pigeons, holes) + 1
    clauses = [name[p].tolist() for p in range(pigeons)]
    clauses += [[-int(name[p, h]), -int(name[q, h])]
                for h in range(holes) for p in range(pigeons) for q in range(p)]  # fmt: skip
    found = ou.SatisfyingFraction(clauses)
    assert float(found.exact()) == 0  # type: ignore[arg-type]
    for method in (ou.Projection(2), ou.Projection(3), ou.Projection(2, "uniform")):
        estimate = method.estimate(found)
        assert float(estimate.value) == 0 or estimate.trust != "ok"


def test_far_below_what_floats_hold() -> None:
    """Units of 3000 variables: 2^-3000 underflows, its logarithm does not."""
    estimate = ou.Projection(2).estimate(ou.SatisfyingFraction([[i] for i in range(1, 3001)]))
    assert isinstance(estimate, ou.SatisfyingEstimate)
    assert float(estimate.value) == 0
    assert estimate.log_value is not None
    assert float(estimate.log_value) == pytest.approx(-3000 * math.log(2), rel=1e-12)
    assert estimate.log2_models == pytest.approx(0, abs=1e-9)


def test_cost_grows_with_the_branches() -> None:
    found = ou.families.RandomCNF(20, 40).problem(0)
    flops = [ou.Projection(2, conditioned=s).flops(found) for s in (0, 4, 8)]
    assert flops[0] < flops[1]
    assert 3 * flops[1] < flops[2] < 32 * flops[1]


def test_budgets_pick_degree_and_conditioning() -> None:
    found = ou.families.RandomCNF(20, 40).problem(0)
    tight, loose = (ou.Projection.at(epsilon, found) for epsilon in (0.1, 1e-3))
    assert (tight.degree, tight.conditioned) < (loose.degree, loose.conditioned)
    assert loose.degree == 2
    assert loose.conditioned > 0


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "f.cnf"
    path.write_text("p cnf 3 2\nc p weight 1 0.25 0\n1 2 0\n-1 3 0\n")
    found = ou.SatisfyingFraction.read(path)
    truth = oracles.fraction([[1, 2], [-1, 3]], np.array([0.25, 0.5, 0.5]))
    assert float(found.exact()) == pytest.approx(truth, rel=1e-14)  # type: ignore[arg-type]
    assert found.describe() == "SatisfyingFraction 3 variables, 2 clauses"


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"weights": [0.5, 1.5]}, "expected 0 to 1"),
        ({"weights": [0.5, -0.1]}, "expected 0 to 1"),
        ({"weights": [0.5]}, "one for each bit"),
        ({"weights": [0.5, math.nan]}, "non-finite"),
        ({"dtype": torch.int64}, "dtype"),
        ({"dtype": torch.float16}, "dtype"),
    ],
)
def test_bad_input(keywords: dict[str, object], words: str) -> None:
    with pytest.raises(ou.InputError, match=words):
        ou.SatisfyingFraction([[1, 2]], 2, **keywords)  # type: ignore[arg-type]


def test_conditioning_beyond_memory_is_refused() -> None:
    found = ou.SatisfyingFraction(oracles.random_clauses(400, 1000, 0))
    with pytest.raises(ou.UnsupportedProblem, match="conditioned"):
        ou.Projection(2, conditioned=30).estimate(found)


def test_signatures_tell_formulas_apart() -> None:
    same = ou.SatisfyingFraction([[1, 2], [2, 3]]).signature()
    assert same == ou.SatisfyingFraction([[2, 1], [3, 2], [1, 2]]).signature()
    others = [
        ou.SatisfyingFraction([[1, 2], [2, -3]]),
        ou.SatisfyingFraction([[1, 2], [2, 3]], 4),
        ou.SatisfyingFraction([[1, 2], [2, 3]], weights=[0.5, 0.4, 0.5]),
    ]
    assert all(other.signature() != same for other in others)
