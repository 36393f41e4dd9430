"""The highest cumulant in factored form: sums over the neurons through which its diagrams factor.

A diagram with a pendant neuron l, joined by one edge to a hub r, is a product of a part that has
the hub and the other neurons, and the edge.  Summed over the hubs of a layer it is

    Σ_r Sym(H_r ⊗ e_r ⊗ x_r),    e_r the unit vector, x_r the edges of r, H_r all the rest,

H_r a vector (order 3) or a matrix (order 4), Sym(…) the sum over the distinct orders of the legs.
What neurons that coincide need beyond this is Σ_r Sym(E_r ⊗ e_r ⊗ e_r).  Later linear maps act on
every factor, so a cumulant is a list of births, one for each layer of activations it came from.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.cumulants.symmetric import SymmetricTensor

#: Σ_r w_r Sym(a_r ⊗ b_r ⊗ c_r): the places of a, b, c among the factors, and w.
Triple = tuple[int, int, int, Tensor | float]


@dataclass(frozen=True, slots=True)
class Birth3:
    """Third cumulants that arose in one layer: Σ over ``terms`` and hubs, all six orders of legs.

    The factor of the hubs, number 0, is the identity and left out while ``new``.
    """

    #: Factors side by side, shape (n, factors · hubs).
    factors: Float[Tensor, "n columns"]
    terms: tuple[Triple, ...]
    hubs: int
    new: bool = True

    def through(self, weight: Float[Tensor, "out n"]) -> "Birth3":
        """The same cumulants after x ↦ W x, in the factors' own precision."""
        weight = weight.to(self.factors.dtype)
        pushed = weight @ self.factors
        if self.new:
            pushed = torch.cat((weight, pushed), 1)
        return replace(self, factors=pushed, new=False)

    def slice(self) -> Float[Tensor, "n n"]:
        """κ_iij, [i, j]."""
        return self.against(None)

    def dense(self) -> Float[Tensor, "n n n"]:
        """κ_ijk."""
        f = self.factors.split(self.hubs, 1)
        n = self.factors.shape[0]
        total = self.factors.new_zeros((n, n, n))
        for a, b, c, w in self.terms:
            total = total + torch.einsum("ir,jr,kr->ijk", f[a] * w, f[b], f[c])
        return sum((total.permute(p) for p in permutations(range(3))), torch.zeros_like(total))

    def against(self, matrix: Tensor | None) -> Float[Tensor, "n n"]:
        """Σ_k κ_ijk M_ik for M of shape (n, n) or, the same for every i, (n,); κ_iji for None."""
        f = self.factors.split(self.hubs, 1)
        matrix = None if matrix is None else matrix.to(self.factors.dtype)
        if matrix is None:
            g = f
        elif matrix.dim() == 1:
            g = tuple(torch.mv(x.T, matrix) for x in f)
        else:
            g = (matrix @ self.factors).split(self.hubs, 1)
        left: list[Tensor | None] = [None] * len(f)
        for *places, w in self.terms:
            pairs = Counter((places[s], *sorted((places[s - 1], places[s - 2]))) for s in range(3))
            for (last, x, y), count in pairs.items():
                # both orders of the two legs that meet at i
                if matrix is None or x == y:
                    product, ways = f[x] * g[y], 2.0 * count
                else:
                    product, ways = torch.addcmul(f[x] * g[y], f[y], g[x]), 1.0 * count
                if isinstance(w, Tensor) or w * ways != 1:
                    product = product * (w * ways)
                had = left[last]
                left[last] = product if had is None else had + product
        return torch.cat([x for x in left if x is not None], 1) @ self.factors.T


