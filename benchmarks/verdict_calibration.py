"""How often intervals cover and verdicts are wrong: plain Monte Carlo against itself, simulated.

In every simulated study the estimator is plain Monte Carlo with N samples, set against the 1/N
line and against measured plain Monte Carlo with N samples, so that the true ratio is 1 and every
"beats" is false.  Three groups of cells:

- gaussian: errors as averages of many samples have them, over numbers of problems and outputs,
  correlations of the outputs and truths; this is what the intervals are calibrated for.
- heavy: the error of each problem is scaled by a lognormal factor, as those of a deterministic
  method may be: how far the calibration carries.  "shared" scales the opponent alike.
- noisy truth: truths of as many samples as the estimator or fewer, where no win may be claimed.

Power is the share of "beats" if sampling gets a half or a quarter of the samples (true ratio 2, 4).
About half an hour on one core.

    python benchmarks/verdict_calibration.py
"""

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import machine, write_results
from outsample.comparison.statistics import (
    RatioEstimate,
    ratio_to_opponent,
    ratio_to_sampling,
    truth_floor,
)

REPLICATES = 8
BOOTSTRAPS = 999
# Numbers drawn at a time.
CHUNK = 4_000_000

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Cell:
    """One kind of study.  Errors are in units of 1/N, so N does not appear."""

    group: str
    problems: int
    outputs: int
    #: How errors of one problem go together: the common correlation of all pairs of outputs, or
    #: "rank 2": two random directions for each problem.
    correlation: float | str
    #: Samples of each truth, over N.
    truth: float
    #: Standard deviation of the logarithm of the scale of each problem's error.
    scale: float = 0.0
    #: Whether the opponent's errors are scaled alike.
    shared: bool = False

    def __str__(self) -> str:
        scale = f"  scale {self.scale:g}{' shared' if self.shared else ''}" if self.scale else ""
        return (
            f"{self.group:<11}  P {self.problems:>2}  q {self.outputs:>3}  "
            f"corr {self.correlation!s:>6}  truth {self.truth:>4g} N{scale}"
        )


def cells() -> list[Cell]:
    sizes = (5, 10, 20, 50)
    laws: list[tuple[int, float | str]] = [(1, 0.0)]
    laws += itertools.product((10, 256), (0.0, 0.3, 0.9, "rank 2"))
    return [
        *(
            Cell("gaussian", p, q, c, t)
            for (q, c), t, p in itertools.product(laws, (10, 100), sizes)
        ),
        *(
            Cell("heavy", p, q, 0.0, 100, scale, shared)
            for scale, shared, q, p in itertools.product((0.5, 1.0), (False, True), (1, 256), sizes)
        ),
        *(
            Cell("noisy truth", 10, q, c, t)
            for (q, c), t in itertools.product(((1, 0.0), (256, 0.3)), (0.1, 0.3, 1))
        ),
    ]


def errors(cell: Cell, rng: np.random.Generator, studies: int, draws: int) -> Array:
    """Errors of unit variance, (studies, draws, problems, outputs), alike within a problem."""
    p, q = cell.problems, cell.outputs
    if cell.correlation == "rank 2":
        directions = rng.standard_normal((studies, p, 2, q), dtype=np.float32)
        directions /= np.sqrt((directions**2).sum(2).mean(-1))[..., None, None]
        factors = rng.standard_normal((studies, draws, p, 1, 2), dtype=np.float32)
        return (factors @ directions[:, None])[..., 0, :]
    share = np.float32(cell.correlation)
    own = rng.standard_normal((studies, draws, p, q), dtype=np.float32)
    common = rng.standard_normal((studies, draws, p, 1), dtype=np.float32)
    return np.sqrt(1 - share) * own + np.sqrt(share) * common


@dataclass(frozen=True)
class Study:
    """What a comparison sees: squared errors of estimator and opponent, variances, floor."""

    errors: Array
    opponent: Array
    variances: Array
    floor: Array


