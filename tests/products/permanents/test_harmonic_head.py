"""Projection of permanents: exactness, floors of accuracy, trust, gradients, marginals, guards."""

import json
import math
import random
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.products.permanents import oracles
from torch import Tensor

import outsample as ou
from outsample.comparison.random_permanent import RandomPermanent
from outsample.products.permanents import Permanent, PermanentEstimate, harmonic_head
from outsample.products.projection import Projection

KINDS = list(oracles.matrices(1))


def estimate(matrix: Any, degree: int = 2, scaling: Any = "shrunk") -> PermanentEstimate:
    found = Projection(degree=degree, scaling=scaling).estimate(Permanent(matrix))
    return cast(PermanentEstimate, found)


def logarithm(found: PermanentEstimate) -> float:
    assert found.log_value is not None
    return float(found.log_value)


# Exactness --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", range(1, 8))
def test_exact_up_to_twice_the_degree_and_one(kind: str, n: int) -> None:
    matrix = oracles.matrices(n, seed=2)[kind]
    exact, scale = oracles.average(matrix), oracles.average(np.abs(matrix))
    for scaling in ("shrunk", "none") if (matrix < 0).any() else ("shrunk", "full", "none"):
        for degree in (n // 2, n // 2 + 2):
            found = estimate(matrix, degree, scaling)
            assert float(found.value) == pytest.approx(exact, abs=1e-12 * scale)
            assert found.diagnostics["degree"] == n // 2
            assert found.diagnostics["exact"]
            assert found.trust == "ok"


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_least_squares_after_the_columns_were_scaled(degree: int) -> None:
    # Full scaling, done by hand: perm(A) = perm(A diag(c)) / Π c.
    matrix = oracles.matrices(8)["uneven"]
    rows = matrix / matrix.mean(1, keepdims=True)
    c = 1 / rows.mean(0)
    expected = oracles.projected(matrix * c, degree) / c.prod()
    assert float(estimate(matrix, degree, "full").value) == pytest.approx(expected, rel=1e-11)
    plain = oracles.projected(matrix, degree)
    assert float(estimate(matrix, degree, "none").value) == pytest.approx(plain, rel=1e-11)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 30])
def test_matrices_of_rank_one_are_exact_at_any_degree(n: int, degree: int) -> None:
    u, v = np.exp(2 * np.random.default_rng(n).standard_normal((2, n)))
    found = estimate(np.outer(u, v), degree)
    exact = np.log(u).sum() + np.log(v).sum()
    assert logarithm(found) == pytest.approx(exact, rel=1e-12, abs=1e-12)
    assert float(found.log_permanent) == pytest.approx(exact + math.lgamma(n + 1), rel=1e-12)
    assert found.trust == "ok"


def test_rank_two_with_very_uneven_columns() -> None:
    # perm(u vᵀ + y zᵀ) = Σ_k k! (n - k)! p_k q_k, where p and q are the coefficients of
    # Π (u_i s + y_i t) and Π (v_j s + z_j t).
    n = 100
    draws = np.random.default_rng(17)
    u, v, y, z = np.exp(draws.standard_normal((4, n)))

    def coefficients(a: np.ndarray, b: np.ndarray) -> list[float]:
        logs = [0.0]
        for s, t in zip(np.log(a), np.log(b), strict=True):
            logs = list(
                np.logaddexp([*(x + s for x in logs), -np.inf], [-np.inf, *(x + t for x in logs)])
            )
        return logs

    ways = [math.lgamma(n - k + 1) + math.lgamma(k + 1) for k in range(n + 1)]
    logs = [w + p + q for w, p, q in zip(ways, coefficients(u, y), coefficients(v, z), strict=True)]
    exact = float(np.logaddexp.reduce(logs))
    matrix = np.outer(u, v) + np.outer(y, z)
    for scaling in ("shrunk", "full"):
        assert float(estimate(matrix, 1, scaling).log_permanent) == pytest.approx(exact, abs=2e-2)
        assert float(estimate(matrix, 2, scaling).log_permanent) == pytest.approx(exact, abs=1e-3)
    found = estimate(matrix, 1, "none")
    assert abs(float(found.log_permanent) - exact) > 1
    assert found.trust == "unreliable"


