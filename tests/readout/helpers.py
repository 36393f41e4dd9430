"""Networks that several tests of two-layer networks share."""

import math
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from outsample.readout import TwoLayer

F64 = torch.float64


def network(
    n: int = 5,
    m: int = 40,
    activation: str = "relu",
    bias: float = 0.0,
    readouts: int | None = None,
    seed: int = 0,
    **others,
) -> TwoLayer:
    """A random network with weights N(0, 1/n), biases N(0, bias²) and readouts N(0, 1/m)."""
    g = torch.Generator().manual_seed(seed)
    weight = torch.randn(m, n, generator=g, dtype=F64) / math.sqrt(n)
    shape = (m,) if readouts is None else (readouts, m)
    readout = torch.randn(*shape, generator=g, dtype=F64) / math.sqrt(m)
    offsets = bias * torch.randn(m, generator=g, dtype=F64) if bias else None
    return TwoLayer(weight, readout, activation, bias=offsets, **others)


def gauss_hermite(n: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Tensor product nodes (q, n) and weights for N(0, I)."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    grids = np.meshgrid(*[x] * n, indexing="ij")
    mass = np.ones([nodes] * n)
    for axis in range(n):
        shape = [1] * n
        shape[axis] = nodes
        mass = mass * (w / w.sum()).reshape(shape)
    return torch.tensor(np.stack([g.ravel() for g in grids], 1)), torch.tensor(mass.ravel())


def moments_to_cumulants(f: Tensor, weights: Tensor) -> list[float]:
    """κ_1 … κ_4 of values with weights."""
    mean = float(weights @ f)
    d = f - mean
    second, third, fourth = (float(weights @ d**k) for k in (2, 3, 4))
    return [mean, second, third, fourth - 3 * second**2]


def random_symmetric(rng: np.random.Generator, n: int, degree: int) -> Tensor:
    """A random symmetric tensor."""
    raw = rng.standard_normal((n,) * degree)
    parts = [np.transpose(raw, order) for order in permutations(range(degree))]
    return torch.tensor(np.sum(parts, 0) / math.factorial(degree))
