"""One layer of activations, and the laws that can be kept of it."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from outsample.cumulants.gaussian_input import affine_mean
from outsample.cumulants.laws import Law, LowRank, Plain, Sparse, cubic, quadratic
from outsample.distributions import Gaussian
from outsample.networks.activations.base import Activation
from outsample.networks.graph import Affine, Graph

#: Rounds of the fit to the off-diagonal part; each costs O(n r²) and gains a factor of about r/n.
_ROUNDS = 5
#: What is added to responses that may be linearly dependent, in units of their size.
_LITTLE = 1e-6
#: Skewness of a pre-activation beyond which the expansion in it is not trusted.
_SKEWNESS = 1.0


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
        self._before, self.weight = before, affine.weight
        #: Variances of Z, as they come out of the law before.
        self.incoming = before.variance(self.weight)
        expansion = activation.expand(affine_mean(affine, mean), self.incoming)
        self._coefficient = e = expansion.coefficient
        scale = expansion.scale
        #: h1 = E φ'(Z).
        self.slope = e(1) / scale
        # Higher powers: where Z is constant up to rounding, its curvature must not blow that up.
        round_off = torch.finfo(scale.dtype).eps ** 0.5 * scale.amax()
        self._precision = precision = 1 / torch.maximum(scale, round_off)
        #: Mean and variance of every activation.
        self.mean, self.variance = expansion.mean, e(0, 2)
        self._third_before = third = before.third(self.weight)
        if third is not None:
            skewness = third.own() * precision * precision * precision
            shrink = (skewness.abs() / _SKEWNESS).clamp_min(1) ** (-1 / 3)
            self._third_before = third.shrunk(shrink)
            self._skew = skew = skewness * shrink**3 / 6
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
        return self.weight @ self._before.apply(self.weight.T @ y) - self.incoming[:, None] * y

    def off_diagonal(
        self, x: Float[Tensor, "n r"], others: Float[Tensor, "n r"]
    ) -> Float[Tensor, "n r"]:
        """Covariance of the activations, without its diagonal, times x; ``others(x)`` is given."""
        slope, third = self.slope[:, None], self._third_before
        product = slope * others
        if third is None:
            return product
        bend = self.bend[:, None]
        half = third.pairs_times(slope * x) * bend + third.pairs_transposed_times(bend * x) * slope
        return product + half / 2 - third.own()[:, None] * bend * slope * x

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
        # A little of the readings themselves keeps the factorization differentiable.
        size = response.detach().norm()
        amount = _LITTLE * torch.where(size > 0, size, 1)
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
        pushed, slope = self._before.apply(self.weight.T).T, self.slope
        values = [slope[:0]]
        for i, j in (chunk.unbind(1) for chunk in pairs.split(len(slope))):
            values.append(slope[i] * slope[j] * (self.weight[i] * pushed[j]).sum(1))
        return Sparse(pairs, torch.cat(values), self.variance)

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
        if self._third_before is not None:
            turn = (self.slope[:, None] * self._third_before.directions).T @ basis
            core = core + torch.einsum(
                "abc,ax,by,cz->xyz", self._third_before.core, turn, turn, turn
            )
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


def _orientations(tensor: Float[Tensor, "q q q"], single: int) -> Float[Tensor, "q q q"]:
    """Sum over the three places of the leg ``single`` of a tensor symmetric in the other two."""
    return sum((tensor.movedim(single, place) for place in range(3)), torch.zeros_like(tensor))


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

    Were all of each variance counted as common, S would be Qᵀ C Q, which is positive; a step
    there is taken that suffices by the concavity of the lowest eigenvalue.
    """
    lowest = torch.linalg.eigvalsh(core)[0]
    if bool(lowest < 0):
        whole = core + basis.T @ ((variance - common)[:, None] * basis)
        ceiling = torch.linalg.eigvalsh(whole)[0]
        # Corrections from third cumulants may leave even C indefinite: then it is shifted.
        whole = whole + torch.diag((-ceiling).clamp_min(0).expand(len(whole)))
        core = core + (whole - core) * (lowest / (lowest - ceiling.clamp_min(0)))
    return core, quadratic(basis, core)
