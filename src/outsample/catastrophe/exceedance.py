"""How likely each threshold is exceeded, and which threshold has a given probability."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline
from torch import Tensor, nn

from outsample.catastrophe.detectors.quantity import Quantity
from outsample.catastrophe.event import Event
from outsample.catastrophe.problem import CatastropheProbability
from outsample.catastrophe.tilt.conjunction import detached
from outsample.catastrophe.tilt.events import log_probability_of, whitened
from outsample.catastrophe.tilt.law import TiltedLaw
from outsample.catastrophe.tilt.order2 import moments
from outsample.catastrophe.tilt.tilt import Tilt, components
from outsample.distributions import Gaussian, GaussianMixture
from outsample.errors import InputError, NumericalError
from outsample.estimator import Trust, worst_trust

#: Thresholds at which a curve is estimated; between them it is interpolated.
_ANCHORS = 4
#: Steps to a threshold of given probability, and how near log p the last one starts: a tilt
#: depends on where its search started by about that much.
_STEPS, _TOLERANCE = 25, 5e-3
#: Deviations between which a threshold is known well enough.
_BRACKET = 1e-3
#: Nats by which log p may jump there.
_JUMP = 0.5
#: Nats of the cubic term between two anchors above which another is put between them, and most
#: anchors.
_BENT, _MOST_ANCHORS = 0.5, 16


@dataclass(frozen=True)
class ExceedanceCurve:
    """P(quantity > threshold) over thresholds."""

    #: In the order given, shape (k,).
    thresholds: NDArray[np.float64]
    #: log P(quantity > threshold), shape (k,).
    log_probabilities: NDArray[np.float64]
    #: Thresholds that were estimated; the others are interpolated between them.
    anchors: NDArray[np.float64]
    trust: Trust
    reasons: tuple[str, ...]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """P(quantity > threshold), shape (k,); 0 where float64 has no smaller number."""
        return np.exp(self.log_probabilities)


def exceedance_curve(
    network: nn.Module,
    inputs: Gaussian | GaussianMixture,
    quantity: Quantity,
    thresholds: Sequence[float] | NDArray[np.floating] | Tensor,
    estimator: Tilt | None = None,
) -> ExceedanceCurve:
    """P(quantity > t) for many thresholds t, for little more than the price of a few.

    Up to four thresholds are estimated one by one.  Of more, four are spread over their range
    (Chebyshev's points), each tilt starts from the last, and log p is interpolated by cubics that
    have its slope there as well; where these bend too much, up to twelve more are put between.

    Args:
        network: as :class:`~outsample.CatastropheProbability` takes it.
        inputs: law of the input.
        quantity: such as ``output[3] - output[8]``.
        thresholds: k finite numbers, in any order.
        estimator: settings of the tilts; ``Tilt()`` unless given.

    Raises:
        InputError: for thresholds that are not finite, not a vector or none at all, an estimator
            that is no Tilt, and what CatastropheProbability refuses.
        NumericalError: if log p is infinite where it is to be interpolated.
    """
    try:
        wanted = np.asarray(
            thresholds.detach().cpu() if isinstance(thresholds, Tensor) else thresholds, dtype=float
        )
    except (TypeError, ValueError):
        wanted = np.empty(0)
    if wanted.ndim != 1 or len(wanted) == 0 or not np.isfinite(wanted).all():
        raise InputError(
            f"exceedance_curve: thresholds = {thresholds!r}; expected a vector of finite numbers"
        )
    line = _Line(network, inputs, quantity, estimator or Tilt(), "exceedance_curve")
    low, high = float(wanted.min()), float(wanted.max())
    anchors = np.unique(wanted)
    if len(anchors) > _ANCHORS:
        ends = np.cos(math.pi * (np.arange(_ANCHORS) + 0.5) / _ANCHORS)
        anchors = np.unique(low + (high - low) * (1 - ends / ends[0]) / 2)
    found = {float(threshold): line.at(float(threshold)) for threshold in anchors}
    if len(wanted) > _ANCHORS:
        while len(found) < _MOST_ANCHORS and (between := _most_bent(found)) is not None:
            found[between] = line.at(between)
    anchors = np.array(sorted(found))
    points = [found[float(threshold)] for threshold in anchors]
    values = np.array([point.log_value for point in points])
    grades: list[Trust] = [point.trust for point in points]
    reasons = tuple(dict.fromkeys(reason for point in points for reason in point.reasons))
    if set(anchors) >= set(wanted):
        logs = values[np.searchsorted(anchors, wanted)]
    else:
        slopes = np.array([point.slope for point in points])
        if not (np.isfinite(values).all() and np.isfinite(slopes).all()):
            raise NumericalError(
                f"exceedance_curve: log p is not finite at some of the thresholds "
                f"{anchors.tolist()}, which leaves nothing to interpolate; ask for thresholds "
                "between the quantity's least and greatest value"
            )
        logs = np.minimum(CubicHermiteSpline(anchors, values, slopes)(wanted), 0.0)
        if _most_bent(found) is not None:
            grades.append("low_confidence")
            reasons = (*reasons, "log p bends too much between the thresholds it is estimated at")
    return ExceedanceCurve(wanted, logs, anchors, worst_trust(*grades), reasons)


def _most_bent(points: dict[float, "_Point"]) -> float | None:
    """The middle of the interval whose cubic has the largest third-order term; None if small."""
    worst, middle = _BENT, None
    for low, high in pairwise(sorted(points)):
        one, other = points[low], points[high]
        rise = other.log_value - one.log_value
        bent = abs((high - low) * (one.slope + other.slope) - 2 * rise)
        if bent > worst:
            worst, middle = bent, (low + high) / 2
    return middle


def threshold_of(
    network: nn.Module,
    inputs: Gaussian | GaussianMixture,
    quantity: Quantity,
    log_probability: float,
    estimator: Tilt | None = None,
) -> float:
    """The threshold that ``quantity`` exceeds with a given log probability.

    Newton's method on log p, each tilt from the last, within brackets.

    Args:
        network: as :class:`~outsample.CatastropheProbability` takes it.
        inputs: law of the input.
        quantity: such as ``output[3] - output[8]``.
        log_probability: natural logarithm of the probability, below 0.
        estimator: settings of the tilts; ``Tilt()`` unless given.

    Raises:
        InputError: unless ``log_probability`` is finite and below 0.
        NumericalError: if no threshold is found, such as for quantities that do not vary.
    """
    number = isinstance(log_probability, int | float) and not isinstance(log_probability, bool)
    if not number or not -math.inf < log_probability < 0:
        raise InputError(
            f"threshold_of: log_probability = {log_probability!r}; expected a finite number < 0"
        )
    line = _Line(network, inputs, quantity, estimator or Tilt(), "threshold_of")
    centre, deviation = line.scale()
    threshold = centre + deviation * math.sqrt(max(-2 * log_probability - 1, 0))
    low, high = -math.inf, math.inf
    for _ in range(_STEPS):
        point = line.at(threshold)
        gap = point.log_value - log_probability
        if abs(gap) < min(_TOLERANCE, -0.01 * log_probability) and point.slope < 0:
            return threshold - gap / point.slope
        low, high = (threshold, high) if gap > 0 else (low, threshold)
        step = -gap / point.slope if point.slope < 0 else math.copysign(deviation, gap)
        if point.trust == "unreliable" and gap < 0:  # beyond what the quantity reaches
            step = -abs(threshold - centre) / 4
        # Newton's step overshoots where the curve bends; never by more than 2 deviations.
        threshold += max(-2 * deviation, min(2 * deviation, step))
        if not low < threshold < high:
            inside = (low + high) / 2
            threshold = inside if math.isfinite(inside) else max(low, min(high, threshold))
        if high - low < _BRACKET * deviation:  # the estimate jumps from one tilt to another
            if abs(gap) < _JUMP:
                return threshold
            break
    raise NumericalError(
        f"threshold_of: log p = {log_probability:.6g} was not reached in {_STEPS} steps (at "
        f"threshold {threshold:.6g}); the quantity may not reach so far, or jump there"
    )


class _Point(NamedTuple):
    """log p at one threshold, and its derivative."""

    log_value: float
    slope: float
    trust: Trust
    reasons: tuple[str, ...]


class _Line:
    """log P(quantity > t) as a function of t; every tilt starts from the last one."""

    def __init__(
        self,
        network: nn.Module,
        inputs: Gaussian | GaussianMixture,
        quantity: Quantity,
        estimator: Tilt,
        owner: str,
    ) -> None:
        if not isinstance(estimator, Tilt):
            raise InputError(f"{owner}: estimator is {estimator!r}; expected a Tilt")
        if not isinstance(quantity, Quantity):
            raise InputError(
                f"{owner}: quantity is {type(quantity).__name__}; expected one such as "
                "output[3] - output[8]"
            )
        problem = CatastropheProbability(network, inputs, quantity > 0)
        events = problem.events()
        if len(events) != 1 or len(events[0].thresholds) != 1:
            raise InputError(f"{owner}: {quantity!r} does not depend on the network")
        # The normal form may have scaled the quantity: q > t there is scale * q > scale * t + c.
        self._graph = detached(events[0].graph)
        self._zero = events[0].thresholds.detach().double()
        step = CatastropheProbability(network, inputs, quantity > 1).events()[0]
        self._unit = step.thresholds.detach().double() - self._zero
        self._laws = components(problem.inputs)
        self._settings = estimator.settings
        self._tilts: list[TiltedLaw | None] = [None] * len(self._laws)

    def at(self, threshold: float) -> _Point:
        """The log probability and its slope at one threshold."""
        slopes: list[float] = []
        logs: list[float] = []
        grades: list[Trust] = []
        reasons: list[str] = []
        for place, (weight, law) in enumerate(self._laws):
            limit = (self._zero + threshold * self._unit).requires_grad_()
            with torch.enable_grad():
                event = Event(self._graph, limit)
                found = log_probability_of(event, law, self._settings, [self._tilts[place]])
                value = found.log.value
            slope = torch.zeros_like(limit)
            if value.requires_grad:
                (slope,) = torch.autograd.grad(value, limit)
            # Nothing good starts from a tilt that ran away.
            keep = found.parts and found.log.trust != "unreliable"
            self._tilts[place] = found.parts[0][0].solution.law if keep else None
            logs.append(float(value.detach() + weight.detach()))
            slopes.append(float(slope @ self._unit))
            grades.append(found.log.trust)
            reasons += found.log.reasons
        total = float(np.logaddexp.reduce(logs))
        shares = [math.exp(log - total) if total > -math.inf else 0.0 for log in logs]
        slope = sum(share * one for share, one in zip(shares, slopes, strict=True))
        return _Point(total, slope, worst_trust(*grades), tuple(dict.fromkeys(reasons)))

    def scale(self) -> tuple[float, float]:
        """Where the quantity lies, and how far it spreads, from its order-2 cumulants."""
        means: list[float] = []
        deviations: list[float] = []
        for _, law in self._laws:
            graph = whitened(self._graph, law)
            n = graph.affine[0].weight.shape[1]
            zero = graph.affine[0].weight.new_zeros(n)
            with torch.no_grad():
                mean, variance = moments(graph, zero, torch.eye(n).to(zero))
            unit = float(self._unit)
            means.append((float(mean) - float(self._zero)) / unit)
            deviations.append(math.sqrt(max(float(variance), 0.0)) / abs(unit))
        return max(means), max(deviations)
