"""The problem itself: values, exact answers, and everything it refuses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.products.permanents import oracles

import outsample as ou
from outsample.exact import Exact
from outsample.products.permanents import Permanent


def test_values_are_products_of_the_entries_picked() -> None:
    matrix = oracles.matrices(5)["signed"]
    x = Permanent(matrix).inputs.sample(7, torch.Generator().manual_seed(0))
    expected = [math.prod(matrix[i, j] for i, j in enumerate(row)) for row in x.tolist()]
    torch.testing.assert_close(Permanent(matrix)(x), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("kind", oracles.matrices(1))
@pytest.mark.parametrize("n", range(1, 8))
def test_exact_mean_and_variance(kind: str, n: int) -> None:
    matrix = oracles.matrices(n)[kind]
    problem = Permanent(matrix)
    exact = Exact().estimate(problem).value
    scale = oracles.average(np.abs(matrix))
    assert float(exact) == pytest.approx(oracles.average(matrix), abs=1e-13 * scale, rel=1e-13)
    values = np.array([float(w) for _, w in oracles.terms(matrix)])
    variance = problem.variance_given(exact)
    assert variance is not None
    assert float(variance) == pytest.approx(values.var(), abs=1e-13 * (values**2).mean())


def test_variance_of_larger_matrices() -> None:
    draws = np.random.default_rng(6)
    # M is 0 or 1.
    mean = torch.tensor(0.125, dtype=torch.float64)
    support = Permanent((draws.random((40, 40)) < 0.5) * 1.0)
    assert support.variance_given(mean) == 0.125 * 0.875
    # M² is 1.
    signs = Permanent(draws.choice([-1.0, 1.0], (40, 40)))
    variance = signs.variance_given(0 * mean)
    assert variance is not None and float(variance) == pytest.approx(1, rel=1e-9)
    # Independent factors: perm(A∘A) / n! of a matrix of rank 1, and a factor for each row.
    u, v = np.exp(0.3 * draws.standard_normal((2, 30)))
    flat = Permanent(np.outer(u, v) * 1e3)
    mean = torch.tensor(float(np.prod(u) * np.prod(v)) * 1e90, dtype=torch.float64)
    variance = flat.variance_given(mean / 2)
    assert variance is not None
    assert float(variance) == pytest.approx(0.75 * float(mean) ** 2, rel=1e-9)
    # Not known where squares have too heavy tails.
    assert Permanent(np.exp(9 * draws.standard_normal((30, 30)))).variance_given(mean) is None


def test_plain_sampling_agrees() -> None:
    problem = Permanent(oracles.matrices(6)["uniform"])
    found = ou.MonteCarlo(20_000, seed=3).estimate(problem)
    assert found.standard_error is not None
    exact = problem.exact()
    assert exact is not None
    assert abs(found.value - exact) < 4 * found.standard_error


def test_larger_matrices_have_no_exact_answer() -> None:
    problem = Permanent(np.ones((25, 25)))
    assert not problem.has_exact()
    assert problem.exact() is None
    with pytest.raises(ou.InputError, match="25 rows"):
        problem.exact_permanent()
    with pytest.raises(ou.UnsupportedProblem, match="exact"):
        Exact().estimate(problem)


@pytest.mark.parametrize("n", [4, 40])
@pytest.mark.parametrize(
    ("zero", "reason"),
    [
        ((slice(2, 3), slice(None)), "row 2 is zero"),
        ((slice(None), slice(1, 2)), "column 1 is zero"),
        ((slice(0, 3), slice(2, None)), "no perfect matching"),
    ],
)
def test_permanents_that_are_exactly_zero(n: int, zero: tuple[slice, slice], reason: str) -> None:
    matrix = np.random.default_rng(0).standard_normal((n, n))
    matrix[zero] = 0
    problem = Permanent(matrix)
    assert reason in (problem.is_zero() or "")
    assert problem.has_exact()
    exact = problem.exact()
    assert exact is not None and float(exact) == 0


def test_averages_out_of_range_are_refused_with_the_way_out() -> None:
    for matrix in (torch.full((20, 20), 1e-30), torch.full((20, 20), 1e30)):
        problem = Permanent(matrix)
        with pytest.raises(ou.NumericalError, match=r"exp\(.*exact_permanent"):
            problem.exact()
        log = 20 * math.log(float(matrix[0, 0])) + math.lgamma(21)
        assert problem.exact_permanent().log() == pytest.approx(log, rel=1e-12)


def test_products_that_all_underflow_are_refused() -> None:
    matrix = np.tril(np.ones((24, 24)))
    matrix[np.diag_indices(24)] = 1e-250
    with pytest.raises(ou.NumericalError, match="underflow"):
        Permanent(matrix[::-1]).exact()


BAD = {
    "not square": (np.ones((2, 3)), r"\(2, 3\).*\(n, n\)"),
    "empty": (np.ones((0, 0)), r"\(0, 0\)"),
    "one-dimensional": (np.ones(3), r"\(3,\)"),
    "three-dimensional": (np.ones((2, 2, 2)), r"\(2, 2, 2\)"),
    "a number": (1.0, r"\(\)"),
    "nan": (np.array([[1.0, np.nan], [1.0, 1.0]]), r"non-finite.*\(0, 1\)"),
    "inf": (torch.tensor([[1.0, 1.0], [-torch.inf, 1.0]]), r"non-finite.*\(1, 0\)"),
    "integers": (torch.ones(2, 2, dtype=torch.int64), "int64"),
    "complex": (np.ones((2, 2), dtype=complex), "complex"),
    "text": (np.array([["a", "b"], ["c", "d"]]), "dtype"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_matrices(case: str) -> None:
    matrix, message = BAD[case]
    with pytest.raises(ou.InputError, match=message):
        Permanent(matrix)


def test_tensors_are_kept_live_and_dtype_follows() -> None:
    matrix = torch.ones(3, 3, requires_grad=True)
    problem = Permanent(matrix)
    assert problem.matrix is matrix
    assert problem.dtype == torch.float32 == problem.inputs.dtype
    with torch.no_grad():
        matrix[0] *= 2
    exact = problem.exact()
    assert exact is not None and exact.dtype == torch.float32
    assert float(exact) == pytest.approx(2)


def test_signatures_tell_costs_apart() -> None:
    kinds = oracles.matrices(6)
    names = ("uniform", "bernoulli", "signed")
    assert len({Permanent(kinds[k]).signature() for k in names}) == 3
    assert Permanent(np.zeros((6, 6))).signature() != Permanent(kinds["bernoulli"]).signature()
    assert Permanent(kinds["uniform"]).signature() == Permanent(np.ones((6, 6))).signature()


@given(st.integers(1, 7), st.integers(0, 50))
def test_transposition_does_not_matter(n: int, seed: int) -> None:
    matrix = oracles.matrices(n, seed)["uniform"]
    one, other = Permanent(matrix).exact(), Permanent(matrix.T).exact()
    assert one is not None and other is not None
    torch.testing.assert_close(one, other, rtol=1e-13, atol=0)


def test_sampled_truth() -> None:
    problem = Permanent(oracles.matrices(8)["uniform"])
    found = problem.sampled_truth(4000, 1)
    exact = problem.exact()
    assert found is not None and exact is not None
    assert abs(found[0] - exact) < 4 * found[1] < 0.2 * exact
    assert Permanent(oracles.matrices(8)["signed"]).sampled_truth(4000, 1) is None
