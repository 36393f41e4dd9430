r"""What a gradient step adds to the Hermite tensors of a wide random hidden layer.

A step on an example z changes the readout by a multiple of :math:`\varphi(w_j \cdot z)` and so
T_d by the same multiple of :math:`\Psi_d(z) = \sum_j \varphi(w_j \cdot z) e_d(j) u_j^{\otimes d}`.
For m weights :math:`w \sim N(0, \tau^2 I)` this tends to m times an isotropic tensor,

.. math:: \Psi_d(z) \approx m \sum_{l \le d/2} \beta_{d,l}(|z|)\,
          \mathrm{Sym}(a^{\otimes(d-2l)} \otimes I^{\otimes l}), \quad a = z / |z|,

whose coefficients depend on the length of z only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from jaxtyping import Float
from scipy import special
from torch import Tensor

from outsample.networks.activations import Activation
from outsample.networks.activations.gaussian import hermite
from outsample.readout.coefficients import hermite_coefficients
from outsample.readout.nodes import half_range
from outsample.readout.symmetric import pack, unpack

#: Radii of the table, and how far it reaches beyond √n.
_RADII, _BEYOND = 120, 8.0
#: Nodes along z and across.
_ALONG, _ACROSS = 40, 24
#: Largest degree of the part of φ that the hybrid form treats exactly.
EXACT = 4


@dataclass(frozen=True)
class WideLimit:
    """The coefficients β_{d,l} on a table of radii."""

    radii: Float[Tensor, " radii"]
    #: One row for each of :attr:`parts`, shape (parts, radii).
    table: Float[Tensor, "parts radii"]
    #: (d, l), in the order of the rows.
    parts: tuple[tuple[int, int], ...]

    @classmethod
    def of(
        cls, activation: Activation, n: int, tau: float, degrees: Sequence[int], exact: bool
    ) -> "WideLimit":
        """Tabulate for weights N(0, τ² I) in n dimensions.

        Args:
            activation: φ.
            n: number of inputs, at least 2.
            tau: standard deviation of a weight.
            degrees: the d wanted.
            exact: whether the part of φ of degree up to 4 is left out, because it is treated
                exactly.
        """
        x, w = half_range(_ALONG)
        along = torch.tensor(np.concatenate((-x[::-1], x)))
        along_weight = torch.tensor(np.concatenate((w[::-1], w)) / 2)
        roots, weights = special.roots_genlaguerre(_ACROSS, (n - 1) / 2 - 1)
        across = torch.tensor(np.sqrt(2 * roots))
        across_weight = torch.tensor(weights / weights.sum())
        z, r = (t.reshape(-1) for t in torch.meshgrid(along, across, indexing="ij"))
        weight = (along_weight[:, None] * across_weight).reshape(-1)
        length = torch.sqrt(z * z + r * r)
        e = hermite_coefficients(
            activation, torch.zeros_like(length), tau * length, max(EXACT, *degrees)
        )
        radii = torch.linspace(0, math.sqrt(n) + _BEYOND, _RADII, dtype=torch.float64)
        values = activation(tau * radii[:, None] * z)
        if exact:
            seen = radii[:, None] * (z / length)
            for k in range(EXACT + 1):
                values = values - e[k] / math.factorial(k) * hermite(k, seen)
        parts: list[tuple[int, int]] = []
        rows: list[Tensor] = []
        for d in degrees:
            moments = [
                (values * e[d] * (z / length) ** (d - 2 * k) * (r / length) ** (2 * k))
                @ weight
                * (_odd(k) / math.prod(n - 1 + 2 * i for i in range(k)))
                for k in range(d // 2 + 1)
            ]
            for eyes in range(d // 2 + 1):
                terms = [
                    math.comb(d, 2 * k) * math.comb(k, eyes) * (-1) ** (k - eyes) * moments[k]
                    for k in range(eyes, d // 2 + 1)
                ]
                parts.append((d, eyes))
                rows.append(torch.stack(terms).sum(0))
        return cls(radii, torch.stack(rows), tuple(parts))

    def at(self, radius: Float[Tensor, " t"]) -> Float[Tensor, "parts t"]:
        """β at given lengths, by linear interpolation, extended beyond the table."""
        step = self.radii[1]
        place = (radius / step).floor().clamp(0, len(self.radii) - 2).long()
        share = radius / step - place
        return self.table[:, place] * (1 - share) + self.table[:, place + 1] * share


def with_identities(
    packed: Float[Tensor, " entries"], n: int, order: int, count: int
) -> Float[Tensor, " more"]:
    """Packed Sym(S ⊗ I^{⊗count}) of a symmetric S of that order."""
    if count == 0:
        return packed
    full = unpack(packed, n, order)
    eye = torch.eye(n, dtype=packed.dtype, device=packed.device)
    for _ in range(count):
        full = torch.tensordot(full, eye, dims=0)
    total = torch.zeros_like(full)
    orders = list(permutations(range(full.dim())))
    for axes in orders:
        total = total + full.permute(axes)
    return pack(total / len(orders))


def _odd(k: int) -> int:
    """(2k - 1)!!."""
    return math.prod(range(1, 2 * k, 2))
