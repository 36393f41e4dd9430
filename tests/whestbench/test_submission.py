"""The method on flopscope.numpy: the same numbers as ours on PyTorch, and what the meter says."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flopscope as flops
import flopscope.numpy as fnp
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import outsample as ou
from outsample.networks.activations.relu import ReLU as OurReLU
from outsample.whestbench.dataset import Network
from outsample.whestbench.submission import order2, order3
from outsample.whestbench.submission.relu import ReLU

PAIRS = [
    pytest.param(order2.basic, ou.Cumulants(2, "basic", hidden=True), id="2-basic"),
    pytest.param(order2.augmented, ou.Cumulants(2, hidden=True), id="2-augmented"),
    pytest.param(
        partial(order2.augmented, diagonal=True),
        ou.Cumulants(2, metric="diagonal", hidden=True),
        id="2-augmented-diagonal",
    ),
    pytest.param(order3.basic, ou.Cumulants(3, "basic", tolerance=0, hidden=True), id="3-basic"),
    pytest.param(
        partial(order3.basic, diagonal=True),
        ou.Cumulants(3, "basic", tolerance=0, metric="diagonal", hidden=True),
        id="3-basic-diagonal",
    ),
    pytest.param(
        order3.elliptical,
        ou.Cumulants(3, "elliptical", tolerance=0, hidden=True),
        id="3-elliptical",
    ),
]

pytestmark = pytest.mark.filterwarnings("ignore::flopscope.FlopscopeWarning")


def random_weights(width: int, depth: int, seed: int = 0) -> NDArray[np.float32]:
    normal = np.random.default_rng(seed).standard_normal((depth, width, width))
    return (normal * np.sqrt(2 / width)).astype(np.float32)


def predict(method: Callable[[Any], Any], weights: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(method([fnp.array(w) for w in weights]), dtype=np.float64)


@pytest.mark.parametrize(("method", "estimator"), PAIRS)
@pytest.mark.parametrize(("width", "depth"), [(24, 1), (24, 2), (24, 3), (48, 6)])
def test_every_layer_agrees_with_ours(
    method: Callable[[Any], Any], estimator: ou.Cumulants, width: int, depth: int
) -> None:
    weights = random_weights(width, depth)
    network = Network("", 0, weights, np.zeros((depth, width)), 1.0)
    hidden = estimator.estimate(network.problem(torch.float64)).hidden
    wanted = torch.stack(hidden).numpy()
    found = predict(method, weights)
    assert found.shape == (depth, width)
    # float32: a digit is lost over the layers
    assert np.abs(found - wanted).max() < 2e-6 * np.abs(wanted).max()


@pytest.mark.parametrize(("method", "estimator"), PAIRS)
def test_products_of_matrices_are_metered(
    method: Callable[[Any], Any], estimator: ou.Cumulants
) -> None:
    """At large widths the cost is n³, with the factor that counting the products gives."""
    depth = 4
    # what goes with n² is out of the way: a + b / n at two widths gives a
    small, large = (_flops(method, width, depth) / width**3 for width in (128, 256))
    leading = 2 * large - small
    if estimator.order == 2:
        # of the first layer W Wᵀ, of the last only variances
        pushed = 1 + 2 * (depth - 2) + 1
        full = estimator.variant == "augmented" and estimator.metric == "full"
        metric = depth - 2 if full else 0
        assert leading == pytest.approx(2 * (pushed + metric), rel=0.1)
    # our own meter counts the same work, and some in the last layer that is not needed
    assert 0.5 < leading / (_ours(estimator, 256, depth) / 256**3) < 1


def _flops(method: Callable[[Any], Any], width: int, depth: int) -> int:
    weights = [fnp.array(w) for w in random_weights(width, depth)]
    with flops.BudgetContext(flop_budget=10**15, quiet=True) as meter:
        method(weights)
    return meter.flops_used


def _ours(estimator: ou.Cumulants, width: int, depth: int) -> int:
    network = Network("", 0, random_weights(width, depth), np.zeros((depth, width)), 1.0)
    return estimator.flops(network.problem())


@pytest.mark.parametrize(("method", "estimator"), PAIRS)
def test_dead_layers_and_neurons(method: Callable[[Any], Any], estimator: ou.Cumulants) -> None:
    weights = random_weights(12, 4)
    weights[1, :, :3] = 0  # three neurons that read nothing
    found = predict(method, weights)
    assert np.isfinite(found).all()
    assert (found[1, :3] < 1e-12).all()
    weights[2] = 0
    found = predict(method, weights)
    assert np.isfinite(found).all()
    assert (np.abs(found[2:]) < 1e-12).all()


def test_coefficients_are_those_of_the_library() -> None:
    mean = torch.linspace(-4, 4, 33, dtype=torch.float64)
    variance = torch.linspace(0.2, 3, 33, dtype=torch.float64)
    ours = OurReLU().expand(mean, variance)
    zero = np.zeros(33)
    relu = ReLU(fnp.array(mean.numpy()), fnp.array(variance.numpy()), zero, zero)
    assert np.allclose(np.asarray(relu.mean), ours.mean.numpy(), rtol=1e-13)
    for power in (1, 2, 3, 4):
        for degree in range(5 if power > 2 else 6):
            if (degree, power) == (0, 1):
                continue
            wanted = ours.coefficient(degree, power).numpy()
            found = np.asarray(relu.coefficient(degree, power))
            assert np.abs(found - wanted).max() < 1e-6 * max(1, np.abs(wanted).max())
        if power > 1:
            wanted = ours.coefficient(0, power).numpy()
            assert np.allclose(np.asarray(relu.moment(power)), wanted, rtol=1e-8, atol=1e-12)


def test_moments_with_third_and_fourth_cumulants() -> None:
    """For a Gram–Charlier density, moments about the mean have one right answer: integrate it."""
    mean, sigma, skew, excess = 0.4, 1.3, 0.2, 0.3
    g = np.linspace(-12, 12, 200_001)
    hermite3, hermite4 = g**3 - 3 * g, g**4 - 6 * g**2 + 3
    density = np.exp(-g * g / 2) / np.sqrt(2 * np.pi)
    density *= 1 + skew * hermite3 / 6 + excess * hermite4 / 24
    values = np.maximum(mean + sigma * g, 0)
    one = np.ones(1)
    relu = ReLU(fnp.array([mean]), fnp.array([sigma**2]), skew * one, excess * one)
    wanted = np.trapezoid(values * density, g)
    assert float(relu.mean[0]) == pytest.approx(wanted, rel=1e-8)
    for power in (2, 3, 4):
        moment = np.trapezoid((values - wanted) ** power * density, g)
        assert float(relu.moment(power)[0]) == pytest.approx(moment, rel=1e-8)
