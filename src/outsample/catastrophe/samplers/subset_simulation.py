"""Subset simulation: a small probability as a product of larger ones, by adaptive splitting."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from outsample.catastrophe.samplers.sampler import Evaluator, Part, Reasons, TailSampler
from outsample.errors import InputError
from outsample.estimator import positive_integer

#: Moves of a chain in one level, each of which keeps a state: one over the level's probability.
_MOVES = 10
#: Levels before giving up.
_MOST_LEVELS = 150
#: Share of moves accepted that steps are adapted to, and one that says chains hardly move.
_ACCEPTED, _STUCK = 0.44, 0.05
#: Length of the moves' random part, at first and at most.
_FIRST_STEP, _LONGEST_STEP = 0.6, 0.999
_FEWEST_DRAWS = 100
#: A standard error from fewer repetitions is marked low_confidence.
_FEW_REPETITIONS = 5


@dataclass(frozen=True)
class SubsetSimulation(TailSampler):
    """Product of conditional probabilities of rising levels, each about 0.1.

    The highest tenth of a level's scores are the states from which Markov chains explore the
    next: ten moves √(1 - β²) z + β ξ in whitened inputs, kept if the score stays above the level,
    with β adapted to 44 % of moves kept.  Needs no shape of the region and follows several at
    once, as long as the first levels see them.

    The standard error is the spread of independent repetitions, so that correlated chains and
    levels need no formula of their own.  Each repetition is biased upwards by about its own
    relative variance over its number of levels.

    Args:
        samples: draws of a level, shared by all repetitions, for each component of a mixture;
            at least 100 for a repetition, whose number is rounded down to tens.
        seed: at least 0; equal seeds give equal draws.
        repetitions: independent runs, at least 2.

    Raises:
        InputError: for settings out of range, by name.

    References:
        S.-K. Au and J. L. Beck, Probabilistic Engineering Mechanics 16 (2001); I. Papaioannou,
        W. Betz, K. Zwirglmaier and D. Straub, Probabilistic Engineering Mechanics 41 (2015), for
        the moves.

    Example:
        >>> import torch, outsample as ou
        >>> inputs = ou.Gaussian.standard(2, torch.float64)
        >>> problem = ou.CatastropheProbability(torch.nn.ReLU(), inputs, ou.output[0] > 4)
        >>> found = ou.SubsetSimulation(samples=5000).estimate(problem)
        >>> exact = torch.special.log_ndtr(torch.tensor(-4.0)).item()
        >>> abs(found.log_value.item() - exact) < 4 * found.relative_error.item()
        True
    """

    samples: int = 10_000
    seed: int = 0
    repetitions: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_integer("SubsetSimulation", "repetitions", self.repetitions)
        if self.repetitions < 2 or self.samples < _FEWEST_DRAWS * self.repetitions:
            raise InputError(
                f"SubsetSimulation: samples = {self.samples} with repetitions = "
                f"{self.repetitions}; expected at least 2 repetitions and {_FEWEST_DRAWS} samples "
                "for each"
            )

    def _on_gaussian(self, evaluator: Evaluator) -> Part:
        runs = self._runs(evaluator)
        log_value, relative = _mean(runs.log_values)
        lost = int((runs.log_values == -torch.inf).sum())
        reasons: Reasons = []
        if lost:
            reasons.append(
                (
                    "unreliable",
                    f"the levels of {lost} of {self.repetitions} repetitions did not reach the "
                    "event: it may be impossible, or its scores have a plateau",
                )
            )
        if runs.accepted < _STUCK:
            kept = f"{runs.accepted:.1%}"
            reasons.append(("low_confidence", f"a level kept only {kept} of its moves"))
        if self.repetitions < _FEW_REPETITIONS:
            reasons.append(
                (
                    "low_confidence",
                    f"the standard error rests on {self.repetitions} repetitions; it takes "
                    f"{_FEW_REPETITIONS} to be useful",
                )
            )
        figures = {
            "levels": runs.levels.tolist(),
            "lowest_acceptance": runs.accepted,
            "log_values": runs.log_values.tolist(),
        }
        return Part(log_value, relative, evaluator.samples, reasons, figures)

    def _runs(self, evaluator: Evaluator) -> "_Runs":
        """All repetitions, level by level, until each reached the event or cannot rise."""
        chains = self.samples // self.repetitions // _MOVES
        rows = chains * _MOVES
        draws = evaluator.draws(self.seed)
        z = evaluator.normals(self.repetitions * rows, draws)
        score = evaluator.scores(z).amax(1).reshape(self.repetitions, rows)
        z = z.reshape(self.repetitions, rows, -1)
        runs = _Runs.of(self.repetitions, z.device)
        active = torch.arange(self.repetitions, device=z.device)
        step = torch.full_like(score[:, 0], _FIRST_STEP)
        for _ in range(_MOST_LEVELS):
            hits = (score > 0).sum(1)
            # The first that does not survive: with ties fewer do.
            height = score.topk(chains + 1, dim=1).values[:, -1]
            survivors = torch.where(hits >= chains, hits, (score > height[:, None]).sum(1))
            runs.log_values[active] += (survivors.double() / rows).log()
            on = (hits < chains) & (survivors > 0)
            if not bool(on.any()):
                return runs
            active, z, score, height = active[on], z[on], score[on], height[on]
            runs.levels[active] += 1
            order = score.argsort(dim=1, descending=True)
            turns = torch.arange(chains, device=z.device)[None] % survivors[on, None]
            seeds = order.gather(1, turns)
            z = z.gather(1, seeds[:, :, None].expand(-1, -1, z.shape[2]))
            z, score, step = _explored(
                evaluator, z, score.gather(1, seeds), height, step[on], draws, runs
            )
        runs.log_values[active] = -torch.inf
        return runs


@dataclass
class _Runs:
    """All repetitions: log p and the number of levels of each, the lowest share of moves kept."""

    log_values: Float64[Tensor, " repetitions"]
    levels: Int64[Tensor, " repetitions"]
    accepted: float

    @classmethod
    def of(cls, repetitions: int, device: torch.device) -> Self:
        """None has begun."""
        zeros = torch.zeros(repetitions, dtype=torch.float64, device=device)
        return cls(zeros, zeros.long(), 1.0)


def _explored(
    evaluator: Evaluator,
    z: Float[Tensor, "runs chains n"],
    score: Float64[Tensor, "runs chains"],
    height: Float64[Tensor, " runs"],
    step: Float64[Tensor, " runs"],
    draws: torch.Generator,
    runs: _Runs,
) -> tuple[Float[Tensor, "runs rows n"], Float64[Tensor, "runs rows"], Float64[Tensor, " runs"]]:
    """States of chains that stay above ``height``, their scores, and the step adapted to them.

    The moves leave the normal law above the height as it is.  The chains of a repetition share
    one step, whose changes die out within a level.
    """
    states: list[Tensor] = []
    scores: list[Tensor] = []
    kept = torch.zeros_like(step)
    for move in range(1, _MOVES + 1):
        noise = evaluator.normals(score.numel(), draws).reshape(z.shape)
        stay = (1 - step.square()).sqrt()[:, None, None].to(z.dtype)
        proposed = stay * z + step[:, None, None].to(z.dtype) * noise
        found = evaluator.scores(proposed.flatten(0, 1)).amax(1).reshape(score.shape)
        better = found > height[:, None]
        z = torch.where(better[:, :, None], proposed, z)
        score = torch.where(better, found, score)
        states.append(z)
        scores.append(score)
        share = better.double().mean(1)
        kept += share / _MOVES
        step = (step * ((share - _ACCEPTED) / math.sqrt(move)).exp()).clamp_max(_LONGEST_STEP)
    runs.accepted = min(runs.accepted, float(kept.min()))
    return torch.cat(states, 1), torch.cat(scores, 1), step


def _mean(logs: Float64[Tensor, " repetitions"]) -> tuple[float, float]:
    """Log of the mean of exponentials, and its standard error over itself."""
    top = logs.max()
    if not bool(torch.isfinite(top)):
        return -math.inf, math.inf
    shares = (logs - top).exp()
    mean = float(shares.mean())
    return float(top) + math.log(mean), float(shares.std()) / mean / math.sqrt(len(logs))
