"""One battery for all activations: coefficients, gradients, symmetries, extremes."""

import math
import warnings

import mpmath as mp
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.networks.activations.functions import ALL, Case
from tests.networks.activations.reference import coefficients, relative_error
from torch import Tensor

from outsample.errors import NumericalError, NumericalWarning
from outsample.networks.activations import Activation, Expansion, ReLU, from_name

ORDERS = [(k, p) for p in range(1, 5) for k in range(5)]
POINTS = [(0.0, 1.0), (-1.2, 0.4), (2.5, 1.9), (0.5, 1e-3), (1.0, 5.0)]
every_case = pytest.mark.parametrize("case", ALL.values(), ids=ALL.keys())


def expand(activation: Activation, mean: float, variance: float, **options: object) -> Expansion:
    options = {"dtype": torch.float64, **options}
    return activation.expand(torch.tensor([mean], **options), torch.tensor([variance], **options))


def number(value: Tensor) -> float:
    return float(value.detach())


def gradient(value: Tensor, *arguments: Tensor) -> list[float]:
    if not value.requires_grad:
        return [0.0 for _ in arguments]
    grads = torch.autograd.grad(value.sum(), arguments, retain_graph=True, materialize_grads=True)
    return [float(g) for g in grads]


def table(activation: Activation, mean: Tensor, variance: Tensor) -> Tensor:
    e = activation.expand(mean, variance)
    return torch.stack([e.mean, *(e.coefficient(k, p) for k, p in ORDERS)])


@every_case
def test_coefficients_are_the_gaussian_expectations(case: Case) -> None:
    for mu, sigma in POINTS:
        finest = 1.0 if sigma < 2 else 0.2 / sigma
        mean, values, size = coefficients(
            case.function, case.places, mu, sigma, ORDERS, finest=finest
        )
        # The variance is σ² as a double, which is not exactly the square.
        e = expand(case.activation, mu, sigma**2)
        assert relative_error(e.mean, mean, max(size, abs(mean)), 0, 1) < 1e-14
        for (k, p), value in zip(ORDERS, values, strict=True):
            error = relative_error(e.coefficient(k, p), value, size, k, p)
            assert error < case.tolerance, (mu, sigma, k, p, error)


@every_case
def test_high_degrees_and_powers(case: Case) -> None:
    orders = [(6, 1), (8, 2), (0, 6), (5, 5), (8, 6)]
    _, values, size = coefficients(case.function, case.places, 0.4, 0.9, orders)
    e = expand(case.activation, 0.4, 0.9**2)
    for (k, p), value in zip(orders, values, strict=True):
        assert relative_error(e.coefficient(k, p), value, size, k, p) < 1e-11


@pytest.mark.parametrize("name", ["hardtanh", "relu6", "tanh", "sigmoid", "elu", "softplus", "erf"])
@pytest.mark.parametrize(("mu", "sigma"), [(2.0, 30.0), (300.0, 1e3), (-2e4, 1e6)])
def test_bends_far_narrower_than_the_gaussian(name: str, mu: float, sigma: float) -> None:
    case, orders = ALL[name], [(1, 1), (0, 2), (4, 4)]
    mean, values, size = coefficients(
        case.function, case.places, mu, sigma, orders, finest=0.2 / sigma, width=11
    )
    e = expand(case.activation, mu, sigma**2)
    assert relative_error(e.mean, mean, size, 0, 1) < 1e-12
    for (k, p), value in zip(orders, values, strict=True):
        assert relative_error(e.coefficient(k, p), value, size, k, p) < 1e-12


@every_case
def test_the_zeroth_coefficient_of_the_first_power_is_zero(case: Case) -> None:
    e = expand(case.activation, 0.3, 0.5)
    assert float(e.coefficient(0, 1)) == 0
    assert float(e.coefficient(0)) == 0


@every_case
def test_values_agree_with_the_definition(case: Case) -> None:
    x = torch.linspace(-7.3, 7.1, 60, dtype=torch.float64)
    expected = [float(case.function(mp.mpf(t))) for t in x.tolist()]
    torch.testing.assert_close(
        case.activation(x), torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=1e-15
    )
    assert case.activation(x.reshape(5, 12)).shape == (5, 12)


