"""Advice for propagation: which covariances and third-order correlations to track."""

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from outsample.cumulants.laws import Law
from outsample.cumulants.tracking import ActivationStep
from outsample.errors import InputError
from outsample.estimator import Explanation


class TrackingAdvice(Explanation):
    """What to keep of the covariance after each layer of activations, first to last."""

    @abstractmethod
    def check(self, widths: tuple[int, ...]) -> None:
        """Raise InputError unless the advice fits layers of activations of these widths."""

    @abstractmethod
    def track(self, layer: int, step: ActivationStep) -> tuple[Law, Tensor]:
        """The law that is kept after activation layer ``layer``, and its excess.

        The excess is by how much each neuron's variance had to be exceeded, relative to the
        layer's largest, shape (n,).
        """


@dataclass(frozen=True, eq=False)
class CovarianceSubspace(TrackingAdvice):
    """Low-rank advice: a few readings of every layer whose correlations are worth tracking.

    A reading is a direction p in the space of a layer's n activations, the random number p·x.
    Propagation follows how all neurons respond to the readings and keeps the covariance within
    the span of the responses; each neuron keeps its own exact variance, and what is left of it
    counts as independent noise.  With n readings nothing is lost; with none, every neuron is
    independent.

    Args:
        readings: for every layer of activations, first to last, an orthonormal basis of shape
            (n, r), 0 ≤ r ≤ n; the ranks r may differ.
        third: how many of each layer's leading readings also have their third cumulants tracked.

    Raises:
        InputError: for a basis that is not a finite floating-point matrix with orthonormal
            columns (to 1e-3 in float32, 1e-6 in float64), or a negative ``third``.

    Example:
        >>> import torch, outsample as ou
        >>> ou.CovarianceSubspace((torch.eye(4)[:, :2], torch.eye(3)[:, :0])).size
        8
    """

    readings: tuple[Float[Tensor, "n r"], ...]
    third: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.third, bool) or not isinstance(self.third, int) or self.third < 0:
            raise InputError(
                f"CovarianceSubspace: third = {self.third!r}; expected an integer of at least 0"
            )
        object.__setattr__(self, "readings", tuple(self.readings))
        for layer, basis in enumerate(self.readings):
            _check_basis(f"CovarianceSubspace: readings[{layer}]", basis)

    @property
    def size(self) -> int:
        """Numbers in the readings."""
        return sum(basis.numel() for basis in self.readings)

    def signature(self) -> Hashable:
        """Ranks, widths and the number of third-order directions."""
        return super().signature(), self.third

    def tensors(self) -> dict[str, Tensor]:
        """``third`` and ``readings_0``, ``readings_1``, …."""
        named = {f"readings_{k}": basis for k, basis in enumerate(self.readings)}
        return {"third": torch.tensor(self.third), **named}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild the advice from what :meth:`tensors` returned.

        Raises:
            InputError: if a name is missing or unknown, or for what the constructor refuses.
        """
        readings = _numbered(cls.__name__, tensors, "readings_", {"third"})
        third = tensors["third"]
        if third.dim() != 0 or third.is_floating_point():
            raise InputError(f"{cls.__name__}: third = {third}; expected an integer scalar")
        return cls(readings, int(third))

    def check(self, widths: tuple[int, ...]) -> None:
        """See the base class."""
        _check_layers("CovarianceSubspace", "readings", len(self.readings), widths)
        for layer, (basis, n) in enumerate(zip(self.readings, widths, strict=True)):
            if basis.shape[0] != n:
                raise InputError(
                    f"CovarianceSubspace: readings[{layer}] has shape {tuple(basis.shape)}; the "
                    f"network's activation layer {layer} has width {n}, expected ({n}, r)"
                )

    def track(self, layer: int, step: ActivationStep) -> tuple[Law, Tensor]:
        """See the base class."""
        readings = self.readings[layer].to(step.mean)
        if readings.shape[1] == 0:
            return step.independent(), step.variance.new_zeros(1)
        return step.low_rank(readings, min(self.third, readings.shape[1]))


@dataclass(frozen=True, eq=False)
class CovariancePattern(TrackingAdvice):
    """Sparse advice: the pairs of neurons of every layer whose covariances are tracked.

    All other pairs count as uncorrelated; every neuron keeps its own exact variance.

    Args:
        pairs: for every layer of activations, first to last, an integer matrix of shape (p, 2)
            whose rows (i, j), i < j, name different pairs.

    Raises:
        InputError: for rows that are not pairs i < j of distinct indices, or named twice.

    Example:
        >>> import torch, outsample as ou
        >>> ou.CovariancePattern((torch.tensor([[0, 2], [1, 2]]),)).size
        4
    """

    pairs: tuple[Int[Tensor, "p 2"], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", tuple(self.pairs))
        for layer, pairs in enumerate(self.pairs):
            _check_pairs(f"CovariancePattern: pairs[{layer}]", pairs)

    @property
    def size(self) -> int:
        """Indices in the pattern."""
        return sum(pairs.numel() for pairs in self.pairs)

    def tensors(self) -> dict[str, Tensor]:
        """``pairs_0``, ``pairs_1``, …."""
        return {f"pairs_{k}": pairs for k, pairs in enumerate(self.pairs)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild the advice from what :meth:`tensors` returned.

        Raises:
            InputError: if a name is missing or unknown, or for what the constructor refuses.
        """
        return cls(_numbered(cls.__name__, tensors, "pairs_", set()))

    def check(self, widths: tuple[int, ...]) -> None:
        """See the base class."""
        _check_layers("CovariancePattern", "pairs", len(self.pairs), widths)
        for layer, (pairs, n) in enumerate(zip(self.pairs, widths, strict=True)):
            if pairs.numel() and int(pairs.max()) >= n:
                raise InputError(
                    f"CovariancePattern: pairs[{layer}] names neuron {int(pairs.max())}; the "
                    f"network's activation layer {layer} has width {n}, expected indices below it"
                )

    def track(self, layer: int, step: ActivationStep) -> tuple[Law, Tensor]:
        """See the base class."""
        pairs = self.pairs[layer].to(step.mean.device)
        return step.sparse(pairs), step.variance.new_zeros(1)


