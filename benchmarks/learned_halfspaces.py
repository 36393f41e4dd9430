"""Learned halfspaces: is an explanation needed?

Perceptrons whose teachers share three directions (``families.LearnedHalfspaces``), with random
thresholds as the context.  With the explanation, ``CommonDirection`` integrates over the directions
that the transcript of training shows.  Without, there are the methods for random normals at no more
FLOPs (expectation propagation, the polynomial head, simple Monte Carlo), and ``CommonDirection``
with directions that it finds in the normals by itself.  Truths are means of four long Genz runs.

About 10 minutes on one thread.

    OMP_NUM_THREADS=1 python benchmarks/learned_halfspaces.py
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

import outsample as ou
from common import machine, write_results
from products_halfspaces_ep import truth

COUNTS = (8, 16, 32)
SEEDS = range(3000, 3012)


def methods(problem: ou.ObservedIntersection) -> dict[str, tuple[ou.Estimator, Any]]:
    """Estimators with the advice they get, by name; the first one has the explanation."""
    one, two = (ou.DirectionExplainer(r).explain(problem) for r in (1, 2))
    singular = ou.DirectionExplainer(1, "normals").explain(problem)
    return {
        "explained": (ou.CommonDirection(), one),
        "explained, 2 directions": (ou.CommonDirection(), two),
        "own direction": (ou.CommonDirection(), None),
        "own 2 directions": (ou.CommonDirection(directions=2), None),
        "singular vector": (ou.CommonDirection(), singular),
        "EP": (ou.ExpectationPropagation(None), None),
        "EP, D2": (ou.ExpectationPropagation("D2"), None),
        "EP, D3": (ou.ExpectationPropagation("D3"), None),
        **{f"head of degree {d}": (ou.Projection(degree=d), None) for d in (1, 2, 3, 4)},
    }


def study(count: int) -> dict[str, Any]:
    """Errors as the number of samples that would have them, with FLOPs and milliseconds."""
    truths: list[tuple[float, float]] = []
    found: dict[str, list[tuple[float, float, float]]] = {}
    for seed in SEEDS:
        problem = ou.families.LearnedHalfspaces(count=count).problem(seed)
        truths.append(truth(problem.normals.numpy(), problem.offsets.numpy()))
        for name, (estimator, advice) in methods(problem).items():
            estimate = estimator.estimate(problem, advice)
            error = float(estimate.value) - truths[-1][0]
            cost = estimate.cost
            found.setdefault(name, []).append((error, cost.flops or 0, 1e3 * cost.seconds))
    p, noise = np.array(truths).T
    variance = float((p * (1 - p)).mean())
    rows: dict[str, Any] = {
        "truth": {"eqN": variance / float((noise**2).mean())},
    }
    for name, values in found.items():
        error, flops, ms = np.array(values).T
        rows[name] = {
            "eqN": variance / float((error**2).mean()),
            "flops": float(np.median(flops)),
            "ms": float(np.median(ms)),
        }
    # Simple Monte Carlo at the same FLOPs: its error is known without running it.
    sample = count * (2 * ou.families.LearnedHalfspaces().dimension + 1)
    rows["sampling, equal FLOPs"] = {"eqN": rows["explained"]["flops"] / sample}
    cheaper = {
        name: row["eqN"]
        for name, row in rows.items()
        if name.startswith(("EP", "head")) and row["flops"] <= rows["explained"]["flops"]
    }
    best = max(cheaper, key=lambda name: cheaper[name])
    return {
        "count": count,
        "rows": rows,
        "best_without": best,
        "gain": rows["explained"]["eqN"] / cheaper[best],
        "gain_over_own_direction": rows["explained"]["eqN"] / rows["own direction"]["eqN"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--counts", nargs="+", type=int, default=list(COUNTS))
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/learned_halfspaces.json")
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {"seeds": [SEEDS[0], SEEDS[-1]], "machine": machine(), "studies": []}
    for count in options.counts:
        found = study(count)
        print(f"k = {count}: best without {found['best_without']}, gain {found['gain']:.1f}, "
              f"over own direction {found['gain_over_own_direction']:.2f}")  # fmt: skip
        for name, row in found["rows"].items():
            print("   ", f"{name:26s}", json.dumps({k: float(f"{v:.3g}") for k, v in row.items()}))
        results["studies"].append(found)
    write_results(str(options.output), results)


if __name__ == "__main__":
    main()
