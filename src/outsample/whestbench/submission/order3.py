"""Order 3, factored: the third cumulant as one birth for every layer of activations.

A birth is Σ_r over the n hubs r of a layer of products of vectors, and linear maps act on these.
Its cost is three or four products of n × n matrices to push it through a layer, and as many to
read off κ_iij; a network of depth L takes L (L − 1) / 2 of both.  Births lie side by side, so that
these are few and large products.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flopscope.numpy as fnp

from .layer import Layer, correlate, inverse_root
from .order2 import along, congruent, metric_of, own_metric, pairs_of, start, variances
from .relu import TINY


@dataclass(frozen=True)
class Births:
    """Third cumulants Σ_r Sym(hub_r ⊗ edge_r ⊗ head_r) + ½ Sym(hub_r ⊗ hub_r ⊗ rest_r).

    Sym sums over all six orders of the legs; each factor has its vectors as columns, the hubs of
    one layer after those of another.  In the basic variant head_r is ``weight`` times edge_r and
    not held; ``hub`` is None while it is the identity.
    """

    edge: Any
    rest: Any
    head: Any = None
    weight: Any = None
    hub: Any = None

    def through(self, matrix: Any) -> "Births":
        """The same after x ↦ ``matrix`` x."""
        return Births(
            matrix @ self.edge,
            matrix @ self.rest,
            None if self.head is None else matrix @ self.head,
            self.weight,
            matrix if self.hub is None else matrix @ self.hub,
        )

    def joined(self, other: "Births") -> "Births":
        """Both, side by side."""
        both = zip(vars(self).values(), vars(other).values(), strict=True)
        return Births(*(None if a is None else fnp.concatenate([a, b], -1) for a, b in both))

    def repeated(self) -> Any:
        """κ_iij, [i, j]."""
        hub, edge, rest = self.hub, self.edge, self.rest
        if self.head is None:
            to_hub = 2.0 * (edge * edge * self.weight + hub * rest)
            to_edge = 4.0 * (hub * edge * self.weight)
            return to_hub @ hub.T + to_edge @ edge.T + fnp.square(hub) @ rest.T
        to_hub = 2.0 * (edge * self.head + hub * rest)
        ends = (2.0 * hub * self.head) @ edge.T + (2.0 * hub * edge) @ self.head.T
        return to_hub @ hub.T + ends + fnp.square(hub) @ rest.T

    def own(self) -> Any:
        """κ_iii, shape (n,)."""
        head = self.edge * self.weight if self.head is None else self.head
        inner = 6.0 * self.edge * head + 3.0 * self.hub * self.rest
        return fnp.sum(inner * self.hub, axis=1)


def basic(weights: Sequence[Any], diagonal: bool = False) -> Any:
    """Mean after every layer, shape (depth, width); of κ_4 the full trace.

    A linear map takes it to s Sym(G ⊗ G), G = W Wᵀ or only its ``diagonal``.
    """
    rows: list[Any] = []
    mean, covariance = start(weights)
    n, scalar, slope = mean.shape[0], None, None
    births = newest = None
    for w in weights[:-1]:
        covariance = congruent(w, covariance)
        third = fourth = None
        if newest is not None:
            births = _pushed(births, newest, w, inverse_root(fnp.diag(covariance)), slope)
            third = births.repeated()
            fourth = pairs_of(scalar, metric_of(w, covariance, diagonal))
        layer = Layer(w.T @ mean, covariance, 2, third, fourth)
        slope, weight = layer.slope(), 0.5 * layer.slope(2)
        edge = _edge(covariance * correlate(covariance), slope)
        rest = layer.repeated() - 2.0 * edge * edge * weight
        newest = _born(edge, rest, third, slope, weight=weight)
        mean, covariance = layer.mean, layer.covariance()
        scalar = layer.full_trace(covariance) * (3.0 / (n * (n + 2)))
        rows.append(mean)
    w = weights[-1]
    variance, third, fourth = variances(w, covariance), None, None
    if newest is not None:
        births = _pushed(births, newest, w, inverse_root(variance), slope)
        own = own_metric(w, variance)
        third, fourth = births.own(), scalar * own * own
    rows.append(Layer(w.T @ mean, variance, 2, third, fourth).mean)
    return fnp.stack(rows, axis=0)


def elliptical(weights: Sequence[Any]) -> Any:
    """The same with the diagrams of cost 3 and κ_4 = s Sym(C ⊗ C), C the covariance."""
    rows: list[Any] = []
    mean, covariance = start(weights)
    vector = scalar = slope = births = newest = None
    for w in weights[:-1]:
        covariance = congruent(w, covariance)
        precision = inverse_root(fnp.diag(covariance))
        correlation = covariance * correlate(covariance)
        third = fourth = lopsided = own = None
        if newest is not None:
            births = _pushed(births, newest, w, precision, slope)
            own = third = births.repeated()
            fourth, lopsided = pairs_of(scalar, correlation), scalar * correlation
        if vector is not None:
            vector = w.T @ vector * precision
            third = third + along(vector, correlation)
        layer = Layer(w.T @ mean, covariance, 3, third, fourth, lopsided)
        slope, curvature = layer.slope(), layer.slope(2)
        covariance = layer.covariance()
        edge, head, rest = _edge(correlation, slope), layer.head(), layer.repeated()
        fnp.fill_diagonal(head, 0.0)
        if scalar is not None:
            head = head + edge * (scalar / 6.0) * curvature
            new = curvature * (0.5 * scalar)
            vector = new if vector is None else vector * slope + new
            rest = rest - along(vector, covariance)
        rest = rest - 2.0 * edge * head
        newest = _born(edge, rest, own, slope, head=head)
        mean = layer.mean
        trace = fnp.sum(fnp.diag(covariance))
        squares = fnp.sum(fnp.square(covariance))
        scalar = 3.0 * layer.full_trace(covariance)
        scalar = scalar / fnp.maximum(trace * trace + 2.0 * squares, TINY)
        rows.append(mean)
    w = weights[-1]
    variance, third, fourth = variances(w, covariance), None, None
    if newest is not None:
        precision = inverse_root(variance)
        births = _pushed(births, newest, w, precision, slope)
        third, fourth = births.own(), scalar + 0.0 * variance
        third = third if vector is None else third + w.T @ vector * precision
    rows.append(Layer(w.T @ mean, variance, 3, third, fourth).mean)
    return fnp.stack(rows, axis=0)


def _pushed(older: Births | None, newest: Births, w: Any, precision: Any, slope: Any) -> Births:
    """Births after the linear map, in units of the pre-activations' standard deviations.

    All but the newest have the slope of the last activation still to pass.
    """
    matrix = w.T * precision[:, None]
    moved = newest.through(matrix)
    return moved if older is None else older.through(matrix * slope).joined(moved)


def _edge(correlation: Any, slope: Any) -> Any:
    """Column r: the edges of hub r, zero at itself."""
    edge = correlation * slope[:, None]
    fnp.fill_diagonal(edge, 0.0)
    return edge


def _born(
    edge: Any, rest: Any, passed: Any, slope: Any, head: Any = None, weight: Any = None
) -> Births:
    """A birth; ``rest`` is κ_iij less what edges and heads give, ``passed`` older births' κ_iij."""
    if passed is not None:
        rest = rest - passed * (slope * slope)[:, None] * slope
    fnp.fill_diagonal(rest, fnp.diag(rest) / 3.0)
    return Births(edge, rest.T, head, weight)
