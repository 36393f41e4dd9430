"""Piecewise polynomials: every Hermite coefficient of every power in closed form."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.errors import InputError, NumericalError
from outsample.networks.activations import quadrature
from outsample.networks.activations.assembled import either
from outsample.networks.activations.base import Activation, Expansion, standard_deviation
from outsample.networks.activations.bivariate import kinked_covariance
from outsample.networks.activations.gaussian import HermiteSeries
from outsample.networks.activations.kinks import check_breakpoints
from outsample.networks.activations.truncated import Knots, PiecewiseExpansion, gaussian_series


@dataclass(frozen=True)
class PiecewisePolynomial(Activation):
    """The function that is ``pieces[i]`` between ``breakpoints[i-1]`` and ``breakpoints[i]``.

    Each piece is a tuple of coefficients, lowest degree first; there is one piece more than
    there are breakpoints (none for a plain polynomial).  At a breakpoint the right piece counts.

    Raises:
        InputError: breakpoints not finite and increasing, coefficients not finite, or the wrong
            number of pieces.
    """

    breakpoints: tuple[float, ...]
    pieces: tuple[tuple[float, ...], ...]
    name: str = field(default="piecewise polynomial", compare=False)

    def __post_init__(self) -> None:
        """Check the arguments and bring equal functions to equal fields."""
        points = check_breakpoints(self.breakpoints)
        pieces = tuple(_check_piece(piece) for piece in self.pieces)
        if len(pieces) != len(points) + 1:
            raise InputError(
                f"pieces has {len(pieces)} polynomials for {len(points)} breakpoints; "
                f"expected {len(points) + 1}: before, between and after the breakpoints"
            )
        kept = [i for i in range(len(points)) if pieces[i] != pieces[i + 1]]
        object.__setattr__(self, "breakpoints", tuple(points[i] for i in kept))
        object.__setattr__(self, "pieces", (pieces[0], *(pieces[i + 1] for i in kept)))

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""
        value = _horner(self.pieces[0], x)
        for point, piece in zip(self.breakpoints, self.pieces[1:], strict=True):
            value = torch.where(x >= point, _horner(piece, x), value)
        return value

    def expand(self, mean: Float[Tensor, " n"], variance: Float[Tensor, " n"]) -> Expansion:
        """Closed-form expansion, computed in float64 whatever the dtype of the arguments.

        Neurons whose σ is more than twice the length of a bounded piece that is not constant go
        to ``quadrature.expand``: the closed form would be a small difference of long ramps.

        Raises:
            NumericalError: the mean of the activation leaves the range of the dtype.
        """
        if not self.breakpoints:
            expansion = self._expand_polynomial(mean, variance)
        else:
            narrow = variance.detach().sqrt() > 2 * self._shortest
            if bool(narrow.any()):
                expansion = either(narrow, self._expand_narrow, self._expand_wide, mean, variance)
            else:
                expansion = self._expand_wide(mean, variance)
        if not bool(torch.isfinite(expansion.mean).all()):
            raise NumericalError(
                f"the Gaussian mean of '{self.name}' leaves the range of {mean.dtype}: largest "
                f"|mean| {float(mean.detach().abs().max()):.3g}, largest variance "
                f"{float(variance.detach().max()):.3g}; rescale the network's weights or inputs"
            )
        return expansion

    def covariance(
        self,
        mean: Float[Tensor, " n"],
        covariance: Float[Tensor, "n n"],
        expansion: Expansion,
        degree: int,
    ) -> tuple[Float[Tensor, "n n"], Float[Tensor, ""] | None]:
        """Exact for polynomials, step functions and continuous piecewise linear functions.

        The last but for σ beyond 1000 times the length of a sloping bounded piece, where the
        exact form loses its digits; then, and for others, Mehler's series with its bound.
        """
        largest = max(len(piece) for piece in self.pieces) - 1
        if not self.breakpoints:
            return super().covariance(mean, covariance, expansion, largest)[0], None
        jumps = self._knots.jumps
        kinked = largest == 0 or (largest == 1 and not bool((jumps[:, 0] != 0).any()))
        if not kinked or bool((expansion.scale > 1e3 * self._shortest).any()):
            return super().covariance(mean, covariance, expansion, degree)
        return kinked_covariance(
            mean, covariance, expansion, self.breakpoints, jumps[:, largest].tolist(), largest
        ), None

    @cached_property
    def _knots(self) -> Knots:
        return Knots.of(self.breakpoints, self.pieces)

    @cached_property
    def _shortest(self) -> float:
        """Length of the shortest bounded piece that is not constant."""
        bounded = zip(pairwise(self.breakpoints), self.pieces[1:-1], strict=True)
        return min((b - a for (a, b), piece in bounded if len(piece) > 1), default=math.inf)

    def _expand_polynomial(self, mean: Tensor, variance: Tensor) -> Expansion:
        scale = standard_deviation(variance)
        taylor = torch.tensor(self.pieces[0], dtype=torch.float64, device=mean.device)
        taylor = taylor[:, None].expand(-1, len(mean))
        return HermiteSeries(gaussian_series(taylor, mean.double(), scale.double()), scale)

    def _expand_wide(self, mean: Tensor, variance: Tensor) -> Expansion:
        return PiecewiseExpansion(self.name, self._knots, mean, variance)

    def _expand_narrow(self, mean: Tensor, variance: Tensor) -> Expansion:
        return quadrature.expand(self, self.name, mean, variance, self.breakpoints)


def polynomial(coefficients: Sequence[float], name: str = "polynomial") -> PiecewisePolynomial:
    """Σ_r coefficients[r] x^r."""
    return PiecewisePolynomial((), (tuple(coefficients),), name)


def leaky_relu(slope: float = 0.01) -> PiecewisePolynomial:
    """``slope * x`` below zero, x above."""
    return PiecewisePolynomial((0.0,), ((0.0, slope), (0.0, 1.0)), "leaky_relu")


def hardtanh(low: float = -1.0, high: float = 1.0, name: str = "hardtanh") -> PiecewisePolynomial:
    """The argument clipped to [low, high]."""
    return PiecewisePolynomial((low, high), ((low,), (0.0, 1.0), (high,)), name)


def _check_piece(piece: Sequence[float]) -> tuple[float, ...]:
    """Coefficients as floats, without leading zeros."""
    coefficients = [float(c) for c in piece]
    if not coefficients or not all(math.isfinite(c) for c in coefficients):
        raise InputError(
            f"a piece of the polynomial is {tuple(piece)}; expected finite coefficients, lowest "
            "degree first, at least one"
        )
    while len(coefficients) > 1 and coefficients[-1] == 0:
        coefficients.pop()
    return tuple(coefficients)


def _horner(piece: tuple[float, ...], x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    value = torch.full_like(x, piece[-1])
    for c in piece[-2::-1]:
        value = value * x + c
    return value
