"""Explainers: find which correlations propagation through a given network should track."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from outsample.cumulants.advice import CovariancePattern, CovarianceSubspace
from outsample.cumulants.covariance_step import basic_step
from outsample.cumulants.gaussian_input import affine_mean, network_of, pushed_covariance
from outsample.cumulants.laws import Law, Plain
from outsample.cumulants.tracking import ActivationStep, activation_layers
from outsample.estimator import Explainer, positive_integer
from outsample.problem import Problem

#: Rounds of subspace iteration, on a block of 2 r + 8 vectors.
_ROUNDS = 4


@dataclass(frozen=True)
class CorrelationExplainer(Explainer):
    """Finds low-rank advice: what the next layer reads from neurons that move together.

    Of a layer's covariance only what its reader, the next affine map W, adds up can matter.  So
    with K the layer's covariance less each neuron's own noise and A the reader's WᵀW, cleaned of
    the random part of W, the readings are A^½ u for the leading eigenvectors u of A^½ K A^½.
    They are found by subspace iteration, layer by layer along a propagation that tracks what was
    found so far: O(n² r) operations a layer and no n × n covariance.  In a random network A is a
    multiple of the identity and u are the principal directions of K.  Behind the last layer of
    activations no mean depends on its covariances: it gets no readings.

    Deterministic; no random numbers.

    Args:
        rank: largest number of readings of a layer.
        third: how many of them, the leading ones, also have their third cumulants tracked.

    Raises:
        InputError: if ``rank`` is not positive or ``third`` is negative.

    Example:
        >>> import torch, outsample as ou
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(8, 8), torch.nn.Tanh(),
        ...     torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2),
        ... )
        >>> problem = ou.NetworkMean(net, ou.Gaussian.standard(8))
        >>> ou.CorrelationExplainer(rank=2).explain(problem).size
        16
    """

    rank: int = 8
    third: int = 0

    def __post_init__(self) -> None:
        positive_integer("CorrelationExplainer", "rank", self.rank)
        if self.third != 0:
            positive_integer("CorrelationExplainer", "third", self.third)

    @torch.no_grad()
    def explain(self, problem: Problem) -> CovarianceSubspace:
        """Advice on ``problem`` as its parameters stand now, found at its own input.

        Raises:
            UnsupportedProblem: unless it is a network on a Gaussian input.
        """
        network, inputs = network_of(problem)
        mean, readings = inputs.mean, list[Tensor]()
        law: Law = Plain(inputs.scale)
        layers, _ = activation_layers(network.graph(), inputs)
        for place, (affine, activation) in enumerate(layers):
            step = ActivationStep(activation, law, affine, mean)
            mean = step.mean
            if place == len(layers) - 1:
                readings.append(mean.new_zeros(mean.shape[0], 0))
                break
            readings.append(_readings(step, layers[place + 1][0].weight, self.rank))
            law, _ = step.low_rank(readings[-1], 0)
        return CovarianceSubspace(tuple(readings), self.third)


@dataclass(frozen=True)
class PairExplainer(Explainer):
    """Finds sparse advice: the pairs of neurons whose covariance moves the next layer most.

    A covariance C_jk changes the variance of neuron i of the next layer by 2 W_ij W_ik C_jk.  The
    pairs kept have the largest root-sum-square of that over i, with C from one propagation of
    order 2, basic: O(n³) a layer.  The last layer of activations gets no pairs.

    Deterministic; no random numbers.

    Args:
        pairs: largest number of pairs of a layer.

    Raises:
        InputError: if ``pairs`` is not positive.
    """

    pairs: int = 4096

    def __post_init__(self) -> None:
        positive_integer("PairExplainer", "pairs", self.pairs)

    @torch.no_grad()
    def explain(self, problem: Problem) -> CovariancePattern:
        """Advice on ``problem`` as its parameters stand now, found at its own input.

        Raises:
            UnsupportedProblem: unless it is a network on a Gaussian input.
        """
        network, inputs = network_of(problem)
        mean, covariance, kept = inputs.mean, inputs.scale, list[Tensor]()
        layers, _ = activation_layers(network.graph(), inputs)
        for place, (affine, activation) in enumerate(layers):
            if place == len(layers) - 1:
                kept.append(torch.zeros(0, 2, dtype=torch.int64, device=mean.device))
                break
            mean = affine_mean(affine, mean)
            covariance = pushed_covariance(affine.weight, covariance)
            expansion = activation.expand(mean, covariance.diagonal())
            mean, covariance = expansion.mean, basic_step(covariance, expansion)
            squares = layers[place + 1][0].weight.square()
            kept.append(_largest(covariance.square() * (squares.T @ squares), self.pairs))
        return CovariancePattern(tuple(kept))


class _Reader:
    """The square root of A = E[WᵀW], W a signal plus independent noise, as an operator.

    What the next layer adds up of an error Δ in the covariance is wᵢᵀΔwᵢ for the rows of W.  The
    noise in W is independent of Δ, so the readings must not be chosen by it: directions that it
    happens to favour are a biased sample of what is there, worse than none.  The signal is taken
    to be the singular values beyond the edge σ(√m + √n) of the noise's (Marchenko and Pastur,
    Math. USSR Sbornik 1, 1967); all others are set to their root mean square σ√m.
    """

    def __init__(self, weight: Float[Tensor, "m n"], count: int) -> None:
        m, n = weight.shape
        basis = _start(n, count, weight)
        for _ in range(_ROUNDS):
            basis = torch.linalg.qr(weight.T @ (weight @ basis))[0]
        _, values, turn = torch.linalg.svd(weight @ basis, full_matrices=False)
        energy, edge, signal = weight.square().sum(), (m**0.5 + n**0.5), 0
        while True:  # each signal found lowers the noise that hides the next
            rest = max(m - signal, 1) * max(n - signal, 1)
            noise = ((energy - values[:signal].square().sum()).clamp_min(0) / rest).sqrt()
            found = int((values > noise * edge).sum())
            if found <= signal:
                break
            signal = found
        self._floor = noise * m**0.5
        self._directions = basis @ turn[:signal].T
        self._gains = (values[:signal] - self._floor)[:, None]

    def __call__(self, x: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """A^½ x."""
        return self._floor * x + self._directions @ (self._gains * (self._directions.T @ x))


def _readings(
    step: ActivationStep, weight: Float[Tensor, "m n"], rank: int
) -> Float[Tensor, "n r"]:
    """A^½ u for the leading eigenvectors u of A^½ K A^½, orthonormalised, leading first."""
    n = weight.shape[1]
    rank, block = min(rank, n), min(2 * rank + 8, n)
    reader = _Reader(weight, block)
    vectors = _start(n, block, weight)
    for _ in range(_ROUNDS):
        basis = torch.linalg.qr(reader(vectors))[0]
        vectors = torch.linalg.qr(reader(step.response(basis)))[0]
    basis, mixing = torch.linalg.qr(reader(vectors))
    common = vectors.T @ reader(step.response(basis) @ mixing)
    leading = torch.linalg.eigh((common + common.T) / 2)[1].flip(1)[:, :rank]
    return torch.linalg.qr(reader(vectors @ leading))[0]


def _start(n: int, r: int, like: Tensor) -> Float[Tensor, "n r"]:
    """The first r vectors of the discrete cosine transform: any basis in general position does."""
    place = torch.arange(n, dtype=torch.float64)[:, None] + 0.5
    basis = torch.cos(math.pi / n * place * torch.arange(r, dtype=torch.float64))
    return torch.linalg.qr(basis)[0].to(like)


def _largest(score: Float[Tensor, "n n"], count: int) -> Int[Tensor, "p 2"]:
    """The pairs i < j of largest positive score, in order of their indices."""
    pairs = torch.triu_indices(*score.shape, offset=1, device=score.device)
    scores = score[pairs[0], pairs[1]]
    best = scores.topk(min(count, int((scores > 0).sum()))).indices.sort().values
    return pairs[:, best].T.contiguous()