@every_case
def test_single_precision(case: Case) -> None:
    mean = torch.tensor([-3.0, -0.4, 0.0, 1.5, 12.0])
    variance = torch.tensor([1.0, 0.3, 2.0, 0.04, 1.0])
    result = table(case.activation, mean, variance)
    exact = table(case.activation, mean.double(), variance.double())
    assert result.dtype == torch.float32
    scale = exact.abs().amax(0).clamp_min(1)  # of size σ^p, slope^p
    assert float(((result - exact).abs() / scale).max()) < 2e-6


@every_case
def test_gradients(case: Case) -> None:
    mean = torch.tensor([-0.9, 0.3, 1.7], dtype=torch.float64, requires_grad=True)
    variance = torch.tensor([0.4, 1.3, 0.05], dtype=torch.float64, requires_grad=True)

    def some(mean: Tensor, variance: Tensor) -> Tensor:
        e = case.activation.expand(mean, variance)
        orders = ((1, 1), (3, 1), (0, 2), (2, 2), (4, 2), (0, 3), (0, 4), (3, 4))
        return torch.stack([e.mean, *(e.coefficient(k, p) for k, p in orders)])

    assert torch.autograd.gradcheck(some, (mean, variance), atol=1e-7)


@every_case
@pytest.mark.parametrize("variance", [0.0, 1e-300, 1e-12, 1e-9])
def test_gradients_next_to_zero_variance(case: Case, variance: float) -> None:
    """dE/dv = E[φ'']/2 and Var φ = v φ'² + …, from the derivatives of φ at the mean."""
    for mu in (0.7, -1.3, 30.0):
        d = [float(mp.diff(case.function, mu, j)) for j in range(5)]
        mean = torch.tensor([mu], dtype=torch.float64, requires_grad=True)
        v = torch.tensor([variance], dtype=torch.float64, requires_grad=True)
        e = case.activation.expand(mean, v)
        assert number(e.mean) == pytest.approx(d[0] + variance * d[2] / 2, rel=1e-14, abs=1e-15)
        expected = [d[1] + variance * d[3] / 2, d[2] / 2 + variance * d[4] / 4]
        assert gradient(e.mean, mean, v) == pytest.approx(expected, rel=1e-9, abs=1e-9)
        curvature = d[2] ** 2 / 2 + d[1] * d[3]
        spread = variance * (d[1] ** 2 + variance * curvature)
        assert number(e.coefficient(0, 2)) == pytest.approx(spread, rel=1e-8)
        slope = d[1] ** 2 + 2 * variance * curvature
        assert gradient(e.coefficient(0, 2), mean, v)[1] == pytest.approx(
            slope, rel=1e-8, abs=1e-12
        )
        assert number(e.coefficient(1) / e.scale) == pytest.approx(expected[0], rel=1e-8, abs=1e-9)
        for key in ORDERS:
            assert all(map(math.isfinite, gradient(e.coefficient(*key), mean, v)))


@every_case
@pytest.mark.parametrize(
    ("mu", "sigma"),
    [
        *((0.3, 1e6), (-4e149, 1e150), (1e150, 1e-150), (3e-151, 1e-150), (0.7, 1e-150)),
        *((0.0, 0.0), (0.5, 0.0), (1e154, 0.0), (-40.0, 1.0), (40.0, 1.0), (-1e6, 1.0)),
        *((-38.2, 1.0), (1e300, 1.0)),
    ],
)
def test_extremes_are_finite_and_right_or_refused(case: Case, mu: float, sigma: float) -> None:
    try:
        e = expand(case.activation, mu, sigma**2)
    except NumericalError as error:
        assert case.activation.name in str(error)  # the value itself leaves the range
        assert max(abs(mu), sigma) > 1e90
        return
    assert math.isfinite(float(e.mean))
    if sigma <= 1e-150 and abs(mu) > 1e-100:
        at = float(case.activation(torch.tensor(mu, dtype=torch.float64)))
        assert float(e.mean) == pytest.approx(at, rel=1e-12, abs=1e-150)
    values = {key: float(e.coefficient(*key)) for key in ORDERS}
    assert not any(math.isnan(value) for value in values.values())
    assert values[0, 2] >= 0
    if max(abs(mu), sigma) < 1e70:  # no power leaves the range
        assert all(math.isfinite(value) for value in values.values())


