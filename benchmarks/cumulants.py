"""Cumulant propagation against sampling: error and time by width, depth, order and activation.

Four parts, each beside its targets where there are any:

- ratios: the time that sampling takes to the same error, over the time of an estimate; ReLU,
  4 hidden layers, 8 networks;
- times: median seconds of an estimate, with one thread and with two;
- law: the exponents at which the error falls with the width, orders 1 to 3, 3 hidden layers;
- grid: error, time and FLOPs by width, depth, order, variant and activation, 3 networks each,
  beside four ways of sampling.

Networks are those of ``RandomMLP`` in float32, seeds 0, 1, …, with biases for tanh alone.  Their
errors are means over 64 readouts; times are those of the same network with one readout, for
estimators and samplers alike.  Truths are sampled, antithetic and moment-matched (exact where there
is one hidden layer), and kept in out/truths.  About 17 minutes on two cores, 8 with the truths at
hand.

    python benchmarks/cumulants.py                      # everything
    python benchmarks/cumulants.py --only ratios times  # the rest as it stands in the results
"""

import argparse
import dataclasses
import hashlib
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch

import cumulants_report
import outsample as ou
from common import machine, write_results
from outsample.comparison.cells import Cell, Method, Truth, find_truth, run_cell
from outsample.comparison.scores import PLAIN, Pool, Sampling
from outsample.estimator import input_hash

OUTPUTS = 64
TRUTHS = Path("out/truths")
#: Batch sizes at which samplers are timed, besides their own, and samples of one of their runs.
BATCHES, FEW_BATCHES = tuple(2**k for k in range(8, 15)), (2**9, 2**11)
SAMPLES, SAMPLING_FLOPS = 2**13, 2e10
SAMPLERS = (PLAIN, "antithetic", "moment-matched", "scrambled Sobol")

#: Width, order, variants (the best of them counts), antithetic sampling's time over ours.
RATIO_TARGETS = (
    (64, 2, ("basic", "augmented"), 1.0),
    (64, 3, ("basic", "augmented"), 2.0),
    (64, 4, ("basic", "basic in bfloat16"), 2.0),
    (128, 3, ("basic", "augmented"), 30.0),
    (256, 2, ("augmented",), 30.0),
    (256, 3, ("basic",), 130.0),
    (256, 3, ("augmented",), 20.0),
)
#: Moment-matched sampling's time over ours: this part of the same targets.
MATCHED_SHARE = 0.2
#: Samples for each half of a truth by width.  At width 256 this leaves squared errors over all
#: networks a noise of 3e-8: order 3 has errors of 3e-7.
RATIO_TRUTHS = {64: 2**18, 128: 2**19, 256: 2**20}
RATIO_DEPTH, RATIO_NETWORKS = 4, 8

#: Order, variant, width, depth, target in seconds, seconds of the published reference.
TIME_TARGETS = (
    (2, "basic", 256, 4, None, 0.011),
    (3, "basic", 256, 4, 0.030, 0.054),
    (3, "basic", 256, 16, 0.2, 0.59),
    (3, "basic", 256, 32, 0.5, 2.45),
    (3, "basic in bfloat16", 256, 16, 0.2, 0.59),
    (3, "basic in bfloat16", 256, 32, 0.5, 2.45),
    (3, "elliptical in bfloat16", 256, 16, None, 0.59),
    (3, "augmented", 256, 4, 0.6, 11.1),
    (4, "basic", 64, 4, 0.040, 0.192),
    (4, "basic in bfloat16", 64, 4, 0.040, 0.192),
)

LAW_TARGETS = {1: -0.85, 2: -1.85, 3: -2.85}
LAW_DEPTH = 3
#: Width: networks, samples for each half of a truth.  Order 3 falls as width⁻³, the truth's noise
#: only as 1/samples: at width 512 an error of 2e-8 stands against a noise of about 1e-8.
LAW_POINTS = {64: (16, 2**17), 128: (16, 2**18), 256: (10, 2**20), 512: (5, 2**21)}

