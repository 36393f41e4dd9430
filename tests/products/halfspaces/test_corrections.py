"""Corrections against sums written out, and against integrals that are no series."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.products.halfspaces.oracles import expected_product, pair_sum, triple_sum

from outsample.products.halfspaces.corrections import (
    DEGREE,
    correlations,
    pair_terms,
    second_order,
    third_order,
)

Array = NDArray[np.float64]


def coefficients(k: int, seed: int, size: float = 1.0) -> Array:
    """c_l for l = 0 … DEGREE, shape (DEGREE + 1, k), with c_0 = 1 and c_1 = c_2 = 0."""
    rng = np.random.default_rng(seed)
    c = size * rng.standard_normal((DEGREE + 1, k))
    c[:3] = np.array([1.0, 0.0, 0.0])[:, None]
    return c


def rho_of(k: int, seed: int, n: int = 6) -> Array:
    v = np.random.default_rng(seed).standard_normal((k, n))
    return correlations(v @ v.T)


def test_correlations() -> None:
    rng = np.random.default_rng(0)
    factor = rng.standard_normal((2, 4, 6))
    cov = factor @ np.swapaxes(factor, 1, 2)
    rho = correlations(cov)
    for q in range(2):
        d = np.sqrt(cov[q].diagonal())
        np.testing.assert_allclose(rho[q], cov[q] / np.outer(d, d) - np.eye(4), atol=1e-14)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("degree", [3, 4, DEGREE])
def test_pairs_by_a_double_sum(k: int, degree: int) -> None:
    c, rho = coefficients(k, k), rho_of(k, k)
    found = second_order(pair_terms(c[3:], rho, degree))
    assert found == pytest.approx(pair_sum(c, rho, degree), rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_third_order_by_triple_sums(k: int, seed: int) -> None:
    c, rho = coefficients(k, seed), rho_of(k, seed)
    pairs = pair_terms(c[3:], rho, DEGREE)
    found = third_order(c[3:], rho, pairs)
    assert found == pytest.approx(triple_sum(c, rho, DEGREE), rel=1e-10, abs=1e-12)


def test_the_pair_sum_is_the_whole_of_two_factors() -> None:
    """E[F_1 F_2] = 1 + D2 for polynomials, by Mehler's formula."""
    c, rho = coefficients(2, 5), np.array([[0.0, 0.4], [0.4, 0.0]])
    d2 = second_order(pair_terms(c[3:], rho, DEGREE))
    assert expected_product(c, rho) == pytest.approx(1 + d2, rel=1e-10)


def test_three_factors_to_third_order() -> None:
    """log E[F_1 F_2 F_3] - D2 - D3 is of fourth order in the coefficients.

    Degrees are low enough for the series in the correlations to end within DEGREE.
    """
    rho = rho_of(3, 1) * 0.6
    errors = []
    for size in (0.2, 0.1):
        c = coefficients(3, 2, size)
        c[5:] = 0  # a + e, … <= DEGREE hold by themselves up to degree 4
        pairs = pair_terms(c[3:], rho, DEGREE)
        log_p = second_order(pairs) + third_order(c[3:], rho, pairs)
        errors.append(abs(math.log(expected_product(c, rho)) - log_p))
    assert errors[1] < errors[0] / 12  # 16 in the limit
    assert errors[0] < 1e-3


def test_batches() -> None:
    c = np.stack([coefficients(4, s)[3:] for s in (0, 1)], axis=1)
    rho = np.stack([rho_of(4, s) for s in (0, 1)])
    pairs = pair_terms(c, rho, DEGREE)
    third = third_order(c, rho, pairs)
    for q in range(2):
        alone = pair_terms(c[:, q], rho[q], DEGREE)
        np.testing.assert_allclose(second_order(pairs)[q], second_order(alone), rtol=1e-13)
        np.testing.assert_allclose(third[q], third_order(c[:, q], rho[q], alone), rtol=1e-11)


def test_degrees_beyond_those_kept_are_zeros() -> None:
    c, rho = coefficients(4, 3)[3:], rho_of(4, 3)
    cut = c * (np.arange(3, DEGREE + 1) <= 4)[:, None]
    np.testing.assert_allclose(pair_terms(cut, rho, DEGREE), pair_terms(c, rho, 4), atol=1e-15)


def test_the_order_of_factors_does_not_matter() -> None:
    c, rho = coefficients(5, 4)[3:], rho_of(5, 4)
    order = np.array([3, 0, 4, 1, 2])
    pairs = pair_terms(c, rho, DEGREE)
    turned = pair_terms(c[:, order], rho[order][:, order], DEGREE)
    assert second_order(turned) == pytest.approx(second_order(pairs), rel=1e-12)
    found = third_order(c[:, order], rho[order][:, order], turned)
    assert found == pytest.approx(third_order(c, rho, pairs), rel=1e-10)


def test_uncorrelated_factors_need_none() -> None:
    c, rho = coefficients(4, 6)[3:], np.zeros((4, 4))
    pairs = pair_terms(c, rho, DEGREE)
    assert second_order(pairs) == 0
    assert third_order(c, rho, pairs) == 0


def test_tensors_give_what_arrays_give() -> None:
    c, rho = coefficients(4, 7)[3:], rho_of(4, 7)
    by_torch = [torch.from_numpy(x) for x in (c, rho)]
    pairs = pair_terms(c, rho, DEGREE)
    found = third_order(*by_torch, pair_terms(*by_torch, DEGREE), torch)
    assert float(found) == pytest.approx(float(third_order(c, rho, pairs)), rel=1e-11)