@every_case
def test_a_kink_at_zero_variance_warns_while_gradients_are_recorded(case: Case) -> None:
    if case.smooth:
        return
    mean = torch.tensor([float(case.places[0])], dtype=torch.float64, requires_grad=True)
    variance = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    with pytest.warns(NumericalWarning, match="at a kink of"):
        e = case.activation.expand(mean, variance)
    grads = torch.autograd.grad(e.mean.sum() + e.coefficient(0, 2).sum(), (mean, variance))
    assert all(bool(torch.isfinite(g).all()) for g in grads)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        case.activation.expand(mean, variance)


@every_case
def test_inference_mode_and_each_neuron_by_itself(case: Case) -> None:
    """A layer's neurons may be expanded by different rules: the order must survive."""
    mean = torch.tensor([0.3, -2.0, 1.0, 0.0, 5.0, -0.6], dtype=torch.float64)
    variance = torch.tensor([1e-10, 1.0, 2500.0, 0.3, 0.0, 9.0], dtype=torch.float64)
    with torch.inference_mode():
        together = table(case.activation, mean, variance)
    for i in range(len(mean)):
        alone = table(case.activation, mean[i : i + 1], variance[i : i + 1])[:, 0]
        torch.testing.assert_close(together[:, i], alone, rtol=1e-13, atol=1e-13)


ODD = ["sign", "hardtanh", "identity", "tanh", "erf", "sin", "rational"]
EVEN = ["abs", "square", "laplace"]
means, deviations = st.floats(-4, 4), st.floats(0.05, 4)


@pytest.mark.parametrize("name", ODD + EVEN)
@settings(max_examples=25)
@given(mu=means, sigma=deviations)
def test_sign_flip(name: str, mu: float, sigma: float) -> None:
    parity = 1 if name in ODD else 0
    plus, minus = (expand(ALL[name].activation, m, sigma**2) for m in (mu, -mu))
    for k, p in ORDERS:
        expected = (-1) ** (k + p * parity) * float(plus.coefficient(k, p))
        scale = max(1.0, sigma) ** (2 * p) * max(1.0, abs(mu)) ** p
        assert float(minus.coefficient(k, p)) == pytest.approx(expected, abs=1e-11 * scale)


@pytest.mark.parametrize(("name", "degree"), [("relu", 1), ("abs", 1), ("square", 2), ("sign", 0)])
@settings(max_examples=25)
@given(mu=means, sigma=deviations, factor=st.floats(1e-3, 1e3))
def test_positive_homogeneity(
    name: str, degree: int, mu: float, sigma: float, factor: float
) -> None:
    activation = from_name(name)
    e, scaled = (expand(activation, c * mu, (c * sigma) ** 2) for c in (1, factor))
    for k, p in ORDERS:
        unit = factor ** (degree * p)
        value = unit * float(e.coefficient(k, p))
        scale = unit * max(sigma * max(sigma, abs(mu)) ** (degree - 1), 1e-3) ** p
        assert float(scaled.coefficient(k, p)) == pytest.approx(value, abs=1e-10 * scale)


@given(mu=means, sigma=deviations)
def test_relu_and_its_mirror_image_make_the_identity(mu: float, sigma: float) -> None:
    plus, minus = (expand(ReLU(), m, sigma**2) for m in (mu, -mu))
    assert float(plus.mean - minus.mean) == pytest.approx(mu, abs=1e-14)
    assert float(plus.coefficient(1) + minus.coefficient(1)) == pytest.approx(sigma, rel=1e-14)
    for k in (2, 3, 4):
        both = float(plus.coefficient(k)) - (-1) ** k * float(minus.coefficient(k))
        assert both == pytest.approx(0, abs=1e-14 * sigma)
