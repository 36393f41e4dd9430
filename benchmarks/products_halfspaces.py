"""Random halfspaces: the polynomial head against sampling, and what it costs.

Parts:

- rows: the intersections of an earlier implementation's table, degrees 1, 2 and 4, with its figures
  as floors, on fresh contexts and on those very ones: eqN = E[p (1 - p)] / E[error²] (as many
  samples are as good), milliseconds, and how many samples the estimate costs, in floating-point
  operations and in seconds (drawing included, best batch);
- principle: n = 10 to 80 dimensions, k = n/4 to 2n unit normals, degrees d = 0 to 3: the squared
  error over that of n^d samples, with a bootstrap interval over the contexts; *beats* below 1,
  *matches* up to 10 (a constant), *loses* beyond, *open* where the interval spans a limit.  The
  variance of a sample, E[p (1 - p)], is known: where k = 2n rare contexts hold most of it, and no
  average over a dozen would tell;
- law: operations and milliseconds against n and against k, with the slopes of their logarithms.

Truths are means of Genz runs, and beyond 40 halfspaces, where p is 1e-20 and less, expectation
propagation with all corrections; what their noise (of the latter: how far the last correction takes
it) could change is in the results.  Expectation propagation has a script of its own,
``products_halfspaces_ep.py``.  Seeds 3000 and 4000.  One thread; about 12 minutes.

    OMP_NUM_THREADS=1 python benchmarks/products_halfspaces.py --only rows
"""

from collections.abc import Iterator
from itertools import product
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

import outsample as ou
from common import Part, run_parts
from outsample.comparison.cells import evaluation_flops
from products_halfspaces_ep import ROWS, Table, context, genz, milliseconds, run_estimator, truth

SEEDS = (3000, 4000)
#: Seed of the contexts that the floors were measured on.
FLOORS_SEED = 1000
#: Floors of eqN of degrees 1, 2 and 4 in the order of ROWS; milliseconds at 8 halfspaces.
FLOORS = (
    (2.6e3, 4.1e4, 8.2e5), (3.1e3, 6.1e4, 1.2e6), (3.4e4, 1.2e6, 1.3e8), (8.4e4, 3.3e5, 5.6e7),
    (4.5e2, 1.6e4, 3.4e5), (1.3e6, 2.7e6, None),
)  # fmt: skip
TIMES = {1: 0.6, 2: 1.1, 4: 3.0}
ALLOWED = 3
TIMED = 200_000
DIMENSIONS, SHARES, DEGREES = (10, 20, 40, 80), (0.25, 0.5, 1.0, 2.0), (0, 1, 2, 3)
#: Contexts of the principle, fewer beyond 40 halfspaces, where a truth takes seconds.
CONTEXTS, CONTEXTS_MANY, MANY = 40, 12, 40
#: Up to this ratio of squared errors a method matches sampling.
MATCHES = 10.0

Vector = NDArray[np.float64]


def sample_ms(problem: ou.Problem) -> float:
    """Milliseconds of one sample, drawing included, at the best of several batches."""
    runs = [ou.MonteCarlo(TIMED, batch=batch) for batch in (1024, 4096, 16384)]
    return min(milliseconds(lambda r=r: r.estimate(problem)) for r in runs) / TIMED


def rows() -> Iterator[dict[str, Any]]:
    """Errors and costs of degrees 1, 2 and 4."""
    found: list[dict[str, Any]] = []
    for (n, k, off, mu, contexts), floors in zip(ROWS, FLOORS, strict=True):
        degrees = [d for d, floor in zip(TIMES, floors, strict=True) if floor is not None]
        same, problems = measured((n, k, off, mu, contexts), degrees, (FLOORS_SEED,))
        fresh, problems = measured((n, k, off, mu, contexts), degrees, SEEDS)
        per_sample, per_flops = sample_ms(problems[0]), evaluation_flops(problems[0])
        for degree, floor in zip(degrees, floors, strict=False):
            row = fresh[f"d{degree}"]
            samples = ou.Projection(degree).flops(problems[0]) / per_flops
            row |= {"n": n, "k": k, "off": off, "mu": mu, "degree": degree, "floor": floor}
            row["eqN_same_contexts"] = same[f"d{degree}"]["eqN"]
            row["held"] = bool(row["eqN"] >= (floor or 0) / ALLOWED)
            row["in_time"] = bool(k != 8 or row["ms"] <= ALLOWED * TIMES[degree])
            row["gain_by_flops"] = row["eqN"] / samples
            row["gain_by_seconds"] = row["eqN"] / (row["ms"] / per_sample)
            found.append(row)
            print(
                f"n={n} k={k} off={off} mu={mu} d{degree}: eqN {row['eqN']:.1e} floor {floor:.1e} "
                f"{'' if row['held'] else 'SHORT'} (floor's contexts {row['eqN_same_contexts']:.1e}"
                f") {row['ms']:.2f} ms {'' if row['in_time'] else 'SLOW'}; over sampling "
                f"{row['gain_by_flops']:.1e} by FLOPs, {row['gain_by_seconds']:.1e} by seconds; "
                f"trusted {row['trusted']:.0%}",
                flush=True,
            )
        yield {"seeds": SEEDS, "rows": found}


def measured(
    row: tuple[int, int, float, float, int], degrees: list[int], seeds: tuple[int, ...]
) -> tuple[dict[str, Any], list[ou.HalfspaceIntersection]]:
    """Errors of each degree over the contexts of all seeds, and these."""
    n, k, off, mu, contexts = row
    table, problems = Table(), list[ou.HalfspaceIntersection]()
    for seed in seeds:
        rng = np.random.default_rng(seed)
        for _ in range(contexts):
            v, b = context(rng, n, k, off, mu)
            table.truths.append(truth(v, b))
            problems.append(ou.HalfspaceIntersection(v, b))
            for degree in degrees:
                run_estimator(table, f"d{degree}", ou.Projection(degree), problems[-1])
    return table.methods(), problems


