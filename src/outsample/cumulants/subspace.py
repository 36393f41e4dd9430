"""Old parts of the third cumulant, held in the subspace in which the activations vary most.

A third cumulant keeps what arose in every earlier layer, so that time would grow with the square
of the depth.  What arose many layers ago has passed through as many matrices and lies almost
wholly in the leading eigenspace of the covariance: there k³ numbers hold all of it.
"""

from dataclasses import dataclass
from itertools import permutations

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.cumulants.hubs import Birth3, Hubs
from outsample.cumulants.symmetric import Dense, SymmetricTensor, Traced

#: Births younger than this many layers are kept as they are: they do not compress.  The others
#: move once there are as many of them.
WINDOW = 6
#: Dimension of the subspace is the width divided by this, and not less than the next number.
_SHRINKAGE, _FEWEST = 4, 16


@dataclass(frozen=True, slots=True, eq=False)
class Subspace(SymmetricTensor):
    """κ_ijk = Σ_abc U_ia U_jb U_kc T_abc (Tucker form), T symmetric."""

    basis: Float[Tensor, "n k"]
    core: Float[Tensor, "k k k"]

    @property
    def order(self) -> int:
        """See the base class."""
        return 3

    def slice(self, multiplicities: tuple[int, ...]) -> Tensor:
        """See the base class."""
        if multiplicities == (1, 1, 1):
            return self.dense()
        pairs = self._contracted(self.basis)
        if multiplicities == (3,):
            return pairs.diagonal()
        return pairs if multiplicities == (2, 1) else pairs.T

    def through(self, weight: Float[Tensor, "out n"]) -> "Subspace":
        """See the base class."""
        return Subspace(weight @ self.basis, self.core)

    def against(self, matrix: Tensor) -> Float[Tensor, "n n"]:
        """See the base class."""
        return self._contracted((matrix @ self.basis).expand_as(self.basis))

    def dense(self) -> Float[Tensor, "n n n"]:
        """See the base class."""
        return Dense(self.core).through(self.basis).tensor

    def _contracted(self, other: Float[Tensor, "n k"]) -> Float[Tensor, "n n"]:
        """Σ over the legs at i, i and j: one through the basis, one through ``other``."""
        n, k = self.basis.shape
        one_leg = (self.basis @ self.core.reshape(k, k * k)).view(n, k, k)
        return (other[:, None] @ one_leg).squeeze(1) @ self.basis.T


def leading_subspace(
    covariance: Float[Tensor, "n n"], guess: Float[Tensor, "n k"] | None
) -> Float[Tensor, "n k"]:
    """Orthonormal columns that span the leading eigenspace, nearly; no gradient.

    One step of subspace iteration from ``guess``; an eigendecomposition without one.
    """
    with torch.no_grad():
        if guess is not None:
            return torch.linalg.qr(covariance @ guess)[0]
        n = covariance.shape[0]
        return torch.linalg.eigh(covariance)[1][:, -max(_FEWEST, n // _SHRINKAGE) :]


def compressed(
    old: Hubs,
    slope: Float[Tensor, " n"],
    covariance: Float[Tensor, "n n"],
    tolerance: float,
) -> tuple[Hubs, Subspace | None]:
    """Move what is older than the window into the subspace, if that loses little enough.

    Args:
        old: the third cumulant of the pre-activations.
        slope: of the activations; the subspace returned is that of φ(Z), it has passed it.
        covariance: of φ(Z).
        tolerance: largest loss, in Frobenius norm of κ_iij of φ(Z), relative to all of it.

    Returns:
        What stays as it is, its ``dropped`` the loss; and the subspace, or None if nothing moved.
    """
    births = [birth for birth in old.births if isinstance(birth, Birth3)]
    # in bfloat16 a birth costs so little that more of them are kept
    window = WINDOW if births[0].factors.dtype == covariance.dtype else 2 * WINDOW
    # moving one costs as much as keeping it for two layers: it is done for many at a time
    if tolerance == 0 or len(births) <= 2 * window or not bool(torch.isfinite(covariance).all()):
        return old, None
    aged, kept = births[:-window], births[-window:]
    previous = [part for part in old.others if isinstance(part, Subspace)]
    traced = [part for part in old.others if isinstance(part, Traced)]
    moving = [*previous, *traced[: -2 * window]]  # a birth brings two of them
    guess = previous[0].basis * slope[:, None] if previous else None
    basis = leading_subspace(covariance, guess)
    seen = basis * slope[:, None]  # the span, as it looks from before the activation
    core = sum((projected(birth, seen) for birth in aged[1:]), projected(aged[0], seen))
    for part in moving:
        core = core + part.through(seen.T).dense()
    new = Subspace(basis, core)
    with torch.no_grad():
        weights = (slope * slope)[:, None] * slope
        exact = sum(old.parts[: len(aged)], torch.zeros_like(covariance))
        for part, entries in zip(old.others, old.other_parts, strict=True):
            exact = exact + entries if part in moving else exact
        lost = torch.linalg.vector_norm(exact * weights - new.slice((2, 1)))
        loss = float(lost / torch.linalg.vector_norm(old.repeated * weights))
    if not loss <= tolerance:
        return old, None
    rest = [part for part in old.others if part not in moving]
    return Hubs(kept, rest, dropped=loss), new


def projected(birth: Birth3, basis: Float[Tensor, "n k"]) -> Float[Tensor, "k k k"]:
    """What a birth is in the coordinates of the columns of ``basis``."""
    k = basis.shape[1]
    f = (basis.T @ birth.factors.to(basis.dtype)).split(birth.hubs, 1)
    total = basis.new_zeros((k * k, k))
    for a, b, c, weight in birth.terms:
        total = total + (f[a][:, None] * (f[b] * weight)).view(k * k, -1) @ f[c].T
    total = total.view(k, k, k)
    return sum((total.permute(p) for p in permutations(range(3))), torch.zeros_like(total))
