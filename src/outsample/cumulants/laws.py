"""Covariances of a layer in forms that are cheap to push through the next weights."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from outsample.cumulants.gaussian_input import pushed_variance


class Law(ABC):
    """Covariance C of one layer's activations, and what is kept of their third cumulants."""

    @abstractmethod
    def apply(self, x: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """C x."""

    def variance(self, weight: Float[Tensor, "out n"]) -> Float[Tensor, " out"]:
        """Diagonal of W C Wᵀ."""
        return (weight * self.apply(weight.T).T).sum(1)

    def third(self, weight: Float[Tensor, "out n"]) -> "ThirdCumulants | None":
        """Third cumulants after W, where they are kept."""
        del weight
        return None


@dataclass(frozen=True, slots=True)
class Plain(Law):
    """A covariance given by a scalar, the variances (n,), or a matrix (n, n)."""

    scale: Float[Tensor, "*structure"]

    def apply(self, x: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """See the base class."""
        if self.scale.dim() == 2:
            return self.scale @ x
        return self.scale.expand(x.shape[0])[:, None] * x

    def variance(self, weight: Float[Tensor, "out n"]) -> Float[Tensor, " out"]:
        """See the base class."""
        return pushed_variance(weight, self.scale)


@dataclass(frozen=True, slots=True)
class LowRank(Law):
    """C = Q S Qᵀ + diag(d): r directions in which neurons move together, and independent noise.

    On the leading q directions B the third cumulants are Σ T_abc B_ia B_jb B_kc, and each neuron
    has t_i on top of its own.
    """

    basis: Float[Tensor, "n r"]
    core: Float[Tensor, "r r"]
    noise: Float[Tensor, " n"]
    third_core: Float[Tensor, "q q q"] | None = None
    third_noise: Float[Tensor, " n"] | None = None

    def apply(self, x: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """See the base class."""
        return self.basis @ (self.core @ (self.basis.T @ x)) + self.noise[:, None] * x

    def variance(self, weight: Float[Tensor, "out n"]) -> Float[Tensor, " out"]:
        """See the base class."""
        common = quadratic(weight @ self.basis, self.core)
        return common + torch.mv(weight.square(), self.noise)

    def third(self, weight: Float[Tensor, "out n"]) -> "ThirdCumulants | None":
        """See the base class."""
        if self.third_core is None or self.third_noise is None:
            return None
        directions = weight @ self.basis[:, : self.third_core.shape[0]]
        return ThirdCumulants(directions, self.third_core, weight, self.third_noise)


@dataclass(frozen=True, slots=True)
class Sparse(Law):
    """Covariances of chosen pairs of neurons, and every neuron's variance."""

    pairs: Int[Tensor, "p 2"]
    values: Float[Tensor, " p"]
    variances: Float[Tensor, " n"]

    def apply(self, x: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """See the base class."""
        total, chunk = self.variances[:, None] * x, x.shape[0]  # as large as x, to bound memory
        for pairs, values in zip(self.pairs.split(chunk), self.values.split(chunk), strict=True):
            i, j = pairs.unbind(1)
            total = total.index_add(0, i, values[:, None] * x[j])
            total = total.index_add(0, j, values[:, None] * x[i])
        return total


@dataclass(frozen=True, slots=True)
class ThirdCumulants:
    """Third cumulants of W x: Σ T_abc β_ia β_jb β_kc + Σ_l W_il W_jl W_kl t_l."""

    directions: Float[Tensor, "n q"]
    core: Float[Tensor, "q q q"]
    weight: Float[Tensor, "n before"]
    noise: Float[Tensor, " before"]

    def own(self) -> Float[Tensor, " n"]:
        """κ_iii."""
        return cubic(self.directions, self.core) + torch.mv(self.weight**3, self.noise)

    def shrunk(self, factor: Float[Tensor, " n"]) -> "ThirdCumulants":
        """The third cumulants of c_i times variable i."""
        rows = factor[:, None]
        return ThirdCumulants(rows * self.directions, self.core, rows * self.weight, self.noise)

    def pairs_times(self, x: Float[Tensor, "n r"]) -> Float[Tensor, "n r"]:
        """Σ_j κ_iij x_j."""
        inner = torch.einsum("abc,cr->abr", self.core, self.directions.T @ x)
        through_core = torch.einsum("ia,ib,abr->ir", self.directions, self.directions, inner)
        return through_core + self.weight.square() @ (self.noise[:, None] * (self.weight.T @ x))

    def pairs_transposed_times(self, x: Float[Tensor, "n r"]) -> Float[Tensor, "n r"]:
        """Σ_i κ_iij x_i."""
        inner = torch.einsum("ia,ib,ir->abr", self.directions, self.directions, x)
        through_core = self.directions @ torch.einsum("abc,abr->cr", self.core, inner)
        return through_core + self.weight @ (self.noise[:, None] * (self.weight.square().T @ x))


def quadratic(rows: Float[Tensor, "n r"], core: Float[Tensor, "r r"]) -> Float[Tensor, " n"]:
    """Diagonal of A S Aᵀ."""
    return ((rows @ core) * rows).sum(1)


def cubic(rows: Float[Tensor, "n q"], core: Float[Tensor, "q q q"]) -> Float[Tensor, " n"]:
    """Σ T_abc A_ia A_ib A_ic."""
    q = core.shape[0]
    inner = (rows @ core.reshape(q, q * q)).reshape(-1, q, q)
    return torch.einsum("ibc,ib,ic->i", inner, rows, rows)
