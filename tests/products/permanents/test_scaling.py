"""Row and column factors: exact identities, and the shrinkage of columns."""

import math
from typing import cast

import numpy as np
import pytest
import torch
from tests.products.permanents import oracles

from outsample.products.permanents.scaling import Scaling, balance, has_perfect_matching


@pytest.mark.parametrize("scaling", ["shrunk", "full", "none"])
@pytest.mark.parametrize("kind", ["uniform", "bernoulli", "uneven", "signed"])
@pytest.mark.parametrize("n", [1, 2, 6])
def test_the_permanent_is_the_factor_times_that_of_the_rows(
    scaling: Scaling, kind: str, n: int
) -> None:
    matrix = oracles.matrices(n)[kind]
    found = balance(matrix, scaling)
    product = oracles.average(found.rows) * math.exp(found.log_factor)
    assert product == pytest.approx(oracles.average(matrix), rel=1e-12)
    np.testing.assert_allclose(np.abs(found.rows).mean(1), 1, rtol=1e-13)


def test_shrinkage_is_the_formula() -> None:
    matrix = oracles.matrices(9)["uneven"]
    rows = matrix / matrix.mean(1, keepdims=True)
    means = rows.mean(0)
    noise = (rows.var(0, ddof=1) / 9).mean()
    s = max(0.0, 1 - noise / means.var(ddof=1))
    found = balance(matrix, "shrunk")
    assert found.shrinkage == pytest.approx(s, rel=1e-12)
    assert 0 < s < 1
    scaled = rows / (means.mean() + s * (means - means.mean()))
    np.testing.assert_allclose(found.rows, scaled / scaled.mean(1, keepdims=True), rtol=1e-12)


def test_exchangeable_columns_are_left_alone_and_uneven_ones_are_not() -> None:
    draws = np.random.default_rng(5)
    even = [balance(draws.random((30, 30)), "shrunk").shrinkage for _ in range(20)]
    assert np.median(even) < 0.3
    uneven = draws.random((30, 30)) * np.exp(2 * draws.standard_normal(30))
    assert balance(uneven, "shrunk").shrinkage > 0.9


def test_full_scaling_evens_the_columns() -> None:
    matrix = oracles.matrices(8)["uneven"]
    rows = matrix / matrix.mean(1, keepdims=True)
    found = balance(matrix, "full")
    assert found.shrinkage == 1
    expected = rows / rows.mean(0)
    np.testing.assert_allclose(found.rows, expected / expected.mean(1, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize("scaling", ["shrunk", "full"])
def test_a_matrix_of_rank_one_becomes_all_ones(scaling: Scaling) -> None:
    u, v = np.exp(3 * np.random.default_rng(2).standard_normal((2, 40)))
    np.testing.assert_allclose(balance(np.outer(u, v), scaling).rows, 1, rtol=1e-9)
    np.testing.assert_allclose(balance(np.ones((7, 7)), scaling).rows, 1, rtol=1e-13)


def test_signed_columns_stay() -> None:
    matrix = oracles.matrices(6)["signed"]
    np.testing.assert_allclose(balance(matrix, "shrunk").rows, balance(matrix, "none").rows)


@pytest.mark.parametrize("power", [-300, 300])
def test_extreme_entries(power: int) -> None:
    matrix = oracles.matrices(6)["uniform"]
    plain, found = balance(matrix, "shrunk"), balance(matrix * 10.0**power, "shrunk")
    np.testing.assert_allclose(found.rows, plain.rows, rtol=1e-12)
    assert found.log_factor - plain.log_factor == pytest.approx(6 * power * math.log(10))


@pytest.mark.parametrize("scaling", ["shrunk", "full", "none"])
@pytest.mark.parametrize("kind", ["uniform", "uneven"])
def test_gradients_pass_through_the_column_factors(scaling: Scaling, kind: str) -> None:
    def log_of_the_sum(matrix: torch.Tensor) -> torch.Tensor:
        found = balance(matrix, scaling)
        # Row factors are constants, so only products over all rows mean something.
        return cast(torch.Tensor, (found.rows**2).sum(1).log().sum() + 2 * found.log_factor)

    matrix = torch.from_numpy(oracles.matrices(5)[kind]).requires_grad_()
    assert torch.autograd.gradcheck(log_of_the_sum, matrix)


def test_perfect_matchings() -> None:
    assert has_perfect_matching(np.ones((4, 4)))
    assert has_perfect_matching(np.tril(np.ones((5, 5))))
    hole = np.ones((5, 5))
    hole[:3, :3] = 0  # three rows that share two columns
    assert not has_perfect_matching(hole)
    rng = np.random.default_rng(1)
    for _ in range(100):
        support = rng.random((5, 5)) < 0.35
        assert has_perfect_matching(support) == (oracles.permanent(support * 1.0) > 0)
