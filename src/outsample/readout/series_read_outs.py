"""E[σ(f)] from four cumulants by other routes: Cornish and Fisher, and maximum entropy."""

import torch
from torch import Tensor

from outsample.errors import NumericalError
from outsample.networks.activations.gaussian import density, hermite, upper_tail
from outsample.readout.outputs import Output, Threshold

#: Grids of the transform and of the density, in standard deviations.
_POINTS, _CORNISH, _ENTROPY = 24001, 12.0, 9.0
#: The transform must rise as far out as this.
_MONOTONE = 4.0
#: Mass of a density at its ends beyond which it does not exist on the line.
_EDGE = 1e-6
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
    """E σ of the density of largest entropy with these moments, on 9 standard deviations.

    The exponent is a polynomial of degree 4, found by damped Newton steps on the convex dual.

    Raises:
        NumericalError: if no density has these moments, or it leans on the ends of the interval.
    """
    mean, deviation, g3, g4 = _standardised(cumulants)
    if g4 + 2 <= g3**2:
        raise NumericalError(
            f"no law has skewness {g3:.3g} and excess kurtosis {g4:.3g}: the fourth cumulant is "
            "wrong; use another degree, or ConditionedReadout"
        )
    z = torch.linspace(-_ENTROPY, _ENTROPY, _POINTS // 8, dtype=torch.float64)
    basis = torch.stack([hermite(k, z) for k in range(1, 5)])
    wanted = z.new_tensor([0.0, 0.0, g3, g4])
    weights = torch.zeros(4, dtype=torch.float64)
    weights[1] = -0.5  # He_2 = z² - 1: the normal density

    def law(at: Tensor) -> tuple[Tensor, Tensor]:
        exponent = at @ basis
        shift = exponent.max()
        mass = torch.exp(exponent - shift)
        return mass / mass.sum(), torch.log(mass.sum()) + shift - at @ wanted

    mass, value = law(weights)
    for _ in range(_STEPS):
        gap = basis @ mass - wanted
        if float(gap.abs().max()) < 1e-10:
            break
        centred = basis - (basis @ mass)[:, None]
        step = torch.linalg.lstsq((centred * mass) @ centred.T, gap[:, None]).solution[:, 0]
        size = 1.0
        while size > 1e-10:
            tried, new = law(weights - size * step)
            if float(new) < float(value - 1e-4 * size * (gap @ step)):
                break
            size /= 2
        else:
            break
        weights, mass, value = weights - size * step, tried, new
    gap = float((basis @ mass - wanted).abs().max())
    if gap > 1e-6 or float(mass[:8].sum() + mass[-8:].sum()) > _EDGE:
        raise NumericalError(
            f"no density with an exponent of degree 4 has skewness {g3:.3g} and excess kurtosis "
            f"{g4:.3g} within 9 standard deviations; use readout = 'edgeworth'"
        )
    return expectation(output, mean + deviation * z, mass)


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
