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

#: Rounds of subspace iteration, with twice the rank wanted.
_ROUNDS = 4
#: A reader is followed if covariances multiply what it reads from independent neurons by this.
_COHERENT = 2.0


@dataclass(frozen=True)
class CorrelationExplainer(Explainer):
    """Finds low-rank advice: what the next layer reads from neurons that move together.

    The only covariances of a layer that matter are those that its reader, the next affine map W,
    adds up.  So with K the layer's covariance less each neuron's own noise, the readings are
    Wᵀu for the leading eigenvectors u of W K Wᵀ, the next layer's common covariance.  They are
    found by subspace iteration, layer by layer along a propagation that tracks what was found so
    far: O(n² r) operations a layer and no n × n covariance.  The last layer of activations has
    no reader whose mean its covariances could change, and gets no readings.

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
        >>> CorrelationExplainer(rank=2).explain(problem).size
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
            found, law = _best(step, layers[place + 1][0].weight, self.rank)
            readings.append(found)
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

    pairs: int = 1024

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


def _best(
    step: ActivationStep, reader: Float[Tensor, "m n"], rank: int
) -> tuple[Float[Tensor, "n r"], Law]:
    """The readings to track, and the law that tracks them."""
    readings = _leading(step, reader, rank)
    law, _ = step.low_rank(readings, 0)
    alone = step.independent().variance(reader).sum()
    if law.variance(reader).sum() < _COHERENT * alone:
        n = reader.shape[1]
        blind = torch.eye(n, dtype=reader.dtype, device=reader.device)
        readings = _leading(step, blind, rank)
        law, _ = step.low_rank(readings, 0)
    return readings, law


def _leading(step: ActivationStep, reader: Float[Tensor, "m n"], rank: int) -> Float[Tensor, "n r"]:
    """Wᵀu for the leading eigenvectors u of W K Wᵀ, orthonormalised, leading first."""
    rank = min(rank, *reader.shape)
    read = _start(reader.shape[0], min(2 * rank, *reader.shape), reader)
    for _ in range(_ROUNDS):
        basis = torch.linalg.qr(reader.T @ read)[0]
        read = torch.linalg.qr(reader @ step.response(basis))[0]
    basis, mixing = torch.linalg.qr(reader.T @ read)
    common = read.T @ (reader @ (step.response(basis) @ mixing))
    vectors = torch.linalg.eigh((common + common.T) / 2)[1]
    return torch.linalg.qr(reader.T @ (read @ vectors.flip(1)[:, :rank]))[0]


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
