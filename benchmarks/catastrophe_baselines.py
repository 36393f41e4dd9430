"""The baselines for tails: what they claim, and how far off they are.

Parts:

- closed: ``CrossEntropy`` and ``SubsetSimulation`` on problems with closed forms (halfspaces,
  shells, a union, a mixture), over independent seeds: mean of estimate / truth, its spread, the
  relative error claimed, and how often the truth lies more than two claimed errors away;
- networks: four runs of both on random ReLU networks of width 64, where the truth is one run of
  ``SubsetSimulation`` of four times the size;
- cumulants: every method of ``FromCumulants`` on random ReLU networks at p = 1e-1 … 1e-4, against
  a million plain samples, by the size of the first correction to a normal tail, which decides
  whether the method trusts itself.

Networks have He weights; every second one biases of deviation 0.1.  One thread; about 12 minutes.

    python benchmarks/catastrophe_baselines.py                     # everything
    python benchmarks/catastrophe_baselines.py --only cumulants    # the rest as it stands
"""

import itertools
import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any, cast, get_args

import numpy as np
import torch
from torch import nn

from common import run_parts
from outsample import CatastropheProbability, CrossEntropy, FromCumulants, SubsetSimulation, output
from outsample.catastrophe.from_cumulants.estimator import Method
from outsample.distributions import Gaussian, GaussianMixture
from outsample.networks import Elementwise

RESULTS = "benchmarks/results/catastrophe_baselines.json"
#: Set apart from every seed that choices were made on.
SEED = 88_000
REPEATS = 30
Sampled = CrossEntropy | SubsetSimulation
SAMPLERS: dict[str, Callable[[int], Sampled]] = {
    "CrossEntropy(samples=20000)": lambda seed: CrossEntropy(samples=20_000, seed=seed),
    "SubsetSimulation(samples=10000)": lambda seed: SubsetSimulation(samples=10_000, seed=seed),
}
SHAPES = ((64, 2), (64, 3))
LEVELS = (1e-1, 1e-2, 1e-3, 1e-4)
#: Plain samples for thresholds, and again for truths.
PLAIN, BATCH = 1_000_000, 20_000
#: Sizes of the first correction that split the table.
SIZES = (0.0, 0.1, 0.3, 1.0, math.inf)


def network(width: int, depth: int, seed: int) -> nn.Sequential:
    draws = torch.Generator().manual_seed(SEED + seed)
    layers: list[nn.Module] = []
    widths = [width] * (depth + 1) + [1]
    for taken, given in itertools.pairwise(widths):
        layer = nn.Linear(taken, given, dtype=torch.float64).requires_grad_(False)
        weight = torch.randn(given, taken, generator=draws, dtype=torch.float64)
        bias = torch.randn(given, generator=draws, dtype=torch.float64)
        layer.weight.copy_(weight * math.sqrt(2 / taken))
        layer.bias.copy_(0.1 * (seed % 2) * bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def halfspace(n: int, sigmas: float) -> tuple[CatastropheProbability, float]:
    net = nn.Linear(n, 1, bias=False, dtype=torch.float64).requires_grad_(False)
    net.weight.fill_(1 / math.sqrt(n))
    law = Gaussian.standard(n, torch.float64)
    return CatastropheProbability(net, law, output[0] > sigmas), log_upper(sigmas)


def shell(n: int, p: float) -> tuple[CatastropheProbability, float]:
    from scipy import stats

    first = nn.Linear(n, n, bias=False, dtype=torch.float64).requires_grad_(False)
    last = nn.Linear(n, 1, bias=False, dtype=torch.float64).requires_grad_(False)
    first.weight.copy_(torch.eye(n))
    last.weight.fill_(1.0)
    net = nn.Sequential(first, Elementwise("square"), last)
    law = Gaussian.standard(n, torch.float64)
    limit = float(stats.chi2.isf(p, n))
    return CatastropheProbability(net, law, output[0] > limit), math.log(p)


def linear(mixed: bool) -> tuple[CatastropheProbability, float]:
    """Three halfspaces, two of them opposite; on a mixture, one corner."""
    net = nn.Linear(6, 6, bias=False, dtype=torch.float64).requires_grad_(False)
    net.weight.copy_(torch.eye(6))
    law: Gaussian | GaussianMixture = Gaussian.standard(6, torch.float64)
    detector = (output[0] > 4.5) | (output[0] < -5) | (output[1] > 4.6)
    if mixed:
        aside = torch.zeros(6, dtype=torch.float64)
        aside[0] = 1.0
        laws = [law, Gaussian(aside, 0.5), Gaussian(-8 * aside)]
        law = GaussianMixture(torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64), laws)
        detector = (output[0] > 4.5) & (output[1] > 0)
    problem = CatastropheProbability(net, law, detector)
    return problem, float(cast(torch.Tensor, problem.exact()).log())


