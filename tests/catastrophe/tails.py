"""Catastrophes whose probabilities have closed forms."""

import math

import torch
from scipy import stats
from torch import nn

import outsample as ou
from outsample import CatastropheProbability, output


def diagonal(*weights: float, dtype: torch.dtype = torch.float64) -> nn.Linear:
    """A linear layer without bias and with a diagonal matrix."""
    layer = nn.Linear(len(weights), len(weights), bias=False, dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor(weights, dtype=torch.float64)))
    return layer.requires_grad_(False)


def halfspace(
    sigmas: float, n: int = 8, dtype: torch.dtype = torch.float64
) -> tuple[CatastropheProbability, float]:
    """A linear network's tail at so many standard deviations, and log p."""
    net = nn.Linear(n, 1, bias=False, dtype=dtype).requires_grad_(False)
    with torch.no_grad():
        direction = torch.linspace(-1, 2, n, dtype=torch.float64)
        net.weight.copy_(direction / direction.norm())
    problem = CatastropheProbability(net, ou.Gaussian.standard(n), output[0] > sigmas)
    return problem, float(stats.norm.logsf(sigmas))


def chi_square(p: float, n: int) -> tuple[CatastropheProbability, float]:
    """P(|x|² > t) = p for n standard normals, and log p."""
    total = nn.Linear(n, 1, bias=False, dtype=torch.float64).requires_grad_(False)
    with torch.no_grad():
        total.weight.fill_(1.0)
    net = nn.Sequential(diagonal(*[1.0] * n), ou.Elementwise("square"), total)
    limit = float(stats.chi2.isf(p, n))
    law = ou.Gaussian.standard(n, torch.float64)
    return CatastropheProbability(net, law, output[0] > limit), math.log(p)


def union() -> tuple[CatastropheProbability, float]:
    """Three halfspaces, two of them opposite, in general position otherwise."""
    detector = (output[0] > 4.5) | (output[0] < -5) | (output[1] > 4.6)
    law = ou.Gaussian.standard(6, torch.float64)
    problem = CatastropheProbability(diagonal(*[1.0] * 6), law, detector)
    miss = (stats.norm.cdf(4.5) - stats.norm.cdf(-5)) * stats.norm.cdf(4.6)
    parts = stats.norm.sf([4.5, 5, 4.6])
    both = (parts[0] + parts[1]) * parts[2]
    assert abs(parts.sum() - both - (1 - miss)) < 1e-15
    return problem, math.log(parts.sum() - both)


def mixture() -> tuple[CatastropheProbability, float]:
    """A quadrant's corner under a mixture: one component near, one wide, one far."""
    laws = [
        ou.Gaussian.standard(3, torch.float64),
        ou.Gaussian(torch.tensor([1.0, 0.0, 0.0]).double(), 0.5),
        ou.Gaussian(torch.tensor([-8.0, 0.0, 0.0]).double(), 1.0),
    ]
    law = ou.GaussianMixture(torch.tensor([0.7, 0.2, 0.1]).double(), laws)
    problem = CatastropheProbability(
        diagonal(1.0, 1.0, 1.0), law, (output[0] > 4.5) & (output[1] > 0)
    )
    tails = [stats.norm.sf(4.5), stats.norm.sf(3.5 / math.sqrt(0.5)), stats.norm.sf(12.5)]
    p = sum(w * tail / 2 for w, tail in zip((0.7, 0.2, 0.1), tails, strict=True))
    return problem, math.log(p)
