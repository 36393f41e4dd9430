import pytest
import torch
from tests.battery import gaussian

import outsample as ou
from outsample.networks.activations import GELU, Activation, Carried, ReLU, Tanh, polynomial

ACTIVATIONS = [ReLU(), GELU(), Tanh(), polynomial((0.5, 1.0, 0.25))]


def law(n: int = 6) -> ou.Gaussian:
    return gaussian(n, seed=2)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_the_last_neurons_are_left_as_they_are(activation: Activation) -> None:
    x = law().sample(10, torch.Generator().manual_seed(0))
    y = Carried(activation, 2)(x)
    assert torch.equal(y[:, :4], activation(x[:, :4]))
    assert torch.equal(y[:, 4:], x[:, 4:])


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_coefficients_are_those_of_the_activation_and_the_identity(activation: Activation) -> None:
    mean, variance = law().mean, law().variance
    expansion = Carried(activation, 2).expand(mean, variance)
    own = activation.expand(mean[:4], variance[:4])
    sigma = variance[4:].sqrt()
    torch.testing.assert_close(expansion.scale, variance.sqrt())
    torch.testing.assert_close(expansion.mean, torch.cat((own.mean, mean[4:])))
    # g² = He_2 + 1, g³ = He_3 + 3 He_1, and E[He_k He_k] = k!
    identity = {(1, 1): sigma, (2, 1): 0 * sigma, (0, 2): sigma**2, (2, 2): 2 * sigma**2}
    identity |= {(1, 3): 3 * sigma**3, (3, 3): 6 * sigma**3, (0, 4): 3 * sigma**4}
    for (degree, power), expected in identity.items():
        both = torch.cat((own.coefficient(degree, power), expected))
        torch.testing.assert_close(
            expansion.coefficient(degree, power), both, atol=1e-14, rtol=1e-12
        )


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_covariance_is_that_of_a_large_sample(activation: Activation) -> None:
    carried, n = Carried(activation, 2), 2_000_000
    given = law()
    expansion = carried.expand(given.mean, given.variance)
    found, _ = carried.covariance(given.mean, given.covariance, expansion, 12)
    y = carried(given.sample(n, torch.Generator().manual_seed(1)))
    torch.testing.assert_close(found, torch.cov(y.T), atol=6e-3, rtol=0)
    torch.testing.assert_close(found[4:, 4:], given.covariance[4:, 4:])
    torch.testing.assert_close(found.diagonal(), expansion.coefficient(0, 2), atol=1e-9, rtol=0)


def test_covariance_of_an_expansion_made_elsewhere() -> None:
    carried, given = Carried(ReLU(), 2), law()
    own = carried.expand(given.mean, given.variance)
    other = ReLU().expand(given.mean, given.variance)  # right scale, no parts to take apart
    first, _ = carried.covariance(given.mean, given.covariance, own, 6)
    second, _ = carried.covariance(given.mean, given.covariance, other, 6)
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("count", [0, -1, 1.0, True])
def test_a_count_is_a_positive_integer(count: object) -> None:
    with pytest.raises(ou.InputError, match="count = "):
        Carried(ReLU(), count)


def test_equal_ones_compare_equal() -> None:
    assert Carried(ReLU(), 2) == Carried(ReLU(), 2)
    assert hash(Carried(ReLU(), 2)) == hash(Carried(ReLU(), 2))
    assert Carried(ReLU(), 2) != Carried(ReLU(), 1)
    assert Carried(ReLU(), 2).name == "relu+2"