CLOSED: dict[str, Callable[[], tuple[CatastropheProbability, float]]] = {
    "halfspace at 3 sd, n = 5": lambda: halfspace(5, 3.0),
    "halfspace at 5 sd, n = 64": lambda: halfspace(64, 5.0),
    "halfspace at 8 sd, n = 64": lambda: halfspace(64, 8.0),
    "shell, 1e-4, n = 5": lambda: shell(5, 1e-4),
    "shell, 1e-4, n = 64": lambda: shell(64, 1e-4),
    "shell, 1e-9, n = 5": lambda: shell(5, 1e-9),
    "union of three halfspaces": lambda: linear(mixed=False),
    "corner, mixture of three": lambda: linear(mixed=True),
}


def closed() -> Iterator[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for case, make in CLOSED.items():
        problem, exact = make()
        for name, method in SAMPLERS.items():
            runs = [method(SEED + seed).estimate(problem) for seed in range(REPEATS)]
            pairs = [(float(r.log_value), float(r.relative_error or math.inf)) for r in runs]  # type: ignore[arg-type]
            ratios = [math.exp(log - exact) for log, _ in pairs]
            claims = [error for _, error in pairs]
            beyond = [abs(r - 1) > 2 * e * r for r, (_, e) in zip(ratios, pairs, strict=True)]
            rows.append(
                {
                    "case": case,
                    "log10_p": exact / math.log(10),
                    "method": name,
                    "mean_ratio": statistics.fmean(ratios),
                    "spread": statistics.stdev(ratios),
                    "claimed": None if math.inf in claims else statistics.median(claims),
                    "beyond_two_errors": sum(beyond) / len(beyond),
                    "trusted": sum(r.trust == "ok" for r in runs) / len(runs),
                    "evaluations": statistics.fmean(r.samples or 0 for r in runs),
                    "seconds": statistics.median(r.cost.seconds for r in runs),
                }
            )
            print(rows[-1])
        yield {"repeats": REPEATS, "rows": rows}


def networks() -> Iterator[dict[str, Any]]:
    """Thresholds so many standard deviations above the mean output; four runs of each method."""
    rows: list[dict[str, Any]] = []
    for width, depth in SHAPES:
        for seed in range(2):
            net = network(width, depth, 100 + seed)
            law = Gaussian.standard(width, torch.float64)
            y = net(law.sample(BATCH, torch.Generator().manual_seed(SEED - 1 - seed)))[:, 0]
            for sigmas in (4.0, 5.5, 7.0):
                # No two cells share their numbers.
                start = SEED + 1000 * depth + 100 * seed + round(10 * sigmas)
                limit = float(y.mean() + sigmas * y.std())
                problem = CatastropheProbability(net, law, output[0] > limit)
                found: dict[str, list[Any]] = {
                    name: [method(start + run).estimate(problem) for run in range(4)]
                    for name, method in SAMPLERS.items()
                }
                long = SubsetSimulation(samples=40_000, seed=start + 4, repetitions=20)
                sure = long.estimate(problem)
                truth = float(cast(torch.Tensor, sure.log_value))
                for name, runs in found.items():
                    rows.append(
                        {
                            "network": f"{width}x{depth}",
                            "seed": seed,
                            "sigmas": sigmas,
                            "log10_p": truth / math.log(10),
                            "truth_error": float(cast(torch.Tensor, sure.relative_error)),
                            "method": name,
                            "ratios": [math.exp(float(r.log_value) - truth) for r in runs],
                            "claimed": [r.relative_error and r.relative_error.item() for r in runs],
                            "trust": [r.trust for r in runs],
                            "evaluations": statistics.fmean(r.samples for r in runs),
                            "seconds": statistics.median(r.cost.seconds for r in runs),
                        }
                    )
                yield {"rows": rows}


def cumulants() -> Iterator[dict[str, Any]]:
    cells: list[dict[str, Any]] = []
    for width, depth in SHAPES:
        for seed in range(6):
            net, law = network(width, depth, seed), Gaussian.standard(width, torch.float64)
            draws = torch.Generator().manual_seed(SEED - 100 - seed)
            first, second = (
                torch.cat([net(law.sample(BATCH, draws))[:, 0] for _ in range(PLAIN // BATCH)])
                for _ in range(2)
            )
            for p in LEVELS:
                limit = float(np.quantile(first.numpy(), 1 - p))
                truth = float((second > limit).double().mean())
                problem = CatastropheProbability(net, law, output[0] > limit)
                for order in (3, 4):
                    for method in get_args(Method):
                        found = FromCumulants(method, order).estimate(problem)
                        figures = found.diagnostics
                        value = float(found.value)
                        cells.append(
                            {
                                "network": f"{width}x{depth}",
                                "seed": seed,
                                "p": p,
                                "order": order,
                                "method": method,
                                "size": max(figures["size_3"][0], figures["size_4"][0]),
                                "log_ratio": math.log(value / truth) if value > 0 else None,
                                "trust": found.trust,
                            }
                        )
            yield {"levels": LEVELS, "samples": PLAIN, "rows": summary(cells)}


def summary(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Median, 90 % and worst factor of error, by method, order and size of the first correction."""
    rows: list[dict[str, Any]] = []
    for order in (3, 4):
        for method in get_args(Method):
            mine = [c for c in cells if (c["order"], c["method"]) == (order, method)]
            for low, high in itertools.pairwise(SIZES):
                rows.append(
                    {
                        "order": order,
                        "method": method,
                        "sizes": [low, None if high == math.inf else high],
                        **factors([c for c in mine if low <= c["size"] < high]),
                    }
                )
            for p in LEVELS:
                rows.append(
                    {"order": order, "method": method, "p": p}
                    | factors([c for c in mine if c["p"] == p])
                )
            for trust in ("ok", "low_confidence", "unreliable"):
                rows.append(
                    {"order": order, "method": method, "trust": trust}
                    | factors([c for c in mine if c["trust"] == trust])
                )
    return rows


def factors(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Factors of error; zero estimates are infinitely wrong."""
    errors = [math.inf if c["log_ratio"] is None else abs(c["log_ratio"]) for c in cells]
    if not errors:
        return {"count": 0}
    ranked = sorted(errors)
    figures = {
        "median": ranked[len(ranked) // 2],
        "ninth_decile": ranked[min(int(0.9 * len(ranked)), len(ranked) - 1)],
        "worst": ranked[-1],
    }
    # JSON has no infinity: None says that an estimate was 0.
    kept = {k: None if v == math.inf else math.exp(min(v, 700.0)) for k, v in figures.items()}
    return {"count": len(errors), **kept}


def log_upper(z: float) -> float:
    return float(torch.special.log_ndtr(torch.tensor(-z, dtype=torch.float64)))


if __name__ == "__main__":
    run_parts(
        {"closed": closed, "networks": networks, "cumulants": cumulants},
        RESULTS,
        __doc__,
        seed=SEED,
    )