def principle() -> Iterator[dict[str, Any]]:
    """Squared error over that of n^d samples."""
    found: list[dict[str, Any]] = []
    for n, share in product(DIMENSIONS, SHARES):
        k = max(2, int(share * n))
        rng = np.random.default_rng(SEEDS[0])
        contexts = CONTEXTS if k <= MANY else CONTEXTS_MANY
        problems, truths = [], []
        for _ in range(contexts):
            v, b = context(rng, n, k, 0.0, 0.0)
            problems.append(ou.HalfspaceIntersection(v, b))
            truths.append(quick_truth(v, b) if k <= MANY else propagated(problems[-1]))
        first, second = moments(n, k)
        p, noise = np.array(truths).T / first  # squares of p may underflow
        for degree in DEGREES:
            estimates = [ou.Projection(degree).estimate(problem) for problem in problems]
            error = np.array([float(e.value) for e in estimates]) / first - p
            scale = n**degree * first / (1 - second / first)
            low, high = interval(error**2 * scale)
            ratio = float((error**2).mean() * scale)
            row = {
                "n": n, "k": k, "degree": degree, "contexts": contexts, "ratio": ratio,
                "low": low, "high": high, "noise": float((noise**2).mean() * scale),
                "verdict": verdict(low, high),
                "flops_over_samples": median(e.cost.flops or 0 for e in estimates)
                / (n**degree * evaluation_flops(problems[0])),
                "relative": float(np.sqrt((error**2).mean() / (second / first**2))),
                "empty": float((p == 0).mean()),
                "trusted": sum(e.trust == "ok" for e in estimates) / contexts,
                "worst_trusted": max(
                    (
                        abs(gap / true)
                        for gap, true, e in zip(error, p, estimates, strict=True)
                        if true > 0 and e.trust == "ok"
                    ),
                    default=None,
                ),
            }  # fmt: skip
            found.append(row)
            print(
                f"n={n} k={k} d={degree}: {ratio:.2g} [{low:.2g}, {high:.2g}] {row['verdict']} "
                f"(truth's noise {row['noise']:.1g}; relative {row['relative']:.1g}; trusted "
                f"{row['trusted']:.0%}, worst {row['worst_trusted']}; FLOPs over n^d samples "
                f"{row['flops_over_samples']:.2g})",
                flush=True,
            )
        yield {"seed": SEEDS[0], "matches_up_to": MATCHES, "rows": found}


def quick_truth(v: Vector, b: Vector) -> tuple[float, float]:
    """As ``truth``, from shorter runs."""
    values = [genz(v, b, 100_000, 10_000 + r) for r in range(4)]
    return float(np.mean(values)), float(np.std(values, ddof=1) / 2)


def propagated(problem: ou.HalfspaceIntersection) -> tuple[float, float]:
    """Expectation propagation with D3, and how far it is from D2."""
    second, third = (
        float(ou.ExpectationPropagation(word).estimate(problem).value) for word in ("D2", "D3")
    )
    return third, abs(third - second)


def moments(n: int, k: int) -> tuple[float, float]:
    """E[p] and E[p²] over normals of independent uniform directions.

    Given one point its k conditions are independent, each met with chance 1/2; given two points at
    an angle θ both meet one with chance 1/2 - θ/2π, and θ has a density of sin^(n-2) θ.
    """
    angle = np.pi * (np.arange(20_000) + 0.5) / 20_000
    density = np.sin(angle) ** (n - 2)
    both = (0.5 - angle / (2 * np.pi)) ** k
    return 0.5**k, float((density * both).sum() / density.sum())


def interval(squares: Vector) -> tuple[float, float]:
    """Bootstrap interval (95 %) of a mean over contexts."""
    draws = np.random.default_rng(0).integers(0, len(squares), (4000, len(squares)))
    low, high = np.quantile(squares[draws].mean(1), (0.025, 0.975))
    return float(low), float(high)


def verdict(low: float, high: float) -> str:
    """In words; open where the interval spans a limit."""
    if high < 1:
        return "beats"
    if high <= MATCHES:
        return "matches"
    return "loses" if low > MATCHES else "open"


def law() -> Iterator[dict[str, Any]]:
    """Cost against n at k = 8, and against k at n = 400."""
    found: dict[str, Any] = {}
    for degree in (1, 2, 3):
        for axis, sizes in (
            ("n", [(n, 8) for n in (1000, 2000, 4000, 8000)]),
            ("k", [(400, k) for k in (20, 40, 80, 160)]),
        ):
            points: list[dict[str, float]] = []
            for n, k in sizes:
                v, b = context(np.random.default_rng(SEEDS[0]), n, k, 0.0, 0.0)
                problem, head = ou.HalfspaceIntersection(v, b), ou.Projection(degree)
                ms = milliseconds(lambda h=head, p=problem: h.estimate(p))
                points.append({"n": n, "k": k, "flops": head.flops(problem), "ms": ms})
            x = np.log([float(p[axis]) for p in points])
            slopes = {
                unit: float((np.diff(np.log([p[unit] for p in points])) / np.diff(x))[-1])
                for unit in ("flops", "ms")
            }
            found[f"degree {degree}, {axis}"] = {"points": points, "slopes": slopes}
            shown = {unit: round(slope, 2) for unit, slope in slopes.items()}
            print(f"degree {degree}, slopes in {axis}: {shown}", flush=True)
            yield found


PARTS: dict[str, Part] = {"rows": rows, "principle": principle, "law": law}

if __name__ == "__main__":
    run_parts(PARTS, "benchmarks/results/products_halfspaces.json", __doc__)
