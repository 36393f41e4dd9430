"""The activation step at any order: from the cumulants of Z to those of φ(Z) that are kept.

Source: arXiv 2605.05179 (2026); formulas in the documentation, theory/cumulants.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.cumulants.factored_step import fourth, partial_trace3, partial_trace4, third
from outsample.cumulants.power_cumulants import PowerCumulants
from outsample.cumulants.projection import elliptical, isotropic, traced_core
from outsample.cumulants.symmetric import Dense, Powers, SymmetricTensor, Traced
from outsample.networks.activations.base import Expansion
from outsample.tower import CumulantTower

Variant = Literal["basic", "augmented", "elliptical"]


class Closure(NamedTuple):
    """Which cumulants a propagation keeps, and in which form."""

    order: int
    variant: Variant
    factored: bool
    #: Largest loss in a layer of what the highest cumulant has of earlier ones.
    tolerance: float = 0.0
    #: Whether births are held in bfloat16.
    reduced: bool = False
    #: Whether full traces go on with the diagonal of W Wᵀ.
    diagonal: bool = False

    @property
    def budget(self) -> int:
        """Largest cost of a diagram."""
        return self.order - 1 if self.variant == "basic" else self.order

    @property
    def partial_trace(self) -> bool:
        """Whether κ_(K+1) is kept as Sym(A ⊗ I)."""
        return self.variant == "augmented" and self.order > 1

    @property
    def full_trace(self) -> int | None:
        """The order of which only the full trace is kept."""
        if self.variant == "elliptical":
            return self.order + 1
        if (self.variant == "basic") != bool(self.order % 2):
            return None
        return self.order + 1 if self.order % 2 else self.order + 2


def activation_step(
    closure: Closure, kappa: Mapping[int, SymmetricTensor], expansion: Expansion, final: bool
) -> tuple[Float[Tensor, " n"], dict[int, SymmetricTensor]]:
    """Mean of φ(Z) and its cumulants by order, from those of Z in units of ``expansion.scale``.

    Orders that are missing from ``kappa`` vanish.  If ``final``, only the covariance is returned.
    """
    order = closure.order
    powers = PowerCumulants(kappa, expansion, closure.budget)
    if not final and order == 4 and order in kappa:
        powers.slice((2, 1, 1))  # the others are part of it
    kept: dict[int, SymmetricTensor] = {2: Dense(powers.complete((1, 1)))}
    if final:
        return powers.mean, kept
    for d in range(3, order if closure.factored else order + 1):
        kept[d] = Dense(powers.complete((1,) * d))
    if closure.factored:
        kept[order] = _factored(powers, closure)
    metric = _identity(powers.mean)
    if closure.partial_trace:
        if closure.factored:
            trace = partial_trace3(powers) if order == 3 else partial_trace4(powers)
        else:
            trace = powers.complete((2, *[1] * (order - 1))).sum(0)
        kept[order + 1] = Traced(Dense(traced_core(trace)), metric)
    traced = closure.full_trace
    if traced is not None:
        trace = powers.complete((2,) * (traced // 2)).sum()
        if closure.variant == "elliptical":
            kept[traced] = elliptical(trace, powers.complete((1, 1)))
        else:
            kept[traced] = isotropic(trace, traced, metric)
    return powers.mean, kept


def _factored(powers: PowerCumulants, closure: Closure) -> SymmetricTensor:
    precision = torch.bfloat16 if closure.reduced else None
    if closure.order == 4:
        return fourth(powers, closure.tolerance, precision)
    return third(powers, closure.tolerance, closure.variant == "elliptical", precision)


def project_input(closure: Closure, inputs: CumulantTower) -> dict[int, SymmetricTensor]:
    """The higher cumulants of an input, as far as a layer's would be kept."""
    kept: dict[int, SymmetricTensor] = {}
    metric = _identity(inputs.mean)
    for order, given in ((3, inputs.third), (4, inputs.fourth)):
        if given is None:
            continue
        independent = given.dim() == 1
        if order <= closure.order:
            kept[order] = Powers(order, given) if independent else Dense(given)
        elif order == closure.order + 1 and closure.partial_trace:
            trace = given.diagonal(0, 0, 1).sum(-1) if not independent else given
            trace = torch.diag(trace) if independent and order == 4 else trace
            kept[order] = Traced(Dense(traced_core(trace)), metric)
        elif order == closure.full_trace:
            trace = given if independent else given.diagonal(0, 0, 1).diagonal(0, 0, 1)
            total = trace.sum()
            if closure.variant == "elliptical":
                kept[order] = elliptical(total, inputs.covariance)
            else:
                kept[order] = isotropic(total, order, metric)
    return kept


def _identity(like: Float[Tensor, " n"]) -> Float[Tensor, "n n"]:
    return torch.eye(like.shape[0], dtype=like.dtype, device=like.device)
