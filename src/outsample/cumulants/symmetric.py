"""Joint cumulants of a layer as symmetric tensors: in full, or by what is kept of their traces.

Every representation answers the same questions: the entries with repeated neurons (``slice``),
the tensor after a linear map (``through``) or a rescaling of the neurons (``scaled``).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


class SymmetricTensor(ABC):
    """A symmetric tensor of some order over n neurons."""

    @property
    @abstractmethod
    def order(self) -> int:
        """Number of legs."""

    @abstractmethod
    def slice(self, multiplicities: tuple[int, ...]) -> Tensor:
        """Entries in which neuron i appears multiplicities[0] times, j multiplicities[1] times.

        And so on: one axis of length n for each multiplicity; entries where neurons coincide are
        the tensor's own.
        """

    @abstractmethod
    def through(self, weight: Float[Tensor, "out n"]) -> "SymmetricTensor":
        """The cumulant after x ↦ W x."""

    @abstractmethod
    def against(self, matrix: Tensor) -> Float[Tensor, "n n"]:
        """Order 3 only: Σ_k κ_ijk M_ik for M of shape (n, n) or, the same for every i, (n,)."""

    def contracted(self, vector: Float[Tensor, " n"]) -> Tensor:
        """The cumulant summed over its last leg with weights."""
        return self.dense() @ vector

    def dense(self) -> Float[Tensor, "*n"]:
        """All entries."""
        return self.slice((1,) * self.order)

    def scaled(self, factors: Float[Tensor, " n"]) -> "SymmetricTensor":
        """The cumulant after every neuron is multiplied by its factor."""
        return self.through(torch.diag(factors))

    def bound(self, covariance: Float[Tensor, "n n"]) -> "SymmetricTensor":
        """The cumulant of a layer with that covariance, for forms that leave it open."""
        del covariance
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Dense(SymmetricTensor):
    """All n^order entries; order 0 is a scalar."""

    tensor: Float[Tensor, "*n"]

    @property
    def order(self) -> int:
        """See the base class."""
        return self.tensor.dim()

    def slice(self, multiplicities: tuple[int, ...]) -> Tensor:
        """See the base class."""
        out = self.tensor
        for times in multiplicities:
            for _ in range(times - 1):
                out = out.diagonal(0, 0, 1).movedim(-1, 0)
            # this neuron's axis goes last, so that the next one's comes first
            out = out.movedim(0, -1)
        return out

    def through(self, weight: Float[Tensor, "out n"]) -> "Dense":
        """See the base class."""
        out, legs = self.tensor, self.tensor.dim()
        for _ in range(legs):
            # one product of matrices; the first axis becomes the last, and after all is in place
            shape = (*out.shape[1:], weight.shape[0])
            out = (out.reshape(out.shape[0], -1).T @ weight.T).view(shape)
        return Dense(out)

    def against(self, matrix: Tensor) -> Float[Tensor, "n n"]:
        """See the base class."""
        return (self.tensor @ (matrix if matrix.dim() == 1 else matrix[:, :, None])).view(
            self.tensor.shape[:2]
        )

    def scaled(self, factors: Float[Tensor, " n"]) -> "Dense":
        """See the base class."""
        out = self.tensor
        for axis in range(out.dim()):
            out = out * along(factors, axis, out.dim())
        return Dense(out)


@dataclass(frozen=True, slots=True, eq=False)
class Traced(SymmetricTensor):
    """Sym(A ⊗ G): a symmetric tensor of lower order times a metric, averaged over index orders.

    Right after an activation G is the identity; it becomes W Wᵀ.  Nested, s Sym(G ⊗ G) is
    ``Traced(Traced(s, G), G)``.
    """

    core: SymmetricTensor
    metric: Float[Tensor, "n n"]

    @property
    def order(self) -> int:
        """See the base class."""
        return self.core.order + 2

    def slice(self, multiplicities: tuple[int, ...]) -> Tensor:
        """See the base class."""
        m = len(multiplicities)
        if multiplicities in ((4,), (3, 1), (2, 2)) and self._is_square:
            return self._square_slice(multiplicities)
        total: Tensor | None = None
        for a in range(m):
            for b in range(a, m):
                left = list(multiplicities)
                left[a] -= 1
                left[b] -= 1
                if min(left) < 0:
                    continue
                # in how many ways G takes one leg of each, or two of the same neuron
                ways = multiplicities[a] * (multiplicities[b] if a < b else left[a] + 1)
                ways = ways if a < b else ways // 2
                g = placed(self.metric, (a, b), m) if a < b else along(self.metric.diagonal(), a, m)
                axes = tuple(c for c in range(m) if left[c])
                rest = placed(self.core.slice(tuple(left[c] for c in axes)), axes, m)
                share = ways / math.comb(self.order, 2)
                if total is None:
                    total = rest * g if share == 1 else rest * g * share
                else:
                    total.addcmul_(rest, g, value=share)
        assert total is not None
        return total

    @property
    def _is_square(self) -> bool:
        """Whether the core is along the same metric."""
        return isinstance(self.core, Traced) and self.core.metric is self.metric

    def _square_slice(self, multiplicities: tuple[int, ...]) -> Tensor:
        """Entries of s Sym(G ⊗ G) on one neuron or two, in closed form."""
        assert isinstance(self.core, Traced)
        s, g, metric = self.core.core.slice(()), self.metric.diagonal(), self.metric
        if multiplicities == (4,):
            return s * g * g
        if multiplicities == (3, 1):
            return metric * (s * g)[:, None]
        return torch.addcmul(torch.outer(g, g), metric, metric, value=2) * (s / 3)

    def through(self, weight: Float[Tensor, "out n"]) -> "Traced":
        """See the base class."""
        core = self.core.through(weight)
        if self._is_square and isinstance(core, Traced):
            return Traced(core, core.metric)
        return Traced(core, weight @ self.metric @ weight.T)

    def diagonal(self) -> "Traced":
        """The same with the diagonal of every metric, which all must be one."""
        metric = torch.diag(self.metric.diagonal())
        core = self.core
        return Traced(Traced(core.core, metric) if isinstance(core, Traced) else core, metric)

    def against(self, matrix: Tensor) -> Float[Tensor, "n n"]:
        """See the base class."""
        a, g = self.core.slice((1,)), self.metric
        if matrix.dim() == 1:
            b = torch.mv(g, matrix)
            return (torch.outer(a, b) + torch.outer(b, a) + g * torch.dot(a, matrix)) / 3
        whole = torch.outer((g * matrix).sum(1), a) + g * torch.mv(matrix, a)[:, None]
        return (whole + (matrix @ g) * a[:, None]) / 3

    def scaled(self, factors: Float[Tensor, " n"]) -> "Traced":
        """See the base class."""
        return Traced(self.core.scaled(factors), self.metric * factors * factors[:, None])


@dataclass(frozen=True, slots=True, eq=False)
class AlongCovariance(SymmetricTensor):
    """Sym(A ⊗ C) with C the covariance of whatever layer it has come to.

    Linear maps act on A alone; :meth:`bound` gives the tensor itself.
    """

    core: SymmetricTensor

    @property
    def order(self) -> int:
        """See the base class."""
        return self.core.order + 2

    def slice(self, multiplicities: tuple[int, ...]) -> Tensor:
        """Not before the covariance is known."""
        raise TypeError("bind the covariance first")

    def against(self, matrix: Tensor) -> Float[Tensor, "n n"]:
        """Not before the covariance is known."""
        raise TypeError("bind the covariance first")

    def through(self, weight: Float[Tensor, "out n"]) -> "AlongCovariance":
        """See the base class."""
        return AlongCovariance(self.core.through(weight))

    def bound(self, covariance: Float[Tensor, "n n"]) -> Traced:
        """See the base class."""
        return Traced(self.core.bound(covariance), covariance)


@dataclass(frozen=True, slots=True, eq=False)
class Powers(SymmetricTensor):
    """Σ_r k_r a_r ⊗ … ⊗ a_r: the cumulant of a linear map of independent variables."""

    legs: int
    values: Float[Tensor, " r"]
    #: Columns a_r, shape (n, r); the identity if None.
    columns: Float[Tensor, "n r"] | None = None

    @property
    def order(self) -> int:
        """See the base class."""
        return self.legs

    def slice(self, multiplicities: tuple[int, ...]) -> Tensor:
        """See the base class."""
        a, out = self._columns(), self.values
        for times in multiplicities[:-1]:
            out = out.unsqueeze(-2) * a**times
        return out @ (a ** multiplicities[-1]).T

    def through(self, weight: Float[Tensor, "out n"]) -> "Powers":
        """See the base class."""
        columns = weight if self.columns is None else weight @ self.columns
        return Powers(self.legs, self.values, columns)

    def against(self, matrix: Tensor) -> Float[Tensor, "n n"]:
        """See the base class."""
        a = self._columns()
        return (a * self.values * (matrix @ a)) @ a.T

    def _columns(self) -> Tensor:
        return torch.diag(torch.ones_like(self.values)) if self.columns is None else self.columns


def placed(tensor: Tensor, axes: tuple[int, ...], dims: int) -> Tensor:
    """View of ``tensor`` that broadcasts, its axes at the ascending places ``axes`` of ``dims``.

    The tensor itself if they are the last.
    """
    if not axes or axes[0] == dims - tensor.dim():
        return tensor
    shape = [1] * dims
    for axis, size in zip(axes, tensor.shape, strict=True):
        shape[axis] = size
    return tensor.reshape(shape)


def along(vector: Float[Tensor, " n"], axis: int, dims: int) -> Tensor:
    """View of a vector that broadcasts along one axis of ``dims``."""
    return placed(vector, (axis,), dims)
