"""How large the error of a propagation is likely to be, from what it met on its way.

Cumulant propagation drops diagrams that are smaller by powers of the number of independent
directions in a layer.  That number is the participation ratio of the layer's covariance,
(tr C)² / tr C²: at most the width, and much less in deep networks.  How much the dropped diagrams
weigh depends on how far the activations bend, which the double edge, the first diagram beyond
covariance propagation, measures.  A law in these two quantities, fitted on random networks of
some activations, predicts the error on others within a factor of four, nine times in ten.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.networks.activations.base import Expansion

#: ln vn = a + b ln Σ concentration + c ln Σ double edges, by order and variant.  Fitted by
#: benchmarks/expected_error.py on ReLU, tanh and GELU networks of width 24 to 128.
LAW: dict[tuple[int, str], tuple[float, float, float]] = {
    (2, "basic"): (-3.9, 0.89, 1.3),
    (2, "augmented"): (-4.21, 1.42, 1.18),
    (3, "basic"): (-5.19, 2.21, 0.89),
    (3, "augmented"): (-5.84, 2.21, 0.99),
    (4, "basic"): (-6.63, 2.17, 1.05),
}


class Layer(NamedTuple):
    """One layer of pre-activations as a propagation met it."""

    covariance: Float[Tensor, "n n"]
    expansion: Expansion

    def concentration(self) -> float:
        """Inverse participation ratio tr C² / (tr C)² of the covariance: from 1/n to 1."""
        c = self.covariance.detach()
        trace = float(c.diagonal().sum())
        return float(torch.linalg.vector_norm(c)) ** 2 / trace**2 if trace > 0 else 0.0

    def edges(self, count: int) -> float:
        """Size of the diagram of ``count`` parallel edges in the covariance of the activations.

        Frobenius norm off the diagonal, in units of that of the whole covariance.
        """
        precision = self.expansion.scale.detach().reciprocal()
        correlation = self.covariance.detach() * precision * precision[:, None]
        correlation.fill_diagonal_(0)
        e = self.expansion.coefficient
        first, last = e(1).detach(), e(count).detach() / math.sqrt(math.factorial(count))
        kept = (correlation * first * first[:, None]).square().sum()
        kept = float(kept + e(0, 2).detach().square().sum())
        left = float((correlation**count * last * last[:, None]).square().sum())
        return math.sqrt(left / kept) if kept > 0 else 0.0


class Layers:
    """What a propagation leaves for its diagnostics; computed when asked for."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._layers: list[Layer | tuple[float, float, float]] = []

    def note(self, covariance: Float[Tensor, "n n"], expansion: Expansion) -> None:
        """Remember a layer: as it is if it is small, else by its figures."""
        layer = Layer(covariance, expansion)
        small = covariance.shape[0] <= _SMALL
        self._layers.append(layer if small else self._figures(layer))

    @cached_property
    def figures(self) -> dict[str, Any]:
        """Per layer: concentration, and the sizes of double and of dropped edges."""
        rows = [self._figures(x) if isinstance(x, Layer) else x for x in self._layers]
        self._layers.clear()
        concentration, double, dropped = zip(*rows, strict=True) if rows else ((), (), ())
        return {
            "concentration": list(concentration),
            "double_edges": list(double),
            "dropped_diagrams": list(dropped),
        }

    def expected_error(self, order: int, variant: str) -> float | None:
        """Predicted vn error, infinite after a breakdown; None for an order without a law."""
        if (order, variant) not in LAW or not self.figures["concentration"]:
            return None
        a, b, c = LAW[order, variant]
        spread, bent = (sum(self.figures[k]) for k in ("concentration", "double_edges"))
        found = math.exp(a) * spread**b * bent**c
        return found if math.isfinite(found) else math.inf

    def _figures(self, layer: Layer) -> tuple[float, float, float]:
        return layer.concentration(), layer.edges(2), layer.edges(self._budget + 1)


#: Widest layer whose covariance is kept for later: 4 MB in float32.
_SMALL = 1024


class Diagnostics(Mapping[str, Any]):
    """Figures at hand, and others that are computed at first use."""

    def __init__(self, ready: dict[str, Any], later: Callable[[], dict[str, Any]]) -> None:
        self._ready, self._later = ready, later

    @cached_property
    def _all(self) -> dict[str, Any]:
        return self._ready | self._later()

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
