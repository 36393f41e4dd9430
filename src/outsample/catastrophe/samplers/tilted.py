"""Importance sampling from the Gaussian tilts that cumulant propagation finds."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.catastrophe.estimate import catastrophe_of
from outsample.catastrophe.samplers.lines import Score, beyond
from outsample.catastrophe.samplers.sampler import Evaluator, Part, TailSampler
from outsample.catastrophe.samplers.weights import WeightedMean
from outsample.catastrophe.tilt.proposals import Proposal, proposals
from outsample.cost import count_flops
from outsample.distributions import Gaussian
from outsample.errors import InputError
from outsample.estimator import positive_integer
from outsample.problem import Problem

#: Share of the draws that comes from the inputs' own law, so that no weight is large where the
#: catastrophe is not rare, and share of each tilt besides its part of the probability.
_OWN, _EACH = 0.05, 0.05
#: Tilts weaker than this, in their own deviations, have no direction to speak of.
_WEAK = 0.5


@dataclass(frozen=True)
class TiltedImportanceSampling(TailSampler):
    """Importance sampling from the Gaussian tilt of the input towards the catastrophe.

    The tilts are those of :class:`~outsample.Tilt` at order 2 (``variant="basic"``, and to less
    precision), one for each conjunction (and each of ``starts`` modes), with their covariances
    inflated a little so that weights stay bounded where the tilt is too narrow; a small share of
    the draws comes from the inputs' own law.
    Along its tilt every draw is put beyond where the catastrophe begins on its own line, which two
    evaluations find: a draw costs three.
    Weights are those of the whole mixture, so that the estimate is unbiased whatever the tilts.

    The standard error is what the weights show; it lies if the tilts miss a region that matters.
    Two proposals (inflations) that agree are a better sign than one small standard error.

    Args:
        samples: draws, of three evaluations each, for each component of a mixture.
        seed: at least 0; equal seeds give equal draws, from a stream of the method's own.
        inflation: what the tilts' covariances are multiplied by, at least 1.
        starts: from how many laws to look for tilts, as in :class:`~outsample.Tilt`.

    Raises:
        InputError: for settings out of range, by name.

    Source: importance sampling from an exponential tilt, S. Asmussen and P. W. Glynn,
    "Stochastic Simulation" (2007), chapter VI; mixtures with the balance heuristic, E. Veach and
    L. J. Guibas (SIGGRAPH 1995); line sampling, P. S. Koutsourelakis et al., Probabilistic
    Engineering Mechanics 19 (2004).

    Example:
        >>> import torch, outsample as ou
        >>> net = torch.nn.Linear(4, 1, dtype=torch.float64)
        >>> problem = ou.CatastropheProbability(net, ou.Gaussian.standard(4), ou.output[0] > 5)
        >>> estimate = ou.TiltedImportanceSampling(samples=20_000).estimate(problem)
        >>> bool(abs(estimate.log_value.exp() / problem.exact() - 1) < 0.1)
        True
    """

    samples: int = 20_000
    seed: int = 0
    inflation: float = 1.1
    starts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_integer("TiltedImportanceSampling", "starts", self.starts)
        number = isinstance(self.inflation, int | float) and not isinstance(self.inflation, bool)
        if not number or not 1 <= self.inflation < math.inf:
            raise InputError(
                f"TiltedImportanceSampling: inflation = {self.inflation!r}; expected a number of "
                "at least 1"
            )

    def _on_gaussian(self, evaluator: Evaluator) -> Part:
        mixture = TiltedMixture.of(
            proposals(evaluator.problem, evaluator.law, self.starts),
            evaluator.law,
            float(self.inflation),
        )
        draws, problem = evaluator.draws(self.seed), evaluator.problem

        def score(z: Tensor) -> Tensor:
            return evaluator.scores(z.to(problem.dtype)).amax(1)

        found: list[Tensor] = []
        start = 0
        for rows in evaluator.batches(self.samples):
            noise = evaluator.normals(rows, draws).double()
            z, log_ratio = mixture.advanced(noise, start, self.samples, score)
            start += rows
            hit = score(z) > 0
            found.append(mixture.log_weights(z[hit]) + log_ratio[hit])
        mean = WeightedMean.of(torch.cat(found), self.samples)
        return Part(
            mean.log_value,
            mean.relative_error,
            evaluator.samples,
            mean.reasons(),
            {
                "effective_samples": mean.effective_samples,
                "largest_share": mean.largest_share,
                "tilts": len(mixture.shares) - 1,
            },
        )

    def _preparation(self, problem: Problem) -> int:
        catastrophe = catastrophe_of(problem)
        inputs = catastrophe.inputs
        laws = [inputs] if isinstance(inputs, Gaussian) else inputs.components
        return sum(count_flops(partial(proposals, catastrophe, law, self.starts)) for law in laws)


@dataclass(frozen=True)
class TiltedMixture:
    """N(0, I) and tilts of it, mixed: what catastrophes are drawn from in whitened inputs."""

    #: Shares of the components, the first of which is N(0, I).
    shares: Float64[Tensor, " m"]
    means: Float64[Tensor, "m n"]
    #: Cholesky factors of the covariances.
    factors: Float64[Tensor, "m n n"]

    @classmethod
    def of(cls, tilts: list[Proposal], law: Gaussian, inflation: float) -> "TiltedMixture":
        """Tilts in proportion to what they account for, their covariances inflated."""
        like = law.mean.detach().double()
        eye = torch.eye(len(like), dtype=like.dtype, device=like.device)
        if not tilts:
            return cls(like.new_ones(1), like.new_zeros(1, len(like)), eye[None])
        logs = like.new_tensor([tilt.log_value for tilt in tilts])
        parts = logs.softmax(0) + _EACH
        shares = torch.cat((like.new_tensor([_OWN]), (1 - _OWN) * parts / parts.sum()))
        means = torch.stack([torch.zeros_like(like), *(tilt.law.mean for tilt in tilts)])
        covariances = [eye, *(inflation * tilt.law.covariance for tilt in tilts)]
        return cls(shares, means, torch.linalg.cholesky(torch.stack(covariances)))

    def drawn(
        self, noise: Float64[Tensor, "rows n"], start: int, count: int
    ) -> Float64[Tensor, "rows n"]:
        """Draws ``start`` and following of ``count``, from standard normals.

        The first ones come from the first component and so on: their shares, without luck.
        """
        edges = [0, *(round(edge) for edge in (self.shares.cumsum(0) * count).tolist())]
        edges[-1] = count
        z = torch.empty_like(noise)
        for label, rows in self._rows(len(noise), start, count):
            torch.addmm(self.means[label], noise[rows], self.factors[label].T, out=z[rows])
        return z

    def advanced(
        self, noise: Float64[Tensor, "rows n"], start: int, count: int, score: Score
    ) -> tuple[Float64[Tensor, "rows n"], Float64[Tensor, " rows"]]:
        """Draws beyond where ``score`` becomes positive along their tilts.

        Returns them, and the log of what their weights must be multiplied by.
        """
        z = torch.empty_like(noise)
        log_ratio = torch.zeros_like(noise[:, 0])
        for label, rows in self._rows(len(noise), start, count):
            mean, factor, own = self.means[label], self.factors[label], noise[rows]
            along = factor.T @ mean  # the gradient of the tilt, in units of the noise
            pull = float(along.norm())
            if pull < _WEAK:
                torch.addmm(mean, own, factor.T, out=z[rows])
                continue
            along /= pull
            place = own @ along
            origins = torch.addmm(mean, own - place[:, None] * along, factor.T)
            direction = factor @ along
            value, log_ratio[rows] = beyond(origins, direction, place, pull, score)
            z[rows] = origins.addcmul_(value[:, None], direction)
        return z, log_ratio

    def _rows(self, rows: int, start: int, count: int) -> Iterator[tuple[int, slice]]:
        """Which of the ``rows`` that follow ``start`` come from which component."""
        edges = [0, *(round(edge) for edge in (self.shares.cumsum(0) * count).tolist())]
        edges[-1] = count
        for label in range(len(self.means)):
            low = max(edges[label] - start, 0)
            high = min(max(edges[label + 1] - start, low), rows)
            if low < high:
                yield label, slice(low, high)

    def log_weights(self, z: Float64[Tensor, "rows n"]) -> Float64[Tensor, " rows"]:
        """Log of N(0, I) over the mixture, at rows of z."""
        logs: list[Tensor] = []
        for mean, factor in zip(self.means, self.factors, strict=True):
            whitened = torch.linalg.solve_triangular(factor, (z - mean).T, upper=False)
            logs.append(-0.5 * whitened.square().sum(0) - factor.diagonal().log().sum())
        mixture = torch.logsumexp(torch.stack(logs) + self.shares.log()[:, None], 0)
        return -0.5 * z.square().sum(1) - mixture
