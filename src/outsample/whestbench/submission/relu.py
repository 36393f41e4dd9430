"""Hermite coefficients of powers of a centred ReLU at Gaussian pre-activations."""

from math import comb, factorial
from typing import Any

import flopscope as flops
import flopscope.numpy as fnp

#: Variances are kept above this, so that a dead neuron divides nothing by zero.
TINY = 1e-30
#: Degrees and powers of the coefficients that are tabulated.
_DEGREES, _POWERS = range(6), range(1, 5)
#: In which columns the terms without c begin: E[(g + α)^q 1(g > −α)], He_q(−α) f(α), Φ(−α).
_MOMENT, _EDGE, _BELOW = 0, 5, 9


def _terms(degree: int, power: int) -> dict[tuple[int, int], float]:
    """E[He_k(g) F^p], k = ``degree``, p = ``power``, as a sum of columns times powers of −c.

    F = max(g + α, 0) − c is −c before the kink at g = −α and g + α − c behind it.  By Stein's
    identity the coefficient is E[∂^k F^p] in the sense of distributions.
    """
    terms = {(_BELOW, power): 1.0} if degree == 0 else {}
    if degree <= power:
        rest, ways = power - degree, factorial(power) // factorial(power - degree)
        for q in range(rest + 1):
            terms[_MOMENT + q, rest - q] = float(ways * comb(rest, q))
    # the j-th derivative jumps at the kink, and is differentiated degree − 1 − j times more
    for j in range(1, min(power, degree - 1) + 1):
        terms[_EDGE + degree - 1 - j, power - j] = float(factorial(power) // factorial(power - j))
    return terms


def _matrix() -> list[list[float]]:
    """One row for each power and degree, one column for each term and power of −c."""
    every = [_terms(degree, power) for power in _POWERS for degree in _DEGREES]
    places = [(column, exponent) for column in range(_BELOW + 1) for exponent in range(5)]
    return [[terms.get(place, 0.0) for place in places] for terms in every]


_MATRIX = fnp.array(_matrix(), dtype=fnp.float64)


class ReLU:
    """Coefficients E[He_k(g) (max(Z, 0) − E max(Z, 0))^p] of Z = μ + σ g for n neurons.

    Z need not be Gaussian: g is standard normal here, but the mean of max(Z, 0) takes the third
    and fourth cumulants of Z, in units of σ, into account.

    Args:
        mean: μ, shape (n,).
        variance: σ², shape (n,).
        skew: κ_iii, shape (n,), or 0.
        excess: κ_iiii, shape (n,), or 0.
    """

    def __init__(self, mean: Any, variance: Any, skew: Any, excess: Any) -> None:
        variance = fnp.maximum(fnp.asarray(variance, dtype=fnp.float64), TINY)
        scale = fnp.sqrt(variance)
        alpha = fnp.asarray(mean, dtype=fnp.float64) / scale
        cdf, pdf = flops.stats.norm.cdf(alpha), flops.stats.norm.pdf(alpha)
        moments = [cdf, alpha * cdf + pdf]
        for q in range(2, 5):
            moments.append(alpha * moments[q - 1] + float(q - 1) * moments[q - 2])
        slope, square = -alpha * pdf, alpha * alpha
        edges = [pdf, slope, (square - 1.0) * pdf, (square - 3.0) * slope]
        centre = moments[1] + skew * edges[1] * (1 / 6) + excess * edges[2] * (1 / 24)
        powers = [fnp.ones_like(centre), -centre]
        for _ in range(3):
            powers.append(-powers[-1] * centre)
        terms = fnp.stack([*moments, *edges, 1.0 - cdf])[:, None] * fnp.stack(powers)
        table = (_MATRIX @ terms.reshape(_MATRIX.shape[1], -1)).reshape(len(_POWERS), 6, -1)
        units = fnp.stack([scale, variance, variance * scale, variance * variance])
        self._table = table * units[:, None]
        self._skew, self._excess = skew, excess
        self._single = fnp.asarray(self._table, dtype=fnp.float32)
        #: Mean of max(Z, 0), shape (n,).
        self.mean = scale * centre

    def coefficient(self, degree: int, power: int = 1) -> Any:
        """The coefficient of that degree, up to 5, and power, up to 4; shape (n,), float32."""
        return self._single[power - 1, degree]

    def moment(self, power: int) -> Any:
        """E[(max(Z, 0) − E max(Z, 0))^p], p = ``power`` from 2 to 4, shape (n,)."""
        row = self._table[power - 1]
        return row[0] + self._skew * row[3] * (1 / 6) + self._excess * row[4] * (1 / 24)
