"""Quadrature rules for Gaussian expectations, and the expansion from values at their nodes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

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
    #: Factors of the weights that give the rules on every second and on every fourth node.
    thinned: Float[Tensor, "2 nodes"]
    #: Standard deviations covered.
    width: float

    def sum(self, values: Float[Tensor, "n nodes"], degree: int = 0) -> Float[Tensor, " n"]:
        """Σ w He_degree(g) values."""
        weights = self.weights * hermite(degree, self.g) if degree else self.weights
        return values @ weights if weights.dim() == 1 else (values * weights).sum(-1)

    def select(self, rows: Bool[Tensor, " n"]) -> "Rule":
        """The rule of some of the neurons."""
        if self.g.dim() == 1:
            return self
        return Rule(self.g[rows], self.weights[rows], self.thinned, self.width)

    @cached_property
    def probes(self) -> Float[Tensor, "*n nodes 6"]:
        """Weights that show the error at degrees 0 and 4.

        For each: the change from four times fewer nodes to two times fewer, that from there to
        all nodes, and the size of the terms.
        """
        halved, quartered = self.thinned
        columns: list[Tensor] = []
        for degree in (0, 4):
            weights = self.weights * hermite(degree, self.g)
            columns += [weights * (halved - quartered), weights * (1 - halved), weights.abs()]
        return torch.stack(columns, -1).detach()


class Nodes(Expansion):
    """Expansion from the values of a function at quadrature nodes."""

    def __init__(
        self,
        mean: Float[Tensor, " n"],
        scale: Float[Tensor, " n"],
        powers: "dict[int, Float[Tensor, 'n nodes']]",
        size: Float[Tensor, " n"],
        noise: Float[Tensor, " n"],
        aliased: Float[Tensor, " n"],
        rule: Rule,
    ) -> None:
        """Take the mean and powers, the first at least, of the deviations in units of ``size``.

        In the same units, ``noise`` is what rounding may do to the deviations and ``aliased`` is
        how far they are, between the nodes, from what the nodes suggest.
        """
        self.mean, self.scale = mean, scale
        self._powers, self._size, self._rule = powers, size, rule
        self._noise, self._aliased = noise, aliased

    @classmethod
    def of(
        cls,
        mu: Float[Tensor, " n"],
        sigma: Float[Tensor, " n"],
        value: Float[Tensor, " n"],
        changes: Float[Tensor, "n nodes"],
        rule: Rule,
        aliased: Float[Tensor, " n"] | None = None,
    ) -> "Nodes":
        """Take φ(μ) and the changes φ(x) − φ(μ) at the nodes x = μ + σg."""
        shift = rule.sum(changes)
        size = unit(torch.stack((torch.linalg.vector_norm(changes, math.inf, dim=-1), shift)))
        # In one pass: (changes - shift) / size.
        deviations = torch.addcmul(-(shift / size)[:, None], changes, (1 / size)[:, None])
        mean = value + shift
        lost = (mean.abs() / size + (mu / sigma).abs() + 1).detach()
        noise = 64 * torch.finfo(torch.float64).eps * lost
        aliased = torch.zeros_like(size) if aliased is None else aliased / size
        return cls(mean, sigma, {1: deviations}, size, noise, aliased, rule)

    def coefficient(self, degree: int, power: int = 1) -> Float[Tensor, " n"]:
        """See the base class."""
        if degree == 0 and power == 1:
            return torch.zeros_like(self.mean)
        return scaled(self._rule.sum(self._power(power), degree), self._size, power)

    def select(self, rows: Bool[Tensor, " n"]) -> "Nodes":
        """The expansion of some of the neurons."""
        powers = {power: values[rows] for power, values in self._powers.items()}
        mean, scale, size, noise, aliased = (
            t[rows] for t in (self.mean, self.scale, self._size, self._noise, self._aliased)
        )
        return Nodes(mean, scale, powers, size, noise, aliased, self._rule.select(rows))

    def error(self) -> Float[Tensor, " n"]:
        """Estimated relative error of the coefficients up to degree 4 and power 4.

        Thinning the nodes twice gives two changes; the next is extrapolated, cautiously, by the
        root of their ratio, beyond what the rounding of the function's values explains.  What
        is left out beyond the window's ends, by Mills' ratio, counts as error too; a wave too
        fast for the nodes, which looks slow on any part of them, leaves no accuracy at all.
        """
        probes = self._rule.probes
        width = torch.tensor(self._rule.width, dtype=torch.float64)
        end = float(density(width) * hermite(4, width) / width)
        earlier, later, ends = [], [], []
        for power in (2, 4):
            values = self._power(power).detach()
            seen = values @ probes if probes.dim() == 2 else (values[:, None] @ probes)[:, 0]
            total = seen[:, 2::3] + torch.finfo(torch.float64).tiny
            earlier.append(seen[:, 0::3].abs() / total)
            later.append((seen[:, 1::3].abs() - self._noise[:, None]) / total)
            ends.append(values[:, (0, -1)] * end / total[:, 1:])
        first, second = (torch.cat(changes, 1).amax(1) for changes in (earlier, later))
        second = second.clamp_min(0)
        ratio = second / torch.maximum(first, second).clamp_min(torch.finfo(torch.float64).tiny)
        error = torch.maximum(second * ratio.sqrt(), torch.cat(ends, 1).amax(1))
        spread = self._rule.sum(self._power(2).detach()).sqrt()
        return torch.where(self._aliased > 1e-3 * spread + self._noise, 1.0, error)

    def _power(self, power: int) -> Float[Tensor, "n nodes"]:
        if power not in self._powers:
            lower = power // 2
            self._powers[power] = self._power(lower) * self._power(power - lower)
        return self._powers[power]


def trapezoid(
    function: Function,
    mu: Float[Tensor, " n"],
    sigma: Float[Tensor, " n"],
    intervals: int,
    width: float,
) -> Nodes:
    """The trapezoidal rule in g: exponentially convergent for analytic functions."""
    rule, probes, interpolation = _trapezoid(intervals, width, mu.device)
    value = function(mu)
    x = torch.addcmul(mu[:, None], sigma[:, None], torch.cat((rule.g, probes)))
    changes = function(x) - value[:, None]
    aliased = (changes.detach() @ interpolation).abs().amax(-1)
    return Nodes.of(mu, sigma, value, changes[:, : len(rule.g)], rule, aliased)


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
    q, dq, thinned = _double_exponential(half, mu.device)
    ends = torch.full_like(mu, width)[None]
    inner = ((points - mu) * sigma.reciprocal()).clamp(-width, width)
    edges = torch.cat((-ends, inner, ends))
    x = mu + sigma * edges
    x = torch.cat((x[:1], torch.where(inner.abs() < width, points, x[1:-1]), x[-1:]))

    offset = (edges[1:] - edges[:-1])[:, :, None] * q
    step = sigma[:, None] * offset  # places are counted from exact breakpoints
    x = torch.cat((x[:-1, :, None] + step, (x[1:, :, None] - step).flip(-1)), -1)
    g = torch.cat((edges[:-1, :, None] + offset, (edges[1:, :, None] - offset).flip(-1)), -1)
    weights = (edges[1:] - edges[:-1])[:, :, None] * torch.cat((dq, dq.flip(0))) * density(g)
    x, g, weights = (t.movedim(0, 1).flatten(1) for t in (x, g, weights))
    thinned = torch.cat((thinned, thinned.flip(1)), 1).repeat(1, len(edges) - 1)

    value = function(mu)
    rule = Rule(g, weights, thinned, width)
    return Nodes.of(mu, sigma, value, function(x) - value[:, None], rule)


@lru_cache(maxsize=16)
def _trapezoid(intervals: int, width: float, device: torch.device) -> tuple[Rule, Tensor, Tensor]:
    """The rule, some places between its nodes, and a check on the values at all of them.

    The values' product with the matrix (nodes and places, places) is the difference, at the
    places, of f √pdf from its interpolation by Whittaker's cardinal series.  Only every second
    node is used for it: what these resolve, all of them resolve when raised to the fourth power.
    """
    g = torch.linspace(-width, width, intervals + 1, dtype=torch.float64, device=device)
    step = 2 * width / intervals
    golden = torch.arange(1, 7, dtype=torch.float64, device=device) * 0.6180339887498949
    places = 5 * (golden % 1) - 2.5
    cardinal = torch.sinc((places - g[:, None]) / (2 * step)) * density(g).sqrt()[:, None]
    cardinal[1::2] = 0
    check = torch.cat((cardinal, -torch.diag(density(places).sqrt())))
    return Rule(g, density(g) * step, _thinned(g), width), places, check


@lru_cache(maxsize=16)
def _double_exponential(half: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes of the lower half of [0, 1], their weights, and the weights' factors when thinned."""
    u = torch.linspace(3.2, 0, half + 1, dtype=torch.float64, device=device)
    q = torch.sigmoid(-math.pi * torch.sinh(u))
    weights = (3.2 / half) * math.pi * torch.cosh(u) * q * (1 - q)
    weights[-1] /= 2  # the middle node belongs to both halves
    return q, weights, _thinned(u)


def _thinned(nodes: Float[Tensor, " nodes"]) -> Float[Tensor, "2 nodes"]:
    factors = torch.zeros_like(nodes).repeat(2, 1)
    factors[0, ::2], factors[1, ::4] = 2, 4
    return factors
