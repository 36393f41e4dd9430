"""Tail formulas in the first four cumulants, for thresholds above the mean.

References:
    J. E. Kolassa, "Series Approximation Methods in Statistics" (2006); R. Lugannani and S. Rice,
    Adv. Appl. Prob. 12 (1980).
"""

import math

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.catastrophe.from_cumulants.tail import (
    Standardised,
    Tail,
    corrected,
    hazard,
    log_upper,
    undefined,
)

#: Saddlepoints below this take the limit of Lugannani and Rice's bracket at the mean.
_CENTRAL = 1e-4
#: What an imaginary part may be for a root to count as real.
_REAL = 1e-9


def gaussian(law: Standardised) -> Tail:
    """Q(z)."""
    return Tail(log_upper(law.z))


def gram_charlier(law: Standardised) -> Tail:
    """Q(z) + φ(z) (λ_3 He_2(z) / 6 + λ_4 He_3(z) / 24): series A."""
    return corrected(law.z, 1 + hazard(law.z) * _series_a(law))


def edgeworth(law: Standardised) -> Tail:
    """Series A with λ_3² He_5(z) / 72, which is of the order of λ_4."""
    z = law.z
    fifth = z**5 - 10 * z**3 + 15 * z
    return corrected(z, 1 + hazard(z) * (_series_a(law) + law.skewness**2 * fifth / 72))


def cornish_fisher(law: Standardised) -> Tail:
    """Q(w) for the w whose Cornish-Fisher expansion, monotone from 0 on, is z."""
    z, l3, l4 = law

    def image(w: Tensor) -> Tensor:
        square = l3 * l3 * (2 * w**3 - 5 * w) / 36
        return w + l3 * (w * w - 1) / 6 + l4 * (w**3 - 3 * w) / 24 - square

    a, b, c = z.item(), l3.item(), l4.item()
    # Coefficients of w³, w², w and 1 in the image minus z; those of its derivative.
    cubic = [c / 24 - b * b / 18, b / 6, 1 - c / 8 + 5 * b * b / 36, -b / 6 - a]
    slope = [3 * cubic[0], 2 * cubic[1], cubic[2]]
    sign = 1.0 if cubic[3] <= 0 else -1.0  # of w: the image of 0 lies below z, or above
    root = _first_root(cubic, sign)
    turn = _first_root(slope, sign)
    if slope[2] <= 0 or root is None or (turn is not None and abs(turn) < abs(root)):
        return undefined(z, "the Cornish-Fisher map stops rising before the threshold")
    start = torch.as_tensor(root).to(z)
    rise = float(np.polyval(slope, root))
    return Tail(log_upper(start - (image(start) - z) / rise))  # Newton's step, for the gradient


def lugannani_rice(law: Standardised) -> Tail:
    """Saddlepoint formula with K(b) = b² / 2 + λ_3 b³ / 6 + λ_4 b⁴ / 24."""
    z, l3, l4 = law
    if z.item() < _CENTRAL:
        # At the mean Q(w) + φ(w) (1/u - 1/w) tends to Q(0) - φ(0) λ_3 / 6.
        return corrected(z, 1 - hazard(z) * l3 / 6)
    b, c = l3.item(), l4.item()
    root = _first_root([c / 6, b / 2, 1.0, -z.item()], 1.0)
    turn = _first_root([c / 2, b, 1.0], 1.0)
    if root is None or (turn is not None and turn < root):
        return undefined(z, "the four cumulants have no saddlepoint at the threshold")
    start = torch.as_tensor(root).to(z)
    miss = start + l3 * start**2 / 2 + l4 * start**3 / 6 - z
    s = start - miss / (1 + b * root + c * root**2 / 2)  # Newton's step, for the gradient
    generating = s**2 / 2 + l3 * s**3 / 6 + l4 * s**4 / 24
    exponent = s * z - generating
    if exponent.item() <= 0:
        return undefined(z, "the saddlepoint's exponent is not positive")
    w = (2 * exponent).sqrt()
    u = s * (1 + l3 * s + l4 * s**2 / 2).sqrt()
    if w.item() < _CENTRAL:
        return corrected(w, 1 - hazard(w) * l3 / 6)
    return corrected(w, 1 + hazard(w) * (1 / u - 1 / w))


def _series_a(law: Standardised) -> Float64[Tensor, ""]:
    z, l3, l4 = law
    return l3 * (z * z - 1) / 6 + l4 * (z**3 - 3 * z) / 24


def _first_root(coefficients: list[float], sign: float) -> float | None:
    """The real root nearest to zero on one side of it, None if there is none."""
    if coefficients[-1] == 0:
        return 0.0
    scale = max(abs(c) for c in coefficients)
    # Leading coefficients that are round-off would make roots out of nothing.
    kept = [0.0 if abs(c) < 1e-14 * scale else c for c in coefficients]
    roots = np.roots(kept)
    real = roots.real[np.abs(roots.imag) <= _REAL * (1 + np.abs(roots.real))]
    found = [float(r) for r in real if r * sign > 0]
    best = min(found, key=abs, default=None)
    return None if best is None or not math.isfinite(best) else best
