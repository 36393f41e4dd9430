"""Log probabilities of events behind a network, from those of their parts."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.catastrophe.event import Event
from outsample.catastrophe.tilt.conjunction import (
    Mode,
    chosen_outputs,
    detached,
    modes_of,
)
from outsample.catastrophe.tilt.independence import independent_groups
from outsample.catastrophe.tilt.law import TiltedLaw
from outsample.catastrophe.tilt.order2 import moments
from outsample.catastrophe.tilt.search import Settings
from outsample.catastrophe.tilt.union import LogProbability
from outsample.distributions import Gaussian
from outsample.errors import NumericalError
from outsample.estimator import Trust, worst_trust
from outsample.networks.activations.relu import ReLU
from outsample.networks.graph import Affine, Graph, Step

#: Standard deviations below this share of the largest weight read out are those of constants.
_CONSTANT = 1e-12

#: From where the tilts of a part are sought: known tilts, or nothing.
Start = TiltedLaw | Sequence[TiltedLaw] | None


@dataclass(frozen=True)
class Found:
    """Log probability of one event, and the tilts it rests on."""

    log: LogProbability
    #: Modes of each independent part, likeliest first.
    parts: tuple[tuple[Mode, ...], ...] = ()


def whitened(graph: Graph, law: Gaussian) -> Graph:
    """The network as a function of independent standard normals z, x = mean + root z.

    In float64, whatever the network's dtype.
    """
    root = law.square_root()
    steps: tuple[Step, ...] = (Affine(root, law.mean), *graph.steps)
    return Graph(tuple(_double(step) for step in steps)).merged()


def log_probability_of(
    event: Event, law: Gaussian, settings: Settings, warm: Sequence[Start] = ()
) -> Found:
    """Log P(event) under a Gaussian law; independent parts of it are multiplied.

    ``warm`` says for each part where to start.
    """
    groups = [[*range(len(event.thresholds))]]
    if len(event.thresholds) > 1:
        groups = independent_groups(event.graph, law)
    graph, thresholds = whitened(event.graph, law), event.thresholds.double()
    total = thresholds.new_zeros(())
    parts: list[tuple[Mode, ...]] = []
    logs: list[LogProbability] = []
    for place, group in enumerate(groups):
        rows = torch.tensor(group, dtype=torch.long, device=thresholds.device)
        start = warm[place] if place < len(warm) else None
        one = _conjunction(chosen_outputs(graph, rows), thresholds[rows], settings, start)
        logs.append(one.log)
        parts += one.parts
        total = total + one.log.value
    grades: list[Trust] = [log.trust for log in logs]
    trust = worst_trust(*grades)
    reasons = tuple(dict.fromkeys(reason for log in logs for reason in log.reasons))
    return Found(LogProbability(total, trust, reasons), tuple(parts))


def _conjunction(
    graph: Graph, thresholds: Float64[Tensor, " d"], settings: Settings, warm: Start
) -> Found:
    """One group of thresholds: constants are decided, what is likely goes by its complement."""
    before = _before_last_relu(graph, thresholds)
    if before is None:
        return Found(LogProbability(thresholds.new_tensor(-torch.inf)))
    graph, thresholds = before
    frozen = detached(graph)
    like = frozen.affine[0].weight
    base = TiltedLaw.untilted(like.new_zeros(like.shape[1]))
    with torch.no_grad():
        mean, covariance = moments(frozen, base.mean, base.covariance)
    if not math.isfinite(float(mean.sum() + covariance.sum())):
        raise NumericalError(
            "Tilt: the outputs' cumulants under the inputs' own law left the range of float64; "
            "rescale the network's weights or its inputs"
        )
    last = frozen.affine[-1].weight
    deviation = covariance.diagonal().clamp_min(0).sqrt()
    varies = deviation > _CONSTANT * last.abs().amax(1).clamp_min(1e-300)
    above = mean > thresholds.detach()
    doubts = _doubtful_constants(frozen, varies)
    trust: Trust = "unreliable" if doubts else "ok"
    if bool((~varies & ~above).any()):
        return Found(LogProbability(thresholds.new_tensor(-torch.inf), trust, doubts))
    kept = varies.nonzero()[:, 0]
    if len(kept) == 0:
        return Found(LogProbability(thresholds.new_zeros(()), trust, doubts))
    graph, thresholds = chosen_outputs(graph, kept), thresholds[kept]
    # In units of their own deviations, so that no scale of the outputs is too small or too large.
    graph, thresholds = _scaled(graph, deviation[kept].reciprocal(), thresholds)
    likely = len(kept) == 1 and bool(above[kept[0]])
    if likely:
        graph, thresholds = _scaled(graph, -torch.ones_like(thresholds.detach()), thresholds)
    modes = modes_of(graph, thresholds, settings, warm)
    log = _sum(modes)
    if likely:
        value = torch.log1p(-log.value.exp().clamp_max(1 - 1e-12))
        log = LogProbability(value, log.trust, log.reasons)
    log = LogProbability(log.value, worst_trust(trust, log.trust), (*doubts, *log.reasons))
    return Found(log, (tuple(modes),))


def _doubtful_constants(graph: Graph, varies: Tensor) -> tuple[str, ...]:
    """What to say of outputs without variance at order 2: they may be units that are rarely on.

    Nothing if they are constants because no weights lead to them.
    """
    if bool(varies.all()):
        return ()
    reach = graph.affine[-1].weight[~varies].abs() > 0
    for step in reversed(graph.affine[:-1]):
        reach = (reach.to(step.weight) @ step.weight.abs()) > 0
    if not bool(reach.any()):
        return ()
    return (
        "some outputs do not vary, as far as order 2 sees, and are taken for constants: units "
        "that lead to them may be on rarely",
    )


def _sum(modes: Sequence[Mode]) -> LogProbability:
    """Distinct modes add up; only those that matter are asked whether they can be trusted."""
    total = torch.logsumexp(torch.stack([mode.log_value for mode in modes]), 0)
    main = [m for m in modes if float(m.log_value.detach()) >= float(total.detach()) - 4.6]
    grades: list[Trust] = [mode.trust for mode in main]
    trust = worst_trust(*grades)
    reasons = tuple(dict.fromkeys(_all_reasons(main)))
    if not float(total.detach()) <= 0.0:
        trust, reasons = "unreliable", (*reasons, "the probability came out above 1: cut to 1")
        total = total.clamp_max(0.0)
    return LogProbability(total, trust, reasons)


def _all_reasons(modes: Sequence[Mode]) -> Iterator[str]:
    for mode in modes:
        yield from mode.reasons


def _before_last_relu(
    graph: Graph, thresholds: Float64[Tensor, " d"]
) -> tuple[Graph, Float64[Tensor, " d"]] | None:
    """The same event before a ReLU at the end, if every threshold is on one of its units.

    max(z, 0) > t is z > t for t >= 0, and certain below; the cut at 0 is what a Gaussian cannot
    follow.  None if the event is impossible.
    """
    last = graph.affine[-1]
    weight = last.weight.detach()
    if len(graph.steps) < 3 or not isinstance(graph.steps[-2], ReLU):
        return graph, thresholds
    if not bool(((weight != 0).sum(1) == 1).all()):
        return graph, thresholds
    shift = thresholds if last.bias is None else thresholds - last.bias
    limits, up = (shift.detach() / weight.sum(1)), weight.sum(1) > 0
    if bool((~up & (limits <= 0)).any()):
        return None
    rows = (~up | (limits >= 0)).nonzero()[:, 0]
    steps = (*graph.steps[:-2], Affine(last.weight[rows]))
    return Graph(steps).merged(), shift[rows]


def _scaled(
    graph: Graph, factors: Float64[Tensor, " d"], thresholds: Float64[Tensor, " d"]
) -> tuple[Graph, Float64[Tensor, " d"]]:
    last = graph.affine[-1]
    bias = None if last.bias is None else factors * last.bias
    scaled = Affine(factors[:, None] * last.weight, bias)
    return Graph((*graph.steps[:-1], scaled)), factors * thresholds


def _double(step: Step) -> Step:
    if not isinstance(step, Affine):
        return step
    return Affine(step.weight.double(), None if step.bias is None else step.bias.double())
