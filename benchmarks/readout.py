"""Two-layer networks: N_eq against cost, the explainer's price, and where the series breaks.

``python benchmarks/readout.py [--only PART …]`` after ``readout_truth.py``.  N_eq: the variance of
σ(f) over the squared error: the samples that err as much.  It cannot be told beyond the truth's
own standard error; errors below two of them are marked.  Costs are in forward passes: FLOPs by
the library's meter on both sides, seconds against the sampler at its best batch.
"""

import json
import math
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import outsample as ou
import readout_nets as nets
from common import run_parts
from outsample.networks.activations import from_name
from outsample.readout import HermiteTensors, TwoLayer
from outsample.readout.coefficients import hermite_coefficients
from outsample.readout.contraction import Tensors, cumulant
from outsample.readout.symmetric import norm_squared

F64 = torch.float64
TRUTH = Path("benchmarks/results/readout_truth.json")
METHODS: dict[str, ou.Estimator] = {
    "conditioned": ou.ConditionedReadout(),
    "edgeworth": ou.TensorNetworkCumulants(),
    "gauss": ou.TensorNetworkCumulants(degree=2, order=2),
}
_BATCHES = (256, 512, 1024)


def normalised(problem: TwoLayer, rows: list[dict[str, Any]]) -> TwoLayer:
    """Every readout with mean 0 and variance 1, so that one σ serves all."""
    deviation = torch.tensor([row["deviation"] for row in rows], dtype=F64)
    mean = torch.tensor([row["mean"] for row in rows], dtype=F64)
    return TwoLayer(
        problem.weight,
        problem.readout / deviation[:, None],
        problem.activation,
        readout_bias=-mean / deviation,
        inputs=problem.law,
    )


def accuracy(name: str) -> Iterator[dict[str, Any]]:
    """Errors of every readout and output function, all methods, network by network."""
    case = nets.CASES[name]
    known = json.loads(TRUTH.read_text())[name]["networks"]
    rows: list[dict[str, Any]] = []
    for seed, network in enumerate(known):
        names, problem = case.problem(seed)
        entries = [network["readouts"][readout] for readout in names]
        scaled = normalised(problem, entries)
        advice = HermiteTensors.of(scaled)
        for output, sigma in nets.outputs(0.0, 1.0, case.activation).items():
            for label, method in METHODS.items():
                if label == "edgeworth" and case.n > 16:
                    continue  # its contractions would take most of an hour
                for i, readout in enumerate(names):
                    one, own = single(scaled, advice, i)
                    estimate = method.estimate(one.with_output(sigma), own)
                    said, error = entries[i][output], entries[i][output]["standard_error"]
                    gap = float(estimate.value) - said["value"]
                    rows.append({
                        "seed": seed, "readout": readout, "output": output, "method": label,
                        "error": gap, "truth_error": error, "variance": said["variance"],
                        "n_eq": said["variance"] / max(gap**2, error**2, 1e-300),
                        "below_truth": abs(gap) < 2 * error, "trust": estimate.trust,
                    })  # fmt: skip
        yield {"summary": summary(rows), "rows": [compact(row) for row in rows]}


def compact(row: dict[str, Any]) -> str:
    """One row as a line: a file of thousands of rows stays readable."""
    return json.dumps({k: float(f"{v:.4g}") if type(v) is float else v for k, v in row.items()})


def single(problem: TwoLayer, advice: HermiteTensors, i: int) -> tuple[TwoLayer, HermiteTensors]:
    """One readout with its own advice."""
    one = TwoLayer(
        problem.weight,
        problem.readout[i],
        problem.activation,
        readout_bias=problem.readout_bias[i],
        inputs=problem.law,
    )
    parts = {name: tensor[i : i + 1] for name, tensor in advice.tensors().items()}
    return one, HermiteTensors.from_tensors(parts)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Worst and median N_eq by output and method; and of every readout, averaged over networks."""
    found: dict[str, Any] = {}
    for output in nets.OUTPUTS:
        for method in METHODS:
            chosen = [r for r in rows if r["output"] == output and r["method"] == method]
            kinds: dict[str, list[dict[str, Any]]] = {}
            for row in chosen:
                kinds.setdefault(row["readout"], []).append(row)
            pooled = {kind: pool(some) for kind, some in kinds.items()}
            n_eq = [r["n_eq"] for r in chosen if r["truth_error"] > 0]
            if not n_eq:
                continue
            ok = [r for r in chosen if r["trust"] == "ok"]
            found[f"{method} {output}"] = {
                "worst": min(n_eq),
                "median": statistics.median(n_eq),
                "geometric_mean": math.exp(statistics.fmean(map(math.log, n_eq))),
                "below_truth": sum(r["below_truth"] for r in chosen) / len(chosen),
                "trusted": len(ok) / len(chosen),
                "worst_trusted": min((r["n_eq"] for r in ok), default=None),
                "mean_over_networks": pooled,
            }
    return found


def pool(rows: list[dict[str, Any]]) -> float:
    """Mean variance over mean squared error, the truth's own error as a floor."""
    errors = [max(row["error"] ** 2, row["truth_error"] ** 2) for row in rows]
    return statistics.fmean(row["variance"] for row in rows) / max(statistics.fmean(errors), 1e-300)


