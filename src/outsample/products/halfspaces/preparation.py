"""Brings halfspaces into the form that all methods share: unit normals, a standard Gaussian.

Only the Gram matrix of the normals and the limits matter from there on.  Normals that are equal or
opposite up to round-off become one factor with a lower and an upper limit.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.distributions import Gaussian
from outsample.products.halfspaces.problem import HalfspaceIntersection

#: Normals at a smaller angle (in radians: a correlation of 1 - 1e-6) are taken for one; costs about
#: 0.3 % of p at the limit.
_SAME = 2e-6**0.5


@dataclass(frozen=True)
class Prepared:
    """k' factors lower_i <= v_i · z <= upper_i with |v_i| = 1 and z ~ N(0, I), in float64.

    Everything but ``empty`` and the counts carries the gradient history of the problem.
    """

    #: Unit normals in whitened coordinates, shape (k', n); without gradient.
    directions: Float64[Tensor, "k n"]
    #: Their correlations, shape (k', k').
    gram: Float64[Tensor, "k k"]
    #: Limits, shape (k',); -inf and inf where there is none.
    lower: Float64[Tensor, " k"]
    upper: Float64[Tensor, " k"]
    #: Row of the problem that each factor's normal is, shape (k',), and that row's standard
    #: deviation of v · x, by which limits and normals were divided.
    rows: Tensor
    deviation: Float64[Tensor, " k"]
    #: True if no point meets all conditions, seen already here.
    empty: bool
    #: Conditions dropped because every point meets them, and merged into another's factor.
    dropped: int
    merged: int

    @property
    def factors(self) -> int:
        """Number of factors k'."""
        return self.lower.shape[0]

    @property
    def largest_correlation(self) -> float:
        """Largest |v_i · v_j| over i != j; 0 for a single factor."""
        if self.factors < 2:
            return 0.0
        off = self.gram.detach().abs().fill_diagonal_(0)
        return float(off.max())


def prepare(problem: HalfspaceIntersection, same: float = _SAME) -> Prepared:
    """Whiten, normalise, drop and merge the conditions of ``problem``.

    Whitening comes first: with x = m + L z, v · x >= b reads (Lᵀ v) · z >= b - v · m.

    Args:
        problem: the halfspaces.
        same: the angle in radians, small, below which normals (or their opposites) are merged.
    """
    v, b = problem.normals.double(), problem.offsets.double()
    law = problem.inputs
    if isinstance(law, Gaussian):
        scale, mean = law.scale.double(), law.mean.double()
        b = b - v @ mean
        spread = v @ scale if scale.dim() == 2 else v * scale
        gram = spread @ v.T
        with torch.no_grad():
            if scale.dim() == 2:
                directions = v @ law.to(torch.float64, v.device).square_root()
            else:
                directions = v * scale.sqrt()
            size = v.square().sum(1) * scale.abs().max()
    else:
        gram, directions, size = v @ v.T, v.detach(), v.detach().square().sum(1)
    variance = gram.diagonal()
    flat = variance.detach() <= 1e-14 * size  # v · x does not vary, up to round-off
    kept = ~flat & (b.detach() > -torch.inf)
    empty = bool((flat & (b.detach() > 0)).any())
    rows = kept.nonzero()[:, 0]
    deviation = variance[rows].sqrt()
    gram = gram[rows][:, rows] / (deviation[:, None] * deviation)
    directions = directions[rows] / deviation.detach()[:, None]
    lower = b[rows] / deviation
    whole = Prepared(
        directions=directions.detach(),
        gram=gram,
        lower=lower,
        upper=torch.full_like(lower, torch.inf),
        rows=rows,
        deviation=deviation,
        empty=empty,
        dropped=v.shape[0] - len(rows),
        merged=0,
    )
    return _merge(whole, same)


def _merge(whole: Prepared, same: float) -> Prepared:
    """One factor for each class of equal or opposite normals."""
    r, v = whole.gram.detach(), whole.directions
    close = 1 - same**2 - 1e-12  # a first test, which leaves room for round-off in r
    if whole.largest_correlation <= close:
        return whole
    heads: list[int] = []
    lower: list[Tensor] = []
    upper: list[Tensor] = []
    for i in range(whole.factors):
        of = next(
            (
                p
                for p, head in enumerate(heads)
                if abs(r[i, head]) > close and (v[i] - r[i, head].sign() * v[head]).norm() < same
            ),
            None,
        )
        if of is None:
            heads.append(i)
            lower.append(whole.lower[i])
            upper.append(whole.upper[i])
        elif r[i, heads[of]] > 0:
            lower[of] = torch.maximum(lower[of], whole.lower[i])
        else:
            upper[of] = torch.minimum(upper[of], -whole.lower[i])
    low, high = torch.stack(lower), torch.stack(upper)
    return Prepared(
        directions=whole.directions[heads],
        gram=whole.gram[heads][:, heads],
        lower=low,
        upper=high,
        rows=whole.rows[heads],
        deviation=whole.deviation[heads],
        empty=whole.empty or bool((low.detach() >= high.detach()).any()),
        dropped=whole.dropped,
        merged=whole.factors - len(heads),
    )
