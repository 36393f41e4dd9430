"""Covariances kept in part: what propagation with advice carries from layer to layer.

A :class:`Law` describes the covariance of one layer's activations in a form whose products with
the next weights are cheap; no n × n covariance is ever formed.  An :class:`ActivationStep` holds
what one layer of activations makes of it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from outsample.cumulants.gaussian_input import affine_mean, pushed_variance
from outsample.distributions import Gaussian
from outsample.networks.activations.base import Activation
from outsample.networks.graph import Affine, Graph

#: Rounds of the fit to the off-diagonal part; each costs O(n r²) and gains a factor of about r/n.
_ROUNDS = 5
#: Skewness of a pre-activation beyond which its expansion in it is no longer trusted.
_SKEWNESS = 1.0


class Law(ABC):
    """Covariance C of one layer's activations, and what is kept of their third cumulants."""

    @abstractmethod
    def variance(self, weight: Float[Tensor, "out n"]) -> Float[Tensor, " out"]:
        """Diagonal of W C Wᵀ."""

    @abstractmethod
    def times(
        self, weight: Float[Tensor, "out n"], x: Float[Tensor, "out r"]
    ) -> Float[Tensor, "out r"]:
        """W C Wᵀ x."""

    def third(self, weight: Float[Tensor, "out n"]) -> "ThirdCumulants | None":
        """Third cumulants after W, where they are kept."""
        del weight
        return None


@dataclass(frozen=True, slots=True)
class Plain(Law):
    """A covariance given by a scalar, the variances (n,), or a matrix (n, n)."""

    scale: Float[Tensor, "*structure"]

    def variance(self, weight: Float[Tensor, "out n"]) -> Float[Tensor, " out"]:
        """See the base class."""
        return pushed_variance(weight, self.scale)

    def times(
        self, weight: Float[Tensor, "out n"], x: Float[Tensor, "out r"]
    ) -> Float[Tensor, "out r"]:
        """See the base class."""
        y = weight.T @ x
        if self.scale.dim() == 2:
            return weight @ (self.scale @ y)
        return weight @ (self.scale[:, None] * y if self.scale.dim() == 1 else self.scale * y)


@dataclass(frozen=True, slots=True)
class LowRank(Law):
    """C = Q S Qᵀ + diag(d): r directions in which neurons move together, independent noise beside.

    On the leading q directions B the third cumulants are Σ T_abc B_ia B_jb B_kc, and each neuron
    has t_i on top of its own.
    """

    basis: Float[Tensor, "n r"]
    core: Float[Tensor, "r r"]
    noise: Float[Tensor, " n"]
    third_core: Float[Tensor, "q q q"] | None
    third_noise: Float[Tensor, " n"] | None

    def variance(self, weight: Float[Tensor, "out n"]) -> Float[Tensor, " out"]:
        """See the base class."""
        pushed = weight @ self.basis
        return quadratic(pushed, self.core) + torch.mv(weight.square(), self.noise)

    def times(
        self, weight: Float[Tensor, "out n"], x: Float[Tensor, "out r"]
    ) -> Float[Tensor, "out r"]:
        """See the base class."""
        y = weight.T @ x
        return weight @ (self.basis @ (self.core @ (self.basis.T @ y)) + self.noise[:, None] * y)

    def third(self, weight: Float[Tensor, "out n"]) -> "ThirdCumulants | None":
        """See the base class."""
        if self.third_core is None or self.third_noise is None:
            return None
        basis = weight @ self.basis[:, : self.third_core.shape[0]]
        return ThirdCumulants(basis, self.third_core, weight, self.third_noise)


