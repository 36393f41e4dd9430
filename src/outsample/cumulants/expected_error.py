"""How large the error of a propagation is likely to be, from what it met on its way.

Cumulant propagation drops diagrams that are smaller by powers of the number of independent
directions in a layer.  That number is the participation ratio of the layer's covariance,
(tr C)² / tr C²: at most the width, and much less in deep networks.  How much the dropped diagrams
weigh depends on how far the activations bend, which the sizes of the double and the triple edge
measure.  A law in these quantities is fitted on random networks with some activations and tested
on others.
"""

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.networks.activations.base import Activation

#: ln vn = a + b ln Σ concentration + c ln Σ double edges + d ln Σ triple edges, sums over layers,
#: by order and variant.  From benchmarks/expected_error.py, which says how well it predicts.
LAW: dict[tuple[int, str], tuple[float, float, float, float]] = {
    (2, "basic"): (-1.08, 0.19, 1.51, 0.54),
    (2, "augmented"): (-1.87, 0.63, 1.27, 0.58),
    (3, "basic"): (-0.73, 0.14, 1.13, 1.26),
    (3, "augmented"): (-1.03, 0.16, 1.47, 1.23),
    (3, "elliptical"): (-1.96, -0.1, 1.19, 1.23),
    (4, "basic"): (-1.07, -0.48, 1.3, 1.56),
    (4, "augmented"): (3.22, 1.0, 2.12, 1.56),
}


#: Widest layer whose covariance is kept for later: 4 MB in float32.
_SMALL = 1024


class Layer(NamedTuple):
    """One layer of pre-activations as a propagation met it; no gradients."""

    activation: Activation
    mean: Float[Tensor, " n"]
    covariance: Float[Tensor, "n n"]

    def concentration(self) -> float:
        """Inverse participation ratio tr C² / (tr C)² of the covariance: from 1/n to 1."""
        trace = float(self.covariance.diagonal().sum())
        if abs(trace) < torch.finfo(self.covariance.dtype).tiny:
            return 0.0
        return (float(torch.linalg.vector_norm(self.covariance)) / trace) ** 2

    def edges(self, *counts: int) -> list[float]:
        """Sizes of the diagrams of so many parallel edges in the covariance of the activations.

        Frobenius norms off the diagonal, in units of that of the whole covariance.
        """
        expansion = self.activation.expand(self.mean, self.covariance.diagonal())
        e, precision = expansion.coefficient, expansion.scale.reciprocal()
        correlation = self.covariance * precision * precision[:, None]
        correlation.fill_diagonal_(0)
        kept = (correlation * e(1) * e(1)[:, None]).square().sum()
        whole = float(kept + e(0, 2).square().sum())
        sizes: list[float] = []
        for count in counts:
            last = e(count) / math.sqrt(math.factorial(count))
            size = float((correlation**count * last * last[:, None]).square().sum())
            sizes.append(math.sqrt(size / whole) if whole != 0 else 0.0)
        return sizes


class Layers:
    """What a propagation leaves for its diagnostics; computed when asked for."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._layers: tuple[Layer | tuple[float, ...], ...] = ()

    def note(self, activation: Activation, mean: Tensor, covariance: Tensor) -> None:
        """Remember a layer: as it is if it is small, else by its figures."""
        layer = Layer(activation, mean.detach(), covariance.detach())
        small = covariance.shape[0] <= _SMALL
        self._layers += (layer if small else self._figures(layer),)

    def fewest_directions(self) -> float:
        """Smallest participation ratio of a layer that is not the first, whose law is exact."""
        found = (x.concentration() if isinstance(x, Layer) else x[0] for x in self._layers[1:])
        return min((1 / max(x, 1e-300) for x in found), default=math.inf)

    @cached_property
    def figures(self) -> dict[str, Any]:
        """Per layer: concentration, and the sizes of double, triple and dropped edges."""
        rows = [self._figures(x) if isinstance(x, Layer) else x for x in self._layers]
        self._layers = ()
        names = ("concentration", "double_edges", "triple_edges", "dropped_diagrams")
        return {name: [row[place] for row in rows] for place, name in enumerate(names)}

    def expected_error(self, order: int, variant: str) -> float | None:
        """Predicted vn error, infinite after a breakdown; None for an order without a law."""
        if (order, variant) not in LAW or not self.figures["concentration"]:
            return None
        constant, *powers = LAW[order, variant]
        sums = [sum(row) for row in list(self.figures.values())[:3]]
        found = math.exp(constant)
        for total, power in zip(sums, powers, strict=True):
            found *= max(total, 1e-30) ** power
        return max(found, _ROUND_OFF) if math.isfinite(found) else math.inf

    @torch.no_grad()
    def _figures(self, layer: Layer) -> tuple[float, ...]:
        if not bool(torch.isfinite(layer.covariance).all()):
            return (math.nan,) * 4
        return (layer.concentration(), *layer.edges(2, 3, self._budget + 1))


#: No estimate is promised to be better than this.
_ROUND_OFF = 1e-15


class Diagnostics(Mapping[str, Any]):
    """Figures at hand, and others that are computed at first use."""

    def __init__(self, ready: dict[str, Any], layers: Layers) -> None:
        self._ready, self._layers = ready, layers

    @cached_property
    def _all(self) -> dict[str, Any]:
        return self._ready | self._layers.figures

    def __getitem__(self, key: str) -> Any:
        """Figure by name."""
        return self._ready[key] if key in self._ready else self._all[key]

    def __iter__(self) -> Iterator[str]:
        """Names."""
        return iter(self._all)

    def __len__(self) -> int:
        """Number of figures."""
        return len(self._all)

    def __repr__(self) -> str:
        return repr(self._all)