GRID_NETWORKS, GRID_DEPTH, DEPTHS = 3, 4, (1, 2, 4, 8, 16, 32)
#: Deviation of the biases: without them tanh is odd, and every mean is 0.
BIAS_SCALES = {"relu": 0.0, "gelu": 0.0, "tanh": 0.5}
#: Widths at GRID_DEPTH, and those at which all depths are tried.
GRID_WIDTHS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "relu": ((32, 64, 128, 256, 512), (64, 256)),
    "gelu": ((32, 64, 128, 256), (64,)),
    "tanh": ((32, 64, 128, 256), (64,)),
}
#: Order and variant: the largest width, and the largest width times depth, that are tried.
METHODS: dict[tuple[int, str], tuple[int, int]] = {
    (1, "basic"): (512, 1 << 14),
    (2, "basic"): (512, 1 << 14),
    (2, "augmented"): (512, 1 << 14),
    (3, "basic"): (512, 1 << 13),
    (3, "augmented"): (512, 1 << 11),
    (3, "elliptical in bfloat16"): (512, 1 << 13),
    (4, "basic"): (64, 512),
    (4, "basic in bfloat16"): (64, 256),
    (4, "augmented"): (32, 128),
}
#: Samples for each half of a truth: what these FLOPs pay for, within limits.
GRID_TRUTHS, GRID_TRUTH_FLOPS = (2**15, 2**18), 2e11


def method(order: int, variant: str) -> Method:
    kind, _, reduced = variant.partition(" in ")
    settings = {"precision": "reduced"} if reduced else {}
    return Method(f"order {order} {variant}", ou.Cumulants(order, kind, **settings))  # type: ignore[arg-type]


def affordable(width: int, depth: int) -> list[Method]:
    return [
        method(order, variant)
        for (order, variant), (widest, largest) in METHODS.items()
        if width <= widest and width * depth <= largest
    ]


def known(problem: ou.NetworkMean, seed: int, samples: int) -> Truth:
    """The truth about one network, computed once."""
    key = (input_hash(problem), seed, samples, torch.__version__, ou.__version__)
    path = TRUTHS / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}.json"
    if path.exists():
        return Truth(**json.loads(path.read_text()))
    truth = find_truth(problem, seed, samples, stream=0)
    if truth.error is not None:
        raise RuntimeError(truth.error)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(truth.to_dict()))
    return truth


