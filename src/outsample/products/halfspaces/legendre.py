"""Gauss and Legendre's rule, for integrands that are smooth on short panels."""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

_POINTS = 16


@cache
def legendre_rule(
    device: torch.device,
) -> tuple[Float64[Tensor, " points"], Float64[Tensor, " points"]]:
    """Sixteen nodes on [-1, 1] and their weights."""
    x, weights = np.polynomial.legendre.leggauss(_POINTS)
    return torch.from_numpy(x).to(device), torch.from_numpy(weights).to(device)