@dataclass(frozen=True, slots=True)
class Sparse(Law):
    """Covariances of chosen pairs of neurons, and every neuron's variance."""

    pairs: Int[Tensor, "p 2"]
    values: Float[Tensor, " p"]
    variances: Float[Tensor, " n"]

    def pushed(self, weight: Float[Tensor, "out n"]) -> Float[Tensor, "n out"]:
        """C Wᵀ; as many pairs at a time as there are neurons, which bounds the memory."""
        transposed = weight.T
        total = self.variances[:, None] * transposed
        for pairs, values in zip(
            self.pairs.split(len(weight) + 1), self.values.split(len(weight) + 1), strict=True
        ):
            i, j = pairs.unbind(1)
            total = total.index_add(0, i, values[:, None] * transposed[j])
            total = total.index_add(0, j, values[:, None] * transposed[i])
        return total

    def variance(self, weight: Float[Tensor, "out n"]) -> Float[Tensor, " out"]:
        """See the base class."""
        return (weight * self.pushed(weight).T).sum(1)

    def times(
        self, weight: Float[Tensor, "out n"], x: Float[Tensor, "out r"]
    ) -> Float[Tensor, "out r"]:
        """See the base class."""
        return self.pushed(weight).T @ (weight.T @ x)


@dataclass(frozen=True, slots=True)
class ThirdCumulants:
    """Third cumulants κ_ijk of pre-activations: core T in directions β, and W's share of noise t."""

    directions: Float[Tensor, "n q"]
    core: Float[Tensor, "q q q"]
    weight: Float[Tensor, "n before"]
    noise: Float[Tensor, " before"]

    def own(self) -> Float[Tensor, " n"]:
        """κ_iii."""
        return cubic(self.directions, self.core) + torch.mv(self.weight**3, self.noise)

    def within(
        self, precision: Float[Tensor, " n"], limit: float
    ) -> "tuple[ThirdCumulants, Float[Tensor, ' n']]":
        """Neurons shrunk to a skewness of at most ``limit``, and the skewness that they have."""
        skewness = self.own() * precision * precision * precision
        shrink = (skewness.abs() / limit).clamp_min(1) ** (-1 / 3)
        rows = shrink[:, None]
        less = ThirdCumulants(rows * self.directions, self.core, rows * self.weight, self.noise)
        return less, skewness * shrink**3

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


