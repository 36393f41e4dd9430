"""Probability of a union of events, from log probabilities of their intersections."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.estimator import Trust, worst_trust

#: Events whose intersections are summed by inclusion and exclusion.
_MOST = 4
#: An event this much less likely than the likeliest (in nats) adds its own probability only.
_NEGLIGIBLE = math.log(1e4)


@dataclass(frozen=True)
class LogProbability:
    """A log probability with its trust."""

    value: Float64[Tensor, ""]
    trust: Trust = "ok"
    reasons: tuple[str, ...] = ()


def log_union(
    singles: Sequence[LogProbability], intersection: Callable[[tuple[int, ...]], LogProbability]
) -> LogProbability:
    """Log P of a union: inclusion and exclusion for up to four events that matter.

    Of more events the sum of the probabilities is returned, an upper bound, with less trust
    unless one event dominates.
    """
    order = sorted(range(len(singles)), key=lambda i: -float(singles[i].value.detach()))
    top = float(singles[order[0]].value.detach())
    if top == -math.inf:
        return singles[order[0]]
    main = [i for i in order if float(singles[i].value.detach()) >= top - _NEGLIGIBLE]
    grades: list[Trust] = [single.trust for single in singles]
    trust = worst_trust(*grades)
    reasons = tuple(dict.fromkeys(r for single in singles for r in single.reasons))
    total = torch.stack([(single.value - top).exp() for single in singles]).sum()
    if len(main) > _MOST:
        largest = 1 / float(total.detach())
        if largest < 0.9:
            trust = worst_trust(trust, "low_confidence")
            reasons = (
                *reasons,
                f"{len(main)} events are likely enough to matter: the value is the sum of their "
                f"probabilities, an upper bound; the likeliest alone has {largest:.2g} of it",
            )
        return LogProbability((top + total.log()).clamp_max(0.0), trust, reasons)
    for count in range(2, len(main) + 1):
        layer = [intersection(chosen) for chosen in itertools.combinations(main, count)]
        part = torch.stack([(found.value - top).exp() for found in layer]).sum()
        total = total + part if count % 2 else total - part
        if float(part.detach()) < 1e-3 * float(total.detach()):
            break
        grades: list[Trust] = [found.trust for found in layer]
        trust = worst_trust(trust, *grades)
        reasons = tuple(dict.fromkeys((*reasons, *(r for f in layer for r in f.reasons))))
    if not float(total.detach()) >= 1 - 1e-9:
        reasons = (*reasons, "inclusion and exclusion cancelled; the likeliest event is returned")
        return LogProbability(
            singles[order[0]].value, worst_trust(trust, "low_confidence"), reasons
        )
    return LogProbability((top + total.log()).clamp_max(0.0), trust, reasons)
