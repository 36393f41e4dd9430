"""Output functions and their Gaussian integrals against quadrature in high precision."""

import mpmath
import pytest
import torch

import outsample as ou
from outsample.readout.edgeworth import edgeworth
from outsample.readout.outputs import Function, Hinge, Identity, Sigmoid, Threshold

F64 = torch.float64
_PLAIN = {
    Identity(): lambda f: f,
    Sigmoid(2.0, 0.3): lambda f: 1 / (1 + mpmath.exp(-2 * (f - 0.3))),
    Hinge(0.4, 1.5): lambda f: 1.5 * max(f - 0.4, 0),
    Threshold(0.4): lambda f: mpmath.mpf(f > 0.4),
    Function(torch.tanh): mpmath.tanh,
}


@pytest.mark.parametrize("output", _PLAIN, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize(("mean", "scale"), [(0.1, 0.7), (-1.0, 2.0), (3.0, 0.5)])
def test_integrals(output, mean: float, scale: float) -> None:
    found = output.integrals(torch.tensor([mean], dtype=F64), torch.tensor([scale], dtype=F64))
    kink = (getattr(output, "shift", getattr(output, "level", 0.0)) - mean) / scale
    for row, k in zip(found[:, 0].tolist(), (0, 3, 4, 6), strict=True):

        def integrand(z, k=k):
            hermite = mpmath.mpf(2) ** (-mpmath.mpf(k) / 2) * mpmath.hermite(k, z / mpmath.sqrt(2))
            return _PLAIN[output](mean + scale * z) * hermite * mpmath.npdf(z)

        exact = mpmath.quad(integrand, sorted([-12, -3, kink, 3, 12]))
        assert row == pytest.approx(float(exact), abs=1e-9)


@pytest.mark.parametrize("output", [*_PLAIN], ids=lambda o: type(o).__name__)
def test_no_variance_gives_the_value(output) -> None:
    mean = torch.tensor([-1.0, 2.0], dtype=F64)
    found = output.integrals(mean, torch.zeros(2, dtype=F64))
    torch.testing.assert_close(found[0], output(mean), atol=1e-12, rtol=0)
    assert float(found[1:].abs().max()) < 1e-9  # what the grid leaves out beyond 8


def test_edgeworth_is_exact_for_polynomials() -> None:
    # E f³ = κ_3 + 3 κ_2 μ + μ³ and E f⁴ = κ_4 + 4 κ_3 μ + 3 κ_2² + 6 κ_2 μ² + μ⁴.
    mean, variance, third, fourth = (torch.tensor([v], dtype=F64) for v in (0.3, 0.8, 0.2, 0.1))
    cube = edgeworth(Function(lambda f: f**3), mean, variance, third, fourth)
    assert float(cube) == pytest.approx(0.2 + 3 * 0.8 * 0.3 + 0.3**3, abs=1e-10)
    quartic = edgeworth(Function(lambda f: f**4), mean, variance, third, fourth)
    expected = 0.1 + 4 * 0.2 * 0.3 + 3 * 0.64 + 6 * 0.8 * 0.09 + 0.3**4
    assert float(quartic) == pytest.approx(expected, abs=1e-9)


def test_narrow_variances_are_taken_as_normal() -> None:
    one = torch.ones(1, dtype=F64)
    wide = edgeworth(Threshold(2e-3), 0 * one, 1e-6 * one, one, one)
    narrow = edgeworth(Threshold(2e-3), 0 * one, 1e-6 * one, one, one, least=1e-5)
    assert float(narrow) == pytest.approx(0.022750131948179, rel=1e-10)
    assert abs(float(wide)) > 1e3
    assert float(edgeworth(Threshold(-0.5), 0 * one, 0 * one, one, one)) == 1


def test_doors() -> None:
    for make in (Sigmoid, Hinge, Threshold):
        with pytest.raises(ou.InputError, match="expected a finite number"):
            make(float("nan"))
    bad = Function(lambda f: torch.exp(f * f * f))
    one = torch.ones(1, dtype=F64)
    with pytest.raises(ou.NumericalError, match="not finite"):
        bad.integrals(one, 2 * one)
    fast = Function(lambda f: torch.exp(4 * f))
    with pytest.raises(ou.NumericalError, match="no faster than a polynomial"):
        fast.integrals(one, one)
    # A sigmoid far from its step is small in the middle and not at the ends, and is no such thing.
    far = Function(lambda f: torch.sigmoid(5 * (f - 20))).integrals(one, one)
    assert 0 < float(far[0]) < 1e-12
    tenth = Function(lambda f: f**10).integrals(0 * one, one)
    assert float(tenth[0]) == pytest.approx(945, rel=1e-6)
    shrinks = Function(lambda f: f[..., :3])
    with pytest.raises(ou.InputError, match="applied to every entry"):
        shrinks.integrals(one, one)


def test_events_as_functions() -> None:
    event = Function(lambda f: f > 0.4, continuous=False)
    one = torch.ones(1, dtype=F64)
    assert event(one).dtype == F64
    assert float(event.integrals(0.4 * one, one)[0]) == pytest.approx(0.5, abs=0.01)