def draw(cell: Cell, rng: np.random.Generator, studies: int) -> Iterator[Study]:
    draws = 3 + REPLICATES
    at_a_time = max(1, CHUNK // (draws * cell.problems * cell.outputs))
    while studies > 0:
        size = min(at_a_time, studies)
        studies -= size
        # Var M of the problems is lognormal; how unequal they are differs between studies.
        unequal = rng.uniform(0.5, 1.0, (size, 1))
        variances = np.exp(unequal * rng.standard_normal((size, cell.problems)))
        drawn = errors(cell, rng, size, draws) * np.sqrt(variances)[:, None, :, None]
        # E[scale²] = 1, so that the vn error stays what it was.
        normal = rng.standard_normal((size, 1, cell.problems, 1))
        scale = np.exp(cell.scale * normal - cell.scale**2)
        truths = drawn[:, :2] / np.sqrt(cell.truth)
        mine = drawn[:, 2:3] * scale
        theirs = drawn[:, 3:] * (scale if cell.shared else 1.0)
        squares = [
            ((values - truths[:, :1]) * (values - truths[:, 1:])).mean((1, 3))
            for values in (mine, theirs)
        ]
        noise = np.repeat(variances[..., None] / cell.truth, cell.outputs, axis=2)
        for i in range(size):
            floor = truth_floor(truths[i, 0], truths[i, 1], noise[i])
            yield Study(squares[0][i], squares[1][i], variances[i], floor)


def share(flags: list[bool]) -> float:
    return float(np.mean(flags))


def tally(found: list[RatioEstimate]) -> dict[str, Any]:
    lows = np.array([ratio.interval.low for ratio in found])
    highs = np.array([ratio.interval.high for ratio in found])
    with np.errstate(divide="ignore"):
        width = float(np.median(highs / lows))
    return {
        "coverage": share([1.0 in ratio.interval for ratio in found]),
        "beats": share([ratio.verdict == "beats" for ratio in found]),
        "loses to": share([ratio.verdict == "loses to" for ratio in found]),
        "unresolved": share([ratio.bound != "none" for ratio in found]),
        # JSON has no infinity.
        "width": width if np.isfinite(width) else None,
        "power at 2": float(np.mean(2 * lows > 1)),
        "power at 4": float(np.mean(4 * lows > 1)),
    }


def percentile(study: Study, rng: np.random.Generator) -> tuple[float, float]:
    """The interval that is not good enough, for comparison."""
    counts = rng.multinomial(
        study.errors.size, np.full(study.errors.size, 1 / study.errors.size), size=BOOTSTRAPS
    )
    low, high = np.quantile((counts @ study.errors) / (counts @ study.variances), (0.025, 0.975))
    return float(low), float(high)


def measure(cell: Cell, seed: int, number: int, studies: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, number])
    analytic: list[RatioEstimate] = []
    measured: list[RatioEstimate] = []
    simple: list[tuple[float, float]] = []
    for study in draw(cell, rng, studies):
        given = (study.errors, study.variances)
        analytic.append(ratio_to_sampling(*given, 1.0, study.floor))
        measured.append(ratio_to_opponent(*given, study.opponent, study.floor))
        simple.append(percentile(study, rng))
    return {
        "cell": asdict(cell),
        "analytic": tally(analytic),
        "measured": tally(measured),
        "percentile": {
            "coverage": share([low <= 1 <= high for low, high in simple]),
            "beats": share([high < 1 for _, high in simple]),
        },
    }


def show(row: dict[str, Any]) -> str:
    parts: list[str] = []
    for opponent in ("analytic", "measured"):
        t = row[opponent]
        width = "inf" if t["width"] is None else f"{t['width']:.2f}"
        parts.append(
            f"{t['coverage']:.3f} {t['beats']:.3f} {t['loses to']:.3f} {width:>6} "
            f"{t['power at 2']:.2f} {t['power at 4']:.2f}"
        )
    simple = row["percentile"]
    return " | ".join([*parts, f"{simple['coverage']:.3f} {simple['beats']:.3f}"])


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Extremes over the cells that the intervals are calibrated for."""
    out: dict[str, Any] = {}
    gaussian = [row for row in rows if row["cell"]["group"] == "gaussian"]
    for name, chosen in (
        ("10 problems or more", [r for r in gaussian if r["cell"]["problems"] >= 10]),
        ("5 problems", [r for r in gaussian if r["cell"]["problems"] == 5]),
    ):
        tallies = [r[opponent] for r in chosen for opponent in ("analytic", "measured")]
        coverage = [t["coverage"] for t in tallies]
        out[name] = {
            "coverage (least, mean, most)": [
                min(coverage),
                float(np.mean(coverage)),
                max(coverage),
            ],
            "tables": len(coverage),
            "covering less than 93 %": sum(c < 0.93 for c in coverage),
            "covering more than 97 %": sum(c > 0.97 for c in coverage),
            "false beats": max(t["beats"] for t in tallies),
            "percentile coverage": [
                min(r["percentile"]["coverage"] for r in chosen),
                max(r["percentile"]["coverage"] for r in chosen),
            ],
            "percentile false beats": max(r["percentile"]["beats"] for r in chosen),
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=4000, help="simulated studies in each cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="benchmarks/results/verdict_calibration.json")
    options = parser.parse_args()

    print(
        "columns: against 1/N | against measured plain Monte Carlo: coverage, false beats,\n"
        "false loses, median width (high / low), power at ratio 2 and 4 |\n"
        "percentile bootstrap: coverage, false beats\n"
    )
    rows: list[dict[str, Any]] = []
    for number, cell in enumerate(cells()):
        rows.append(measure(cell, options.seed, number, options.studies))
        print(f"{cell!s:<52}  {show(rows[-1])}", flush=True)
    extremes = summary(rows)
    results = {
        "machine": machine(),
        "seed": options.seed,
        "studies": options.studies,
        "replicates": REPLICATES,
        "summary": extremes,
        "rows": rows,
    }
    for name, found in extremes.items():
        print(f"{name}: {found}")
    write_results(options.output, results)


if __name__ == "__main__":
    main()
