import math

import numpy as np
import pytest
import torch

from outsample.distributions import Bits, Permutations, Sphere
from outsample.errors import InputError, UnsupportedProblem
from outsample.problem import Distribution

LAWS: list[Distribution] = [
    Sphere(4, torch.float64),
    Bits(4, dtype=torch.float64),
    Bits(3, np.array([0.0, 0.25, 1.0])),
    Permutations(5, torch.float64),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_moments_of_a_large_sample(law: Distribution) -> None:
    samples = 200_000
    x = law.sample(samples, generator()).double()
    largest = float(x.abs().max()) ** 2
    tolerance = 5 * largest / math.sqrt(samples)
    torch.testing.assert_close(x.mean(0), law.mean, atol=tolerance, rtol=0)
    torch.testing.assert_close(torch.cov(x.T), law.covariance, atol=tolerance, rtol=0)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_equal_seeds_give_equal_draws_of_the_right_shape(law: Distribution) -> None:
    x = law.sample(7, generator(3))
    assert x.shape == (7, *law.shape)
    assert torch.equal(x, law.sample(7, generator(3)))
    assert not torch.equal(x, law.sample(7, generator(4)))


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_casting_changes_dtype_and_nothing_else(law: Distribution) -> None:
    single = law.to(torch.float32, torch.device("cpu"))
    assert type(single) is type(law)
    assert single.dtype == torch.float32
    assert single.shape == law.shape
    torch.testing.assert_close(single.mean.double(), law.mean)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_no_draws_are_refused(law: Distribution) -> None:
    with pytest.raises(InputError, match="n = 0"):
        law.sample(0, generator())


def test_points_of_the_sphere_have_length_one_and_come_from_normals() -> None:
    law = Sphere(3, torch.float64)
    z = torch.tensor([[3.0, 0.0, 4.0]], dtype=torch.float64)
    assert law.from_normal(z).tolist() == [[0.6, 0.0, 0.8]]
    lengths = law.sample(100, generator()).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(100).double())


def test_bits_are_zero_or_one_and_certain_ones_are_certain() -> None:
    x = Bits(3, np.array([0.0, 0.5, 1.0])).sample(1000, generator())
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert not x[:, 0].any()
    assert x[:, 2].all()


def test_permutations_are_permutations_and_all_occur() -> None:
    x = Permutations(3).sample(600, generator())
    assert x.dtype == torch.int64
    assert torch.equal(x.sort(dim=1).values, torch.arange(3).expand(600, 3))
    assert len({tuple(row) for row in x.tolist()}) == 6


@pytest.mark.parametrize("law", LAWS[1:], ids=repr)
def test_discrete_laws_are_not_made_from_normals(law: Distribution) -> None:
    with pytest.raises(UnsupportedProblem, match="plain MonteCarlo"):
        law.from_normal(torch.zeros(1, law.latent_size))


@pytest.mark.parametrize("kind", [Sphere, Bits, Permutations])
@pytest.mark.parametrize("n", [0, -1, 2.5, True])
def test_sizes_are_checked(kind: type, n: object) -> None:
    with pytest.raises(InputError, match="n = "):
        kind(n)


@pytest.mark.parametrize("kind", [Sphere, Permutations])
def test_dtypes_are_checked(kind: type) -> None:
    with pytest.raises(InputError, match=r"torch\.int64; expected floating point"):
        kind(3, torch.int64)


@pytest.mark.parametrize(
    ("probabilities", "said"),
    [
        (np.array([0.5, 0.5]), r"shape \(2,\); expected \(3,\)"),
        (np.array([0.5, 1.5, 0.1]), "between 0.1 and 1.5"),
        (np.array([0.5, -0.5, 0.1]), "between -0.5"),
        (np.array([0.5, np.nan, 0.1]), "non-finite"),
        (np.array([1, 0, 1]), "floating point"),
    ],
)
def test_probabilities_are_checked(probabilities: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Bits(3, probabilities)
