"""The activation step of order 2: what a layer of activations does to two cumulants.

Notation: pre-activations Z have mean μ, covariance C and, in the augmented variant, third and
fourth cumulants κ₃ = Sym(a ⊗ G) and κ₄ = s Sym(G ⊗ G).  h_k(i) = E[φ^(k)(Z_i)] and
d_k(i) = E[∂^k (φ − m_i)²(Z_i)], m the mean of φ(Z).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.networks.activations.base import Expansion

#: Neurons whose variance per squared weight is this many times below the largest are capped.
_SPREAD = 1e3


@dataclass(frozen=True, slots=True)
class Traces:
    """What the augmented variant keeps of orders 3 and 4: κ₃ = Sym(a ⊗ G), κ₄ = s Sym(G ⊗ G)."""

    vector: Float[Tensor, " n"]
    scalar: Float[Tensor, ""]
    #: The metric G, which is the identity right after an activation and W Wᵀ after the next map.
    metric: Float[Tensor, "n n"] | None

    def through(self, weight: Float[Tensor, "out n"]) -> "Traces":
        """The same cumulants after x ↦ W x."""
        metric = weight if self.metric is None else weight @ self.metric
        return Traces(torch.mv(weight, self.vector), self.scalar, metric @ weight.T)

    def through_diagonal(self, weight: Float[Tensor, "out n"]) -> "Traces":
        """The same with only the diagonal of W Wᵀ, right after an activation."""
        metric = torch.diag(weight.square().sum(1))
        return Traces(torch.mv(weight, self.vector), self.scalar, metric)


def basic_step(covariance: Float[Tensor, "n n"], expansion: Expansion) -> Float[Tensor, "n n"]:
    """Covariance of φ(Z): C_ij h_1(i) h_1(j) off the diagonal, exact Gaussian variances on it."""
    slope = expansion.coefficient(1) / expansion.scale
    out = (covariance * slope).mul_(slope[:, None])
    out.diagonal().copy_(expansion.coefficient(0, 2))
    return out


def augmented_step(
    covariance: Float[Tensor, "n n"], traces: Traces | None, expansion: Expansion
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"], Traces]:
    """Mean and covariance of φ(Z) with every diagram of cost at most 2, and its traces.

    The diagrams on two neurons are an edge, a double edge, κ_iij, κ_ijj and κ_iijj; those on one
    are κ_iii and κ_iiii.  ``traces`` is None while Z is exactly Gaussian.
    """
    # Constants go into value= and alpha=: at small widths every operation's overhead counts.
    # Updates are in place: at large widths new n × n matrices cost more than their arithmetic.
    n, e, precision = covariance.shape[0], expansion.coefficient, expansion.scale.reciprocal()
    mean, d1, d2 = expansion.mean, e(1, 2), e(2, 2)
    kept = None if traces is None else _Kept(traces, covariance.diagonal())
    if kept is None:
        kappa2, kappa3 = e(0, 2), e(0, 3)
        kappa4 = torch.addcmul(e(0, 4), kappa2, kappa2, value=-3)
    else:
        shift, kappa2, kappa3, kappa4 = kept.one_neuron(precision, expansion)
        mean = mean + shift
        # e(·, 2) is centred at the Gaussian mean.
        d1, d2 = torch.addcmul(d1, shift, e(1), value=-2), torch.addcmul(d2, shift, e(2), value=-2)
    h1, h2 = e(1) * precision, e(2) * precision * precision
    d1, d2 = d1 * precision, d2 * precision * precision

    # Covariance of φ(Z); ``double`` is twice what meets degree 2 on both sides: double edges,
    # and κ_iijj as far as it rides on G_ij².
    double = covariance * covariance
    if kept is not None:
        kept.add_to_double(double)
    out = (covariance * h1).mul_(h1[:, None]).addcmul_(double * h2, h2[:, None], value=1 / 2)
    if kept is not None:
        kept.add_to_covariance(out, h1, h2)
    out.diagonal().copy_(kappa2)

    # Row sums over j ≠ i of κ(φ_i, φ_j, φ_j): what h_1(i), and what h_2(i) / 2, multiplies there.
    by_degree1 = torch.mv(covariance, d1).addcmul_(covariance.diagonal(), d1, value=-1)
    by_degree2 = torch.mv(double, d2).addcmul_(double.diagonal(), d2, value=-1)
    if kept is not None:
        kept.add_to_rows(by_degree1, by_degree2, d1, d2)
    traced3 = torch.addcmul(kappa3, h1, by_degree1).addcmul_(h2, by_degree2, value=1 / 2)

    # The sum over i and j of κ(φ_i, φ_i, φ_j, φ_j).
    flat = out.view(-1)
    pairs = torch.add(torch.dot(d1, by_degree1), torch.dot(d2, by_degree2), alpha=1 / 2)
    off_diagonal = torch.dot(flat, flat) - torch.dot(kappa2, kappa2)
    traced4 = torch.add(kappa4.sum() + pairs, off_diagonal, alpha=-2)
    return mean, out, Traces(traced3 * (3 / (n + 2)), traced4 * (3 / (n * (n + 2))), None)


class _Kept:
    """What κ₃ = Sym(a ⊗ G) and κ₄ = s Sym(G ⊗ G) of Z add to the activation step.

    Their entries on two neurons are κ_iij = (2 a_i G_ij + a_j G_ii) / 3 and
    κ_iijj = s (G_ii G_jj + 2 G_ij²) / 3.
    """

    def __init__(self, traces: Traces, variance: Tensor) -> None:
        a, metric = traces.vector, traces.metric
        if metric is None:  # two activations in a row
            metric = torch.diag(torch.ones_like(a))
        # A neuron that reads (nearly) only constants has no higher cumulants either, but the
        # traces spread those of the others over it: they are capped by its variance.
        share = variance.detach() / metric.detach().diagonal()
        low, high = torch.aminmax(share)
        if not float(low) * _SPREAD >= float(high) > 0:
            share = share.nan_to_num(0.0, posinf=0.0).clamp_min(0)
            factor = (share * (_SPREAD / share.amax().clamp_min(1e-30))).clamp_max(1).sqrt()
            a, metric = a * factor, metric * factor * factor[:, None]
        self.a, self.s = a, traces.scalar
        self.metric, self.g = metric, metric.diagonal()

    def one_neuron(
        self, precision: Tensor, expansion: Expansion
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Shift of the mean by κ_iii and κ_iiii, and the second to fourth cumulants of φ(Z_i)."""
        e = expansion.coefficient
        scaled = self.g * precision * precision
        skew, excess = self.a * precision * scaled, self.s * scaled * scaled
        shift = (skew * e(3) * (1 / 6)).addcmul_(excess, e(4), value=1 / 24)
        m2, m3, m4 = (
            torch.addcmul(e(0, power), skew, e(3, power), value=1 / 6).addcmul_(
                excess, e(4, power), value=1 / 24
            )
            for power in (2, 3, 4)
        )
        square = shift * shift
        rest = torch.add(m2, square, alpha=-2)
        kappa3 = torch.addcmul(m3, shift, torch.add(square, m2, alpha=-1.5), value=2)
        kappa4 = (
            torch.addcmul(m4, shift, m3, value=-4)
            .addcmul_(rest, rest, value=-3)
            .addcmul_(square, square, value=6)
        )
        return shift, m2 - square, kappa3, kappa4

    def add_to_double(self, double: Tensor) -> None:
        """Add the part of κ_iijj / 2 that rides on G_ij²."""
        double.addcmul_(self.metric * self.s, self.metric, value=1 / 3)

    def add_to_covariance(self, out: Tensor, h1: Tensor, h2: Tensor) -> None:
        """Add κ_iij / 2 · h_2(i) h_1(j), its transpose, and the rest of κ_iijj / 4 · h_2 h_2."""
        p, q = self.a * h2, self.g * h2
        r = torch.addcmul(self.a * h1, self.s, q, value=1 / 4)
        # x yᵀ + y xᵀ as one product of n × 2 matrices
        out.addcmul_(self.metric, torch.stack((p, h1), 1) @ torch.stack((h1, p)), value=1 / 3)
        out.addmm_(torch.stack((q, r), 1), torch.stack((r, q)), alpha=1 / 6)

    def add_to_rows(self, by1: Tensor, by2: Tensor, d1: Tensor, d2: Tensor) -> None:
        """Add the same diagrams with d_k(j) for h_k(j), summed over j ≠ i."""
        a, s, g, metric = self.a, self.s, self.g, self.metric
        ad2 = a * d2
        others_g = torch.addcmul(torch.dot(g, d2), g, d2, value=-1)
        others_a = torch.addcmul(torch.dot(a, d1), a, d1, value=-1)
        by1.add_(torch.mv(metric, ad2).addcmul_(g, ad2, value=-1), alpha=1 / 3)
        by1.addcmul_(a, others_g, value=1 / 6)
        by2.addcmul_(a, torch.mv(metric, d1).addcmul_(g, d1, value=-1), value=2 / 3)
        by2.addcmul_(g, torch.addcmul(others_a, s, others_g, value=1 / 2), value=1 / 3)
