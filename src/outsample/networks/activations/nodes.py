"""Quadrature rules for Gaussian expectations, and the expansion from values at their nodes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from outsample.networks.activations.base import Expansion
from outsample.networks.activations.gaussian import density, hermite, scaled, unit

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Rule:
    """Nodes and weights with Σ w f(g) ≈ E f(g), the same for all neurons or one row for each."""

    g: Float[Tensor, "*n nodes"]
    weights: Float[Tensor, "*n nodes"]
    #: Multiplies the weights to give the rule on every other node.
    halving: Float[Tensor, " nodes"]
    #: Standard deviations covered.
    width: float

    def weighted(self, degree: int) -> Float[Tensor, "*n nodes"]:
        """The weights times He_degree(g)."""
        return self.weights * hermite(degree, self.g) if degree else self.weights

    def select(self, rows: Bool[Tensor, " n"]) -> "Rule":
        """The rule of some of the neurons."""
        if self.g.dim() == 1:
            return self
        return Rule(self.g[rows], self.weights[rows], self.halving, self.width)


class Nodes(Expansion):
    """Expansion from the values of a function at quadrature nodes."""

    def __init__(
        self,
        mean: Float[Tensor, " n"],
        scale: Float[Tensor, " n"],
        powers: "list[Float[Tensor, 'n nodes']]",
        size: Float[Tensor, " n"],
        rule: Rule,
    ) -> None:
        """Take the mean and the powers, from the first, of the deviations in units of ``size``."""
        self.mean, self.scale = mean, scale
        self._powers, self._size, self._rule = powers, size, rule

    @classmethod
    def of(
        cls,
        value: Float[Tensor, " n"],
        scale: Float[Tensor, " n"],
        changes: Float[Tensor, "n nodes"],
        rule: Rule,
    ) -> "Nodes":
        """Take φ(μ) and the changes φ(x) − φ(μ) at the nodes."""
        shift = _sum(changes, rule.weights)
        deviations = changes - shift[:, None]
        size = unit(deviations.detach().abs().amax(-1)[None])
        return cls(value + shift, scale, [deviations / size[:, None]], size, rule)

    def coefficient(self, degree: int, power: int = 1) -> Float[Tensor, " n"]:
        """See the base class."""
        if degree == 0 and power == 1:
            return torch.zeros_like(self.mean)
        return scaled(_sum(self._power(power), self._rule.weighted(degree)), self._size, power)

    def select(self, rows: Bool[Tensor, " n"]) -> "Nodes":
        """The expansion of some of the neurons."""
        powers = [power[rows] for power in self._powers]
        rule = self._rule.select(rows)
        return Nodes(self.mean[rows], self.scale[rows], powers, self._size[rows], rule)

    @torch.no_grad()
    def error(self) -> Float[Tensor, " n"]:
        """Estimated relative error of the coefficients up to degree 4 and power 4.

        It is the largest change when every other node is dropped, beyond what the rounding of
        the function's values explains, or the weight of the integrand at the window's ends.
        The rules converge so fast that the change is far above the error that is left.
        """
        eps, tiny = torch.finfo(torch.float64).eps, torch.finfo(torch.float64).tiny
        noise = 64 * eps * (self.mean.abs() / self._size + 1)
        width = torch.tensor(self._rule.width, dtype=torch.float64)
        errors: list[Tensor] = []
        for power in (1, 4):
            values = self._powers[0] ** power  # not kept: no gradient is recorded here
            for degree in (0, 4):
                weights = self._rule.weighted(degree)
                total = _sum(values.abs(), weights.abs()) + tiny
                change = _sum(values, weights * (self._rule.halving - 1))
                errors.append((change.abs() - noise) / total)
                ends = values[:, (0, -1)].abs().amax(-1)
                errors.append(ends * float(density(width) * hermite(degree, width)) / total)
        return torch.stack(errors).amax(0)

    def _power(self, power: int) -> Float[Tensor, "n nodes"]:
        while len(self._powers) < power:
            self._powers.append(self._powers[-1] * self._powers[0])
        return self._powers[power - 1]


def trapezoid(
    function: Function,
    mu: Float[Tensor, " n"],
    sigma: Float[Tensor, " n"],
    intervals: int,
    width: float,
) -> Nodes:
    """The trapezoidal rule in g: exponentially convergent for analytic functions."""
    rule = _trapezoid(intervals, width, mu.device)
    value = function(mu)
    changes = function(mu[:, None] + sigma[:, None] * rule.g) - value[:, None]
    return Nodes.of(value, sigma, changes, rule)


def tanh_sinh(
    function: Function,
    mu: Float[Tensor, " n"],
    sigma: Float[Tensor, " n"],
    points: Float[Tensor, "m 1"],
    half: int,
    width: float,
) -> Nodes:
    """The double exponential rule between breakpoints, 2 (``half`` + 1) nodes to each piece.

    Nodes crowd towards both ends of a piece, so that layers of any thickness there are resolved.
    Their places depend on the arguments and are differentiated too, which makes jumps count.
    """
    q, dq, halving = _double_exponential(half, mu.device)
    ends = torch.full_like(mu, width)[None]
    inner = ((points - mu) / sigma).clamp(-width, width)
    edges = torch.cat((-ends, inner, ends))
    x = mu + sigma * edges
    x = torch.cat((x[:1], torch.where(inner.abs() < width, points, x[1:-1]), x[-1:]))

    offset = (edges[1:] - edges[:-1])[:, :, None] * q
    step = sigma[:, None] * offset  # places are counted from exact breakpoints
    x = torch.cat((x[:-1, :, None] + step, (x[1:, :, None] - step).flip(-1)), -1)
    g = torch.cat((edges[:-1, :, None] + offset, (edges[1:, :, None] - offset).flip(-1)), -1)
    weights = (edges[1:] - edges[:-1])[:, :, None] * torch.cat((dq, dq.flip(0))) * density(g)
    x, g, weights = (t.movedim(0, 1).flatten(1) for t in (x, g, weights))
    halving = torch.cat((halving, halving.flip(0))).repeat(len(edges) - 1)

    value = function(mu)
    return Nodes.of(value, sigma, function(x) - value[:, None], Rule(g, weights, halving, width))


@lru_cache(maxsize=16)
def _trapezoid(intervals: int, width: float, device: torch.device) -> Rule:
    g = torch.linspace(-width, width, intervals + 1, dtype=torch.float64, device=device)
    halving = torch.zeros_like(g)
    halving[::2] = 2
    return Rule(g, density(g) * (2 * width / intervals), halving, width)


@lru_cache(maxsize=16)
def _double_exponential(half: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes of the lower half of [0, 1], their weights, and the weights' factors when halved."""
    u = torch.linspace(3.2, 0, half + 1, dtype=torch.float64, device=device)
    q = torch.sigmoid(-math.pi * torch.sinh(u))
    weights = (3.2 / half) * math.pi * torch.cosh(u) * q * (1 - q)
    weights[-1] /= 2  # the middle node belongs to both halves
    halving = torch.zeros_like(u)
    halving[::2] = 2
    return q, weights, halving


def _sum(
    values: Float[Tensor, "n nodes"], weights: Float[Tensor, "*n nodes"]
) -> Float[Tensor, " n"]:
    return values @ weights if weights.dim() == 1 else (values * weights).sum(-1)
