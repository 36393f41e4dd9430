"""Log probability of one conjunction of thresholds behind a network, by Gaussian tilts."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.catastrophe.tilt.law import TiltedLaw
from outsample.catastrophe.tilt.order2 import skewness
from outsample.catastrophe.tilt.orthant import log_orthant
from outsample.catastrophe.tilt.response import Response, expander, respond
from outsample.catastrophe.tilt.search import Settings, search
from outsample.catastrophe.tilt.solver import Solution, improved
from outsample.errors import NumericalError
from outsample.estimator import Trust, worst_trust
from outsample.networks.graph import Affine, Graph

#: Limits of the diagnostics of a mode, above which it is doubted, and not believed.
_RESIDUAL = (2.2, 4.0)
_CHANGE = (0.6, 1.5)
_MISSED = (0.5, 1.5)
#: Deviations of the outputs under the tilt, over those without, below which it is the same.
_NARROW = (0.25, 0.05)
#: The same above which the tilt has left what the outputs usually do.
_WIDE = (3.0, 8.0)
#: Skewness of the outputs under the tilt, as far as it comes from few units or rare ones.
_SKEW = (0.5, 1.5)
#: Deviations from which the hazard of a normal is its argument.
_FAR = 1e4


@dataclass(frozen=True)
class Mode:
    """One tilt and the probability that it accounts for."""

    log_value: Float64[Tensor, ""]
    thresholds: Float64[Tensor, " d"]
    solution: Solution
    response: Response
    #: Half the variance of what the tilt's quadratic leaves of the outputs, in nats of log P.
    residual: float
    #: By how much the last refinement changed log P; nan without one.
    change: float
    #: By how many standard deviations the outputs' means miss their thresholds.
    missed: float
    trust: Trust
    reasons: tuple[str, ...]

    @property
    def mean_given_event(self) -> Float64[Tensor, " n"]:
        """Mean of the inputs given the event, with inputs and outputs jointly Gaussian under Q.

        To first order, with Cov(x, f) split over the outputs as their strengths have it: under P
        the inputs' mean is 0, and what the event adds runs along the tilt.
        """
        law, response, strength = self.solution.law, self.response, self.solution.strength
        along = law.covariance @ law.mean
        pull = float(strength @ response.with_tilt.detach())
        covariance = response.covariance.detach()
        combined = float(strength @ covariance @ strength)
        if pull <= 0 or not 0 < combined < math.inf:
            return law.mean
        centre = response.mean.detach() - response.with_tilt.detach()
        threshold = float(strength @ self.thresholds)
        z = (threshold - float(strength @ centre)) / math.sqrt(combined)
        # Far out the hazard is z itself; its logarithm there is a difference of large numbers.
        log_hazard = -0.5 * z * z - 0.5 * math.log(2 * math.pi) - _log_upper_tail(z)
        hazard = z if z > _FAR else math.exp(log_hazard)
        return law.mean + along * (hazard / math.sqrt(combined) - 1)


def modes_of(
    graph: Graph,
    thresholds: Float64[Tensor, " d"],
    settings: Settings,
    warm: TiltedLaw | Sequence[TiltedLaw] | None = None,
) -> list[Mode]:
    """The tilts of N(0, I) that lead ``graph`` beyond all its thresholds, likeliest first.

    Outputs and thresholds are in units of the outputs' deviations under N(0, I).

    The search starts at the laws ``warm``, N(0, I) unless given, and then where
    ``settings.starts`` has it look for more.

    Differentiable in the network's parameters and the thresholds, at fixed tilts (the envelope
    rule: at a tilt that is a fixed point its own movement is of second order).
    """
    frozen, at = detached(graph), thresholds.detach()
    with torch.no_grad():
        known = (warm,) if isinstance(warm, TiltedLaw) else warm or ()
        found = search(frozen, at, known, settings)
        refined = [_refined(frozen, at, solution, settings) for solution in found]
    modes = [
        _mode(graph, thresholds, one, *better, settings)
        for one, better in zip(found, refined, strict=True)
    ]
    modes.sort(key=lambda mode: -float(mode.log_value.detach()))
    return modes


def log_probability(
    response: Response, thresholds: Float64[Tensor, " d"]
) -> tuple[Tensor, Trust, tuple[str, ...]]:
    """Log P(f > thresholds) from the joint law of f and q under Q, taken as Gaussian.

    P(f > t) = E_Q[dP/dQ 1(f > t)] with dP/dQ = exp(-q) up to a constant, which the divergence
    gives: -KL(Q ‖ P) + Var q / 2 + log P(N(E f - Cov(f, q), Cov f) > t).
    """
    law = response.law
    value, trust, reasons = log_orthant(
        response.mean - response.with_tilt, response.covariance, thresholds
    )
    return value + (0.5 * law.variance - law.divergence), trust, reasons


def detached(graph: Graph) -> Graph:
    """The same network without gradient history."""
    return Graph(
        tuple(
            Affine(step.weight.detach(), None if step.bias is None else step.bias.detach())
            if isinstance(step, Affine)
            else step
            for step in graph.steps
        )
    )


def chosen_outputs(graph: Graph, rows: Tensor) -> Graph:
    """The network with only some of its outputs."""
    last = graph.steps[-1]
    if not isinstance(last, Affine):
        raise TypeError("events end in an affine read-out")
    bias = None if last.bias is None else last.bias[rows]
    return Graph((*graph.steps[:-1], Affine(last.weight[rows], bias)))


def _refined(
    graph: Graph, thresholds: Tensor, found: Solution, settings: Settings
) -> tuple[Solution, float]:
    """The tilt, and log P of the active thresholds before the last refinement.

    The fixed point was found at order 2; a refinement is one more step with the gradient and
    expected Hessian of the full order.
    """
    before = math.nan
    for _ in range(settings.refinements if settings.closure.order > 2 else 0):
        active = found.strength.nonzero()[:, 0]
        if len(active) == 0:
            break
        part, limits = chosen_outputs(graph, active), thresholds[active]
        outputs = expander(part, settings.closure)(found.law)
        before = float(log_probability(Response.of(found.law, outputs), limits)[0])
        try:
            law, chosen = improved(found.law, outputs, limits, found.strength[active], share=1.0)
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            # The full order's covariance is no covariance.
            return replace(found, converged=False), before
        strength = torch.zeros_like(thresholds)
        strength[active] = chosen
        found = Solution(law, strength, found.steps + 1, found.converged)
    return found, before


def _mode(
    graph: Graph,
    thresholds: Tensor,
    unrefined: Solution,
    solution: Solution,
    before: float,
    settings: Settings,
) -> Mode:
    """The mode of a refined solution, or of the unrefined one if refinement went astray."""
    mode = _evaluated(graph, thresholds, solution, before, settings)
    if not mode.change > _CHANGE[1]:
        return mode
    plain = _evaluated(graph, thresholds, unrefined, before, settings)
    return replace(plain, change=mode.change, trust=mode.trust, reasons=mode.reasons)


def _evaluated(
    graph: Graph, thresholds: Tensor, solution: Solution, before: float, settings: Settings
) -> Mode:
    response = respond(graph, solution.law, settings.closure)
    mean, covariance = response.mean.detach(), response.covariance.detach()
    deviation = covariance.diagonal().sqrt()
    known = mean.sum() + covariance.sum() + response.with_tilt.detach().sum()
    if not bool((deviation > 0).all()) or not math.isfinite(float(known)):
        raise NumericalError(
            f"Tilt: under the tilt the outputs have means {mean.tolist()} and variances "
            f"{covariance.diagonal().tolist()}: the cumulants diverged; use a lower order, "
            "another variant, or sampling"
        )
    value, trust, reasons = log_probability(response, thresholds)
    change = math.nan
    active = solution.strength.nonzero()[:, 0]
    if len(active):
        with torch.no_grad():
            own = log_probability(response.chosen(active), thresholds[active])[0]
        change = abs(float(own) - before)
    reached = mean + covariance @ solution.strength - response.with_tilt.detach()
    short = (thresholds.detach() - reached) / deviation
    missed = float(torch.where(solution.strength > 0, short.abs(), short.clamp_min(0)).max())
    residual = response.residual(solution.strength)
    asked = active if len(active) else torch.arange(len(thresholds), device=mean.device)
    spread = deviation[asked] if len(active) else torch.ones_like(deviation)
    with torch.no_grad():
        law = solution.law
        skew = skewness(detached(graph), law.mean, law.covariance)[asked].abs()
    doubts = [*_doubts(solution, residual, change, missed, spread, float(skew.max()))]
    grades: list[Trust] = [grade for grade, _ in doubts]
    trust = worst_trust(trust, *grades)
    reasons = (*reasons, *(reason for _, reason in doubts))
    return Mode(
        value, thresholds.detach(), solution, response, residual, change, missed, trust, reasons
    )


def _doubts(
    solution: Solution, residual: float, change: float, missed: float, spread: Tensor, skew: float
) -> Iterator[tuple[Trust, str]]:
    if not solution.converged:
        yield "unreliable", f"the tilt did not settle in {solution.steps} steps; raise steps"
    if residual < -0.1:
        yield "unreliable", "the outputs vary less than their quadratic part: cumulants diverged"
    narrow, wide = float(spread.min()), float(spread.max())
    if narrow < _NARROW[0]:
        yield (
            "unreliable" if narrow < _NARROW[1] else "low_confidence",
            f"under the tilt the outputs vary {narrow:.2g} times as much as without: the threshold "
            "is near the edge of their range, where they are far from Gaussian",
        )
    for figure, (doubted, unreliable), text in (
        (residual, _RESIDUAL, "what the tilt leaves of the outputs carries {:.2g} nats of log P"),
        (change, _CHANGE, "refinement of the tilt changes log P by {:.2g}"),
        (missed, _MISSED, "the outputs' means miss their thresholds by {:.2g} deviations"),
        (wide, _WIDE, "under the tilt the outputs vary {:.2g} times as much as without"),
        (skew, _SKEW, "few units make the outputs skewed under the tilt, by {:.2g}"),
    ):
        if figure > doubted:
            grade: Trust = "unreliable" if figure > unreliable else "low_confidence"
            yield grade, text.format(figure)


def _log_upper_tail(z: float) -> float:
    return float(torch.special.log_ndtr(torch.tensor(-z, dtype=torch.float64)))
