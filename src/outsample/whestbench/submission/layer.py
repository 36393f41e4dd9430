"""What an activation does to mean, covariance and the entries of κ₃ and κ₄ on two neurons.

Cumulants of the pre-activations Z are in units of their standard deviations.  ``third[i, j]`` is
κ_iij, ``fourth[i, j]`` is κ_iijj, ``lopsided[i, j]`` is κ_iiij.
"""

from collections.abc import Sequence
from typing import Any

import flopscope.numpy as fnp

from .relu import TINY, ReLU

#: Matrices by the degrees that meet at i and at j.
Diagrams = dict[tuple[int, int], Any]


class Layer:
    """A layer of n ReLUs with every diagram of cost up to ``budget`` (1 to 3) on two neurons.

    Args:
        mean: of Z, shape (n,).
        covariance: of Z, shape (n, n), or only its diagonal if nothing but ``mean`` is asked for.
        budget: largest cost of a diagram.
        third: κ_iij, or κ_iii alone as (n,); None while Z is Gaussian.
        fourth: κ_iijj likewise.
        lopsided: κ_iiij, for budget 3, wherever ``fourth`` is given.
    """

    def __init__(
        self,
        mean: Any,
        covariance: Any,
        budget: int,
        third: Any = None,
        fourth: Any = None,
        lopsided: Any = None,
    ) -> None:
        whole = covariance.ndim == 2
        self._skew, self._excess = (
            0.0 if x is None else fnp.asarray(fnp.diag(x) if whole else x, dtype=fnp.float64)
            for x in (third, fourth)
        )
        variance = fnp.diag(covariance) if whole else covariance
        self._relu = ReLU(mean, variance, self._skew, self._excess)
        #: Mean of the activations, shape (n,).
        self.mean = single(self._relu.mean)
        if whole:
            correlation = covariance * correlate(covariance)
            self._diagrams: Diagrams = {(1, 1): correlation}
            if budget > 1:
                self._add_cost_2(correlation, third, fourth)
            self._few = dict(self._diagrams)
            if budget > 2:
                self._add_cost_3(correlation, third, fourth, lopsided)

    def slope(self, degree: int = 1) -> Any:
        """E[∂^k φ] σ^k of every activation φ, k = ``degree``, shape (n,)."""
        return self._relu.coefficient(degree)

    def covariance(self) -> Any:
        """Covariance of the activations, shape (n, n)."""
        return self._filled(self._pairs(1, 1), self._relu.moment(2))

    def repeated(self) -> Any:
        """κ(φ_i, φ_i, φ_j), shape (n, n)."""
        return self._filled(self._pairs(2, 1), self._relu.moment(3))

    def full_trace(self, covariance: Any) -> Any:
        """The sum of κ(φ_i, φ_i, φ_j, φ_j) over all i and j, given the covariance."""
        variance = self._relu.moment(2)
        pairs = self._pairs(2, 2) - 2.0 * fnp.square(covariance)
        return fnp.sum(self._filled(pairs, self._relu.moment(4) - 3.0 * variance * variance))

    def head(self) -> Any:
        """For budget 3, the diagrams on i, a hub r and a third neuron that hangs on r, without it.

        Shape (i, r).  Where i hangs on r as well, the diagram is shared between the two.
        """
        few = self._few | {(1, 1): 0.5 * self._few[1, 1]}
        return self._weighted(few, 1, 1, 1)

    def _pairs(self, p: int, q: int) -> Any:
        """κ(φ_i^p, φ_j^q) of the centred activations, right for i ≠ j."""
        return self._weighted(self._diagrams, p, q, 0)

    def _weighted(self, diagrams: Diagrams, p: int, q: int, more: int) -> Any:
        """Diagrams times the coefficients of their degrees, that of j raised by ``more``."""
        relu, rows = self._relu, dict[int, Any]()
        for (at_i, at_j), matrix in diagrams.items():
            term = matrix * relu.coefficient(at_j + more, q)
            rows[at_i] = rows[at_i] + term if at_i in rows else term
        return sum_of([row * relu.coefficient(k, p)[:, None] for k, row in rows.items()])

    @staticmethod
    def _filled(matrix: Any, diagonal: Any) -> Any:
        fnp.fill_diagonal(matrix, single(diagonal))
        return matrix

    def _add_cost_2(self, correlation: Any, third: Any, fourth: Any) -> None:
        double, out = 0.5 * fnp.square(correlation), self._diagrams
        out[2, 2] = double if fourth is None else double + 0.25 * fourth
        if third is not None:
            out[2, 1] = 0.5 * third
            out[1, 2] = out[2, 1].T

    def _add_cost_3(self, correlation: Any, third: Any, fourth: Any, lopsided: Any) -> None:
        out = self._diagrams
        triple = (1 / 6) * correlation * fnp.square(correlation)
        out[3, 3] = triple if fourth is None else triple + 0.25 * correlation * fourth
        if third is not None:
            out[3, 2] = correlation * out[2, 1]
            out[2, 3] = out[3, 2].T
            out[4, 1] = correlation * single(self._skew / 6.0)[:, None]
            out[1, 4] = out[4, 1].T
        if fourth is not None:
            out[3, 1] = (1 / 6) * lopsided
            out[1, 3] = out[3, 1].T
            out[5, 1] = correlation * single(self._excess / 24.0)[:, None]
            out[1, 5] = out[5, 1].T


def correlate(covariance: Any) -> Any:
    """What turns a covariance into correlations: 1 / (σ_i σ_j)."""
    precision = inverse_root(fnp.diag(covariance))
    return precision * precision[:, None]


def inverse_root(variance: Any) -> Any:
    """1 / σ; zero for a neuron that does not vary, which has no higher cumulants either."""
    root = fnp.sqrt(fnp.maximum(variance, TINY))
    return single(fnp.where(variance > TINY, 1.0 / root, 0.0))


def single(x: Any) -> Any:
    """The array in float32."""
    return fnp.asarray(x, dtype=fnp.float32)


def sum_of(terms: Sequence[Any]) -> Any:
    """Their sum."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
