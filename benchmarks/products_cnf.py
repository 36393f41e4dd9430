"""Satisfying fractions of random k-CNFs: the Fourier head against exact counts and sampling.

Parts:

- floors: eqN = E[p (1 - p)] / E[error²], as many samples as are as good, for uniform (u) and
  re-centred (t) heads of degree 1 to 3 and with 3 or 6 variables conditioned on (c), beside the
  figures of an earlier implementation; milliseconds; and how many samples the estimate costs, in
  floating-point operations and in seconds (drawing included, best batch);
- large: 50 and 100 variables, truth from the exact counter Ganak, beside simple Monte Carlo and
  ApproxMC; and 200 variables, where there is no truth, by the spread of the methods;
- breaking: relative error at 20 variables as the ratio of clauses to variables grows, and what of
  it ``trust`` saw; with a figure.

Formulas are those of ``RandomCNF``, seeds 3000, 3001, …  One thread; about 8 minutes.

    OMP_NUM_THREADS=1 python benchmarks/products_cnf.py
    OMP_NUM_THREADS=1 python benchmarks/products_cnf.py --only large
"""

import json
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean, median
from typing import Any, cast

import numpy as np
import torch

import outsample as ou
from common import Part, run_parts
from outsample.comparison.cells import evaluation_flops

FIGURE = Path("docs/images/cnf_breaking.png")
SEED = 3000
METHODS = {
    "u1": ou.Projection(1, "uniform"),
    "u2": ou.Projection(2, "uniform"),
    "u3": ou.Projection(3, "uniform"),
    "t2": ou.Projection(2),
    "t3": ou.Projection(3),
    "c3 t2": ou.Projection(2, conditioned=3),
    "c3 t3": ou.Projection(3, conditioned=3),
    "c6 t2": ou.Projection(2, conditioned=6),
}
#: n, m, k: contexts, and floors of eqN in the order of METHODS.
FLOORS = {
    (20, 30, 3): (40, (1.9e3, 3.2e4, 2.4e5, 9.0e4, 4.4e5, 8.2e5, 2.3e7, 2.6e6)),
    (20, 60, 3): (40, (1.4e4, 2.7e4, 5.6e4, 1.4e5, 4.8e5, 4.4e5, 2.1e6, 8.4e7)),
    (20, 20, 2): (40, (2.4e3, 6.0e4, 3.9e8, 1.9e6, 1.6e9, None, None, None)),
    (18, 100, 4): (40, (7.8e3, 2.1e4, 5.1e4, 3.7e4, 1.5e5, 1.0e5, 4.2e5, 6.3e5)),
}
ALLOWED = 3
#: Samples for the time of one; seconds for a count by a peer; repeats of a timing.
TIMED, PATIENCE, REPEATS = 200_000, 60.0, 5
LARGE = {
    "t2": METHODS["t2"],
    "t3": METHODS["t3"],
    "c6 t2": METHODS["c6 t2"],
    "c8 t2": ou.Projection(2, conditioned=8),
    "c3 t3": METHODS["c3 t3"],
}
SIZES = [(n, ratio) for n in (50, 100) for ratio in (1, 2, 3)]
UNKNOWN = [(200, ratio) for ratio in (1, 2, 3)]
CONTEXTS_LARGE = 5
RATIOS = [0.5 * i for i in range(1, 13)]
CONTEXTS_BREAKING = 40
#: An estimate further off than this has broken.
BROKEN = 0.1


#: A peer that counts models: fraction from clauses and the number of variables.
Count = Callable[[list[list[int]], int], float]


