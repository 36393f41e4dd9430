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


@dataclass(frozen=True, slots=True)
class Traces:
    """What the augmented variant keeps of orders 3 and 4: κ₃ = Sym(a ⊗ G), κ₄ = s Sym(G ⊗ G)."""

    vector: Float[Tensor, " n"]
    scalar: Float[Tensor, ""]
    #: The metric G; None is the identity, which it is right after an activation.
    metric: Float[Tensor, "n n"] | None

    @classmethod
    def none(cls, covariance: Float[Tensor, "n n"]) -> "Traces":
        """Of a Gaussian: zero, whatever the metric."""
        return cls(covariance.new_zeros(covariance.shape[0]), covariance.new_zeros(()), covariance)

    def through(self, weight: Float[Tensor, "out n"]) -> "Traces":
        """The same cumulants after x ↦ W x."""
        metric = weight if self.metric is None else weight @ self.metric
        return Traces(torch.mv(weight, self.vector), self.scalar, metric @ weight.T)


def basic_step(covariance: Float[Tensor, "n n"], expansion: Expansion) -> Float[Tensor, "n n"]:
    """Covariance of φ(Z): C_ij h_1(i) h_1(j) off the diagonal, exact Gaussian variances on it."""
    slope = expansion.coefficient(1) / expansion.scale
    out = covariance * torch.outer(slope, slope)
    out.diagonal().copy_(expansion.coefficient(0, 2))
    return out


def augmented_step(
    covariance: Float[Tensor, "n n"], traces: Traces, expansion: Expansion
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"], Traces]:
    """Mean and covariance of φ(Z) with every diagram of cost at most 2, and its traces.

    The diagrams on two neurons are an edge, a double edge, κ_iij, κ_ijj and κ_iijj; those on one
    are κ_iii and κ_iiii.
    """
    a, s, metric = traces.vector, traces.scalar, traces.metric
    n, e, precision = a.shape[0], expansion.coefficient, expansion.scale.reciprocal()
    if metric is None:  # two activations in a row
        metric = torch.eye(n, dtype=a.dtype, device=a.device)
    v, g = covariance.diagonal(), metric.diagonal()

    # Constants go into value= and alpha=: at small widths every operation's overhead counts.
    # One neuron: moments of φ about its Gaussian mean, with κ_iii and κ_iiii, to cumulants.
    scaled = g * precision * precision
    skew, excess = a * precision * scaled, s * scaled * scaled
    shift = (skew * (1 / 6) * e(3)).addcmul_(excess, e(4), value=1 / 24)
    m2, m3, m4 = (
        torch.addcmul(e(0, power), skew, e(3, power), value=1 / 6)
        .addcmul_(excess, e(4, power), value=1 / 24)
        for power in (2, 3, 4)
    )
    square = shift * shift
    kappa2 = m2 - square
    kappa3 = torch.addcmul(m3, shift, torch.add(square, m2, alpha=-1.5), value=2)
    rest = torch.add(m2, square, alpha=-2)
    kappa4 = (
        torch.addcmul(m4, shift, m3, value=-4)
        .addcmul_(rest, rest, value=-3)
        .addcmul_(square, square, value=6)
    )

    h1, h2 = e(1) * precision, e(2) * precision * precision
    d1 = torch.addcmul(e(1, 2), shift, e(1), value=-2) * precision
    d2 = torch.addcmul(e(2, 2), shift, e(2), value=-2) * precision * precision

    # Twice what meets degree 2 on both sides: double edges, and κ_iijj as it rides on G_ij².
    double = (covariance * covariance).addcmul_(metric * s, metric, value=1 / 3)

    # Covariance of φ(Z).  κ_iij / 2 = G_ij a_i / 3 + g_i a_j / 6; κ_ijj / 2 is its transpose.
    p, q = a * h2, g * h2
    r = torch.addcmul(a * h1, s, q, value=1 / 4)
    half = torch.outer(q * (1 / 6), r).addcmul_(metric, torch.outer(p, h1), value=1 / 3)
    out = (covariance * torch.outer(h1, h1)).addcmul_(double, torch.outer(h2, h2), value=1 / 2)
    out.add_(half).add_(half.T)
    out.diagonal().copy_(kappa2)

    # Row sums over j ≠ i of κ(φ_i, φ_j, φ_j): what h_1(i), and what h_2(i) / 2, multiplies there.
    ad2 = a * d2
    others_g = torch.addcmul(torch.dot(g, d2), g, d2, value=-1)
    others_a = torch.addcmul(torch.dot(a, d1), a, d1, value=-1)
    by_degree1 = torch.mv(covariance, d1).addcmul_(v, d1, value=-1)
    by_degree1.add_(torch.mv(metric, ad2).addcmul_(g, ad2, value=-1), alpha=1 / 3)
    by_degree1.addcmul_(a, others_g, value=1 / 6)
    by_degree2 = torch.mv(double, d2).addcmul_(double.diagonal(), d2, value=-1)
    by_degree2.addcmul_(a, torch.mv(metric, d1).addcmul_(g, d1, value=-1), value=2 / 3)
    by_degree2.addcmul_(g, torch.addcmul(others_a, s, others_g, value=1 / 2), value=1 / 3)
    traced3 = torch.addcmul(kappa3, h1, by_degree1).addcmul_(h2, by_degree2, value=1 / 2)

    # The sum over i and j of κ(φ_i, φ_i, φ_j, φ_j).
    flat = out.view(-1)
    pairs = torch.add(torch.dot(d1, by_degree1), torch.dot(d2, by_degree2), alpha=1 / 2)
    off_diagonal = torch.dot(flat, flat) - torch.dot(kappa2, kappa2)
    traced4 = torch.add(kappa4.sum() + pairs, off_diagonal, alpha=-2)
    new = Traces(traced3 * (3 / (n + 2)), traced4 * (3 / (n * (n + 2))), None)
    return expansion.mean + shift, out, new