# E[Var M] / E[error²]: as many samples are as good ------------------------------------------------


def worth(problems: list[Permanent], degree: int, scaling: Any) -> float:
    variance, error = 0.0, 0.0
    for problem in problems:
        exact = cast(Tensor, problem.exact())
        variance += float(cast(Tensor, problem.variance_given(exact)))
        found = Projection(degree=degree, scaling=scaling).estimate(problem)
        error += float(found.value - exact) ** 2
    return variance / error


CONTEXTS = {
    ("uniform", 9): (2.0e3, 5.2e5, 8.2e7, 2.3e10),
    ("uniform", 14): (2.9e4, 1.4e7, 5.8e9, 1.3e12),
    ("exponential", 14): (2.6e5, 3.0e7, 1.4e9, 2.5e11),
}


@pytest.mark.parametrize(("entries", "n"), CONTEXTS)
def test_an_independent_implementation_without_column_factors(entries: str, n: int) -> None:
    # The figures are another program's, by least squares on slices, for these very matrices.
    draws = np.random.default_rng(1000 + n)
    draw = draws.random if entries == "uniform" else draws.exponential
    problems = [Permanent(draw(size=(n, n))) for _ in range(40 if n == 9 else 20)]
    for degree, expected in enumerate(CONTEXTS[entries, n]):
        assert worth(problems, degree, "none") == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("entries", "n", "floors"),
    [
        ("bernoulli", 9, (1.4e5, 6.3e6, 2.5e8)),
        ("uniform", 9, (8.6e5, 1.7e8, 3.5e10)),
        ("uniform", 14, (3.1e7, 8.0e9, 7.0e12)),
    ],
)
def test_fresh_matrices_are_worth_what_others_were(
    entries: Any, n: int, floors: tuple[float, ...]
) -> None:
    problems = [RandomPermanent(n, entries).problem(seed) for seed in range(60 if n == 9 else 30)]
    for degree, floor in enumerate(floors, start=1):
        assert worth(problems, degree, "shrunk") > floor / 3


def test_the_row_step_is_needed_for_uneven_rows() -> None:
    # U(0, 1) times log-normal rows and columns; errors relative to each answer.
    draws = np.random.default_rng(21)
    found = []
    for degree in (1, 2):
        errors, variances = [], []
        for _ in range(20):
            r, c = np.exp(0.7 * draws.standard_normal((2, 12)))
            problem = Permanent(draws.random((12, 12)) * r[:, None] * c)
            exact = cast(Tensor, problem.exact())
            variances.append(float(cast(Tensor, problem.variance_given(exact)) / exact**2))
            value = Projection(degree=degree).estimate(problem).value
            errors.append(float(value / exact - 1) ** 2)
        found.append(sum(variances) / sum(errors))
    assert found[0] > 1.0e6 / 3
    assert found[1] > 8.7e8 / 3


# Trust --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_dense_matrices_are_trusted(degree: int) -> None:
    found = estimate(np.random.default_rng(5).random((16, 16)) + 0.5, degree)
    assert found.trust == "ok"
    assert found.reasons == ()


HARD = {
    "triangular": np.tril(np.ones((16, 16))),
    "band of three": sum(np.roll(np.eye(16), k, 1) for k in (-1, 0, 1)),
    "two blocks": np.kron(np.eye(2), np.ones((8, 8))) + 0.01,
    "nearly a permutation": np.eye(16) + 0.03,
    "heavy tails": np.exp(3 * np.random.default_rng(0).standard_normal((16, 16))),
}


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("case", HARD)
def test_matrices_far_from_convergence_are_doubted(case: str, degree: int) -> None:
    found = estimate(HARD[case], degree)
    exact = cast(Tensor, Permanent(HARD[case]).exact())
    assert abs(float(found.value / exact) - 1) > 0.05
    assert found.trust != "ok"
    assert any("degree" in reason for reason in found.reasons)


