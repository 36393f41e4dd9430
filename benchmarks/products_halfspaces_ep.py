"""Halfspace probabilities by expectation propagation, against Genz's method and sampling.

Parts: ``rows`` (the random intersections of an earlier implementation's table: error as
the number of samples that would have it, and milliseconds, beside Genz at equal time), ``common``
(strongly correlated normals: CommonDirection beside Genz), ``general`` (normals from N(mu, Sigma)),
``large`` (100 halfspaces in 200 dimensions) and ``sampling`` (simple Monte Carlo at equal FLOPs and
seconds).  Truths are means of long Genz runs; their own noise is in the results.

    OMP_NUM_THREADS=1 python benchmarks/products_halfspaces_ep.py --only rows
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

import outsample as ou
from common import Part, run_parts
from outsample.products.halfspaces.common_direction import CommonDirection
from outsample.products.halfspaces.directions import Directions
from outsample.products.halfspaces.expectation_propagation import ExpectationPropagation
from outsample.products.halfspaces.problem import HalfspaceIntersection

Matrix = NDArray[np.float64]

#: n, k, scale of the offsets, strength mu of the common direction, contexts.
ROWS = [
    (10, 5, 0.0, 0.0, 12),
    (20, 8, 0.0, 0.0, 12),
    (40, 8, 0.0, 0.0, 12),
    (40, 8, 0.7, 0.0, 12),
    (20, 8, 0.0, 0.5, 12),
    (40, 20, 0.0, 0.0, 6),
]
SEEDS = (1000, 2000)
TRUTH_POINTS, TRUTH_RUNS = 2_000_000, 4
COMMON = [(mu, off) for mu in (0.5, 1.0, 2.0, 4.0) for off in (0.0, 0.5)]
REPEATS = 15
_SAMPLER = ou.MonteCarlo(samples=100_000, seed=0, batch=4096)


def context(
    rng: np.random.Generator, n: int, k: int, off: float, mu: float
) -> tuple[Matrix, Matrix]:
    """Unit normals from N(mu sqrt(n) e1, I), and offsets."""
    v = rng.standard_normal((k, n))
    v[:, 0] += mu * np.sqrt(n)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    return v, off * rng.standard_normal(k)


def genz(v: Matrix, b: Matrix, points: int, seed: int) -> float:
    """Genz's randomised quasi-Monte Carlo, as SciPy has it."""
    options = {"allow_singular": True, "maxpts": points, "abseps": 0, "releps": 0}
    rng = np.random.default_rng(seed)
    return float(multivariate_normal.cdf(-b, cov=v @ v.T, rng=rng, **options))


def truth(v: Matrix, b: Matrix) -> tuple[float, float]:
    """Mean of long runs, and its standard error."""
    runs = [genz(v, b, TRUTH_POINTS, 10_000 + r) for r in range(TRUTH_RUNS)]
    return float(np.mean(runs)), float(np.std(runs, ddof=1) / np.sqrt(TRUTH_RUNS))


def milliseconds(run: Callable[[], object]) -> float:
    """Median over repeats, fewer if they take over a second, after one to warm up."""
    run()
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < 1:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times) * 1e3)


def points_in(v: Matrix, b: Matrix, target: float) -> tuple[int, float]:
    """Genz's points that take as long as ``target`` milliseconds, at least 100, and their time."""
    points = 1000
    for _ in range(4):
        took = milliseconds(lambda points=points: genz(v, b, points, 0))
        points = max(100, int(points * np.clip(target / took, 0.1, 10)))
    return points, milliseconds(lambda: genz(v, b, points, 0))


