import math
import re

import numpy as np
import pytest
import torch
from tests.battery import gaussian, mlp

import outsample as ou
from outsample.distributions import Gaussian, GaussianMixture


def mixture(dtype: torch.dtype = torch.float64) -> GaussianMixture:
    laws = [
        gaussian(3, 1, dtype),
        Gaussian(gaussian(3, 2, dtype).mean + 3, 0.5),
        gaussian(3, 3, dtype),
    ]
    return GaussianMixture(torch.tensor([0.5, 0.2, 0.3], dtype=dtype), laws)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_moments_of_two_points_that_do_not_vary() -> None:
    # x is 0 with probability 3/4 and 4 with 1/4: a Bernoulli variable times 4.
    ends = [Gaussian(np.zeros(1), 0.0), Gaussian(np.full(1, 4.0), 0.0)]
    law = GaussianMixture(np.array([0.75, 0.25]), ends)
    assert law.mean.tolist() == [1.0]
    assert law.covariance.tolist() == [[3.0]]


def test_moments_of_a_large_sample() -> None:
    law, samples = mixture(), 400_000
    x = law.sample(samples, generator())
    tolerance = 25 / math.sqrt(samples)
    torch.testing.assert_close(x.mean(0), law.mean, atol=tolerance, rtol=0)
    torch.testing.assert_close(torch.cov(x.T), law.covariance, atol=4 * tolerance, rtol=0)


def test_labels_have_the_weights_as_frequencies_and_none_of_weight_zero() -> None:
    law = GaussianMixture(
        np.array([0.0, 0.25, 0.75, 0.0]), [Gaussian.standard(1, torch.float64)] * 4
    )
    labels = law.labels(100_000, generator())
    counts = torch.bincount(labels, minlength=4)
    assert counts[0] == counts[3] == 0
    assert abs(int(counts[1]) - 25_000) < 5 * math.sqrt(100_000 * 0.25 * 0.75)


def test_draws_given_a_label_come_from_that_component() -> None:
    law = GaussianMixture(
        np.array([0.5, 0.5]), [Gaussian(np.full(2, -9.0), 0.01), Gaussian(np.full(2, 9.0), 0.01)]
    )
    x = law.given(torch.tensor([0, 1, 1, 0]), generator())
    assert (x[:, 0] > 0).tolist() == [False, True, True, False]


def test_equal_seeds_give_equal_draws() -> None:
    law = mixture()
    x = law.sample(7, generator(3))
    assert x.shape == (7, 3)
    assert torch.equal(x, law.sample(7, generator(3)))
    assert not torch.equal(x, law.sample(7, generator(4)))


def test_casting_changes_dtype_and_nothing_else() -> None:
    single = mixture().to(torch.float32, torch.device("cpu"))
    assert single.dtype == single.sample(2, generator()).dtype == torch.float32
    torch.testing.assert_close(single.covariance.double(), mixture().covariance)


def test_gradients_reach_weights_and_components() -> None:
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64, requires_grad=True)
    means = torch.tensor([[1.0], [3.0]], dtype=torch.float64, requires_grad=True)
    law = GaussianMixture(weights, [Gaussian(m) for m in means])
    law.mean.sum().backward()
    assert weights.grad is not None
    assert weights.grad.tolist() == [1.0, 3.0]
    assert means.grad is not None
    assert means.grad.tolist() == [[0.5], [0.5]]


def test_networks_on_a_mixture_can_be_sampled_but_not_propagated() -> None:
    problem = ou.NetworkMean(mlp(3, 4, 1), mixture())
    assert ou.MonteCarlo(samples=100).estimate(problem).value.shape == (1,)
    with pytest.raises(ou.UnsupportedProblem, match="GaussianMixture"):
        ou.Cumulants().estimate(problem)


@pytest.mark.parametrize(
    ("weights", "laws", "message"),
    [
        ([0.5, 0.6], [gaussian(2)] * 2, "sum 1.1"),
        ([1.5, -0.5], [gaussian(2)] * 2, "smallest entry -0.5"),
        ([0.5, math.nan], [gaussian(2)] * 2, "non-finite"),
        ([1.0], [gaussian(2)] * 2, "expected (2,)"),
        ([], [], "components is empty"),
        ([0.5, 0.5], [gaussian(2), gaussian(3)], "components[1] has shape (3,)"),
        ([0.5, 0.5], [gaussian(2), gaussian(2, dtype=torch.float32)], "give all the same"),
        ([1.0], [ou.Sphere(2)], "components[0] is Sphere"),
    ],
)
def test_what_is_no_mixture_is_refused(weights: list[float], laws: list, message: str) -> None:
    with pytest.raises(ou.InputError, match=re.escape(message)):
        GaussianMixture(np.array(weights), laws)


def test_no_draws_are_refused() -> None:
    with pytest.raises(ou.InputError, match="n = 0"):
        mixture().sample(0, generator())
