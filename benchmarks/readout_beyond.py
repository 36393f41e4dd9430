"""Beyond the source: both layers trained, narrow layers, three layers.  Errors as N_eq.

``python benchmarks/readout_beyond.py [--only PART …]`` writes ``readout_beyond.json`` and its
figure ``readout_beyond.png`` once all parts are there.
"""

import json
import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import outsample as ou
from common import run_parts
from outsample.networks.activations import from_name
from outsample.readout import HermiteTensors, Hinge, Sigmoid, TwoLayer
from outsample.readout.symmetric import norm_squared
from readout_nets import truths

F64 = torch.float64
RESULTS, FIGURE = "benchmarks/results/readout_beyond.json", "docs/images/readout_beyond.png"
_PAIRS = 10**5


def both_layers() -> Iterator[dict[str, Any]]:
    """Both layers trained by momentum descent on a ridge; advice rebuilt, kept, or mixed.

    ``kept`` is advice for the hidden layer of the start and the readout as it stands: what a
    stream would say that does not know that W moved.
    """
    rows: list[dict[str, Any]] = []
    for rate in (0.0, 0.01, 0.1):
        for seed in range(3):
            rows += train_both(16, 512, rate, seed)
            yield {"rows": rows}


def train_both(n: int, m: int, rate: float, seed: int) -> list[dict[str, Any]]:
    """Train, and look at steps 100, 400 and 1600."""
    g = torch.Generator().manual_seed(500 + seed)
    first = torch.randn(m, n, generator=g, dtype=F64) / math.sqrt(n)
    weight = nn.Parameter(first.clone())
    readout = nn.Parameter(torch.zeros(m, dtype=F64))
    optimizer = torch.optim.SGD(
        [{"params": [readout], "lr": 2e-3}, {"params": [weight], "lr": rate}], momentum=0.9
    )
    rows: list[dict[str, Any]] = []
    for step in range(1, 1601):
        x = torch.randn(64, n, generator=g, dtype=F64)
        y = torch.tanh(3 * (x[:, 0].abs() - 1))
        optimizer.zero_grad()
        loss = (torch.relu(x @ weight.T) @ readout - y).square().mean()
        loss.backward()
        optimizer.step()
        if step not in (100, 400, 1600):
            continue
        now = TwoLayer(weight.detach().clone(), readout.detach().clone())
        stale = TwoLayer(first, readout.detach().clone())
        exact, kept = HermiteTensors.of(now), HermiteTensors.of(stale)
        gaps = [
            float((norm_squared(a - b, n, d) / norm_squared(b, n, d)).sqrt())
            for d, (a, b) in enumerate(
                zip(kept.tensors_by_degree, exact.tensors_by_degree, strict=True)
            )
            if b.shape[1]
        ]
        rows.append({
            "rate": rate, "seed": seed, "step": step, "loss": float(loss.detach()),
            "moved": float((weight.detach() - first).norm() / first.norm()),
            "kept_errors": gaps, "largest_share": float(exact.shares[0, 0]),
            "rebuilt": n_eq(now, exact, ou.ConditionedReadout(), seed),
            "kept": n_eq(now, kept, ou.ConditionedReadout(mismatch=1e9), seed),
            "edgeworth": n_eq(now, exact, ou.TensorNetworkCumulants(), seed),
        })  # fmt: skip
    return rows


def n_eq(
    problem: TwoLayer, advice: HermiteTensors, method: ou.Estimator, seed: int
) -> dict[str, float]:
    """N_eq for the sigmoid and the hinge, with the truth's own error as a floor."""
    several = TwoLayer(problem.weight, problem.readout[None], problem.activation)
    known = truths(several, _PAIRS, seed)[0]
    found: dict[str, float] = {}
    sigmas = {
        "sig": Sigmoid(3 / known["deviation"], known["mean"]),
        "relu": Hinge(known["mean"], 1 / known["deviation"]),
    }
    for name, sigma in sigmas.items():
        said = float(method.estimate(problem.with_output(sigma), advice).value)
        floor = known[name]["standard_error"]
        gap = max(abs(said - known[name]["value"]), floor)
        found[name] = known[name]["variance"] / gap**2
    return found


def narrow() -> Iterator[dict[str, Any]]:
    """Random readouts of ever narrower hidden layers, n = 16."""
    rows: list[dict[str, Any]] = []
    for m in (8, 16, 32, 64, 256, 1024):
        for seed in range(5):
            g = torch.Generator().manual_seed(900 + seed)
            weight = torch.randn(m, 16, generator=g, dtype=F64) / 4
            readout = torch.randn(m, generator=g, dtype=F64) / math.sqrt(m)
            problem = TwoLayer(weight, readout)
            advice = HermiteTensors.of(problem)
            row: dict[str, Any] = {
                "m": m, "seed": seed, "degree": advice.degree, "size": advice.size,
                "parameters": problem.parameters,
            }  # fmt: skip
            for label, method in (
                ("two directions", ou.ConditionedReadout()),
                ("three directions", ou.ConditionedReadout(3, 12)),
                ("edgeworth", ou.TensorNetworkCumulants()),
            ):
                row[label] = n_eq(problem, advice, method, seed)
            rows.append(row)
        yield {"rows": rows}