class Table:
    """Errors and times of several methods on the same contexts."""

    def __init__(self) -> None:
        self.truths: list[tuple[float, float]] = []
        self.errors: dict[str, list[float]] = {}
        self.times: dict[str, list[float]] = {}
        self.trust: dict[str, list[str]] = {}

    def add(self, name: str, value: float, ms: float, trust: str = "ok") -> None:
        self.errors.setdefault(name, []).append(value - self.truths[-1][0])
        self.times.setdefault(name, []).append(ms)
        self.trust.setdefault(name, []).append(trust)

    def methods(self) -> dict[str, Any]:
        p, noise = np.array(self.truths).T
        variance = (p * (1 - p)).mean()
        floor = variance / (noise**2).mean()
        rows: dict[str, Any] = {"truth": {"eqN": floor, "relative": self._relative(noise)}}
        for name, errors in self.errors.items():
            e = np.array(errors)
            rows[name] = {
                "eqN": variance / (e**2).mean(),
                # What of the squared error is not the truth's own noise, where that is known.
                "eqN_corrected": variance / max((e**2).mean() - (noise**2).mean(), 1e-300),
                "relative": self._relative(e),
                "ms": float(np.median(self.times[name])),
                "trusted": self.trust[name].count("ok") / len(e),
            }
        return rows

    def _relative(self, e: Matrix) -> float:
        p = np.array(self.truths)[:, 0]
        return float(np.sqrt((e**2).mean() / (p**2).mean()))


def show(title: str, methods: dict[str, Any]) -> None:
    print(title, flush=True)
    for name, row in methods.items():
        ms = f"{row['ms']:8.2f} ms  trusted {row['trusted']:.0%}" if "ms" in row else ""
        print(f"    {name:24s} eqN {row['eqN']:9.2e}  rel {row['relative']:8.1e} {ms}", flush=True)


def run_estimator(
    table: Table, name: str, estimator: Any, problem: Any, advice: Any = None
) -> float:
    found = estimator.estimate(problem, advice)
    ms = milliseconds(lambda: estimator.estimate(problem, advice))
    table.add(name, float(found.value), ms, found.trust)
    return ms


def rows() -> Iterator[dict[str, Any]]:
    """The spec of each row, with and without corrections, beside Genz at the time of D3."""
    results = []
    for n, k, off, mu, contexts in ROWS:
        for seed in SEEDS:
            rng, table = np.random.default_rng(seed), Table()
            for _ in range(contexts):
                v, b = context(rng, n, k, off, mu)
                table.truths.append(truth(v, b))
                problem = HalfspaceIntersection(v, b)
                for corrections in (None, "D2", "D3"):
                    estimator = ExpectationPropagation(corrections)
                    ms = run_estimator(table, f"EP {corrections}", estimator, problem)
                points, took = points_in(v, b, ms)
                table.add("Genz, equal time", genz(v, b, points, 1), took)
                table.add("Genz 20k", genz(v, b, 20_000, 1), 0.0)
            methods = table.methods()
            show(f"n={n} k={k} off={off} mu={mu} seed={seed}", methods)
            results.append({"n": n, "k": k, "off": off, "mu": mu, "seed": seed, **methods})
            yield {"rows": results}


def common() -> Iterator[dict[str, Any]]:
    """Normals with a common direction: CommonDirection, told it or not, beside Genz."""
    n, k, contexts, results = 20, 8, 12, []
    for mu, off in COMMON:
        for seed in (1000, 2000):
            rng, table = np.random.default_rng(seed), Table()
            known = Directions(torch.eye(n, dtype=torch.float64)[:1])
            for _ in range(contexts):
                v, b = context(rng, n, k, off, mu)
                table.truths.append(truth(v, b))
                problem = HalfspaceIntersection(v, b)
                run_estimator(table, "EP D2", ExpectationPropagation("D2"), problem)
                for name, estimator, advice in (
                    ("known, D2", CommonDirection(corrections="D2"), known),
                    ("known, D3", CommonDirection(corrections="D3"), known),
                    ("own, D3", CommonDirection(corrections="D3"), None),
                    ("own two, D3", CommonDirection(corrections="D3", directions=2), None),
                ):
                    ms = run_estimator(table, name, estimator, problem, advice)
                    if name == "known, D3":
                        points, took = points_in(v, b, ms)
                        table.add("Genz, time of known D3", genz(v, b, points, 1), took)
                took = milliseconds(lambda v=v, b=b: genz(v, b, 20_000, 1))
                table.add("Genz 20k", genz(v, b, 20_000, 1), took)
            methods = table.methods()
            show(f"common direction mu={mu} off={off} seed={seed}", methods)
            results.append({"n": n, "k": k, "off": off, "mu": mu, "seed": seed, **methods})
            yield {"rows": results}