def cost() -> Iterator[dict[str, Any]]:
    """FLOPs and seconds of an estimate with advice and without, in forward passes."""
    rows: list[dict[str, Any]] = []
    for name, case in nets.CASES.items():
        if name == "digits 16x1024":
            continue  # of the shape of the first
        weight, readout = small_problem(case)
        problem = TwoLayer(weight, readout, case.activation)
        with torch.no_grad():
            x = torch.zeros(256, case.n, dtype=F64)
            one = ou.count_flops(lambda p=problem, x=x: p(x)) / 256
        sampler, batch = sampler_seconds(problem)
        advice = HermiteTensors.of(problem)
        row: dict[str, Any] = {
            "case": name, "flops_per_pass": one, "sampler_seconds": sampler, "batch": batch,
            "advice_size": advice.size, "parameters": problem.parameters,
            "build_passes": ou.count_flops(lambda p=problem: HermiteTensors.of(p)) / one,
            "build_seconds_passes": seconds(lambda p=problem: HermiteTensors.of(p), 3) / sampler,
        }  # fmt: skip
        for output, sigma in nets.outputs(0.0, 1.0, case.activation).items():
            asked = problem.with_output(sigma)
            for label, method in METHODS.items():
                row[f"{label} {output}"] = {
                    "passes": method.flops(asked, advice) / one,
                    "seconds_passes": seconds(
                        lambda m=method, p=asked, a=advice: m.estimate(p, a), 3
                    )
                    / sampler,
                }
        rows.append(row)
        yield {"rows": rows}


def small_problem(case: nets.Case) -> tuple[Tensor, Tensor]:
    """Weights and a random readout of that shape."""
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(case.m, case.n, generator=g, dtype=F64) / math.sqrt(case.n)
    return weight, torch.randn(case.m, generator=g, dtype=F64) / math.sqrt(case.m)


def seconds(function: Any, repeats: int) -> float:
    """Processor time of the fastest of several runs: one thread, whatever else is running."""
    times: list[float] = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def sampler_seconds(problem: TwoLayer) -> tuple[float, int]:
    """Seconds a sample in float32, drawing the inputs included, at the best batch size."""
    w, v = problem.weight.float(), problem.readout.float()
    g = torch.Generator().manual_seed(0)
    times: dict[int, float] = {}
    with torch.no_grad():
        for batch in _BATCHES:

            def run(batch: int = batch) -> None:
                for _ in range(8):
                    x = torch.randn(batch, w.shape[1], generator=g)
                    torch.sigmoid(problem.activation(x @ w.T) @ v).sum()

            times[batch] = seconds(run, 5) / (8 * batch)
    best = min(times, key=lambda b: times[b])
    return times[best], best


def explainer_end() -> Iterator[dict[str, Any]]:
    """The explainer when training has ended: its processor time over that of training."""
    rows: list[dict[str, Any]] = []
    for n, m in ((8, 1024), (16, 1024), (16, 4096), (32, 4096)):
        rows.append(trained(n, m, None, 0))
        yield {"rows": rows}


def explainer_streams() -> Iterator[dict[str, Any]]:
    """The explainer during training: errors by degree, its time over that of training."""
    rows: list[dict[str, Any]] = []
    for n, m in ((8, 1024), (16, 1024), (16, 4096), (32, 4096)):
        for form in ("wide", "hybrid"):
            for seed in (0, 1) if n < 32 else (0,):
                if (n, form) != (32, "wide"):
                    rows.append(trained(n, m, form, seed))
                    yield {"rows": rows}


