"""How large the error of a propagation is likely to be, from what it saw on its way.

Cumulant propagation drops diagrams that are smaller by a power of the number of independent
directions in a layer.  That number is the participation ratio of the layer's covariance,
(tr C)² / tr C², at most the width and much less in deep networks; a layer counts as far as its
activations bend, by the share of their variance that a linear function does not explain.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.networks.activations.base import Expansion


class Layer(NamedTuple):
    """One layer of pre-activations as a propagation met it."""

    covariance: Float[Tensor, "n n"]
    expansion: Expansion

    def concentration(self) -> float:
        """Inverse participation ratio tr C² / (tr C)² of the covariance: 1/n to 1."""
        c = self.covariance.detach()
        trace = float(c.diagonal().sum())
        return float(torch.linalg.vector_norm(c)) ** 2 / trace**2 if trace > 0 else 0.0

    def bending(self) -> float:
        """Share of the activations' variance that no linear function explains: 0 to 1."""
        e = self.expansion.coefficient
        variance, slope = e(0, 2).detach(), e(1).detach()
        total = float(variance.sum())
        return 1 - float(slope.square().sum()) / total if total > 0 else 0.0

    def edges(self, count: int) -> float:
        """Size of the diagram of ``count`` parallel edges in the covariance of the activations.

        Frobenius norms off the diagonal, in units of the whole covariance's.
        """
        scale = self.expansion.scale.detach()
        correlation = self.covariance.detach() / scale / scale[:, None]
        correlation = correlation.fill_diagonal_(0)
        e = self.expansion.coefficient
        first, last = e(1).detach(), e(count).detach() / math.sqrt(math.factorial(count))
        kept = (correlation * first * first[:, None]).square().sum()
        kept = kept + e(0, 2).detach().square().sum()
        left = (correlation**count * last * last[:, None]).square().sum()
        return math.sqrt(float(left) / float(kept)) if float(kept) > 0 else 0.0