def _check_basis(name: str, basis: object) -> None:
    if not isinstance(basis, Tensor) or basis.dim() != 2 or not basis.is_floating_point():
        given = f"shape {tuple(basis.shape)}, {basis.dtype}" if isinstance(basis, Tensor) else basis
        raise InputError(f"{name}: {given}; expected a floating-point matrix of shape (n, r)")
    n, r = basis.shape
    if r > n or n == 0:
        raise InputError(f"{name} has shape ({n}, {r}); expected (n, r) with r <= n")
    exact = basis.detach().double()
    gap = (exact.T @ exact - torch.eye(r, dtype=exact.dtype, device=exact.device)).abs()
    worst = float(gap.max()) if r else 0.0
    if not worst <= (1e-6 if basis.dtype == torch.float64 else 1e-3):
        raise InputError(
            f"{name} is not orthonormal: an entry of PᵀP is off by {worst:.3g}; take the Q factor "
            "of torch.linalg.qr(basis)"
        )


def _check_pairs(name: str, pairs: object) -> None:
    if (
        not isinstance(pairs, Tensor)
        or pairs.dim() != 2
        or pairs.shape[1] != 2
        or pairs.dtype not in (torch.int64, torch.int32)
    ):
        given = f"shape {tuple(pairs.shape)}, {pairs.dtype}" if isinstance(pairs, Tensor) else pairs
        raise InputError(f"{name}: {given}; expected an integer matrix of shape (p, 2)")
    bad = (pairs[:, 0] >= pairs[:, 1]) | (pairs[:, 0] < 0)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise InputError(f"{name}[{row}] = {pairs[row].tolist()}; expected 0 <= i < j")
    if len(torch.unique(pairs, dim=0)) != len(pairs):
        raise InputError(f"{name} names a pair twice; pass it through torch.unique(pairs, dim=0)")


def _check_layers(name: str, field: str, given: int, widths: tuple[int, ...]) -> None:
    if given != len(widths):
        raise InputError(
            f"{name}: {field} has {given} entries but the network has {len(widths)} layers of "
            f"activations, of widths {widths}; expected one entry for each"
        )


def _numbered(
    name: str, tensors: Mapping[str, Tensor], prefix: str, others: set[str]
) -> tuple[Tensor, ...]:
    """The tensors ``prefix``0, ``prefix``1, …, which with ``others`` must be all there are."""
    expected = [f"{prefix}{k}" for k in range(len(tensors) - len(others))]
    if set(tensors) != {*expected, *others}:
        wanted = ", ".join([*sorted(others), f"{prefix}0", f"{prefix}1"])
        raise InputError(f"{name}: tensors named {sorted(tensors)}; expected {wanted}, ...")
    return tuple(tensors[key] for key in expected)