def test_a_negative_estimate_of_a_nonnegative_matrix_is_unreliable() -> None:
    found = estimate(np.tril(np.ones((16, 16))), 2)
    assert float(found.value) < 0
    assert found.sign is not None and float(found.sign) == -1
    assert found.trust == "unreliable"
    assert any("negative" in reason for reason in found.reasons)


@pytest.mark.parametrize("entries", ["sign", "gaussian"])
@pytest.mark.parametrize("degree", [1, 2])
def test_signed_matrices_of_mean_zero_say_that_little_is_gained(entries: Any, degree: int) -> None:
    for seed in range(10):
        problem = RandomPermanent(20, entries).problem(seed)
        found = Projection(degree=degree).estimate(problem)
        assert found.trust != "ok"
        assert any("gains almost nothing over the answer 0" in r for r in found.reasons)


def test_signed_matrices_far_from_mean_zero_are_trusted() -> None:
    matrix = 1 + 0.3 * np.random.default_rng(3).standard_normal((14, 14))
    assert (matrix - 1).min() < -0.5
    assert estimate(matrix - 0.2, 2).trust == "ok"


@pytest.mark.slow
def test_degree_0_is_held_to_the_answer_of_degree_1() -> None:
    """14 % apart, which at degree 1 would pass: there it is degree 0 that is off."""
    matrix = np.ones((4, 4)) - 0.75 * np.diag([1.0, 1, 0, 0]) + np.eye(4)[[1, 0, 2, 3]]
    crude, better = (ou.Projection(d).estimate(ou.Permanent(matrix)) for d in (0, 1))
    assert 0.1 < abs(float(better.value) / float(crude.value) - 1) < 0.2
    assert crude.trust == "low_confidence"


def test_what_is_trusted_is_right() -> None:
    draws = np.random.default_rng(99)
    errors = []
    for n in (9, 12, 15):
        for _ in range(25):
            for p in (0.3, 0.5, 0.7):
                errors.append(trusted_error((draws.random((n, n)) < p) * 1.0))
            for spread in (0.5, 1.0, 2.0):
                errors.append(trusted_error(np.exp(spread * draws.standard_normal((n, n)))))
    kept = [e for e in errors if e is not None]
    assert len(kept) > 0.5 * len(errors)
    assert np.quantile(kept, 0.98) < 0.1


def trusted_error(matrix: np.ndarray) -> float | None:
    problem = Permanent(matrix)
    found = Projection(degree=2).estimate(problem)
    if found.trust != "ok" or problem.is_zero() is not None:
        return None
    return abs(float(found.value / cast(Tensor, problem.exact())) - 1)


# Zeros --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("rows", "columns"), [((2, 3), (0, 9)), ((0, 9), (4, 5)), ((0, 5), (4, 9))]
)
def test_no_perfect_matching_is_exactly_zero(
    rows: tuple[int, int], columns: tuple[int, int], sign: int
) -> None:
    matrix = np.random.default_rng(1).random((9, 9))
    matrix[0, 0] *= sign
    matrix[slice(*rows), slice(*columns)] = 0
    found = estimate(matrix, 1)
    assert float(found.value) == 0
    assert logarithm(found) == -math.inf == float(found.log_permanent)
    assert found.sign is not None and float(found.sign) == 0
    assert found.trust == "ok"
    assert found.diagnostics["zero"]
    assert json.loads(found.to_json())["log_permanent"] is None
    with pytest.raises(ou.NumericalError, match="no matching"):
        _ = found.edge_marginals


