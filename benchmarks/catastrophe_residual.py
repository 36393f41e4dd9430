"""Cumulants of what a tilt's quadratic leaves of the output, sampled and propagated."""

import torch

import outsample as ou
from outsample.catastrophe.tilt.conjunction import modes_of
from outsample.catastrophe.tilt.law import TiltedLaw
from outsample.catastrophe.tilt.response import closure_of, cumulants_of
from outsample.cumulants.tower_propagation import propagate
from outsample.distributions import Gaussian
from outsample.networks.graph import Graph

DRAWS, ROWS = 1_000_000, 50_000
#: Standard deviations of q that a second difference moves by.
_MOVE = 0.05


def residual_terms(problem: ou.CatastropheProbability, seed: int) -> dict[str, float]:
    """What the third and fourth cumulants of b f - q would add to log P, in nats."""
    (event,) = problem.events()
    with torch.no_grad():
        mode = modes_of(event.graph, event.thresholds, ou.Tilt().settings)[0]
        law, b = mode.solution.law, float(mode.solution.strength)
        generator = torch.Generator().manual_seed(900_000 + seed)
        root = torch.linalg.cholesky(law.covariance)
        found: list[torch.Tensor] = []
        for _ in range(DRAWS // ROWS):
            noise = torch.randn(ROWS, len(law.mean), generator=generator, dtype=torch.float64)
            y = noise @ root.T
            q = y @ law.mean + 0.5 * (y @ law.curvature * y).sum(1)
            found.append(b * event.graph(law.mean + y)[:, 0] - q)
        r = torch.cat(found)
        r = r - r.mean()
        variance = float(r.square().mean())
        return {
            "second": variance / 2,
            "third": float(r.pow(3).mean()) / 6,
            "fourth": (float(r.pow(4).mean()) - 3 * variance**2) / 24,
            "propagated third": _propagated_third(event.graph, law, b) / 6,
        }


def _propagated_third(graph: Graph, law: TiltedLaw, b: float) -> float:
    closure = closure_of(3, "elliptical")
    move = _MOVE / law.variance**0.5
    (here, _), ahead, behind = (
        cumulants_of(graph, law.moved(s * move), closure) for s in (0, 1, -1)
    )
    fqq = float((ahead[0] - 2 * here + behind[0]) / move**2)
    ffq = float((ahead[1] - behind[1]) / (2 * move))
    tower = propagate(
        graph,
        Gaussian.trusted(law.mean, law.covariance),
        closure,
        lambda step, mean, covariance: step.expand(mean, covariance.diagonal()),
        lambda mean: None,
        tower=True,
    )
    fff = float(tower.higher[3].dense())
    scaled = law.curvature @ law.covariance
    qqq = 3 * law.mean @ law.covariance @ scaled @ law.mean + (scaled @ scaled * scaled.T).sum()
    return b**3 * fff - 3 * b**2 * ffq + 3 * b * fqq - float(qqq)
