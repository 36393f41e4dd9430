r"""The Hermite tensors of a two-layer network: the advice of the matching sampling principle.

In whitened coordinates :math:`f(z) = \sum_d \langle T_d, He_d(z)\rangle / d!` with
:math:`T_d = E[\nabla^d f] = \sum_j v_j e_d(j) u_j^{\otimes d}`.  With them go four things that
all degrees decide: the exact variance, the directions along which f is least linear, their
share of the gradient's covariance, and the third and fourth cumulants that degrees above 2 add
across those directions.

Source: Alignment Research Center, "Competing with sampling" (2025), where they are written with
the Hebrew letter shin.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.errors import InputError
from outsample.estimator import Explanation
from outsample.readout.coefficients import hermite_coefficients
from outsample.readout.contraction import Tensors, cumulant, quadratic_cumulant
from outsample.readout.kernels import SecondOrder, second_order
from outsample.readout.problem import TwoLayer, Whitened
from outsample.readout.symmetric import (
    apply_to_rows,
    entries,
    norm_squared,
    sum_of_powers,
    transform,
    unpack,
)

#: A tensor whose coefficients are this small against the variance is left out as zero.
_ABSENT = 1e-13
#: Largest relative mismatch of advice with the network it is about.
MISMATCH = 1e-6
#: Entries of a full tensor beyond which a degree is not built (memory).
_LARGEST = 1 << 25
#: Length of the advice that :meth:`HermiteTensors.of` builds at most, in lengths of the network.
LONGEST = 4
#: Vectors at which an audit compares.
_PROBES = 3


@dataclass(frozen=True, eq=False)
class HermiteTensors(Explanation):
    """Hermite tensors of k readouts of n whitened inputs, and what goes with them.

    Made by :meth:`of` or by a :class:`~outsample.readout.HermiteExplainer`.  All in float64.

    Args:
        inputs: n.
        tensors_by_degree: T_0, T_1, …, each of shape (k, C(n + d - 1, d)): the different entries,
            index tuples in lexicographic order; (k, 0) for a degree that vanishes.
        variance: Var f to all degrees, shape (k,).
        directions: orthonormal directions of least linearity as rows, steepest first, (k, r, n).
        shares: their shares of the covariance of the gradient of f, shape (k, r).
        corrections: third and fourth cumulants, across the directions, of all that the degrees
            above 2 add, shape (k, 2).

    Raises:
        InputError: for shapes that do not fit, entries that are not finite, negative variances, or
            directions that are not orthonormal to 1e-8.

    Source: the Alignment Research Center's "Competing with sampling" (2025); formulas in the
    documentation, theory/readout.
    """

    inputs: int
    tensors_by_degree: tuple[Float[Tensor, "k entries"], ...]
    variance: Float[Tensor, " k"]
    directions: Float[Tensor, "k r n"]
    shares: Float[Tensor, "k r"]
    corrections: Float[Tensor, "k 2"]

    def __post_init__(self) -> None:
        k, n = len(self.variance), self.inputs
        for degree, tensor in enumerate(self.tensors_by_degree):
            if tuple(tensor.shape) not in ((k, entries(n, degree)), (k, 0)):
                raise InputError(
                    f"HermiteTensors: the tensor of degree {degree} has shape "
                    f"{tuple(tensor.shape)}; expected ({k}, {entries(n, degree)}), its different "
                    f"entries for {k} readouts of {n} inputs"
                )
        if len(self.tensors_by_degree) < 2:
            raise InputError("HermiteTensors: expected tensors of degrees 0 and 1 at least")
        r = self.directions.shape[1] if self.directions.dim() == 3 else -1
        expected = {"directions": (k, r, n), "shares": (k, r), "corrections": (k, 2)}
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise InputError(
                    f"HermiteTensors: {name} has shape {tuple(getattr(self, name).shape)}; "
                    f"expected {shape}"
                )
        if not all(bool(t.isfinite().all()) for t in self.tensors().values()):
            raise InputError("HermiteTensors: entries are not finite")
        if bool((self.variance < 0).any()):
            raise InputError("HermiteTensors: a variance is negative")
        gram = self.directions @ self.directions.mT
        if r > 0 and float((gram - torch.eye(r, dtype=gram.dtype)).abs().max()) > 1e-8:
            raise InputError("HermiteTensors: directions are not orthonormal")

    @classmethod
    @torch.no_grad()
    def of(cls, problem: TwoLayer, degree: int = 4, directions: int = 2) -> Self:
        """Build the tensors of a network from its parameters; exact, no gradient.

        The degree is lowered until the advice is at most four times as long as the network's
        parameters (which it exceeds only with many readouts) and fits in memory.

        Args:
            problem: the network; its output function does not matter.
            degree: highest degree, at least 2.
            directions: how many directions of least linearity, 0 to 3 and less than n.

        Raises:
            InputError: for settings out of range.
        """
        if isinstance(degree, bool) or not isinstance(degree, int) or not 2 <= degree <= 8:
            raise InputError(f"HermiteTensors: degree = {degree!r}; expected 2 to 8")
        net = problem.whitened()
        n = net.size[0]
        e = hermite_coefficients(net.activation, net.means, net.lengths, degree)
        packed = [e[0] @ net.readouts.T + net.shifts]
        packed[0] = packed[0][:, None]
        room = LONGEST * problem.parameters
        for d in range(1, degree + 1):
            weights = net.readouts * e[d]
            size = float(weights.abs().sum())
            absent = size <= _ABSENT * float((net.readouts * e[1]).abs().sum() + 1e-300)
            if d > 1 and absent:
                packed.append(weights[:, :0])
                continue
            length = sum(t.numel() for t in packed) + len(weights) * entries(n, d)
            if d > 2 and (length > room or n**d > _LARGEST):
                break
            packed.append(sum_of_powers(net.directions, weights, d))
        return cls.finish(net, packed, second_order(net), directions)

    @classmethod
    def finish(
        cls, net: Whitened, packed: list[Tensor], second: SecondOrder, directions: int
    ) -> Self:
        """Add to given tensors what all degrees decide."""
        n = net.size[0]
        count = min(directions, n - 1)
        values, vectors = torch.linalg.eigh(second.steepness)
        values, vectors = values.flip(-1).clamp_min(0), vectors.flip(-1)
        total = values.sum(-1, keepdim=True).clamp_min(1e-300)
        chosen = vectors[:, :, :count].mT.contiguous()
        bare = cls(
            n,
            tuple(packed),
            second.variance,
            chosen,
            (values / total)[:, :count],
            second.variance.new_zeros(len(second.variance), 2),
        )
        corrections = [bare.across(i, u) for i, u in enumerate(chosen)]
        return cls(
            n, bare.tensors_by_degree, bare.variance, chosen, bare.shares, torch.stack(corrections)
        )

    @property
    def degree(self) -> int:
        """Highest degree that is there."""
        return max(d for d, t in enumerate(self.tensors_by_degree) if t.shape[1])

    @property
    def size(self) -> int:
        """Length of the advice, in numbers."""
        return sum(t.numel() for t in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Tensors by degree, and the rest by name."""
        by_degree = {f"degree_{d}": t for d, t in enumerate(self.tensors_by_degree)}
        others = {
            name: getattr(self, name)
            for name in ("variance", "directions", "shares", "corrections")
        }
        return by_degree | others

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild from :meth:`tensors`.

        Raises:
            InputError: if a part is missing or does not fit.
        """
        names = ("degree_0", "degree_1", "variance", "directions", "shares", "corrections")
        missing = [name for name in names if name not in tensors]
        if missing:
            raise InputError(f"HermiteTensors: {missing[0]!r} is missing")
        count = sum(name.startswith("degree_") for name in tensors)
        return cls(
            tensors["degree_1"].shape[1],
            tuple(tensors[f"degree_{d}"] for d in range(count)),
            *(tensors[name] for name in names[2:]),
        )

    def full(self, readout: int) -> Tensors:
        """Full tensors of one readout, degrees 1 and up; those that vanish are left out."""
        return self._full[readout]

    @cached_property
    def _full(self) -> list[Tensors]:
        n = self.inputs
        return [
            Tensors(
                {
                    d: unpack(packed[i], n, d)
                    for d, packed in enumerate(self.tensors_by_degree)
                    if d > 0 and packed.shape[1]
                }
            )
            for i in range(len(self.variance))
        ]

    def up_to(self, degree: int) -> "HermiteTensors":
        """The same without tensors above ``degree``; the corrections are left as they are."""
        if degree >= len(self.tensors_by_degree) - 1:
            return self
        return dataclasses.replace(self, tensors_by_degree=self.tensors_by_degree[: degree + 1])

    @property
    def mean(self) -> Float[Tensor, " k"]:
        """E f, shape (k,)."""
        return self.tensors_by_degree[0][:, 0]

    def explained(self) -> Float[Tensor, "k degrees"]:
        """|T_d|² / d! for d = 1 to the highest degree, shape (k, degree): parts of the variance."""
        parts: list[Tensor] = []
        for d, packed in enumerate(self.tensors_by_degree[1:], 1):
            part = torch.zeros_like(self.variance)
            if packed.shape[1]:
                part = norm_squared(packed, self.inputs, d) / math.factorial(d)
            parts.append(part)
        return torch.stack(parts, 1)

    def remainder(self) -> Float[Tensor, " k"]:
        """Share of the variance beyond the highest degree, shape (k,)."""
        left = 1 - self.explained().sum(1) / self.variance.clamp_min(1e-300)
        return left.clamp_min(0)

    def across(self, readout: int, directions: Float[Tensor, "r n"]) -> Float[Tensor, "2"]:
        """Third and fourth cumulants that degrees above 2 add across given directions.

        The tensors are projected on the complement of the directions, shape (r, n).
        """
        full = self.full(readout).full
        complement = orthogonal_complement(directions)
        if complement.shape[1] == 0:
            return self.variance.new_zeros(2)
        small = Tensors({d: transform(t, complement) for d, t in full.items()})
        if max(small.degrees) <= 2:
            return self.variance.new_zeros(2)
        b, h = first_two(small, complement.shape[1])
        added = [cumulant(small, r).value - float(quadratic_cumulant(b, h, r)) for r in (3, 4)]
        return self.variance.new_tensor(added)

    def audit(self, problem: TwoLayer, mismatch: float = MISMATCH) -> str | None:
        """Compare with the network at a few vectors, at the cost of as many evaluations.

        Args:
            problem: the network that the advice is said to be about.
            mismatch: relative differences up to this are let pass.

        Returns:
            None if they agree, else what does not.
        """
        net = problem.whitened()
        n = net.size[0]
        if n != self.inputs or len(net.readouts) != len(self.variance):
            return (
                f"it is about {len(self.variance)} readouts of {self.inputs} inputs, the network "
                f"has {len(net.readouts)} readouts of {n} inputs"
            )
        e = hermite_coefficients(
            net.activation, net.means, net.lengths, len(self.tensors_by_degree) - 1
        )
        probes = _probes(n)
        seen = probes @ net.directions.T
        size = net.readouts.abs() @ e[1].abs()
        for d, packed in enumerate(self.tensors_by_degree):
            weights = net.readouts * e[d]
            power = seen**d
            found = weights @ power.T
            scale = weights.abs() @ power.abs().T
            if d == 0:
                found, scale = found + net.shifts[:, None], scale + net.shifts.abs()[:, None]
            said = torch.zeros_like(found)
            if packed.shape[1]:
                said = apply_to_rows(packed, probes, d)
            # Cancellation counts: what is small against its terms is compared with those.
            terms = 1e-3 * mismatch**0.5 * (scale + size[:, None]) + 1e-300
            gap = ((said - found).abs() / (found.abs() + terms)).max()
            if not float(gap) <= mismatch:
                return f"the tensor of degree {d} differs by a factor 1 ± {float(gap):.1e}"
        least = self.explained().sum(1)
        if bool((self.variance < least * (1 - mismatch) - 1e-300).any()):
            return "the variance is less than what the tensors explain"
        return None


def second_from_tensors(packed: list[Tensor], n: int) -> SecondOrder:
    """Variance and gradient covariance of the degrees that are there: less than the whole.

    N = Σ_{d ≥ 2} T_d · T_d / (d - 1)!, contracted in all indices but one.
    """
    k = len(packed[0])
    variance = packed[0].new_zeros(k)
    steep = packed[0].new_zeros(k, n, n)
    for d, tensor in enumerate(packed[1:], 1):
        if not tensor.shape[1]:
            continue
        variance += norm_squared(tensor, n, d) / math.factorial(d)
        for i in range(k if d > 1 else 0):
            rows = unpack(tensor[i], n, d).reshape(n, -1)
            steep[i] += rows @ rows.T / math.factorial(d - 1)
    return SecondOrder(variance, steep)


def first_two(tensors: Tensors, n: int) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"]]:
    """T_1 and T_2, zeros where they are absent."""
    some = next(iter(tensors.full.values()))
    b = tensors.full.get(1, some.new_zeros(n))
    return b, tensors.full.get(2, some.new_zeros(n, n))


def orthogonal_complement(directions: Float[Tensor, "r n"]) -> Float[Tensor, "n rest"]:
    """Orthonormal columns that span all that is orthogonal to the rows given."""
    r = directions.shape[0]
    return torch.linalg.qr(directions.mT, mode="complete")[0][:, r:]


def _probes(n: int) -> Float[Tensor, "q n"]:
    """Fixed unit vectors in general position."""
    place = torch.arange(1, n + 1, dtype=torch.float64)
    rows = torch.stack([torch.sin(place * (1.3 + q) + q) + 0.1 for q in range(_PROBES)])
    return rows / rows.norm(dim=1, keepdim=True)