# Gradients and marginals --------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["shrunk", "full", "none"])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_gradients(degree: int, scaling: Any) -> None:
    def outputs(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = estimate(matrix, degree, scaling)
        assert found.log_value is not None
        return found.value, found.log_value, found.log_permanent

    matrix = torch.from_numpy(oracles.matrices(7)["uneven"]).requires_grad_()
    assert torch.autograd.gradcheck(outputs, matrix)


def test_gradients_of_signed_matrices() -> None:
    matrix = torch.from_numpy(oracles.matrices(6)["signed"]).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: estimate(a, 2).value, matrix)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_the_answer_does_not_depend_on_whether_gradients_are_wanted(degree: int) -> None:
    matrix = torch.from_numpy(oracles.matrices(11)["uniform"])
    plain = estimate(matrix, degree)
    with_gradient = estimate(matrix.clone().requires_grad_(), degree)
    assert with_gradient.value.requires_grad and not plain.value.requires_grad
    torch.testing.assert_close(with_gradient.value.detach(), plain.value, rtol=1e-12, atol=0)
    assert with_gradient.trust == plain.trust


@pytest.mark.parametrize("kind", ["uniform", "bernoulli", "uneven", "triangular"])
def test_edge_marginals_of_exact_cases(kind: str) -> None:
    matrix = oracles.matrices(6)[kind]
    found = estimate(matrix, 3).edge_marginals
    np.testing.assert_allclose(found.numpy(), oracles.marginals(matrix), atol=1e-11)
    torch.testing.assert_close(found.sum(0), torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_edge_marginals_of_estimates(degree: int) -> None:
    matrix = np.random.default_rng(12).random((8, 8)) + 0.2
    found = estimate(matrix, degree).edge_marginals
    torch.testing.assert_close(found.sum(1), torch.ones(8, dtype=torch.float64))
    errors = np.abs(found.numpy() - oracles.marginals(matrix)).max()
    assert errors < (0.06, 0.02, 0.002)[degree]


def test_edge_marginals_without_a_graph_and_after_a_change() -> None:
    matrix = torch.from_numpy(oracles.matrices(8)["uniform"]).requires_grad_()
    with torch.no_grad():
        found = estimate(matrix, 1)
        assert not found.edge_marginals.requires_grad
        again = estimate(matrix, 1)
        matrix += 1
    with pytest.raises(ou.InputError, match="changed"):
        _ = again.edge_marginals


# Invariances --------------------------------------------------------------------------------------


@given(st.integers(0, 100), st.integers(0, 3), st.permutations(range(8)))
def test_columns_may_be_permuted(seed: int, degree: int, order: list[int]) -> None:
    matrix = oracles.matrices(8, seed)["uniform"]
    one, other = estimate(matrix, degree), estimate(matrix[:, order], degree)
    assert logarithm(one) == pytest.approx(logarithm(other), rel=1e-10)


@given(st.integers(0, 100), st.integers(0, 3))
def test_rows_may_be_reversed(seed: int, degree: int) -> None:
    # Products of the first rows and of the last are dual on every slice.
    matrix = oracles.matrices(8, seed)["uniform"]
    one, other = estimate(matrix, degree), estimate(matrix[::-1], degree)
    assert logarithm(one) == pytest.approx(logarithm(other), rel=1e-10)


@given(st.integers(0, 100), st.integers(0, 3), st.floats(-250, 250))
def test_rows_may_be_scaled(seed: int, degree: int, power: float) -> None:
    matrix = oracles.matrices(7, seed)["uneven"]
    scaled = matrix.copy()
    scaled[2] *= 10.0**power
    shift = float(estimate(scaled, degree).log_permanent - estimate(matrix, degree).log_permanent)
    assert shift == pytest.approx(power * math.log(10), abs=1e-9)


@given(st.integers(0, 100), st.integers(0, 3))
def test_full_scaling_forgets_the_scale_of_columns(seed: int, degree: int) -> None:
    matrix = oracles.matrices(8, seed)["uniform"]
    c = np.exp(np.random.default_rng(seed).standard_normal(8))
    plain, scaled = (estimate(m, degree, "full") for m in (matrix, matrix * c))
    # Rows are evened before columns, so that this holds up to what one round leaves of both.
    gap = float(scaled.log_permanent - plain.log_permanent) - float(np.log(c).sum())
    assert abs(gap) < (0.5, 0.1, 0.02, 0.005)[degree]


@pytest.mark.parametrize("power", [-150, 150])
def test_extreme_entries(power: int) -> None:
    matrix = oracles.matrices(9)["uniform"]
    found, plain = estimate(matrix * 10.0**power), estimate(matrix)
    assert logarithm(found) == pytest.approx(logarithm(plain) + 9 * power * math.log(10))
    assert float(found.value) in (0.0, math.inf)


def test_a_thousand_rows() -> None:
    matrix = np.random.default_rng(2).random((1000, 1000))
    found = estimate(matrix, 1)
    # log of the mean row sums, and the first correction of an iid matrix, about var / (2 mean²).
    first = np.log(matrix.mean(1)).sum()
    assert logarithm(found) == pytest.approx(first, abs=0.5)
    assert found.trust == "ok"


# The house's rules --------------------------------------------------------------------------------


def test_dtype_follows_and_work_is_done_in_float64() -> None:
    matrix = torch.from_numpy(oracles.matrices(9)["uniform"]).float()
    found, double = estimate(matrix), estimate(matrix.double())
    for name in ("value", "log_value", "sign", "log_permanent"):
        assert getattr(found, name).dtype == torch.float32
        assert float(getattr(found, name)) == pytest.approx(float(getattr(double, name)), rel=1e-6)
    assert found.edge_marginals.dtype == torch.float32


def test_same_bits_threads_and_global_generators() -> None:
    problem = Permanent(oracles.matrices(12)["uniform"])
    before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    first, second = (Projection().estimate(problem).value for _ in range(2))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        third = Projection().estimate(problem).value
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, third, rtol=1e-12, atol=0)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()


