"""Mechanistic anomalies: a catastrophe that does not happen, but for an unusual reason."""

import functools
import math
import operator
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from outsample.catastrophe.detectors import Detector, Quantity
from outsample.catastrophe.detectors.normal_form import Line
from outsample.catastrophe.detectors.quantity import Unit
from outsample.catastrophe.event import read_out
from outsample.catastrophe.problem import CatastropheProbability
from outsample.catastrophe.tilt.conjunction import modes_of
from outsample.catastrophe.tilt.events import whitened
from outsample.catastrophe.tilt.law import TiltedLaw
from outsample.catastrophe.tilt.response import closure_of, cumulants_of
from outsample.catastrophe.tilt.search import Settings
from outsample.catastrophe.training.settings import positive_number
from outsample.distributions import Gaussian
from outsample.errors import InputError
from outsample.networks.activations import Activation
from outsample.networks.graph import Affine

_OWNER = "anomaly_detector"
#: Share of the largest eigenvalue below which a layer has no variance along a direction.
_NO_VARIANCE = 1e-10
#: Most steps to the tilts that say how strongly thresholds pull, and how precise these are.
_STEPS, _TOLERANCE = 60, 0.03
#: Pre-activations between which, and at how many places, an activation's range is looked for.
_FAR, _PLACES = 50.0, 10_001


def anomaly_detector(
    model: nn.Module,
    inputs: Gaussian,
    detector: Detector,
    *,
    deviations: float = 5.0,
    layers: Sequence[int] | None = None,
    order: Literal[2, 3, 4] = 3,
) -> Detector:
    """What it would take for ``detector`` to be 0 for another reason than on the reference.

    The explanation of why the detector does not go off: what drives it, seen from a hidden
    layer, is the linear read-out a · h that predicts it best under ``inputs``; that read-out is
    an excitation, its positive part a⁺ · h, less an inhibition, a⁻ · h; and both are where
    cumulant propagation says they are, within ``deviations`` standard deviations of their means.
    The anomaly is that one of them is not, in one of the layers: a strong excitation that an
    unusual inhibition happens to cancel, say, is no catastrophe yet.

    What drives a conjunction of several thresholds is their sum, weighed as strongly as each of
    them pulls at the tilt towards the catastrophe.

    The anomaly is fixed: it speaks of the model as it is now.  Make it anew when training has
    moved the model far.

    Args:
        model: a chain of layers, see :class:`~outsample.NetworkMean`.
        inputs: the reference law, a Gaussian.
        detector: the catastrophe, improbable on the reference.
        deviations: how many standard deviations are usual.
        layers: hidden layers to read, all unless given.
        order: of the cumulant propagation, 2, 3 or 4.

    Returns:
        A detector of hidden units of ``model``: the union of at most four half-spaces for each
        layer and conjunction.

    Raises:
        InputError: for settings out of range, a model without hidden layers, a detector that is
            certain or impossible, a conjunction that is likely, and what CatastropheProbability
            refuses.

    Source: the mechanistic anomaly term max(C, A) of the Alignment Research Center's "Competing
    with sampling" (2025); the choice of A is ours.

    Example:
        >>> import torch, outsample as ou
        >>> relu = torch.nn.ReLU()
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), relu, torch.nn.Linear(8, 1))
        >>> law, event = ou.Gaussian.standard(4), ou.output[0] > 9
        >>> anomaly = anomaly_detector(model, law, event)
        >>> p = ou.Tilt().estimate(ou.CatastropheProbability(model, law, anomaly)).value
        >>> bool(p < 0.01)
        True
    """
    positive_number(_OWNER, "deviations", deviations)
    if type(order) is not int or order not in (2, 3, 4):
        raise InputError(f"{_OWNER}: order = {order!r}; expected 2, 3 or 4")
    problem = CatastropheProbability(model, inputs, detector)
    law = problem.inputs
    if not isinstance(law, Gaussian):
        raise InputError(f"{_OWNER}: inputs is {type(inputs).__name__}; expected a Gaussian")
    if not problem.conjunctions or not all(problem.conjunctions):
        raise InputError(f"{_OWNER}: {detector!r} is certain or impossible")
    chosen = _layers(layers, problem.hidden_widths)
    ranges = [_range(step) for step in problem.graph().steps if not isinstance(step, Affine)]
    found: list[Detector] = []
    with torch.no_grad():
        drivers = [*_drivers(problem, law)]
        for layer in chosen:
            units = [Unit(layer, place) for place in range(problem.hidden_widths[layer])]
            mean, covariance = _joint(problem, law, units, drivers, order)
            for place in range(len(units), len(mean)):
                found += _outside(units, mean, covariance, place, deviations, ranges[layer])
    if not found:
        raise InputError(f"{_OWNER}: no hidden layer of {chosen} moves what the detector reads")
    return functools.reduce(operator.or_, found)


