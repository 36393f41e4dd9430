"""Hermite coefficients of powers of piecewise polynomials, from truncated Gaussian moments."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.networks.activations.base import Expansion, standard_deviation
from outsample.networks.activations.gaussian import (
    HORIZON,
    density,
    hermite,
    hermite_product,
    power_product,
    scaled,
    unit,
    upper_tail,
)
from outsample.networks.activations.kinks import warn_at_kinks

Pieces = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Knots:
    """A piecewise polynomial, re-expanded about its m breakpoints (knots)."""

    points: Float[Tensor, " m"]
    #: Taylor coefficients about each knot of the piece below (0) and above (1) it.
    taylor: Float[Tensor, "m 2 terms"]

    @classmethod
    def of(cls, points: tuple[float, ...], pieces: Pieces) -> "Knots":
        """Expand in rational arithmetic, so that nothing cancels later."""
        size = max(len(piece) for piece in pieces)
        table: list[list[list[float]]] = []
        for i, point in enumerate(points):
            below, above = (_taylor(piece, point, size) for piece in pieces[i : i + 2])
            magnitude = sum(abs(c * point**r) for p in pieces[i : i + 2] for r, c in enumerate(p))
            if abs(above[0] - below[0]) <= 4 * torch.finfo(torch.float64).eps * magnitude:
                above[0] = below[0]  # a jump of the size of rounding is meant as none
            table.append([below, above])
        return cls(
            torch.tensor(points, dtype=torch.float64), torch.tensor(table, dtype=torch.float64)
        )

    @cached_property
    def jumps(self) -> Float[Tensor, "m terms"]:
        """Jumps of the Taylor coefficients at each knot: of the value, of the slope and so on."""
        return self.taylor[:, 1] - self.taylor[:, 0]


class PiecewiseExpansion(Expansion):
    r"""Expansion of a piecewise polynomial with at least one breakpoint.

    The piece that contains the mean is the base and is expanded in Hermite polynomials; at every
    knot on the way to another piece the difference of the two neighbouring pieces' powers is
    added on the far side only,

    .. math:: E[He_k(g)\,(g - x)_+^r] = \frac{r!}{(r-k)!}\,E[(g - x)_+^{r-k}]
              \quad\text{or, for } k > r, \quad r!\,He_{k-r-1}(x)\,\mathrm{pdf}(x),

    x ≥ 0 being the distance to the knot in standard deviations.  All polynomials are written
    about the mean or about a knot, less the base's value at its knot, so nothing cancels.
    """

    def __init__(
        self, name: str, knots: Knots, mean: Float[Tensor, " n"], variance: Float[Tensor, " n"]
    ) -> None:
        """Prepare the expansion at N(mean, variance), in float64 internally."""
        self.scale = standard_deviation(variance)
        self._dtype = mean.dtype
        mu, sigma = mean.double(), self.scale.double()
        points, taylor = knots.points.to(mu.device)[:, None], knots.taylor.to(mu.device)

        piece = (mu >= points).sum(0)
        lower, upper = (piece - 1).clamp_min(0), piece.clamp_max(len(points) - 1)
        closer = (points[upper, 0] - mu).abs() < (points[lower, 0] - mu).abs()
        nearest = torch.where(closer, upper, lower)
        base = taylor[nearest, (nearest < piece).long()].T
        value, slopes = base[0], torch.cat((torch.zeros_like(base[:1]), base[1:]))
        series = gaussian_series(slopes, mu - points[nearest, 0], sigma)

        # A sign makes the distance positive; abs() would lose the gradient at a knot.
        index = torch.arange(len(points), device=mu.device)[:, None]
        upward = index >= piece
        self._sign = torch.where(upward, 1.0, -1.0).to(mu)
        distance = self._sign * (points - mu) * sigma.reciprocal()
        reached = (distance < HORIZON).detach()
        x = distance.clamp(max=HORIZON)
        tail, self._pdf = upper_tail(x), density(x)
        self._x, self._moments = x, [tail, self._pdf - x * tail]

        # The pieces on the near and the far side of each knot, as polynomials in g - knot.
        far = upward.long()
        sides = torch.stack((taylor[index, 1 - far], taylor[index, far])).movedim(3, 0)
        sides = torch.cat((sides[:1] - value, sides[1:]))
        sides = sides * torch.stack([sigma**r for r in range(len(sides))])[:, None, None]
        sides = torch.where(reached, sides, torch.zeros_like(sides))
        self._unit = unit(torch.cat((series[1:], (sides[:, 1] - sides[:, 0]).flatten(0, 1))))
        rough = (knots.jumps[:, :2] != 0).any(1).to(mu.device)
        warn_at_kinks(name, mean, variance, (reached & rough[:, None]).any(0))

        shift = series[0] + self._beyond(sides, 0)
        self.mean = (value + shift).to(self._dtype)
        inner = torch.cat((series[:1] - shift, series[1:]))
        sides = torch.cat((sides[:1] - torch.where(reached, shift, 0.0), sides[1:]))
        self._inner = [inner / self._unit]
        self._sides = [sides / self._unit]

    def coefficient(self, degree: int, power: int = 1) -> Float[Tensor, " n"]:
        """See the base class."""
        if degree == 0 and power == 1:
            return torch.zeros_like(self.mean)
        while len(self._inner) < power:
            self._inner.append(hermite_product(self._inner[-1], self._inner[0]))
            self._sides.append(power_product(self._sides[-1], self._sides[0]))
        inner = self._inner[power - 1]
        total = self._beyond(self._sides[power - 1], degree)
        if degree < inner.shape[0]:
            total = total + math.factorial(degree) * inner[degree]
        return scaled(total, self._unit, power).to(self._dtype)

    def _beyond(self, sides: Float[Tensor, "r 2 m n"], degree: int) -> Float[Tensor, " n"]:
        """E[He_degree (far - near) 1(beyond the knot)], summed over the knots."""
        odd = (self._sign, torch.ones_like(self._sign))
        ramps = [self._ramp(degree, r) * odd[(degree + r + 1) % 2] for r in range(len(sides))]
        return ((sides[:, 1] - sides[:, 0]) * torch.stack(ramps)).sum((0, 1))

    def _ramp(self, degree: int, r: int) -> Float[Tensor, "m n"]:
        """E[He_degree(g) (g - x)_+^r]."""
        if degree > r:
            return math.factorial(r) * hermite(degree - r - 1, self._x) * self._pdf
        for j in range(len(self._moments), r - degree + 1):
            following = (j - 1) * self._moments[j - 2] - self._x * self._moments[j - 1]
            self._moments.append(following)
        return math.perm(r, degree) * self._moments[r - degree]


def gaussian_series(
    taylor: Float[Tensor, "terms n"], shift: Float[Tensor, " n"], sigma: Float[Tensor, " n"]
) -> Float[Tensor, "terms n"]:
    """Hermite series of Σ_r taylor[r] (shift + σ g)^r: h_j = σ^j/j! E[∂^j of it]."""
    size = len(taylor)
    moments = [torch.ones_like(shift), shift]
    for q in range(2, size):
        moments.append(shift * moments[q - 1] + (q - 1) * sigma * sigma * moments[q - 2])
    series: list[Tensor] = []
    for j in range(size):
        terms = [math.comb(r, j) * taylor[r] * moments[r - j] for r in range(j, size)]
        series.append(torch.stack(terms).sum(0) * sigma**j)
    return torch.stack(series)


def _taylor(piece: tuple[float, ...], point: float, size: int) -> list[float]:
    """Coefficients about ``point`` of a polynomial given about zero, exact but for one rounding."""
    exact, at = [Fraction(c) for c in piece], Fraction(point)
    about = [
        sum((math.comb(r, j) * exact[r] * at ** (r - j) for r in range(j, len(exact))), Fraction())
        for j in range(size)
    ]
    return [float(c) for c in about]
