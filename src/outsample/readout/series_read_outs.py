"""E[σ(f)] from four cumulants by other routes: Cornish and Fisher, and maximum entropy."""

import torch
from torch import Tensor

from outsample.errors import NumericalError
from outsample.networks.activations.gaussian import density, hermite, upper_tail
from outsample.readout.outputs import Output, Threshold

#: Grids of the transform and of the density, in standard deviations.
_POINTS, _CORNISH, _ENTROPY = 24001, 12.0, (9.0, 7.0, 6.0, 5.0)
#: The transform must rise as far out as this.
_MONOTONE = 4.0
#: Mass of a density at its ends beyond which it does not exist on the line.
_EDGE = 1e-5
#: How well the moments must agree.
_MATCHED = 1e-9
_STEPS = 200


def cornish_fisher(output: Output, cumulants: tuple[float, float, float, float]) -> Tensor:
    """E σ of the polynomial of a normal variable with these four cumulants, to second order.

    Raises:
        NumericalError: if the polynomial does not rise within 4 standard deviations.
    """
    mean, deviation, g3, g4 = _standardised(cumulants)
    z = torch.linspace(-_CORNISH, _CORNISH, _POINTS, dtype=torch.float64)
    x = z + g3 / 6 * hermite(2, z) + g4 / 24 * hermite(3, z) - g3**2 / 36 * (2 * z**3 - 5 * z)
    inner = x[z.abs() <= _MONOTONE]
    if not bool((inner.diff() > 0).all()):
        raise NumericalError(
            f"Cornish and Fisher's transform does not rise for skewness {g3:.3g} and excess "
            f"kurtosis {g4:.3g}; use readout = 'edgeworth', or ConditionedReadout"
        )
    if isinstance(output, Threshold):
        level = (output.level - mean) / deviation
        place = int((x <= level).sum())
        if place in (0, _POINTS):
            return z.new_tensor(float(place == 0))
        low, high = x[place - 1], x[place]
        share = (level - low) / (high - low)
        return upper_tail(z[place - 1] + share * (z[place] - z[place - 1]))
    weight = density(z)
    return (output(mean + deviation * x) * weight).sum() / weight.sum()


def maximum_entropy(output: Output, cumulants: tuple[float, float, float, float]) -> Tensor:
    """E σ of the density of largest entropy with these moments, on a bounded interval.

    The exponent is a polynomial of degree 4.  With positive excess kurtosis it rises again far
    out, and there is no such density on the line: the interval is the widest of 9, 7, 6 and 5
    standard deviations on whose ends next to no mass lies.

    Raises:
        NumericalError: if no density has these moments, or all lean on the ends.
    """
    mean, deviation, g3, g4 = _standardised(cumulants)
    if g4 + 2 <= g3**2:
        raise NumericalError(
            f"no law has skewness {g3:.3g} and excess kurtosis {g4:.3g}: the fourth cumulant is "
            "wrong; use another degree, or ConditionedReadout"
        )
    for width in _ENTROPY:
        z = torch.linspace(-width, width, _POINTS // 8, dtype=torch.float64)
        mass = _exponential_law(z, g3, g4)
        if mass is not None and float(mass[:8].sum() + mass[-8:].sum()) < _EDGE:
            return expectation(output, mean + deviation * z, mass)
    raise NumericalError(
        f"no density with an exponent of degree 4 has skewness {g3:.3g} and excess kurtosis "
        f"{g4:.3g} within 5 standard deviations; use readout = 'edgeworth'"
    )


def _exponential_law(z: Tensor, g3: float, g4: float) -> Tensor | None:
    """Masses at ``z`` of that density, by damped Newton steps on the convex dual; None if none."""
    basis = torch.stack([hermite(k, z) for k in range(1, 5)])
    wanted = z.new_tensor([0.0, 0.0, g3, g4])
    weights = z.new_tensor([0.0, -0.5, 0.0, 0.0])  # He_2 = z² - 1: the normal density

    def law(at: Tensor) -> tuple[Tensor, float]:
        exponent = at @ basis
        shift = exponent.max()
        mass = torch.exp(exponent - shift)
        return mass / mass.sum(), float(torch.log(mass.sum()) + shift - at @ wanted)

    mass, value = law(weights)
    for _ in range(_STEPS):
        gap = basis @ mass - wanted
        if float(gap.abs().max()) < _MATCHED:
            return mass
        centred = basis - (basis @ mass)[:, None]
        step = torch.linalg.lstsq((centred * mass) @ centred.T, gap[:, None]).solution[:, 0]
        size = 1.0
        tried, new = law(weights - step)
        # Close to the minimum the value itself is rounding.
        while new > value - 1e-4 * size * float(gap @ step) + 1e-13 * abs(value):
            size /= 2
            if size < 1e-6:
                return None
            tried, new = law(weights - size * step)
        weights, mass, value = weights - size * step, tried, new
    return None


def expectation(output: Output, places: Tensor, masses: Tensor) -> Tensor:
    """Σ masses · σ(places) on an even grid; a jump within a cell takes its share of it."""
    if isinstance(output, Threshold):
        width = places[1] - places[0]
        return (masses * ((places - output.level) / width + 0.5).clamp(0, 1)).sum()
    return (masses * output(places)).sum()


def _standardised(
    cumulants: tuple[float, float, float, float],
) -> tuple[float, float, float, float]:
    mean, variance, third, fourth = cumulants
    return mean, variance**0.5, third / variance**1.5, fourth / variance**2
