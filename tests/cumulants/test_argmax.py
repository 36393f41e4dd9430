"""Argmax probabilities against closed forms, sampling of the Gaussian, and their symmetries."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from outsample.cumulants.argmax import argmax_probabilities
from outsample.errors import InputError


def law(k: int, seed: int, rank: int | None = None, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """Mean and covariance of k numbers, the covariance of the given rank."""
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(k, rank or k + 2, generator=generator, dtype=torch.float64)
    mean = spread * torch.randn(k, generator=generator, dtype=torch.float64)
    return mean, factor @ factor.T / factor.shape[1]


LAWS = st.builds(law, st.integers(2, 7), st.integers(0, 10**6))


def normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


@given(st.floats(-5, 5), st.floats(0.1, 3), st.floats(0.1, 3), st.floats(-0.99, 0.99))
def test_two_classes_have_a_closed_form(gap: float, s: float, t: float, rho: float) -> None:
    covariance = torch.tensor([[s * s, rho * s * t], [rho * s * t, t * t]], dtype=torch.float64)
    found = argmax_probabilities(torch.tensor([gap, 0.0], dtype=torch.float64), covariance)
    deviation = math.sqrt(s * s + t * t - 2 * rho * s * t)
    assert found[0].item() == pytest.approx(normal_cdf(gap / deviation), abs=1e-12)


@pytest.mark.parametrize("k", range(1, 12))
def test_exchangeable_classes_are_equally_likely(k: int) -> None:
    covariance = torch.eye(k, dtype=torch.float64) + 0.7
    found = argmax_probabilities(torch.zeros(k, dtype=torch.float64), covariance)
    np.testing.assert_allclose(found, np.full(k, 1 / k), rtol=1e-12)


@given(st.integers(0, 10**6))
def test_three_classes_of_equal_mean_follow_from_angles(seed: int) -> None:
    _, covariance = law(3, seed)
    found = argmax_probabilities(torch.zeros(3, dtype=torch.float64), covariance)
    for i in range(3):
        minus = torch.eye(3, dtype=torch.float64)[i] - torch.eye(3, dtype=torch.float64)
        a, b = minus[[j for j in range(3) if j != i]]
        cosine = (a @ covariance @ b) / ((a @ covariance @ a) * (b @ covariance @ b)).sqrt()
        exact = 0.25 + math.asin(cosine.item()) / (2 * math.pi)
        assert found[i].item() == pytest.approx(exact, abs=2e-2)


@pytest.mark.parametrize(
    ("k", "rank", "spread", "tolerance"),
    [
        (3, None, 1.0, 1e-3),
        (10, 30, 0.5, 5e-4),
        (10, 30, 2.0, 5e-4),
        (10, 5, 1.0, 3e-3),
        (20, 40, 1.0, 1e-3),
    ],
)
def test_ten_classes_agree_with_sampling(
    k: int, rank: int | None, spread: float, tolerance: float
) -> None:
    for seed in range(3):
        mean, covariance = law(k, seed, rank, spread)
        values, vectors = torch.linalg.eigh(covariance)
        factor = (vectors * values.clamp_min(0).sqrt()).float()
        z = torch.randn(500_000, k, generator=torch.Generator().manual_seed(seed))
        wins = (mean.float() + z @ factor.T).argmax(1)
        sampled = torch.bincount(wins, minlength=k).double() / len(z)
        error = (sampled * (1 - sampled) / len(z)).sqrt()
        gap = (argmax_probabilities(mean, covariance) - sampled).abs()
        assert bool((gap < tolerance + 4 * error).all()), gap.max()


@given(LAWS, st.randoms(use_true_random=False))
def test_order_of_the_classes_does_not_matter(given_law: tuple[Tensor, Tensor], random) -> None:
    mean, covariance = given_law
    order = list(range(len(mean)))
    random.shuffle(order)
    found = argmax_probabilities(mean[order], covariance[order][:, order])
    torch.testing.assert_close(
        found, argmax_probabilities(mean, covariance)[order], atol=1e-9, rtol=0
    )


@given(LAWS, st.floats(-10, 10), st.floats(0, 4), st.floats(1e-3, 1e3))
def test_what_all_classes_share_does_not_matter(
    given_law: tuple[Tensor, Tensor], shift: float, shared: float, scale: float
) -> None:
    mean, covariance = given_law
    found = argmax_probabilities(scale * (mean + shift), scale**2 * (covariance + shared))
    torch.testing.assert_close(found, argmax_probabilities(mean, covariance), atol=1e-7, rtol=0)


@given(LAWS)
def test_probabilities_are_probabilities(given_law: tuple[Tensor, Tensor]) -> None:
    found = argmax_probabilities(*given_law)
    assert found.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert bool((found >= 0).all())


@given(LAWS, st.floats(0.1, 2.0))
def test_a_larger_mean_wins_more_often(given_law: tuple[Tensor, Tensor], more: float) -> None:
    mean, covariance = given_law
    raised = mean + more * torch.nn.functional.one_hot(torch.tensor(0), len(mean))
    before, after = (argmax_probabilities(m, covariance)[0] for m in (mean, raised))
    assert after >= before - 1e-9


def test_without_variance_the_largest_mean_wins() -> None:
    mean = torch.tensor([1.0, 3.0, 2.0, 3.0])
    none = torch.zeros(4, 4)
    assert argmax_probabilities(mean[:3], none[:3, :3]).tolist() == [0, 1, 0]
    torch.testing.assert_close(argmax_probabilities(mean, none), torch.tensor([0, 0.5, 0, 0.5]))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_singular_covariances_give_answers_near_the_truth(rank: int) -> None:
    for seed in range(20):
        mean, covariance = law(8, seed, rank)
        values, vectors = torch.linalg.eigh(covariance)
        factor = vectors * values.clamp_min(0).sqrt()
        z = torch.randn(50_000, 8, generator=torch.Generator().manual_seed(seed)).double()
        wins = torch.bincount((mean + z @ factor.T).argmax(1), minlength=8) / len(z)
        assert float((argmax_probabilities(mean, covariance) - wins).abs().max()) < 0.03


@pytest.mark.parametrize(
    ("mean_scale", "scale"), [(1e150, 1.0), (1.0, 1e-280), (1e-150, 1e-290), (1e140, 1e280)]
)
def test_extreme_scales_stay_finite(mean_scale: float, scale: float) -> None:
    mean, covariance = law(5, 0)
    found = argmax_probabilities(mean_scale * mean, scale * covariance)
    assert bool(torch.isfinite(found).all())
    assert found.sum().item() == pytest.approx(1.0)


def test_dtype_follows_the_mean_and_float32_is_enough() -> None:
    mean, covariance = law(6, 1)
    found = argmax_probabilities(mean.float(), covariance.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found.double(), argmax_probabilities(mean, covariance), atol=1e-5, rtol=0
    )


def test_gradients_are_those_of_finite_differences() -> None:
    mean, covariance = law(4, 2)
    factor = torch.linalg.cholesky(covariance).requires_grad_()
    torch.autograd.gradcheck(
        lambda m, f: argmax_probabilities(m, f @ f.T),
        (mean.requires_grad_(), factor),
        atol=1e-4,
        rtol=1e-3,
    )


def test_same_bits_twice() -> None:
    assert torch.equal(argmax_probabilities(*law(9, 3)), argmax_probabilities(*law(9, 3)))


@pytest.mark.parametrize(
    ("mean", "covariance", "reason"),
    [
        (torch.zeros(0), torch.zeros(0, 0), "shape"),
        (torch.zeros(3), torch.eye(4), "shape"),
        (torch.zeros(3, 1), torch.eye(3), "shape"),
        (torch.zeros(3), torch.ones(3), "shape"),
        (torch.tensor([0.0, math.nan]), torch.eye(2), "mean must be finite"),
        (torch.zeros(2), torch.tensor([[1.0, 0.0], [0.0, math.inf]]), "covariance must be finite"),
        (torch.zeros(2, dtype=torch.int64), torch.eye(2), "mean must be"),
        (torch.zeros(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]]), "indefinite"),
    ],
)
def test_bad_arguments_are_refused(mean: Tensor, covariance: Tensor, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        argmax_probabilities(mean, covariance)
