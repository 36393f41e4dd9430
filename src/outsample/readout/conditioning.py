"""A readout given a few of its directions: the law of what is left, at every node.

Given y = U z the other coordinates are still standard normal, and f is again a two-layer network
in them, with means (W Uᵀ y)_j and weights projected on the complement.  Its mean is exact; its
variance and its third and fourth cumulants are those of its expansion to degree 2.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.readout.coefficients import local_coefficients, reflection
from outsample.readout.contraction import quadratic_cumulant
from outsample.readout.hermite_tensors import orthogonal_complement
from outsample.readout.nodes import half_grid
from outsample.readout.problem import Whitened
from outsample.readout.symmetric import places, powers

#: Units times nodes worked on at once.
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Conditional:
    """Cumulants of f given y at q nodes, all of shape (q,)."""

    weights: Float[Tensor, " q"]
    mean: Float[Tensor, " q"]
    variance: Float[Tensor, " q"]
    third: Float[Tensor, " q"]
    fourth: Float[Tensor, " q"]

    def average(self, values: Float[Tensor, " q"]) -> float:
        """Σ weights · values."""
        return float(self.weights @ values)

    def repaired(
        self, mean: float, variance: float, added: Float[Tensor, "2"]
    ) -> tuple["Conditional", float]:
        """With the exact mean and variance of f, and what higher degrees add to the cumulants.

        Returns also the variance that was missing; below zero is rounding or too few nodes, and
        nothing is taken away.
        """
        centre = self.mean + (mean - self.average(self.mean))
        across = self.average((centre - mean).square())
        missing = variance - across - self.average(self.variance)
        return (
            Conditional(
                self.weights,
                centre,
                self.variance + max(missing, 0.0),
                self.third + added[0],
                self.fourth + added[1],
            ),
            missing,
        )

    def total(self) -> tuple[float, float, float, float]:
        """Mean, variance, third and fourth cumulant of f, by the law of total cumulance."""
        mean = self.average(self.mean)
        d = self.mean - mean
        variance = self.average(d * d + self.variance)
        third = self.average(d**3 + 3 * d * self.variance + self.third)
        fourth = self.average(
            d**4
            + 6 * d * d * self.variance
            + 4 * d * self.third
            + self.fourth
            + 3 * self.variance.square()
        )
        return mean, variance, third, fourth - 3 * variance**2


def condition(
    net: Whitened, readout: int, directions: Float[Tensor, "r n"], nodes: int
) -> Conditional:
    """Cumulants of one readout given its coordinates along ``directions``, at nodes for them.

    Args:
        net: the network.
        readout: which of its readouts.
        directions: orthonormal rows, shape (r, n).
        nodes: per direction, even.
    """
    points, weights = half_grid(directions.shape[0], nodes)
    v = net.readouts[readout]
    rows = net.weights
    along = rows @ directions.T
    rest = rows @ orthogonal_complement(directions)
    scale = rest.norm(dim=1)
    unit = rest / scale.clamp_min(1e-300)[:, None]
    symmetry = reflection(net.activation) if net.centred else None
    if symmetry is None and directions.shape[0] > 0:
        points, weights = torch.cat((points, -points)), torch.cat((weights, weights)) / 2
    mean, linear, matrix = _moments(net, v, along, scale, unit, points)
    if symmetry is not None and directions.shape[0] > 0:
        if symmetry.odd:
            reflected = (-mean, linear, -matrix)
        else:
            reflected = (
                mean - symmetry.slope * (points @ (v @ along)),
                symmetry.slope * (v @ rest) - linear,
                matrix,
            )
        mean, linear, matrix = (
            torch.cat(pair) for pair in zip((mean, linear, matrix), reflected, strict=True)
        )
        weights = torch.cat((weights, weights)) / 2
    cumulants = [quadratic_cumulant(linear, matrix, r) for r in (2, 3, 4)]
    return Conditional(weights, mean + net.shifts[readout], *cumulants)


def _moments(
    net: Whitened,
    v: Float[Tensor, " m"],
    along: Float[Tensor, "m r"],
    scale: Float[Tensor, " m"],
    unit: Float[Tensor, "m rest"],
    points: Float[Tensor, "q r"],
) -> tuple[Float[Tensor, " q"], Float[Tensor, "q rest"], Float[Tensor, "q rest rest"]]:
    """E f, E ∇f and E ∇²f across the directions, at every point, as products of matrices."""
    rest = unit.shape[1]
    pairs = v[:, None] * powers(unit, 2) if rest else unit
    singles = v[:, None] * unit
    means: list[Tensor] = []
    linears: list[Tensor] = []
    matrices: list[Tensor] = []
    for chunk in points.split(max(1, _BLOCK // len(v))):
        e0, e1, e2 = local_coefficients(
            net.activation, torch.addmm(net.means, chunk, along.T), scale
        )
        means.append(e0 @ v)
        linears.append(e1 @ singles)
        matrices.append(e2 @ pairs)
    packed = torch.cat(matrices)
    index = torch.zeros(rest, rest, dtype=torch.int64)
    if rest:
        first, second = places(rest, 2).T
        index[first, second] = index[second, first] = torch.arange(len(first))
    full = packed[:, index.reshape(-1)].reshape(len(packed), rest, rest)
    return torch.cat(means), torch.cat(linears), full