def three_layers() -> Iterator[dict[str, Any]]:
    """x -> φ(W_1 x) -> φ(W_2 ·) -> v: the first layer's output taken as Gaussian.

    Its exact mean and covariance make a two-layer problem with that Gaussian as its input.
    """
    rows: list[dict[str, Any]] = []
    relu = from_name("relu")
    for width in (16, 32, 64, 128):
        for seed in range(3):
            g = torch.Generator().manual_seed(1300 + seed)
            one = torch.randn(width, 16, generator=g, dtype=F64) * math.sqrt(2 / 16)
            two = torch.randn(width, width, generator=g, dtype=F64) * math.sqrt(2 / width)
            v = torch.randn(width, generator=g, dtype=F64) / math.sqrt(width)
            covariance = one @ one.T
            zero = torch.zeros(width, dtype=F64)
            law = relu.expand(zero, covariance.diagonal())
            middle = relu.covariance(zero, covariance, law, 0)[0]
            middle = (middle + middle.T) / 2 + 1e-12 * torch.eye(width, dtype=F64)
            problem = TwoLayer(two, v, inputs=ou.Gaussian(law.mean, middle))
            advice = HermiteTensors.of(problem, degree=2)
            mean, deviation = float(advice.mean[0]), float(advice.variance[0]) ** 0.5
            sigmas = {"sig": Sigmoid(3 / deviation, mean), "relu": Hinge(mean, 1 / deviation)}
            values: dict[str, list[Tensor]] = {name: [] for name in sigmas}
            for _ in range(200):
                x = torch.randn(1024, 16, generator=g)
                both = torch.cat((x, -x))
                hidden = torch.relu(torch.relu(both @ one.T.float()) @ two.T.float())
                f = (hidden @ v.float()).double()
                for name, sigma in sigmas.items():
                    values[name].append(sigma(f).reshape(2, -1))
            for name, sigma in sigmas.items():
                sampled = torch.cat(values[name], 1)
                truth, spread = sampled.mean(), sampled.var()
                floor = sampled.mean(0).std() / math.sqrt(sampled.shape[1])
                row: dict[str, Any] = {"width": width, "seed": seed, "output": name}
                for label, method in (
                    ("two directions", ou.ConditionedReadout(degree=2)),
                    ("gauss", ou.TensorNetworkCumulants(degree=2, order=2)),
                ):
                    said = method.estimate(problem.with_output(sigma), advice).value
                    gap = torch.maximum((said - truth).abs(), floor)
                    row[label] = float(spread / gap**2)
                rows.append(row)
            yield {"rows": rows}


def figure() -> None:
    """Three panels: N_eq while both layers train, by width, and with three layers."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    found = json.loads(Path(RESULTS).read_text())
    if not all(part in found for part in PARTS):
        return
    fig, axes = plt.subplots(1, 3, figsize=(13, 4), constrained_layout=True)
    rows = found["both_layers"]["rows"]
    for kind, style in (("rebuilt", "-o"), ("kept", "--x"), ("edgeworth", ":^")):
        for rate, colour in ((0.01, "C0"), (0.1, "C1")):
            steps = sorted({r["step"] for r in rows})
            chosen = [
                statistics.median(
                    r[kind]["relu"] for r in rows if r["rate"] == rate and r["step"] == s
                )
                for s in steps
            ]
            axes[0].loglog(steps, chosen, style, color=colour, label=f"{kind}, rate {rate:g}")
    axes[0].set(title="both layers trained (16, 512)", xlabel="step", ylabel="N_eq (hinge)")
    rows = found["narrow"]["rows"]
    widths = sorted({r["m"] for r in rows})
    for kind in ("two directions", "three directions", "edgeworth"):
        chosen = [statistics.median(r[kind]["relu"] for r in rows if r["m"] == m) for m in widths]
        axes[1].loglog(widths, chosen, "-o", label=kind)
    axes[1].axvline(16, color="0.7", linewidth=1)
    axes[1].set(title="n = 16, narrow hidden layers", xlabel="hidden units")
    rows = [r for r in found["three_layers"]["rows"] if r["output"] == "relu"]
    widths = sorted({r["width"] for r in rows})
    for kind in ("two directions", "gauss"):
        chosen = [statistics.median(r[kind] for r in rows if r["width"] == w) for w in widths]
        axes[2].loglog(widths, chosen, "-o", label=kind)
    axes[2].set(title="three layers, n = 16", xlabel="width")
    axes[2].set_xticks(widths, [str(w) for w in widths])
    axes[2].minorticks_off()
    for axis in axes:
        low, high = axis.get_ylim()
        axis.set_ylim(low * (low / high) ** 0.45, high)  # room for the legend
        axis.legend(fontsize=8, loc="lower right", ncols=2)
        axis.grid(alpha=0.3)
    fig.savefig(FIGURE, dpi=120)


PARTS = {"both_layers": both_layers, "narrow": narrow, "three_layers": three_layers}

if __name__ == "__main__":
    run_parts(PARTS, RESULTS, __doc__)
    figure()
