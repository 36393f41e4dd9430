"""Searches for all the tilts that lead a network's outputs beyond their thresholds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.catastrophe.tilt.law import TiltedLaw
from outsample.catastrophe.tilt.order2 import Local, local, moments
from outsample.catastrophe.tilt.solver import Solution, solve
from outsample.cumulants.activation_step import Closure
from outsample.networks.graph import Graph

#: Standard deviations within which thresholds at an image of a tilt are worth a search from there.
_NEAR = 5.5
#: How many of the axes that a tilt widens most are reflected across, if its mean is this far from
#: them: half the squared distance in its own deviations.
_AXES, _ASIDE = 3, 0.5
#: Directions in which the outputs curve most at 0, each away from the tilt found.
_CURVED = 2
#: A tilt with a precision below this, in one direction, may be the middle of two.
_STRETCHED = 0.3
#: Two tilts this far apart (Bhattacharyya, covariances aside) account for different inputs: nearer
#: ones would count what lies between them twice.
_APART = 1.0
#: Nats of divergence beyond the best tilt's at which another cannot matter.
_HOPELESS = 5.0


@dataclass(frozen=True)
class Settings:
    """How a tilt is found and what is evaluated under it."""

    closure: Closure
    starts: int
    refinements: int
    steps: int
    #: How precisely the fixed point is found, before refinements.
    tolerance: float


def search(
    graph: Graph,
    thresholds: Float64[Tensor, " d"],
    warm: Sequence[TiltedLaw],
    settings: Settings,
) -> list[Solution]:
    """Distinct tilts of N(0, I), from where more may lie about the first.

    That is sought from N(0, I), or else from the first of the ``warm`` laws, if there are any.
    """
    how = settings.steps, settings.tolerance
    base = TiltedLaw.untilted(graph.affine[0].weight[0])
    at_base = local(graph, base.mean, base.covariance)
    if warm:
        one = solve(graph, thresholds, warm[0], *how)
    else:
        one = solve(graph, thresholds, base, *how, outputs=at_base)
    found = _unfolded(graph, thresholds, one, settings)

    def is_settled(law: TiltedLaw) -> bool:
        least = min(one.law.divergence for one in found)
        known = any(not _apart(law, one.law) for one in found)
        return known or law.divergence > least + _HOPELESS

    first = found[0].law
    others = _other_starts(graph, thresholds, first, at_base, settings.starts - 1)
    for start in (*warm[1:], *others):
        other = solve(graph, thresholds, start, *how, is_settled)
        if not is_settled(other.law):
            found.append(other)
    return found


def _unfolded(
    graph: Graph, thresholds: Tensor, one: Solution, settings: Settings
) -> list[Solution]:
    """The tilt itself, or the two that it is the symmetric middle of."""
    law = one.law
    values, vectors = law.axes
    if float(values[0]) > _STRETCHED:
        return [one]
    eye = torch.eye(len(law.mean)).to(law.precision)
    step = vectors[:, 0] * float(values[0]) ** -0.5
    halves = [
        solve(
            graph,
            thresholds,
            TiltedLaw(law.mean + sign * step, eye),
            settings.steps,
            settings.tolerance,
        )
        for sign in (1.0, -1.0)
    ]
    return halves if _apart(halves[0].law, halves[1].law) else [one]


def _other_starts(
    graph: Graph, thresholds: Tensor, found: TiltedLaw, at_base: Local, count: int
) -> Iterator[TiltedLaw]:
    """Where other modes may lie: images of the first one that come near the thresholds.

    And ``count`` more, near or not: its mirror image, then ways along the outputs' curvature at 0.
    """
    eye = torch.eye(len(found.mean)).to(found.precision)
    _, curved = torch.linalg.eigh(at_base.hessian.sum(0))
    images = torch.stack([*_images(found, curved[:, -_CURVED:].T)])
    ways = [*images[_are_near(graph, thresholds, images, found)]]
    radius = float(found.mean.norm()) or 1.0
    along = (sign * radius * vector for vector in curved.T.flip(0) for sign in (1.0, -1.0))
    ways += [-found.mean, *along][:count]
    for way in ways:
        yield TiltedLaw(way, eye)


def _images(law: TiltedLaw, curved: Float64[Tensor, "m n"]) -> Iterator[Tensor]:
    """Images of the tilt's mean.

    It is mirrored at 0, reflected across the axes along which the tilt is widest, for along these
    the outputs rise both ways, and turned into the directions in which they curve most at 0.
    """
    mean = law.mean
    yield -mean
    values, vectors = law.axes
    for i in range(min(_AXES, len(mean))):
        along = float(vectors[:, i] @ mean)
        if along**2 * float(values[i]) / 2 > _ASIDE:
            yield mean - 2 * along * vectors[:, i]
    radius = float(mean.norm())
    for vector in curved:
        yield (-radius if float(vector @ mean) > 0 else radius) * vector


def _apart(one: TiltedLaw, other: TiltedLaw) -> bool:
    gap = one.mean - other.mean
    spread = (one.covariance + other.covariance) / 2
    return float(gap @ torch.linalg.solve(spread, gap)) / 8 > _APART


def _are_near(
    graph: Graph, thresholds: Tensor, images: Float64[Tensor, "m n"], law: TiltedLaw
) -> Tensor:
    """Whether inputs about each of the images come near to all thresholds, shape (m,).

    What the law's spread does to the outputs there is taken to be what it does at its own mean.
    """
    if float(law.mean.norm()) < 1.0:
        return torch.zeros(len(images), dtype=torch.bool, device=images.device)
    outputs, covariance = moments(graph, law.mean, law.covariance)
    there = graph(images) + (outputs - graph(law.mean[None]))
    away = (thresholds - there) / covariance.diagonal().clamp_min(1e-300).sqrt()
    return away.amax(1) < _NEAR
