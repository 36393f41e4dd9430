"""Size of a report of 10,000 rows, and how soon its plots are drawn in Chromium.

The study is made up (seeded records, no estimator runs): 100 families of ten problems, ten
estimators and four samplers, so 10,000 cells of estimators and 8,000 verdicts.  Time runs from the
navigation to a file on disk until all plots, the heat map and the tables are in the page and the
next frame has been painted; a new browser context each time, so nothing is cached.  Most of it is
Plotly, loaded and run: a busy machine shows, so the load is noted.  Half a minute.

    python benchmarks/report_size.py
"""

import argparse
import math
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from common import machine, write_results
from outsample.comparison import Cell, Comparison, Truth
from outsample.comparison.reports import html_page
from outsample.comparison.scores import PLAIN

WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
DEPTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
#: Error constants and numbers of samples of the samplers.
SAMPLERS = {
    PLAIN: (1.0, (16384,)),
    "antithetic": (0.7, (16384,)),
    "moment-matched": (0.2, (16384,)),
    "scrambled Sobol": (0.15, (1024, 8192, 65536)),
}
ESTIMATORS = (
    "MeanPropagation()", "Cumulants(1)", "Cumulants(2, basic)", "Cumulants(2)", "Cumulants(3)",
    *(f"Cumulants(variant=basic) at N={4**k}" for k in range(4, 9)),
)  # fmt: skip


#: Notes when the frame after the page called itself ready was painted, since the navigation began.
CLOCK = """
new MutationObserver((_, observer) => {
  if (!document.body?.dataset.ready) return;
  observer.disconnect();
  requestAnimationFrame(() => setTimeout(() => { window.drawn = performance.now(); }));
}).observe(document, { subtree: true, childList: true, attributes: true });
"""


def family(width: int, depth: int, problems: int, rng: np.random.Generator) -> Comparison:
    """One family: errors fall with cost and grow with depth, times are noisy."""
    flops = 2 * width * width * (depth + 1)
    truths, cells = [], []
    for p in range(problems):
        variance = float(rng.uniform(0.5, 2))
        halves = 1e-4 * rng.standard_normal(2)
        truths.append(
            Truth(
                problem=p, first=(halves[0],), second=(halves[1],), squared_error=(1e-8,),
                variance=(variance,), evaluation_flops=float(flops), samples=2**20,
            )
        )  # fmt: skip
        for k, name in enumerate(ESTIMATORS):
            error = variance * depth / (width * 4**k) * rng.chisquare(4) / 4
            cost = flops * 4 ** (k + 1) + int(rng.integers(1000))
            cells.append(
                Cell(
                    problem=p, method=name, request={}, value=(math.sqrt(error),), spread=(0.0,),
                    flops=cost, seconds=cost * 1e-10 * float(rng.uniform(0.9, 1.3)) + 1e-4,
                )
            )  # fmt: skip
        for name, (constant, lengths) in SAMPLERS.items():
            for samples in lengths:
                error = constant * variance / samples * rng.chisquare(60) / 60
                cells.append(
                    Cell(
                        problem=p, method=name, request={"settings": {}}, spread=(0.0,),
                        value=(math.sqrt(error),), squared_error=(error,), samples=samples,
                        flops=samples * flops, seconds=samples * flops * 1e-10,
                    )
                )  # fmt: skip
    return Comparison(
        family=f"RandomMLP(width={width}, depth={depth})",
        methods=ESTIMATORS,
        opponents=tuple(SAMPLERS),
        cells=tuple(cells),
        truths=tuple(truths),
        provenance={"outsample": "0.1.0", "threads": 1, "dtype": "float32", "BLAS": "mkl"},
        kind="RandomMLP",
        parameters={"width": width, "depth": depth, "activation": "relu"},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="benchmarks/results/report_size.json")
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        parser.error("no chromium on PATH")

    rng = np.random.default_rng(options.seed)
    study = [family(w, d, options.problems, rng) for w in WIDTHS for d in DEPTHS]
    start = time.perf_counter()
    page = html_page(study, "Ten thousand rows")
    built = time.perf_counter() - start
    rows = sum(cell.method in ESTIMATORS for c in study for cell in c.cells)
    verdicts = sum(len(score.ratios) for c in study for score in c.scores())

    seconds = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        path = Path(folder) / "report.html"
        path.write_text(page, "utf-8")
        browser = play.chromium.launch(executable_path=chromium)
        for _ in range(options.rounds):
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            tab = context.new_page()
            tab.add_init_script(CLOCK)
            tab.goto(path.as_uri())
            tab.wait_for_function("window.drawn")
            seconds.append(tab.evaluate("window.drawn") / 1000)
            context.close()
        version = browser.version
        browser.close()

    results = {
        "settings": vars(options),
        "machine": machine() | {"chromium": version, "load": os.getloadavg()},
        "rows": rows,
        "verdicts": verdicts,
        "megabytes": len(page.encode()) / 1e6,
        "seconds_to_build": built,
        "seconds_to_open_median": statistics.median(seconds),
        "seconds_to_open": seconds,
    }
    print(
        f"{rows} rows, {verdicts} verdicts: {results['megabytes']:.2f} MB; drawn after "
        f"{results['seconds_to_open_median']:.2f} s (median of {len(seconds)}, most "
        f"{max(seconds):.2f} s); built in {built:.1f} s"
    )
    write_results(options.output, results)


if __name__ == "__main__":
    main()
