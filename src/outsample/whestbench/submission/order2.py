"""Order 2: mean and covariance; augmented, also the traces of the third and fourth cumulants."""

from collections.abc import Sequence
from typing import Any

import flopscope.numpy as fnp

from .layer import Layer, correlate, inverse_root


def basic(weights: Sequence[Any]) -> Any:
    """Mean after every layer, shape (depth, width), by covariance propagation."""
    rows: list[Any] = []
    mean, covariance = start(weights)
    for w in weights[:-1]:
        layer = Layer(w.T @ mean, congruent(w, covariance), 1)
        mean, covariance = layer.mean, layer.covariance()
        rows.append(mean)
    rows.append(Layer(weights[-1].T @ mean, variances(weights[-1], covariance), 1).mean)
    return fnp.stack(rows, axis=0)


def augmented(weights: Sequence[Any], diagonal: bool = False) -> Any:
    """The same with κ_3 = Sym(a ⊗ G) and κ_4 = s Sym(G ⊗ G), G = I right after an activation.

    After the next linear map G is W Wᵀ, or only its ``diagonal``.
    """
    rows: list[Any] = []
    mean, covariance = start(weights)
    n = mean.shape[0]
    vector = scalar = None
    for w in weights[:-1]:
        covariance, third, fourth = congruent(w, covariance), None, None
        if vector is not None:
            a = w.T @ vector * inverse_root(fnp.diag(covariance))
            metric = metric_of(w, covariance, diagonal)
            third = along(a, metric)
            fourth = pairs_of(scalar, metric)
        layer = Layer(w.T @ mean, covariance, 2, third, fourth)
        mean, covariance = layer.mean, layer.covariance()
        vector = fnp.sum(layer.repeated(), axis=0) * (3.0 / (n + 2))
        scalar = layer.full_trace(covariance) * (3.0 / (n * (n + 2)))
        rows.append(mean)
    rows.append(_last(weights[-1], mean, covariance, vector, scalar))
    return fnp.stack(rows, axis=0)


def _last(w: Any, mean: Any, covariance: Any, vector: Any, scalar: Any) -> Any:
    """Mean of the last layer: it takes the third and fourth cumulants of single neurons only."""
    variance, third, fourth = variances(w, covariance), None, None
    if vector is not None:
        own = own_metric(w, variance)
        third, fourth = w.T @ vector * inverse_root(variance) * own, scalar * own * own
    return Layer(w.T @ mean, variance, 2, third, fourth).mean


def start(weights: Sequence[Any]) -> tuple[Any, None]:
    """Mean and covariance of the input: zero, and the identity, for which None stands."""
    return fnp.zeros(weights[0].shape[0], dtype=fnp.float32), None


def congruent(w: Any, covariance: Any) -> Any:
    """Covariance of the pre-activations."""
    return w.T @ w if covariance is None else w.T @ covariance @ w


def variances(w: Any, covariance: Any) -> Any:
    """Its diagonal."""
    return fnp.sum(fnp.square(w) if covariance is None else (covariance @ w) * w, axis=0)


def metric_of(w: Any, covariance: Any, diagonal: bool) -> Any:
    """W Wᵀ in units of the standard deviations of what it gives; the ``diagonal`` as (n,)."""
    if diagonal:
        return own_metric(w, fnp.diag(covariance))
    return (w.T @ w) * correlate(covariance)


def own_metric(w: Any, variance: Any) -> Any:
    """The diagonal of the same."""
    precision = inverse_root(variance)
    return fnp.sum(fnp.square(w), axis=0) * precision * precision


def along(vector: Any, metric: Any) -> Any:
    """κ_iij of Sym(a ⊗ G), for G as a matrix or its diagonal alone."""
    if metric.ndim == 1:
        out = (1 / 3) * vector * metric[:, None]
        fnp.fill_diagonal(out, vector * metric)
        return out
    own = fnp.diag(metric)
    return (2 / 3) * metric * vector[:, None] + (1 / 3) * vector * own[:, None]


def pairs_of(scalar: Any, metric: Any) -> Any:
    """κ_iijj of s Sym(G ⊗ G), likewise."""
    if metric.ndim == 1:
        out = (scalar / 3) * metric * metric[:, None]
        fnp.fill_diagonal(out, scalar * metric * metric)
        return out
    own = fnp.diag(metric)
    return scalar * ((1 / 3) * own * own[:, None] + (2 / 3) * fnp.square(metric))
