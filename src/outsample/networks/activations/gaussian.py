"""The standard normal density and tail, Hermite polynomials and the algebra of their series."""

import math
from functools import cached_property, lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.networks.activations.base import Expansion


def horizon(dtype: torch.dtype) -> float:
    """Standard deviations beyond which nothing counts in that dtype: 36.7 in float64.

    Further out differences of what is as small as the density lose their digits to underflow,
    and where it is zero ∞ · 0 threatens.
    """
    info = torch.finfo(dtype)
    return math.sqrt(-2 * math.log(info.tiny / info.eps))


#: The same for float64.
HORIZON = horizon(torch.float64)


def density(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Standard normal density."""
    return torch.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))


def upper_tail(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """P(g > x) for a standard normal g, to full relative accuracy."""
    return torch.erfc(x * math.sqrt(0.5)) * 0.5


def hermite(degree: int, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Probabilists' Hermite polynomial He_degree."""
    previous, current = torch.zeros_like(x), torch.ones_like(x)
    for k in range(degree):
        previous, current = current, x * current - k * previous
    return current


def power_product(
    a: Float[Tensor, " i *shape"], b: Float[Tensor, " j *shape"]
) -> Float[Tensor, " k *shape"]:
    """Product of two polynomials given by their coefficients, lowest degree first."""
    result = a.new_zeros((a.shape[0] + b.shape[0] - 1, *a.shape[1:]))
    for j in range(b.shape[0]):
        shifted = (a.new_zeros((j, *a.shape[1:])), a * b[j], a.new_zeros(b[j + 1 :].shape))
        result = result + torch.cat(shifted)
    return result


def hermite_product(a: Float[Tensor, "i n"], b: Float[Tensor, "j n"]) -> Float[Tensor, "k n"]:
    """Product of two Hermite series Σ a_i He_i and Σ b_j He_j, as a Hermite series."""
    table = _linearisation(a.shape[0], b.shape[0], a.dtype, a.device)
    return torch.einsum("ijk,in,jn->kn", table, a, b)


@lru_cache(maxsize=64)
def _linearisation(i: int, j: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """He_a He_b = Σ_r r! C(a, r) C(b, r) He_{a+b-2r} as a table [a, b, a+b-2r]."""
    table = torch.zeros(i, j, i + j - 1, dtype=torch.float64)
    for a in range(i):
        for b in range(j):
            for r in range(min(a, b) + 1):
                ways = math.comb(a, r) * math.comb(b, r) * math.factorial(r)
                table[a, b, a + b - 2 * r] = float(ways)
    return table.to(dtype=dtype, device=device)


class HermiteSeries(Expansion):
    """The expansion of a polynomial, from its own Hermite series Σ_j h_j He_j(g).

    Nothing cancels: with h_0 taken out as the mean, every coefficient is a sum of products of
    the rest, and the odd and even ones keep their parity in σ exactly.
    """

    def __init__(self, series: Float[Tensor, "degrees n"], scale: Float[Tensor, " n"]) -> None:
        """Take h_0, h_1, …, shape (degree + 1, n), and the standard deviations, shape (n,).

        Results have the dtype of ``scale``.
        """
        self.mean = series[0].to(scale.dtype)
        self.scale = scale
        self._series = torch.cat((torch.zeros_like(series[:1]), series[1:]))

    @cached_property
    def _unit(self) -> Float[Tensor, " n"]:
        return unit(self._series)

    @cached_property
    def _powers(self) -> "list[Float[Tensor, 'degrees n']]":
        return [self._series / self._unit]

    def coefficient(self, degree: int, power: int = 1) -> Float[Tensor, " n"]:
        """See the base class."""
        while len(self._powers) < power:
            self._powers.append(hermite_product(self._powers[-1], self._powers[0]))
        series = self._powers[power - 1]
        if degree >= series.shape[0]:
            return torch.zeros_like(self.mean)
        value = scaled(math.factorial(degree) * series[degree], self._unit, power)
        return value.to(self.scale.dtype)


def unit(parts: Float[Tensor, "terms n"]) -> Float[Tensor, " n"]:
    """A positive size for each column, constant for autograd: powers are taken in this unit.

    Without it the fourth power of σ = 1e150 meets a zero shape factor as ∞ · 0.
    """
    size = parts.detach().abs().sum(0)
    return torch.where(size > 0, size, torch.ones_like(size))


def scaled(
    shape: Float[Tensor, " n"], size: Float[Tensor, " n"], power: int
) -> Float[Tensor, " n"]:
    """``shape * size**power`` one factor at a time, so that zero times a huge unit stays zero."""
    for _ in range(power):
        shape = shape * size
    return shape