def general() -> Iterator[dict[str, Any]]:
    """Normals from N(0, Sigma) and N(mu, Sigma), the spectrum of Sigma a power law."""
    n, k, contexts, results = 20, 8, 12, []
    for power in (0.5, 1.0, 2.0):
        for mean in (0.0, 1.0):
            rng, table = np.random.default_rng(1000), Table()
            spectrum = np.arange(1, n + 1) ** -power
            spectrum *= n / spectrum.sum()
            for _ in range(contexts):
                v = rng.standard_normal((k, n)) * np.sqrt(spectrum) + mean
                v /= np.linalg.norm(v, axis=1, keepdims=True)
                b = np.zeros(k)
                table.truths.append(truth(v, b))
                problem = HalfspaceIntersection(v, b)
                for corrections in ("D2", "D3"):
                    estimator = ExpectationPropagation(corrections)
                    run_estimator(table, f"EP {corrections}", estimator, problem)
                for r in (1, 2, 3):
                    for corrections in ("D2", "D3"):
                        estimator = CommonDirection(corrections=corrections, directions=r)
                        run_estimator(table, f"{r} directions, {corrections}", estimator, problem)
                took = milliseconds(lambda v=v, b=b: genz(v, b, 20_000, 1))
                table.add("Genz 20k", genz(v, b, 20_000, 1), took)
            methods = table.methods()
            show(f"power={power} mean={mean}", methods)
            results.append({"n": n, "k": k, "power": power, "mean": mean, **methods})
            yield {"rows": results}


def large() -> Iterator[dict[str, Any]]:
    """100 halfspaces in 200 dimensions: log p of each method, and of two seeds of Genz."""
    v, b = context(np.random.default_rng(1000), 200, 100, 0.0, 0.0)
    problem = HalfspaceIntersection(v, b)
    found: dict[str, Any] = {}
    for corrections in (None, "D2", "D3"):
        estimator = ExpectationPropagation(corrections)
        log_p = float(estimator.estimate(problem).log_value or 0)
        found[f"EP {corrections}"] = {
            "log_p": log_p,
            "ms": milliseconds(lambda e=estimator: e.estimate(problem)),
        }
    for seed in (1, 2):
        start = time.perf_counter()
        log_p = float(np.log(genz(v, b, 200_000, seed)))
        found[f"Genz 200k, seed {seed}"] = {
            "log_p": log_p,
            "ms": (time.perf_counter() - start) * 1e3,
        }
    for name, row in found.items():
        print(f"    {name:20s} log p {row['log_p']:.4f}  {row['ms']:.1f} ms")
    yield found


def sampling() -> Iterator[dict[str, Any]]:
    """How many samples EP costs in FLOPs and in seconds, and how many its error is worth."""
    results = []
    for n, k, off, mu, contexts in ROWS:
        rng, table, cost = np.random.default_rng(2000), Table(), []
        for _ in range(contexts):
            v, b = context(rng, n, k, off, mu)
            table.truths.append(truth(v, b))
            problem = HalfspaceIntersection(v, b)
            estimator = ExpectationPropagation("D3")
            ms = run_estimator(table, "EP D3", estimator, problem)
            flops = estimator.estimate(problem).cost.flops or 0
            per_sample_ms = milliseconds(lambda p=problem: _SAMPLER.estimate(p)) / 100_000
            cost.append((flops / (2 * n * k + k), ms / per_sample_ms))
        by_flops, by_seconds = np.median(np.array(cost), axis=0)
        row = table.methods()["EP D3"]
        print(
            f"n={n} k={k} off={off} mu={mu}: costs {by_flops:.0f} samples in FLOPs, "
            f"{by_seconds:.0f} in seconds, worth {row['eqN']:.2e}",
            flush=True,
        )
        results.append(
            {"n": n, "k": k, "off": off, "mu": mu, "cost_in_samples_by_flops": by_flops}
            | {"cost_in_samples_by_seconds": by_seconds, "eqN": row["eqN"]}
        )
        yield {"rows": results}


PARTS: dict[str, Part] = {
    "rows": rows,
    "common": common,
    "general": general,
    "large": large,
    "sampling": sampling,
}


if __name__ == "__main__":
    run_parts(PARTS, "benchmarks/results/products_halfspaces_ep.json", __doc__)
