"""Inputs given the catastrophe."""

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.catastrophe.problem import CatastropheProbability
from outsample.catastrophe.samplers.streams import normals, stream
from outsample.catastrophe.samplers.tilted import TiltedMixture
from outsample.catastrophe.tilt.proposals import proposals
from outsample.catastrophe.tilt.tilt import components
from outsample.errors import InputError, NumericalError
from outsample.estimator import positive_integer
from outsample.sampling.sampler import batch_rows

#: Effective draws from the tilts for each input that is returned, and most draws for each.
_EFFECTIVE, _MOST = 4, 2000
_INFLATION = 1.1


def catastrophic_inputs(
    problem: CatastropheProbability, count: int, seed: int = 0
) -> Float[Tensor, "count n"]:
    """Draw inputs from their law given that the detector goes off.

    Inputs are drawn from the tilts, as :class:`~outsample.TiltedImportanceSampling` does, until
    there are four effective draws for each one wanted, and resampled by their weights: the law is
    that of the inputs given the catastrophe up to the randomness of the weights, and every row
    meets the detector.  A few rows may be equal.

    Args:
        problem: the detector behind its network.
        count: how many, at least 1.
        seed: at least 0; equal seeds give equal draws.

    Raises:
        InputError: for settings out of range, or anything but a CatastropheProbability.
        NumericalError: if the tilts do not lead to enough catastrophes.
    """
    if not isinstance(problem, CatastropheProbability):
        raise InputError(
            f"catastrophic_inputs: problem is {type(problem).__name__}; expected a "
            "CatastropheProbability"
        )
    positive_integer("catastrophic_inputs", "count", count)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"catastrophic_inputs: seed = {seed!r}; expected an integer of at least 0")
    draws = stream("catastrophic_inputs", seed, problem.device)
    laws = components(problem.inputs)
    mixtures = [TiltedMixture.of(proposals(problem, law, 1), law, _INFLATION) for _, law in laws]
    rows = min(batch_rows(problem), max(1000, 4 * count))
    found: list[Tensor] = []
    logs: list[Tensor] = []
    effective = 0.0
    rounds = 50 + _MOST * count // rows
    for _ in range(rounds):
        for (weight, law), mixture in zip(laws, mixtures, strict=True):
            noise = normals(rows, problem, draws)
            z = mixture.drawn(noise.double(), 0, rows).to(noise.dtype)
            x = law.from_normal(z)
            hit = problem.score(x) > 0
            found.append(x[hit].detach())
            logs.append(mixture.log_weights(z[hit].double()) + weight.detach())
        weights = torch.cat(logs)
        if len(weights):
            shares = (weights - weights.max()).exp()
            effective = float(shares.sum() ** 2 / shares.square().sum())
        if effective >= _EFFECTIVE * count:
            break
    else:
        raise NumericalError(
            f"catastrophic_inputs: {rounds * rows * len(laws)} draws from the tilts gave "
            f"{effective:.3g} effective catastrophes, fewer than {_EFFECTIVE} for each of "
            f"{count}; ask for fewer, or check whether the catastrophe is possible"
        )
    # Systematic resampling: one uniform number, so that a weight's share is met to within one.
    edges = torch.cat(logs).softmax(0).cumsum(0)
    start = torch.rand((), generator=draws, dtype=edges.dtype, device=edges.device)
    points = (torch.arange(count).to(edges) + start) / count * edges[-1]
    chosen = torch.searchsorted(edges, points).clamp_max(len(edges) - 1)
    order = torch.randperm(count, generator=draws, device=edges.device)
    return torch.cat(found)[chosen[order]]
