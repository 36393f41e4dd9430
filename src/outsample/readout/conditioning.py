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


@dataclass(frozen=True)
class Split:
    """One readout of a network, its weights split along directions and across them."""

    net: Whitened
    readout: int
    #: Weights along the directions, shape (m, r), and across them, (m, rest).
    along: Float[Tensor, "m r"]
    rest: Float[Tensor, "m rest"]
    #: Lengths of the latter, shape (m,).
    scale: Float[Tensor, " m"]
    #: v u and the different entries of v u uᵀ, u the latter's directions: (m, rest), (m, entries).
    singles: Float[Tensor, "m rest"]
    pairs: Float[Tensor, "m entries"]

    @classmethod
    def of(cls, net: Whitened, readout: int, directions: Float[Tensor, "r n"]) -> "Split":
        """Split along orthonormal rows, shape (r, n)."""
        v, rows = net.readouts[readout], net.weights
        rest = rows @ orthogonal_complement(directions)
        scale = rest.norm(dim=1)
        unit = rest / scale.clamp_min(1e-300)[:, None]
        pairs = v[:, None] * powers(unit, 2) if unit.shape[1] else unit
        return cls(net, readout, rows @ directions.T, rest, scale, v[:, None] * unit, pairs)

    def conditional(self, nodes: int) -> Conditional:
        """Cumulants of the readout given its coordinates along the directions.

        Args:
            nodes: per direction, even.
        """
        net, v = self.net, self.net.readouts[self.readout]
        count = self.along.shape[1]
        points, weights = half_grid(count, nodes)
        symmetry = reflection(net.activation) if net.centred else None
        if symmetry is None and count > 0:
            points, weights = torch.cat((points, -points)), torch.cat((weights, weights)) / 2
        mean, linear, matrix = self._moments(points)
        sides = [(mean, linear, 1.0)]
        if symmetry is not None and count > 0:
            # At -y the Hessian is the same up to sign, and the rest follows from φ(x) ± φ(-x).
            weights = torch.cat((weights, weights)) / 2
            if symmetry.odd:
                sides.append((-mean, linear, -1.0))
            else:
                shift = mean - symmetry.slope * (points @ (v @ self.along))
                sides.append((shift, symmetry.slope * (v @ self.rest) - linear, 1.0))
        found = _quadratic(sides, matrix)
        found[0] += net.shifts[self.readout]
        return Conditional(weights, *found)

    def _moments(
        self, points: Float[Tensor, "q r"]
    ) -> tuple[Float[Tensor, " q"], Float[Tensor, "q rest"], Float[Tensor, "q rest rest"]]:
        """E f, E ∇f and E ∇²f across the directions, at every point, as products of matrices."""
        net, v = self.net, self.net.readouts[self.readout]
        rest = self.rest.shape[1]
        means: list[Tensor] = []
        linears: list[Tensor] = []
        matrices: list[Tensor] = []
        for chunk in points.split(max(1, _BLOCK // len(v))):
            e0, e1, e2 = local_coefficients(
                net.activation, torch.addmm(net.means, chunk, self.along.T), self.scale
            )
            means.append(e0 @ v)
            linears.append(e1 @ self.singles)
            matrices.append(e2 @ self.pairs)
        packed = torch.cat(matrices)
        index = torch.zeros(rest, rest, dtype=torch.int64)
        if rest:
            first, second = places(rest, 2).T
            index[first, second] = index[second, first] = torch.arange(len(first))
        full = packed[:, index.reshape(-1)].reshape(len(packed), rest, rest)
        return torch.cat(means), torch.cat(linears), full


def _quadratic(
    sides: list[tuple[Tensor, Tensor, float]], matrix: Float[Tensor, "q n n"]
) -> list[Float[Tensor, " all"]]:
    """Mean, variance, third, fourth cumulant of mean + b·z + s (zᵀ H z - tr H) / 2 for each side.

    A side is (mean, b, s), s a sign; H is shared, and so are its traces.
    """
    square = matrix @ matrix
    second = matrix.square().sum((1, 2)) / 2
    third = (square * matrix).sum((1, 2))
    fourth = 3 * square.square().sum((1, 2))
    parts: list[tuple[Tensor, ...]] = []
    for mean, linear, sign in sides:
        moved = (matrix @ linear[:, :, None])[:, :, 0]
        parts.append(
            (
                mean,
                linear.square().sum(1) + second,
                sign * (3 * (linear * moved).sum(1) + third),
                12 * moved.square().sum(1) + fourth,
            )
        )
    return [torch.cat(column) for column in zip(*parts, strict=True)]