class ActivationStep:
    """One layer of activations: each neuron's own cumulants, and products with their covariance.

    To leading order the covariance of φ(Z_i) and φ(Z_j), i ≠ j, is h1(i) h1(j) C_ij, C that of Z,
    with κ_iij h2(i) h1(j) / 2 and its mirror image added where third cumulants are kept;
    h_k = E φ^(k)(Z).

    Args:
        activation: the function applied.
        before: law of the layer before.
        affine: the map between the two layers.
        mean: mean of the layer before.
    """

    def __init__(
        self, activation: Activation, before: Law, affine: Affine, mean: Float[Tensor, " before"]
    ) -> None:
        self.before, self.weight = before, affine.weight
        #: Variances of Z, as they come out of the law before.
        self.incoming = before.variance(self.weight)
        expansion = activation.expand(affine_mean(affine, mean), self.incoming)
        self._coefficient = e = expansion.coefficient
        self._precision = precision = 1 / expansion.scale
        #: h1 = E φ'(Z).
        self.slope = e(1) * precision
        #: Mean and variance of every activation.
        self.mean, self.variance = expansion.mean, e(0, 2)
        self.third = before.third(self.weight)
        self._skew = self._shift = None
        if self.third is not None:
            self.third, skewness = self.third.within(precision, _SKEWNESS)
            self._skew = skew = skewness / 6
            self._shift = shift = skew * e(3)
            self.mean = self.mean + shift
            moment = self.variance + skew * e(3, 2)
            self.variance = (moment - shift.square()).clamp_min(0)

    @property
    def bend(self) -> Float[Tensor, " n"]:
        """h2 = E φ''(Z)."""
        return self._coefficient(2) * self._precision * self._precision

    def independent(self) -> Plain:
        """The law that forgets every covariance."""
        return Plain(self.variance)

    def others(self, x: Float[Tensor, "n r"]) -> Float[Tensor, "n r"]:
        """Σ_{j≠i} C_ij h1(j) x_j: covariance of Z_i with the linear response of the others."""
        y = self.slope[:, None] * x
        return self.before.times(self.weight, y) - self.incoming[:, None] * y

    def off_diagonal(
        self, x: Float[Tensor, "n r"], others: Float[Tensor, "n r"]
    ) -> Float[Tensor, "n r"]:
        """Covariance of the activations, without its diagonal, times x; ``others(x)`` is given."""
        slope = self.slope[:, None]
        product = slope * others
        if self.third is None:
            return product
        bend = self.bend[:, None]
        doubled = self.third.pairs_times(slope * x) * bend
        doubled = doubled + self.third.pairs_transposed_times(bend * x) * slope
        own = 2 * self.third.own()[:, None] * bend * slope * x
        return product + (doubled - own) / 2

    def response(self, readings: Float[Tensor, "n r"]) -> Float[Tensor, "n r"]:
        """K P: covariance of every activation with the readings, less what is its own noise."""
        product = self.off_diagonal(readings, self.others(readings))
        _, common = _fit(readings, product, self.variance)
        return product + common.clamp_min(0)[:, None] * readings

    def low_rank(self, readings: Float[Tensor, "n r"], third: int) -> tuple[LowRank, Tensor]:
        """Keep the covariance within the neurons' response to r readings of the layer.

        The responses K P of all neurons to the readings P, with K the covariance less what is
        each neuron's own, span the space; within it the core is fitted to the covariances of
        distinct neurons by least squares.  The readings adapt to the input that way: advice
        found for one input serves another.

        Returns the law, and by how much its variances had to exceed the neurons' own, relative
        to the largest of them, shape (n,).
        """
        response = self.response(readings)
        # So small an amount of the readings themselves keeps the factorization differentiable.
        size = response.detach().norm()
        amount = torch.where(size > 0, size, 1) * torch.finfo(size.dtype).eps ** 0.5
        basis = torch.linalg.qr(response + amount * readings)[0]
        others = self.others(basis)
        core, common = _fit(basis, self.off_diagonal(basis, others), self.variance)
        core, common = _positive(basis, core, common, self.variance)
        noise = self.variance - common
        tiny = torch.finfo(noise.dtype).tiny
        excess = (-noise / self.variance.amax().clamp_min(tiny)).clamp_min(0)
        kept, own = self._third(basis[:, :third], others[:, :third]) if third else (None, None)
        return LowRank(basis, core, noise.clamp_min(0), kept, own), excess.detach()

    def sparse(self, pairs: Int[Tensor, "p 2"]) -> Sparse:
        """Keep the covariances of the pairs named."""
        pushed = _pushed(self.before, self.weight)
        slope, values = self.slope, []
        for chunk in pairs.split(len(self.weight) + 1):
            i, j = chunk.unbind(1)
            inner = (self.weight[i] * pushed.T[j]).sum(1)
            values.append(slope[i] * slope[j] * inner)
        return Sparse(pairs, torch.cat(values) if values else slope[:0], self.variance)

    def _third(
        self, basis: Float[Tensor, "n q"], others: Float[Tensor, "n q"]
    ) -> tuple[Float[Tensor, "q q q"], Float[Tensor, " n"]]:
        """Third cumulants in ``basis``, and what each neuron's own exceeds them by.

        Leading terms: two covariances that meet in one neuron, h2(j) h1(i) h1(k) C_ij C_jk; of
        pairs κ(φ_i, φ_i, φ_j) = E[∂(φ − m)²(Z_i)] C_ij h1(j); and the cumulant before, h1³ κ_ijk.
        """
        e = self._coefficient
        meeting = torch.einsum("j,ja,jb,jc->abc", self.bend, others, basis, others)
        pair = e(1, 2) * self._precision
        paired = torch.einsum("i,ia,ib,ic->abc", pair, basis, basis, others)
        core = _orientations(meeting, 1) + _orientations(paired, 2)
        own = e(0, 3)
        if self.third is not None and self._skew is not None and self._shift is not None:
            turn = (self.slope[:, None] * self.third.directions).T @ basis
            core = core + torch.einsum("abc,ax,by,cz->xyz", self.third.core, turn, turn, turn)
            moment = e(0, 2) + self._skew * e(3, 2)
            own = own + self._skew * e(3, 3) - 3 * self._shift * moment + 2 * self._shift**3
        return core, own - cubic(basis, core)


