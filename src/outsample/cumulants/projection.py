"""What is kept of the cumulants of order K + 1 and K + 2: orthogonal projection on traces."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.cumulants.symmetric import AlongCovariance, Dense, SymmetricTensor, Traced, placed


def isotropic(
    full_trace: Float[Tensor, ""], order: int, metric: Float[Tensor, "n n"]
) -> SymmetricTensor:
    """The tensor s Sym(I ⊗ … ⊗ I), of even ``order``, with that full trace; ``metric`` is I."""
    n, half = metric.shape[0], order // 2
    matchings = math.prod(range(1, order, 2))
    out: SymmetricTensor = Dense(
        full_trace * (matchings / math.prod(n + 2 * k for k in range(half)))
    )
    for _ in range(half):
        out = Traced(out, metric)
    return out


def elliptical(full_trace: Float[Tensor, ""], covariance: Float[Tensor, "n n"]) -> AlongCovariance:
    """The tensor s Sym(C ⊗ C) with the given full trace: exact for scale mixtures of Gaussians."""
    trace = covariance.diagonal().sum()
    some = trace > 0
    trace = torch.where(some, trace, 1)
    # in units of the trace: squares of small variances leave the range of float32
    scale = 3 * (full_trace / trace / trace) / (1 + 2 * (covariance / trace).square().sum())
    scale = torch.where(some, scale, 0)
    return AlongCovariance(AlongCovariance(Dense(scale)))


def traced_core(trace: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The symmetric A for which Σ_k Sym(A ⊗ I)_kk… is ``trace``, of any order from 1.

    Sym(A ⊗ I) is then the orthogonal projection of every symmetric tensor with that trace.
    """
    n, d = trace.shape[0], trace.dim()
    pairs = math.comb(d + 2, 2)
    if d < 2:
        return trace * (pairs / (n + 2 * d))
    # tr Sym(A ⊗ I) = [(n + 2d) A + Σ_{a<b} I_ab tr A] / pairs; its own trace gives tr A first
    inner = trace.diagonal(0, 0, 1).sum(-1) * (pairs / (2 * n + 4 * d - 4))
    eye = torch.eye(n, dtype=trace.dtype, device=trace.device)
    out = trace * pairs
    for a in range(d):
        for b in range(a + 1, d):
            rest = tuple(c for c in range(d) if c not in (a, b))
            out = out - placed(eye, (a, b), d) * placed(inner, rest, d)
    return out / (n + 2 * d)
