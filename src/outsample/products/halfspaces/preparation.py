"""Brings halfspaces into the form that all methods share: unit normals, a standard Gaussian.

Only the Gram matrix of the normals and the limits matter from there on.  Normals that are equal or
opposite up to round-off become one factor with a lower and an upper limit.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.distributions import Gaussian
from outsample.products.halfspaces.least_distance import least_distance
from outsample.products.halfspaces.problem import HalfspaceIntersection

#: Normals at a smaller angle (in radians: a correlation of 1 - 1e-6) are taken for one; costs about
#: 0.5 % of p at the limit.
_SAME = 2e-6**0.5
#: Limits further out than this feel smaller angles, as do intervals: one must be this many times
#: less than their width, or so many times for each deviation that the set is from the centre.
_OUT, _WIDE, _WIDE_FAR = 10.0, 8.0, 50.0
#: Where merging would move half the squared distance of the set from the centre, and with it log p,
#: by more than this, only normals that are equal up to round-off are merged.
_MOVED = 0.02
#: Limits whose squares leave float64.
_FAR = 1e154
#: Angles that are round-off of zero, at least, and in units of the precision of the normals.
_ROUND_OFF, _EPSILONS = 1e-12, 10


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
    with torch.no_grad():
        largest = v.abs().amax(dim=1)
        unit = largest / (2 * largest.frexp().mantissa)  # a power of 2: without round-off
        unit = torch.where(largest > 0, unit, 1)
    v, b = v / unit[:, None], b / unit  # squares of very long or short normals leave float64
    slack = b.detach().abs()
    law = problem.inputs
    if isinstance(law, Gaussian):
        scale, mean = law.scale.double(), law.mean.double()
        b = b - v @ mean
        spread = v @ scale if scale.dim() == 2 else v * scale
        gram = spread @ v.T
        with torch.no_grad():
            slack = slack + v.abs() @ mean.abs()
            if scale.dim() == 2:
                directions = v @ law.to(torch.float64, v.device).square_root()
                cancelled = ((v.abs() @ scale.abs()) * v.abs()).sum(1)
            else:
                directions = v * scale.sqrt()
                cancelled = torch.zeros_like(b)  # a sum of squares: nothing cancels
    else:
        gram, directions, cancelled = v @ v.T, v.detach(), torch.zeros_like(b)
    variance = gram.diagonal()
    flat = variance.detach() <= 1e-14 * cancelled  # v · x does not vary, up to round-off
    empty = bool((flat & (b.detach() > 1e-14 * slack)).any())
    kept = ~flat & (b.detach() > -torch.inf)
    rows = kept.nonzero()[:, 0]
    deviation = variance[rows].sqrt()
    gram = gram[rows][:, rows] / deviation[:, None] / deviation
    directions = directions[rows] / deviation.detach()[:, None]
    lower = b[rows] / deviation
    empty = empty or bool((lower.detach() > _FAR).any())  # log p is beyond float64
    whole = Prepared(
        directions=directions.detach(),
        gram=gram,
        lower=lower,
        upper=torch.full_like(lower, torch.inf),
        rows=rows,
        deviation=unit[rows] * deviation,
        empty=empty,
        dropped=v.shape[0] - len(rows),
        merged=0,
    )
    round_off = max(_ROUND_OFF, _EPSILONS * torch.finfo(problem.dtype).eps)
    merged = _merge(whole, same, round_off)
    if not merged.merged or merged.empty or (far := _distance(whole)) == 0:
        return merged
    merged = _merge(whole, same, round_off, max(_WIDE, _WIDE_FAR * far))
    if abs(_distance(merged) ** 2 - far**2) > 2 * _MOVED:
        return _merge(whole, round_off, round_off)
    return merged


def _distance(prepared: Prepared) -> float:
    parts = (prepared.gram, prepared.lower, prepared.upper)
    return least_distance(*(t.detach().cpu().numpy() for t in parts))


def _merge(whole: Prepared, same: float, round_off: float, wide: float = _WIDE) -> Prepared:
    """One factor for each class of equal or opposite normals."""
    close = 1 - same**2 - 1e-12  # a first test, which leaves room for round-off in r
    if whole.largest_correlation <= close:
        return whole
    r, v = whole.gram.detach().cpu().numpy(), whole.directions.cpu().numpy()
    limits = whole.lower.tolist()
    heads: list[int] = []
    lower: list[Tensor] = []
    upper: list[Tensor] = []

    def fits(i: int, p: int) -> bool:
        """Whether factor i may join class p."""
        head, low, high = heads[p], float(lower[p].detach()), float(upper[p].detach())
        angle = float(np.linalg.norm(v[i] - np.sign(r[i, head]) * v[head]))
        if r[i, head] > 0:
            low = max(low, limits[i])
        else:
            high = min(high, -limits[i])
        alike = angle * max(1, limits[i] / _OUT) < same and wide * angle < high - low
        return angle < same and (angle < round_off or alike)

    for i in range(whole.factors):
        near = np.flatnonzero(abs(r[i, heads]) > close)
        of = next((p for p in near.tolist() if fits(i, p)), None)
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