def activation_layers(
    graph: Graph, inputs: Gaussian
) -> tuple[list[tuple[Affine, Activation]], Affine | None]:
    """Each activation with the affine map before it (the identity where there is none).

    Consecutive affine maps count as one.  The second result is the map after the last activation.
    """
    found, affine, n = list[tuple[Affine, Activation]](), None, inputs.shape[0]
    for step in graph.merged().steps:
        if isinstance(step, Affine):
            affine, n = step, step.weight.shape[0]
        else:
            identity = Affine(torch.eye(n, dtype=inputs.dtype, device=inputs.device))
            found.append((affine or identity, step))
            affine = None
    return found, affine


def quadratic(
    rows: Float[Tensor, "n r"], core: Float[Tensor, "r r"]
) -> Float[Tensor, " n"]:
    """Diagonal of A S Aᵀ."""
    return ((rows @ core) * rows).sum(1)


def cubic(
    rows: Float[Tensor, "n q"], core: Float[Tensor, "q q q"]
) -> Float[Tensor, " n"]:
    """Σ T_abc A_ia A_ib A_ic."""
    q = core.shape[0]
    inner = (rows @ core.reshape(q, q * q)).reshape(-1, q, q)
    return torch.einsum("ibc,ib,ic->i", inner, rows, rows)


def _orientations(tensor: Float[Tensor, "q q q"], single: int) -> Float[Tensor, "q q q"]:
    """Sum over the three places of the leg ``single`` of a tensor symmetric in the other two."""
    return sum((tensor.movedim(single, place) for place in range(3)), torch.zeros_like(tensor))


def _pushed(law: Law, weight: Float[Tensor, "out n"]) -> Float[Tensor, "n out"]:
    """C Wᵀ for the laws that a sparse pattern meets: its own kind, or the input's."""
    if isinstance(law, Sparse):
        return law.pushed(weight)
    scale = law.scale if isinstance(law, Plain) else None
    if scale is None:
        raise TypeError(f"a pattern does not follow {type(law).__name__}")
    if scale.dim() == 2:
        return scale @ weight.T
    return (scale * weight).T


def _fit(
    basis: Float[Tensor, "n r"], product: Float[Tensor, "n r"], variance: Float[Tensor, " n"]
) -> tuple[Float[Tensor, "r r"], Float[Tensor, " n"]]:
    """S that fits Q S Qᵀ to a matrix off its diagonal, in least squares; and diag(Q S Qᵀ).

    ``product`` is the matrix, its diagonal zero, times Q.  The normal equations are
    S = Qᵀ (off-diagonal part + diag(Q S Qᵀ)) Q, solved by iteration, with no neuron given more
    than its variance.
    """
    fixed = basis.T @ product
    fixed = (fixed + fixed.T) / 2
    core, common = fixed, torch.zeros_like(variance)
    for _ in range(_ROUNDS):
        common = torch.minimum(quadratic(basis, core), variance)
        core = fixed + basis.T @ (common[:, None] * basis)
    return core, common


def _positive(
    basis: Float[Tensor, "n r"],
    core: Float[Tensor, "r r"],
    common: Float[Tensor, " n"],
    variance: Float[Tensor, " n"],
) -> tuple[Float[Tensor, "r r"], Float[Tensor, " n"]]:
    """The core made positive semidefinite, and diag(Q S Qᵀ).

    Were all of each variance counted as common, S would be Qᵀ C Q, which is positive; the
    smallest sufficient step there is taken, found by the concavity of the lowest eigenvalue.
    """
    lowest = torch.linalg.eigvalsh(core)[0]
    if bool(lowest < 0):
        whole = core + basis.T @ ((variance - common)[:, None] * basis)
        ceiling = torch.linalg.eigvalsh(whole)[0].clamp_min(0)
        core = core + (whole - core) * (lowest / (lowest - ceiling))
    return core, quadratic(basis, core)