def trained(n: int, m: int, form: Any, seed: int, steps: int = 2000) -> dict[str, Any]:
    """Descent on a ridge in a plain PyTorch loop, with or without a stream attached."""
    g = torch.Generator().manual_seed(100 + seed)
    net = nn.Sequential(
        nn.Linear(n, m, bias=False, device="meta"),
        nn.ReLU(),
        nn.Linear(m, 1, bias=False, device="meta"),
    )
    net[0].weight = nn.Parameter(torch.randn(m, n, generator=g) / n**0.5, requires_grad=False)
    net[2].weight = nn.Parameter(torch.zeros(1, m))
    hidden = net[1](torch.randn(2048, n, generator=g) @ net[0].weight.T)
    rate = 0.2 * 2048 / float(torch.linalg.matrix_norm(hidden, 2)) ** 2
    optimizer = torch.optim.SGD([net[2].weight], lr=rate)
    method = ou.HermiteExplainer()
    stream = method.watch(net, optimizer, form=form) if form else None
    start = time.process_time()
    for _ in range(steps):
        x = torch.randn(64, n, generator=g)
        y = torch.tanh(3 * (x[:, 0].abs() - 1))
        optimizer.zero_grad()
        (net(x)[:, 0] - y).square().mean().backward()
        optimizer.step()
    took = time.process_time() - start
    problem = TwoLayer.from_module(net)
    exact = method.explain(problem)
    row: dict[str, Any] = {"n": n, "m": m, "form": form or "end", "seed": seed}
    if stream is None:
        net64 = problem.whitened()
        e = hermite_coefficients(net64.activation, net64.means, net64.lengths, 4)

        def tensors_only() -> None:
            from outsample.readout.symmetric import sum_of_powers

            for d in (0, 1, 2, 4):
                sum_of_powers(net64.directions, net64.readouts * e[d], d)

        everything = seconds(lambda: method.explain(problem), 3)
        return row | {
            "training_seconds": took,
            "tensors_ratio": seconds(tensors_only, 3) / took,
            "ratio": everything / took,
            "flops_ratio": ou.count_flops(lambda: method.explain(problem))
            / (steps * 64 * (2 * n * m + 6 * m)),
        }
    learned = stream.explanation()
    gaps = {
        d: float((norm_squared(a - b, n, d) / norm_squared(b, n, d)).sqrt())
        for d, (a, b) in enumerate(
            zip(learned.tensors_by_degree, exact.tensors_by_degree, strict=True)
        )
        if b.shape[1]
    }
    return row | {"errors": gaps, "ratio": stream.time_ratio}


def series() -> Iterator[dict[str, Any]]:
    """Fourth cumulants of one unit by the highest degree: the series is asymptotic."""
    rows: list[dict[str, Any]] = []
    for name, scale, most in (
        ("relu", 1.0, 12), ("gelu", 1.0, 12), ("erf", 0.5, 7), ("erf", 1.0, 9), ("erf", 2.0, 7),
    ):  # fmt: skip
        zero, s = torch.zeros(1, dtype=F64), torch.tensor([scale], dtype=F64)
        activation = from_name(name)
        e = hermite_coefficients(activation, zero, s, most)[:, 0]
        tensors = {d: e[d].reshape((1,) * d) for d in range(1, most + 1) if abs(e[d]) > 1e-12}
        own = activation.expand(zero, s * s)
        exact, variance = float(own.coefficient(0, 4)), float(own.coefficient(0, 2))
        partial = cumulant(Tensors(tensors), 4).partial
        rows.append({
            "activation": name, "scale": scale, "variance": variance,
            "fourth": partial, "exact": exact - 3 * variance**2,
        })  # fmt: skip
        yield {"rows": rows}


def sharing() -> Iterator[dict[str, Any]]:
    """Many readouts of one hidden layer: what their advice costs together and apart."""
    weight, readout = small_problem(nets.CASES["relu 16x1024"])
    g = torch.Generator().manual_seed(1)
    many = torch.randn(16, 1024, generator=g, dtype=F64) / 32
    together, one = TwoLayer(weight, many), TwoLayer(weight, readout)
    yield {
        "readouts": 16,
        "flops_ratio": ou.count_flops(lambda: HermiteTensors.of(together))
        / ou.count_flops(lambda: HermiteTensors.of(one)),
        "seconds_ratio": seconds(lambda: HermiteTensors.of(together), 3)
        / seconds(lambda: HermiteTensors.of(one), 5),
    }


PARTS = {
    **{f"accuracy {name}": partial(accuracy, name) for name in nets.CASES},
    "cost": cost,
    "explainer_end": explainer_end,
    "explainer_streams": explainer_streams,
    "series": series,
    "sharing": sharing,
}

if __name__ == "__main__":
    run_parts(PARTS, "benchmarks/results/readout.json", __doc__)
