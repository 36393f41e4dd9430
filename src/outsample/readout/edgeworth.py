"""E[σ(f)] from four cumulants of f: the expansion of Edgeworth, Gram and Charlier."""

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.readout.outputs import Output, Threshold


def edgeworth(
    output: Output,
    mean: Float[Tensor, " q"],
    variance: Float[Tensor, " q"],
    third: Float[Tensor, " q"],
    fourth: Float[Tensor, " q"],
    least: float = 0.0,
) -> Float[Tensor, " q"]:
    r"""∫ σ(mean + s z) φ(z) [1 + g3/6 He_3 + g4/24 He_4 + g3²/72 He_6] dz, s² the variance.

    Args:
        output: σ.
        mean: shape (q,).
        variance: shape (q,), ≥ 0.
        third: third cumulants, g3 = third / s³.
        fourth: fourth cumulants, g4 = fourth / s⁴.
        least: variances up to this are taken as Gaussian: their standardised cumulants are ratios
            of rounding errors.
    """
    counts = variance > max(least, 1e-200)
    scale = variance.clamp_min(0).sqrt()
    safe = torch.where(counts, variance, torch.ones_like(variance))
    g3 = torch.where(counts, third / safe**1.5, torch.zeros_like(third))
    g4 = torch.where(counts, fourth / safe**2, torch.zeros_like(fourth))
    i0, i3, i4, i6 = output.integrals(mean, scale)
    return i0 + g3 / 6 * i3 + g4 / 24 * i4 + g3 * g3 / 72 * i6


def in_range(output: Output, value: Float[Tensor, " q"]) -> Float[Tensor, " q"]:
    """Probabilities cut to [0, 1]; other values as they are."""
    return value.clamp(0, 1) if isinstance(output, Threshold) else value