@dataclass
class Study:
    """Some networks of one kind: their truths, and what estimators and samplers did on them."""

    width: int
    depth: int
    networks: int
    #: Samples for each half of a truth.
    samples: int
    activation: str = "relu"

    def __post_init__(self) -> None:
        self.cells: list[Cell] = []
        self.problems = [self.family(OUTPUTS).problem(i) for i in range(self.networks)]
        self.single = [self.family(1).problem(i) for i in range(self.networks)]
        self.truths = [known(p, i, self.samples) for i, p in enumerate(self.problems)]

    def family(self, outputs: int) -> ou.families.RandomMLP:
        bias = BIAS_SCALES[self.activation]
        return ou.families.RandomMLP(
            self.width, self.depth, self.activation, outputs, bias_scale=bias
        )

    @property
    def pool(self) -> Pool:
        return Pool(self.cells, self.truths)

    def estimate(self, method: Method, timed: int) -> None:
        """Take in an estimator: its values for all readouts, its cost for one of them.

        Its cost is measured on the first ``timed`` networks, and taken over for the others.
        """
        cost = Cell(problem=0, method=method.name, request=method.to_dict())
        for i, (problem, single) in enumerate(zip(self.problems, self.single, strict=True)):
            if i < timed:
                cost = run_cell(single, i, method, search=False)
            cell = dataclasses.replace(cost, problem=i, error=None)
            try:
                with torch.no_grad():
                    value = method.estimator.estimate(problem).value.tolist()
                cell = dataclasses.replace(cell, value=tuple(value), spread=(0.0,) * len(value))
            except ou.NumericalError as error:
                cell = dataclasses.replace(cell, error=str(error))
            self.cells.append(cell)

    def sample(self, matched: tuple[int, ...], batches: tuple[int, ...]) -> None:
        """Take in the samplers: their errors for all readouts, their times for one of them.

        Without a batch size a sampler is run for its error.  With one it is run for its time,
        which does not depend on the network.
        """
        for i, problem in enumerate(self.problems):
            for name, sampler in self._samplers(matched):
                cell = run_cell(problem, i, Method(name, sampler))
                flops = sampler.flops(self.single[i])
                self.cells.append(dataclasses.replace(cell, flops=flops))
        for name, sampler in self._samplers(matched[-1:]):
            if isinstance(sampler, ou.QuasiMonteCarlo):
                continue
            least, most = 2, sampler.samples
            if sampler.moment_matched:
                least, most = 2 * (self.width + 1), most // 8
            for batch in batches:
                if least <= batch <= most:
                    timed = dataclasses.replace(sampler, batch=batch)
                    self.cells.append(run_cell(self.single[0], 0, Method(name, timed)))

    def _samplers(
        self, matched: tuple[int, ...]
    ) -> Iterator[tuple[str, ou.MonteCarlo | ou.QuasiMonteCarlo]]:
        affordable = SAMPLING_FLOPS / self.truths[0].evaluation_flops
        samples = min(SAMPLES, 1 << int(math.log2(affordable)))
        yield PLAIN, ou.MonteCarlo(samples)
        yield "antithetic", ou.MonteCarlo(samples, antithetic=True)
        for wanted in matched:
            # Whitening loses what it gains where samples are hardly more than coordinates.
            enough = max(wanted, 64 * self.width)
            yield "moment-matched", ou.MonteCarlo(enough, antithetic=True, moment_matched=True)
        for points in (samples // 16, samples):
            yield "scrambled Sobol", ou.QuasiMonteCarlo(points)

    def row(self) -> dict[str, Any]:
        """Everything that was found, as plain numbers."""
        pool = self.pool
        measured = [s for s in map(pool.sampling, SAMPLERS) if s is not None]
        opponents = [pool.analytic(measured[0]), *measured[1:]]
        names = dict.fromkeys(c.method for c in self.cells if c.method not in SAMPLERS)
        return {
            **dataclasses.asdict(self),
            "truth_noise": pool.noise,
            "floor": pool.floor,
            "samplers": [sampler_row(s) for s in opponents],
            "estimators": [estimator_row(pool, name, opponents) for name in names],
        }


def sampler_row(sampling: Sampling) -> dict[str, Any]:
    fields = ("name", "samples", "constants", "flops_per_sample", "seconds_per_sample", "batch")
    return {name: getattr(sampling, name) for name in fields}


def estimator_row(pool: Pool, name: str, opponents: list[Sampling]) -> dict[str, Any]:
    score = pool.score(name, opponents)
    fields = ("vn_error", "low", "high", "resolved", "flops", "seconds", "trust", "error")
    ratios = {
        r.opponent: {"value": r.value, "low": r.low, "high": finite(r.high), "bound": r.bound}
        for r in score.ratios
        if r.budget == "seconds"
    }
    found = {field: finite(getattr(score, field)) for field in fields}
    # An error that drowns in the noise of the truth is shown as an upper limit.
    shown = score.vn_error if score.resolved else max(score.vn_error, 0.0) + 2 * pool.floor
    return {"method": name, **found, "shown": finite(shown), "ratios": ratios}


def finite(value: Any) -> Any:
    """The value, or None where JSON has no word for it."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def ratios(threads: int) -> dict[str, Any]:
    """Antithetic and moment-matched sampling's time to the same error over ours."""
    rows: dict[int, dict[str, Any]] = {}
    for width, samples in RATIO_TRUTHS.items():
        study = Study(width, RATIO_DEPTH, RATIO_NETWORKS, samples)
        for estimator in affordable(width, RATIO_DEPTH):
            study.estimate(estimator, timed=RATIO_NETWORKS)
        study.sample(matched=(2**14, 2**17), batches=BATCHES)
        rows[width] = study.row()
        progress(f"ratios: width {width}")
    targets = []
    for width, order, variants, least in RATIO_TARGETS:
        entries = {e["method"]: e for e in rows[width]["estimators"]}
        for opponent, share in (("antithetic", 1.0), ("moment-matched", MATCHED_SHARE)):
            candidates = [entries[method(order, v).name] for v in variants]
            best = max(candidates, key=lambda e, o=opponent: e["ratios"][o]["value"])
            found = {"width": width, "method": best["method"], "opponent": opponent}
            targets.append({**found, "target": share * least, **best["ratios"][opponent]})
    return {"rows": list(rows.values()), "targets": targets}


def times(threads: int) -> dict[str, Any]:
    """Median seconds of an estimate beside the targets and the published reference."""
    rows = []
    for order, variant, width, depth, target, reference in TIME_TARGETS:
        problem = ou.families.RandomMLP(width, depth).problem(0)
        estimator = method(order, variant).estimator
        seconds = {}
        for count in (1, 2):
            torch.set_num_threads(count)
            seconds[str(count)] = typical(lambda e=estimator, p=problem: e.estimate(p))
        torch.set_num_threads(threads)
        point = {"method": method(order, variant).name, "width": width, "depth": depth}
        rows.append({**point, "seconds": seconds, "target": target, "reference": reference})
        progress(f"times: {point}")
    return {"rows": rows}


@torch.no_grad()
def typical(run: Callable[[], object]) -> float:
    """Median time of a run: 5 runs at least, more for 2 seconds, 101 at most; warmed up."""
    run()
    found: list[float] = []
    while len(found) < 5 or (sum(found) < 2 and len(found) < 101):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return median(found)


def law(threads: int) -> dict[str, Any]:
    """Exponents of the error in the width, with intervals over networks."""
    studies = []
    for width, (networks, samples) in LAW_POINTS.items():
        study = Study(width, LAW_DEPTH, networks, samples)
        for order in LAW_TARGETS:
            study.estimate(method(order, "basic"), timed=0)
        studies.append(study)
        progress(f"law: width {width}")
    fits = {str(order): {"target": t, **fitted(studies, order)} for order, t in LAW_TARGETS.items()}
    return {"depth": LAW_DEPTH, "fits": fits}


def fitted(studies: list[Study], order: int) -> dict[str, Any]:
    """Fit vn error = exp(intercept) · width^exponent, every point weighed by how well it is known.

    Two things make a point uncertain: its networks, whose relative spread is taken from the
    narrowest width, where there are most and the truths are exact in comparison; and the noise of
    its truths.  The fit is one of least squares in the errors themselves, which may come out
    negative, not in their logarithms.  The interval is the bootstrap's, over the networks of each
    width, in 4000 draws.
    """
    generator = np.random.default_rng(0)
    found = np.empty((4001, len(studies)))
    spreads = []
    for place, study in enumerate(studies):
        cells = [c for c in study.cells if c.method == method(order, "basic").name]
        errors = np.array([t.error_of(c) for t, c in zip(study.truths, cells, strict=True)])
        variances = np.array([fmean(t.variance) for t in study.truths])
        rates = errors / variances
        spreads.append(rates.std(ddof=1) / rates.mean())
        picks = generator.integers(study.networks, size=(4000, study.networks))
        found[0, place] = errors.sum() / variances.sum()
        found[1:, place] = errors[picks].sum(1) / variances[picks].sum(1)
    floors = np.array([study.pool.floor for study in studies])
    spread = spreads[0] / np.sqrt([study.networks for study in studies])

    x = np.log([study.width for study in studies])
    weights = np.empty_like(found)
    slopes = np.log(found[:, 1] / found[:, 0]) / (x[1] - x[0])
    starts = np.log(found[:, 0]) - slopes * x[0]
    for _ in range(30):  # Newton's method in exponent and intercept; a few steps are enough
        model = np.exp(starts[:, None] + slopes[:, None] * x)
        weights = 1 / (spread**2 + (floors / model) ** 2)
        weights /= weights.sum(1, keepdims=True)
        y = np.log(model) + np.clip(found / model - 1, -2, 2)
        centre, middle = (weights * x).sum(1), (weights * y).sum(1)
        centred = x - centre[:, None]
        slopes = (weights * centred * y).sum(1) / (weights * centred**2).sum(1)
        starts = middle - slopes * centre
    low, high = np.quantile(slopes[1:], (0.025, 0.975))
    points = [
        {
            "width": study.width, "networks": study.networks, "truth_samples": study.samples,
            "vn_error": found[0, i], "deviation": math.hypot(spread[i] * found[0, i], floors[i]),
            "floor": floors[i], "weight": weights[0, i],
        }
        for i, study in enumerate(studies)
    ]  # fmt: skip
    fit = {"exponent": slopes[0], "low": low, "high": high, "intercept": starts[0]}
    return {**fit, "points": points}


def grid(threads: int) -> dict[str, Any]:
    """Error and cost over widths, depths, activations and methods, beside sampling."""
    rows = []
    for activation, (widths, deep) in GRID_WIDTHS.items():
        shapes = {(n, GRID_DEPTH) for n in widths} | {(n, d) for n in deep for d in DEPTHS}
        for width, depth in sorted(shapes):
            most = 1 << int(math.log2(GRID_TRUTH_FLOPS / (4 * depth * width**2)))
            samples = min(max(most, GRID_TRUTHS[0]), GRID_TRUTHS[1])
            if activation == "relu" and depth == RATIO_DEPTH:  # known already
                samples = RATIO_TRUTHS.get(width, samples)
            study = Study(width, depth, GRID_NETWORKS, samples, activation)
            for estimator in affordable(width, depth):
                study.estimate(estimator, timed=1)
            study.sample(matched=(SAMPLES,), batches=FEW_BATCHES)
            rows.append(study.row())
            progress(f"grid: {activation} {width} × {depth}")
    return {"rows": rows}


PARTS = {"ratios": ratios, "times": times, "law": law, "grid": grid}


def progress(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/cumulants.json"))
    options = parser.parse_args()

    # Estimates that are in doubt say so in the results.
    warnings.simplefilter("ignore", ou.NumericalWarning)
    results = json.loads(options.output.read_text()) if options.output.exists() else {}
    for part in options.only:
        torch.set_num_threads(options.threads)
        start = time.perf_counter()
        found = PARTS[part](options.threads)
        took = time.perf_counter() - start
        results[part] = {"took_seconds": took, "machine": machine(), **found}
        write_results(str(options.output), results)
    cumulants_report.show(results)
    cumulants_report.draw(results, options.output)


if __name__ == "__main__":
    main()