def _layers(layers: Sequence[int] | None, widths: Sequence[int]) -> list[int]:
    """Indices of hidden layers from the front."""
    if not widths:
        raise InputError(f"{_OWNER}: the model has no hidden layers")
    if layers is None:
        return [*range(len(widths))]
    if not isinstance(layers, Sequence) or isinstance(layers, str):
        raise InputError(f"{_OWNER}: layers = {layers!r}; expected a list of hidden layers")
    for layer in layers:
        if type(layer) is not int or not -len(widths) <= layer < len(widths):
            raise InputError(f"{_OWNER}: layer {layer!r}; the model has {len(widths)} hidden ones")
    chosen = sorted({layer % len(widths) for layer in layers})
    if not chosen:
        raise InputError(f"{_OWNER}: layers = {layers!r}; expected at least one")
    return chosen


def _drivers(problem: CatastropheProbability, law: Gaussian) -> Iterator[Line]:
    """For every conjunction the sum of its quantities, weighed by how strongly they pull."""
    settings = Settings(closure_of(2, "augmented"), 1, 0, _STEPS, _TOLERANCE)
    for parts, event in zip(problem.conjunctions, problem.events(), strict=True):
        strength = [1.0]
        if len(parts) > 1:
            graph, thresholds = whitened(event.graph, law), event.thresholds.double()
            strength = modes_of(graph, thresholds, settings)[0].solution.strength.tolist()
        weights: dict[Unit, float] = {}
        for threshold, pull in zip(parts, strength, strict=True):
            for unit, weight in threshold.row:
                weights[unit] = weights.get(unit, 0.0) + pull * weight
        line = tuple((unit, weight) for unit, weight in weights.items() if weight != 0)
        if not line:
            raise InputError(
                f"{_OWNER}: {problem.detector!r} is likely on the reference; there is nothing "
                "that keeps it from going off"
            )
        yield line


def _joint(
    problem: CatastropheProbability,
    law: Gaussian,
    units: Sequence[Unit],
    drivers: Sequence[Line],
    order: int,
) -> tuple[Float64[Tensor, " m"], Float64[Tensor, "m m"]]:
    """Mean and covariance of a layer's units, then of what drives each conjunction."""
    rows: list[Line] = [((unit, 1.0),) for unit in units]
    graph = whitened(read_out(problem.graph(), [*rows, *drivers], law.mean), law)
    base = TiltedLaw.untilted(graph.affine[0].weight[0])
    return cumulants_of(graph, base, closure_of(order, "augmented"))


def _outside(
    units: Sequence[Unit],
    mean: Float64[Tensor, " m"],
    covariance: Float64[Tensor, "m m"],
    place: int,
    deviations: float,
    values: tuple[float, float],
) -> Iterator[Detector]:
    """The excitation or the inhibition of what stands in ``place``, where propagation says not.

    What the activation's lowest and highest values rule out is left out.
    """
    width = len(units)
    inner, with_driver = covariance[:width, :width], covariance[:width, place]
    weights = torch.linalg.pinv(inner, rtol=_NO_VARIANCE, hermitian=True) @ with_driver
    for part in (weights.clamp_min(0), (-weights).clamp_min(0)):
        variance = float(part @ inner @ part)
        if variance <= 0:
            continue
        terms = zip(units, part.tolist(), strict=True)
        quantity = Quantity(tuple((unit, weight) for unit, weight in terms if weight > 0))
        centre, reach = float(part @ mean[:width]), deviations * variance**0.5
        total = float(part.sum())
        if centre + reach < total * values[1]:
            yield quantity > centre + reach
        if centre - reach > total * values[0]:
            yield quantity < centre - reach


def _range(activation: Activation) -> tuple[float, float]:
    """The lowest and highest value, infinite where the activation still moves far out."""
    x = torch.linspace(-_FAR, _FAR, _PLACES, dtype=torch.float64)
    y = activation(torch.cat((x, x.new_tensor([-10 * _FAR, 10 * _FAR]))))
    low, high = y.aminmax()
    ends = y[-2:]
    unbounded = y[[0, -3]] != ends
    lower = -math.inf if bool((unbounded & (ends <= low)).any()) else float(low)
    upper = math.inf if bool((unbounded & (ends >= high)).any()) else float(high)
    return lower, upper