@dataclass(frozen=True, slots=True)
class Birth4:
    """Fourth cumulants that arose in one layer: Σ over families and hubs, all orders of legs.

    A family is a head H_r, symmetric in its two legs, and an edge x_r, beside the hub e_r.  The
    first family is that of coinciding neurons, whose edge is e_r / 2.
    """

    #: H_r of every family, side by side: shape (n, n, families · hubs).
    heads: Float[Tensor, "n n columns"]
    #: x_r of every family but the first, side by side: shape (n, (families − 1) · hubs).
    edges: Float[Tensor, "n columns"]
    #: e_r, shape (n, hubs); the identity while None.
    hub: Float[Tensor, "n hubs"] | None = None

    def through(self, weight: Float[Tensor, "out n"]) -> "Birth4":
        """The same cumulants after x ↦ W x, in the heads' own precision."""
        weight = weight.to(self.heads.dtype)
        out, (n, columns) = weight.shape[0], self.heads.shape[1:]
        one_leg = (weight @ self.heads.reshape(n, n * columns)).view(out, n, columns)
        both = weight @ one_leg.transpose(0, 1).reshape(n, out * columns)
        hub = weight if self.hub is None else weight @ self.hub
        return Birth4(both.view(out, out, columns), weight @ self.edges, hub)

    def slice(self) -> Float[Tensor, "n n n"]:
        """κ_iijk, [i, j, k]."""
        hub, edges = self._legs()
        families = edges.shape[1] // hub.shape[1]
        hubs, heads = hub.repeat(1, families), self.heads
        at_i = heads.diagonal(0, 0, 1).T[:, None]
        # half of what is symmetric in j and k, [i, k, column]; j goes to the hub or to the edge
        to_edge = (hubs * 2)[:, None] * heads
        to_edge.addcmul_(at_i, hubs)
        to_hub = ((edges * 2)[:, None] * heads).unflatten(2, (families, -1)).sum(2)
        half = to_edge @ edges.T + to_hub @ hub.T
        whole = heads @ (hubs * edges * 2).T
        return half + half.mT + whole.permute(2, 0, 1)

    def pairs(self) -> tuple[Float[Tensor, "n n"], Float[Tensor, "n n"]]:
        """κ_iiij and κ_iijj: what :meth:`slice` has on two neurons, without its O(n³) entries."""
        hub, edges = self._legs()
        hubs, heads = hub.repeat(1, edges.shape[1] // hub.shape[1]), self.heads
        at_i, both = heads.diagonal(0, 0, 1).T, hubs * edges
        three = 6 * (heads @ both[:, :, None]).squeeze(2)
        three = three + 3 * ((at_i * edges) @ hubs.T + (at_i * hubs) @ edges.T)
        apart = 2 * (both @ at_i.T) + 4 * ((heads * edges) @ hubs[:, :, None]).squeeze(2)
        return three, apart + apart.T

    def contracted(self, vector: Float[Tensor, " n"]) -> Float[Tensor, "n n n"]:
        """Σ_l κ_ijkl v_l."""
        hub, edges = self._legs()
        vector = vector.to(hub.dtype)
        hubs = hub.repeat(1, edges.shape[1] // hub.shape[1])
        single = edges * torch.mv(hubs.T, vector) + hubs * torch.mv(edges.T, vector)
        lone = torch.einsum("ijr,j->ir", self.heads, vector)
        # [i, j, k] symmetric in i and j; then symmetric in j and k
        pair = self.heads @ single.T
        rest = torch.einsum("ir,jr,kr->ijk", lone, hubs, edges)
        out = pair + (rest + rest.mT).permute(1, 2, 0)
        return out + out.permute(0, 2, 1) + out.permute(2, 0, 1)

    def dense(self) -> Float[Tensor, "n n n n"]:
        """κ_ijkl."""
        hub, edges = self._legs()
        hubs = hub.repeat(1, edges.shape[1] // hub.shape[1])
        total = torch.einsum("ijr,kr,lr->ijkl", self.heads, hubs, edges)
        # the first two legs are symmetric: every order of the four is counted twice
        return sum((total.permute(q) for q in permutations(range(4))), torch.zeros_like(total)) / 2

    def _legs(self) -> tuple[Tensor, Tensor]:
        """Hubs, and the edges of every family."""
        assert self.hub is not None
        return self.hub, torch.cat((self.hub / 2, self.edges), 1)


class Hubs(SymmetricTensor):
    """A cumulant of order 3 or 4: the sum of its births, oldest first, and of ``others``.

    ``slope``, if given, still multiplies the neurons of everything but the newest birth: it is
    that of the activation in which this one arose, and is left to the next linear map.
    """

    def __init__(
        self,
        births: Sequence[Birth3 | Birth4],
        others: Sequence[SymmetricTensor] = (),
        slope: Float[Tensor, " n"] | None = None,
        new_others: Sequence[SymmetricTensor] = (),
        dropped: float = 0.0,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.births, self.others, self.slope = tuple(births), tuple(others), slope
        self.new_others = tuple(new_others)
        #: Share that was lost of the past, or of the largest birth dropped, as this one arose.
        self.dropped = dropped
        #: That of the entries, where the births' own precision is lower.
        self.dtype = dtype

    @property
    def order(self) -> int:
        """See the base class."""
        return 3 if isinstance(self.births[-1], Birth3) else 4

    def slice(self, multiplicities: tuple[int, ...]) -> Tensor:
        """See the base class."""
        if max(multiplicities) == 1:
            return self.dense()
        if self.order == 4 and len(multiplicities) < 3 and "repeated" not in self.__dict__:
            three, apart = self._pairs
            counts = list(multiplicities)
            if len(counts) == 1:
                return three.diagonal()
            same = counts[0] == counts[1]
            return apart if same else three if counts[0] > counts[1] else three.T
        most_first = sorted(range(len(multiplicities)), key=lambda a: -multiplicities[a])
        out = self.repeated
        for axis, a in enumerate(most_first):
            for _ in range(multiplicities[a] - (1 if axis else 2)):
                out = out.diagonal(0, axis, axis + 1).movedim(-1, axis)
        return out.movedim(tuple(range(len(most_first))), tuple(most_first))

    @cached_property
    def repeated(self) -> Float[Tensor, "n n *n"]:
        """κ_iij or κ_iijk."""
        total = self.parts[0]
        for part in self.parts[1:]:
            total = total + part
        for part in self.other_parts:
            total = total + part
        return total

    @cached_property
    def _pairs(self) -> tuple[Tensor, Tensor]:
        """κ_iiij and κ_iijj, for order 4."""
        found = [b.pairs() for b in self.births if isinstance(b, Birth4)]
        parts = [(a.to(self.dtype or a.dtype), b.to(self.dtype or b.dtype)) for a, b in found]
        parts += [(other.slice((3, 1)), other.slice((2, 2))) for other in self.others]
        three, apart = parts[0]
        for more in parts[1:]:
            three, apart = three + more[0], apart + more[1]
        return three, apart

    @cached_property
    def parts(self) -> tuple[Tensor, ...]:
        """What each birth adds to the entries with a repeated neuron."""
        found = [birth.slice() for birth in self.births]
        return tuple(part.to(self.dtype or part.dtype) for part in found)

    def dense(self) -> Tensor:
        """See the base class."""
        parts = [b.dense() for b in self.births]
        parts = [part.to(self.dtype or part.dtype) for part in parts]
        parts += [other.dense() for other in self.others]
        return sum(parts[1:], parts[0])

    def against(self, matrix: Tensor) -> Float[Tensor, "n n"]:
        """See the base class."""
        births = [b for b in self.births if isinstance(b, Birth3)]
        terms = [b.against(matrix).to(matrix.dtype) for b in births]
        return sum(terms[1:] + [other.against(matrix) for other in self.others], terms[0])

    def contracted(self, vector: Float[Tensor, " n"]) -> Float[Tensor, "n n n"]:
        """Order 4 only: Σ_l κ_ijkl v_l."""
        births = [b for b in self.births if isinstance(b, Birth4)]
        terms = [b.contracted(vector).to(vector.dtype) for b in births]
        terms += [other.dense() @ vector for other in self.others]
        return sum(terms[1:], terms[0])

    @cached_property
    def other_parts(self) -> tuple[Tensor, ...]:
        """The same for the rest."""
        return tuple(other.slice((2, *[1] * (self.order - 2))) for other in self.others)

    def pruned(self, tolerance: float) -> tuple[tuple[Birth3 | Birth4, ...], float]:
        """The births worth keeping, and the share of the largest one that is not.

        A birth's share is that of its entries with a repeated neuron in the Frobenius norm of
        all: only these enter the next activation.
        """
        if tolerance == 0 or len(self.births) == 1:
            return self.births, 0.0
        with torch.no_grad():
            sizes = [float(torch.linalg.vector_norm(part)) for part in self.parts]
            limit = tolerance * float(torch.linalg.vector_norm(self.repeated))
        kept = tuple(b for b, size in zip(self.births, sizes, strict=True) if size >= limit)
        dropped = max((size for size in sizes if size < limit), default=0.0)
        return kept, tolerance * dropped / limit if dropped else 0.0

    def bound(self, covariance: Float[Tensor, "n n"]) -> "Hubs":
        """See the base class."""
        others = [other.bound(covariance) for other in self.others]
        return Hubs(self.births, others, self.slope, self.new_others, self.dropped, self.dtype)

    def through(self, weight: Float[Tensor, "out n"]) -> "Hubs":
        """See the base class."""
        older = weight if self.slope is None else weight * self.slope
        return Hubs(
            (*(b.through(older) for b in self.births[:-1]), self.births[-1].through(weight)),
            (
                *(o.through(older) for o in self.others),
                *(o.through(weight) for o in self.new_others),
            ),
            dtype=weight.dtype,
        )