def milliseconds(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median over repeats, after one to warm up."""
    run()
    times: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * median(times)


def sample_ms(problem: ou.Problem) -> float:
    """Milliseconds of one sample, drawing included, at the best of several batches."""
    runs = [ou.MonteCarlo(TIMED, batch=batch) for batch in (4096, 16384, 65536)]
    return min(milliseconds(lambda r=r: r.estimate(problem), 3) for r in runs) / TIMED


def fraction(problem: ou.SatisfyingFraction) -> float:
    """By enumeration."""
    return float(cast(torch.Tensor, problem.exact()))


def floors() -> Iterator[dict[str, Any]]:
    """The table of errors, times and costs in samples."""
    rows: list[dict[str, Any]] = []
    for (n, m, k), (contexts, known) in FLOORS.items():
        family = ou.families.RandomCNF(n, m, k)
        problems = [family.problem(SEED + i) for i in range(contexts)]
        truths = np.array([fraction(p) for p in problems])
        variance = (truths * (1 - truths)).mean()
        per_sample = median(sample_ms(p) for p in problems[:3])
        per_sample_flops = median(evaluation_flops(p) for p in problems)
        constant = variance / truths.var(ddof=1)
        print(f"n={n} m={m} k={k}: constant {constant:.1e}")
        for (name, estimator), floor in zip(METHODS.items(), known, strict=True):
            found = [estimator.estimate(p) for p in problems]
            error = np.array([float(e.value) for e in found]) - truths
            ms = median(milliseconds(lambda p=p, e=estimator: e.estimate(p)) for p in problems[:8])
            flops = median(cast(float, e.cost.flops) for e in found)
            mean_square = float((error**2).mean())
            exact = mean_square < 1e-24
            row = {
                "n": n, "m": m, "k": k, "method": name, "contexts": contexts,
                "eqN": None if exact else variance / mean_square,
                "floor": floor,
                "ms": ms,
                "samples_of_equal_flops": flops / per_sample_flops,
                "samples_of_equal_seconds": ms / per_sample,
                "relative": math.sqrt(mean_square / (truths**2).mean()),
                "trusted": sum(e.trust == "ok" for e in found) / contexts,
            }  # fmt: skip
            eqn = math.inf if exact else row["eqN"]
            row["held"] = bool(floor is None or eqn >= floor / ALLOWED)
            gains = [eqn / row[f"samples_of_equal_{c}"] for c in ("flops", "seconds")]
            row["gain_by_flops"], row["gain_by_seconds"] = (None if exact else g for g in gains)
            rows.append(row)
            print(
                f"    {name:6s} eqN {eqn:8.1e} floor {floor or 0:8.1e} "
                f"{'' if row['held'] else 'SHORT'} {ms:7.2f} ms; over sampling {gains[0]:8.1e} "
                f"by FLOPs, {gains[1]:8.1e} by seconds; trusted {row['trusted']:.0%}",
                flush=True,
            )
            yield {"rows": rows}


def _ganak(clauses: list[list[int]], n: int) -> float:
    from pyganak import Counter

    counter = Counter()
    counter.new_vars(n)
    counter.add_clauses(clauses)
    return float(counter.count() * 2.0**-n)


def _approxmc(clauses: list[list[int]], n: int) -> float:
    """With its default tolerance."""
    from pyapproxmc import Counter

    del n
    counter = Counter()
    for clause in clauses:
        counter.add_clause(clause)
    cells, hashes = counter.count()
    # It leaves out the variables that no clause mentions: those are free.
    mentioned = len({abs(x) for clause in clauses for x in clause})
    return float(cells * 2.0 ** (hashes - mentioned))


def _answer(count: Count, clauses: list[list[int]], n: int, pipe: Any) -> None:
    pipe.send(count(clauses, n))


def counted(count: Count, problem: ou.SatisfyingFraction) -> tuple[float | None, float]:
    """A counter's fraction and seconds, in a process of its own; None if it takes too long."""
    n = problem.inputs.shape[0]
    clauses = [list(c) for c in problem.formula.clauses]
    clauses += [[v if x else -v] for v, x in problem.formula.fixed.items()]
    mine, theirs = multiprocessing.Pipe()
    worker = multiprocessing.Process(target=_answer, args=(count, clauses, n, theirs))
    start = time.perf_counter()
    worker.start()
    fraction = mine.recv() if mine.poll(PATIENCE) else None
    seconds = time.perf_counter() - start
    worker.kill()
    worker.join()
    return fraction, seconds


def large() -> Iterator[dict[str, Any]]:
    """Relative errors beyond enumeration, with sampling's at the same time."""
    rows: list[dict[str, Any]] = []
    for n, ratio in SIZES + UNKNOWN:
        problems = [
            ou.families.RandomCNF(n, n * ratio).problem(SEED + i) for i in range(CONTEXTS_LARGE)
        ]
        known = (n, ratio) in SIZES
        counts = [counted(_ganak, p) if known else (None, math.nan) for p in problems]
        per_sample = sample_ms(problems[0])
        row: dict[str, Any] = {"n": n, "ratio": ratio, "methods": {}}
        if known:
            row["ganak_seconds"] = [s for _, s in counts]
            row["fractions"] = [p for p, _ in counts]
        print(f"n={n} m/n={ratio}: p {[p and float(f'{p:.3g}') for p, _ in counts]}")
        logs: dict[str, list[float]] = {}
        for name, estimator in LARGE.items():
            found = [estimator.estimate(p) for p in problems]
            ms = median(1e3 * e.cost.seconds for e in found)
            logs[name] = [float(cast(torch.Tensor, e.log_value)) for e in found]
            entry: dict[str, Any] = {"ms": ms, "trust": [e.trust for e in found]}
            pairs = [(v, p) for v, (p, _) in zip(logs[name], counts, strict=True) if p]
            if pairs:
                entry["relative"] = [math.exp(v) / p - 1 for v, p in pairs]
                entry["rms"] = math.sqrt(sum(r * r for r in entry["relative"]) / len(pairs))
                # Simple Monte Carlo: relative variance (1 - p) / p N at the N of this time.
                samples = ms / per_sample
                entry["sampling_rms"] = math.sqrt(
                    sum((1 - p) / (p * samples) for _, p in pairs) / len(pairs)
                )
            row["methods"][name] = entry
            print(f"    {name:6s} {ms:8.1f} ms", {k: v for k, v in entry.items() if k != "ms"})
        if known:
            peer = [counted(_approxmc, p) for p in problems]
            errors = [
                found / p - 1
                for (found, _), (p, _) in zip(peer, counts, strict=True)
                if p and found is not None
            ]
            row["approxmc"] = {
                "relative": errors,
                "rms": math.sqrt(sum(e * e for e in errors) / len(errors)) if errors else None,
                "ms": median(1e3 * s for _, s in peer),
            }
            print("    approxmc", row["approxmc"])
        else:
            row["log_values"] = logs
            spread = [max(v) - min(v) for v in zip(*logs.values(), strict=True)]
            row["spread_of_logs"] = spread
            print("    spread of logs", [f"{s:.2g}" for s in spread])
        rows.append(row)
        yield {"rows": rows}


def breaking() -> Iterator[dict[str, Any]]:
    """Relative error against the ratio of clauses to variables, and what trust saw."""
    n, rows = 20, []
    names = ("u2", "t2", "t3", "c3 t2", "c3 t3", "c6 t2")
    seen = {
        name: dict.fromkeys(("trusted", "trusted_broken", "doubted", "doubted_broken"), 0)
        for name in names
    }
    for ratio in RATIOS:
        family = ou.families.RandomCNF(n, round(n * ratio))
        problems = [family.problem(SEED + i) for i in range(CONTEXTS_BREAKING)]
        truths = np.array([fraction(p) for p in problems])
        row: dict[str, Any] = {"ratio": ratio, "unsatisfiable": float((truths == 0).mean())}
        for name in names:
            found = [METHODS[name].estimate(p) for p in problems]
            values = np.array([float(e.value) for e in found])
            row[name] = float(np.sqrt(((values - truths) ** 2).mean() / (truths**2).mean()))
            # Means: where most formulas have no models, most cost next to nothing.
            flops = mean(cast(float, e.cost.flops) for e in found)
            samples = flops / mean(evaluation_flops(p) for p in problems)
            variance = (truths * (1 - truths)).mean()
            row[f"{name}, gain"] = float(variance / ((values - truths) ** 2).mean() / samples)
            if name == "c6 t2":
                sampling = math.sqrt(variance / samples / (truths**2).mean())
                row["sampling"] = sampling
            for estimate, truth in zip(found, truths, strict=True):
                trusted = estimate.trust == "ok"
                broken = abs(float(estimate.value) - truth) > BROKEN * truth
                seen[name]["trusted" if trusted else "doubted"] += 1
                seen[name][("trusted" if trusted else "doubted") + "_broken"] += int(broken)
        rows.append(row)
        shown = {k: float(f"{v:.2g}") for k, v in row.items()}
        print(json.dumps(shown), flush=True)
    breaks = {name: next((r["ratio"] for r in rows if r[name] > BROKEN), None) for name in names}
    loses = {
        name: next((r["ratio"] for r in rows if r[f"{name}, gain"] < 1), None) for name in names
    }
    print("breaks at", breaks, "loses to sampling at", loses, seen)
    result = {"n": n, "rows": rows, "breaks": breaks, "loses": loses, "trust": seen}
    draw(result)
    yield result


def draw(result: dict[str, Any]) -> None:
    """Figure of the relative errors."""
    import matplotlib.pyplot as plt

    shown = {
        "u2": "uniform basis, degree 2",
        "t2": "messages, degree 2",
        "t3": "messages, degree 3",
        "c3 t3": "messages, degree 3, 3 conditioned",
        "c6 t2": "messages, degree 2, 6 conditioned",
    }
    ratios = [r["ratio"] for r in result["rows"]]
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, label in shown.items():
        axes.semilogy(ratios, [r[name] for r in result["rows"]], marker="o", ms=3.5, label=label)
    axes.semilogy(
        ratios,
        [r["sampling"] for r in result["rows"]],
        "k--",
        label="sampling at the FLOPs of the last",
    )
    axes.axhline(BROKEN, color="0.6", lw=0.8)
    axes.set_ylim(bottom=1e-5)  # below: exact, as unit propagation settles every branch
    axes.set_xlabel("clauses per variable")
    axes.set_ylabel("relative error (RMS)")
    axes.set_title(f"Random 3-CNF with {result['n']} variables", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, dpi=150)
    plt.close(figure)


PARTS: dict[str, Part] = {"floors": floors, "large": large, "breaking": breaking}


if __name__ == "__main__":
    run_parts(PARTS, "benchmarks/results/products_cnf.json", __doc__, seed=SEED)