def test_the_estimate_tells_its_story() -> None:
    document = json.loads(estimate(oracles.matrices(9)["uniform"]).to_json())
    assert document["estimator"] == {
        "method": "Projection",
        "settings": {"degree": 2, "basis": "messages", "conditioned": 0, "scaling": "shrunk"},
    }
    assert document["log_permanent"] == pytest.approx(document["log_value"] + math.lgamma(10))
    assert set(document["diagnostics"]) == {
        "degree", "exact", "shrinkage", "change_from_degree_1", "change_by_transposing_degree_1"
    }  # fmt: skip


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_cost_grows_as_it_must(degree: int) -> None:
    small, large = (Projection(degree=degree).flops(Permanent(np.ones((n, n)))) for n in (40, 80))
    assert max(degree + 1, 2) - 0.3 < math.log2(large / small) < max(degree + 1, 2) + 0.3


def test_settings_at_a_tolerance_cost_what_they_may() -> None:
    problem = Permanent(np.ones((20, 20)))
    degrees = []
    for epsilon in (0.3, 0.1, 0.03, 0.01, 0.003, 1e-5):
        chosen = Projection.at(epsilon, problem)
        degrees.append(chosen.degree)
        if chosen.degree > 0:
            assert chosen.flops(problem) <= problem.size / epsilon**2
    assert degrees == sorted(degrees)
    assert degrees[0] == 0
    assert degrees[-1] == 10  # exact, and no more to gain
    with pytest.raises(ou.InputError, match="epsilon = 0"):
        Projection.at(0, problem)


def test_too_large_a_degree_is_refused_before_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harmonic_head, "balance", None)  # any work would fail
    with pytest.raises(ou.BudgetError, match=r"degree = 6.*at most [345]"):
        estimate(np.ones((100, 100)), 6)


def test_refusals() -> None:
    signed = oracles.matrices(5)["signed"]
    with pytest.raises(ou.UnsupportedProblem, match="full column scaling"):
        estimate(signed, 1, "full")
    assert harmonic_head.refusal(
        ou.NetworkMean(torch.nn.Linear(2, 1), ou.Gaussian.standard(2)), 1, "none"
    )
    for settings in ({"degree": -1}, {"degree": 1.5}, {"scaling": "some"}):
        name, value = next(iter(settings.items()))
        with pytest.raises(ou.InputError, match=f"{name} = {value!r}"):
            Projection(**settings)
