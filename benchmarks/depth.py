"""Where the error of deep networks comes from, and what lowers it: the figures of theory/depth.

Truth is sampled with antithetic pairs on all threads and can be cached; everything that is timed
runs on one thread, sampling included.

    python benchmarks/depth.py --cache FOLDER
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import outsample as ou
from common import machine, write_results
from depth_ideas import Core, Idea, propagate
from outsample.cumulants.symmetric import Dense, Traced

#: (width, depth): networks, samples of the truth.
GRID = {
    (64, 4): (4, 8e6), (128, 4): (4, 4e6), (64, 8): (6, 4e6), (64, 16): (5, 4e6),
    (256, 8): (4, 4e6), (256, 16): (5, 2e6), (256, 32): (4, 1e6),
}  # fmt: skip
BEST = Idea(half=True)
IDEAS = {
    "order 2, covariance as metric": Idea(budget=2, window=0),
    "order 3 basic, identity as metric": Idea(budget=2, metric=False),
    "order 3 basic, covariance as metric": Idea(budget=2),
    "budget 3, identity as metric": Idea(metric=False),
    "budget 3, covariance as metric": Idea(),
    "budget 3, covariance, bfloat16": BEST,
    "κ_4 core rank 8, identity": Idea(rank=8, metric=False),
    "κ_4 core rank 16, identity": Idea(rank=16, metric=False),
    "κ_4 core rank 4, covariance, bfloat16": Idea(rank=4, half=True),
    "κ_4 core rank 8, covariance, bfloat16": Idea(rank=8, half=True),
    "κ_4 core rank 16, covariance, bfloat16": Idea(rank=16, half=True),
    "κ_4 core rank 32, covariance, bfloat16": Idea(rank=32, half=True),
    "Sym(A ⊗ C) by partial trace": Idea(partial=True),
    "Sym(A ⊗ C) by partial trace, bfloat16": Idea(partial=True, half=True),
    **{
        f"{name}, {how}": Idea(half=True, fold=fold, directions=k, **cut)
        for name, cut in (
            ("tolerance 0.02", {"tolerance": 0.02}), ("tolerance 0.05", {"tolerance": 0.05}),
            ("tolerance 0.1", {"tolerance": 0.1}), ("window 4", {"window": 4}),
            ("window 8", {"window": 8}), ("window 12", {"window": 12}),
        )
        for how, fold, k in (
            ("dropped", False, 0), ("trace kept", True, 0),
            ("48 directions and trace kept", True, 48),
        )
        if not (k and "tolerance" in name)
    },
}  # fmt: skip
LIBRARY = {
    "Cumulants(2, 'basic')": ou.Cumulants(2, "basic"),
    "ExactCovariance()": ou.ExactCovariance(),
    "Cumulants(2)": ou.Cumulants(2),
    "Cumulants(3, 'basic', tolerance=0)": ou.Cumulants(3, "basic", tolerance=0.0),
    "Cumulants(3, tolerance=0)": ou.Cumulants(3, tolerance=0.0),
    "Cumulants(4, 'basic', tolerance=0)": ou.Cumulants(4, "basic", tolerance=0.0),
}


def network(width: int, depth: int, seed: int) -> ou.NetworkMean:
    family = ou.families.RandomMLP(width=width, depth=depth, outputs=width, dtype="float32")
    return family.problem(seed)


@torch.no_grad()
def truth(width: int, depth: int, seed: int, samples: int, cache: str | None) -> dict[str, Any]:
    """Means and variances of every layer in two independent halves, covariances, and noise."""
    path = Path(cache or "") / f"t_{width}_{depth}_{seed}.pt"
    if cache and path.exists():
        return torch.load(path)
    weights = [a.weight.detach().T.contiguous() for a in network(width, depth, seed).graph().affine]
    generator = torch.Generator().manual_seed(1000003 + seed)
    batch, layers = 4096, depth + 1
    total = torch.zeros(2, layers, width, dtype=torch.float64)
    squares, pairs = torch.zeros(layers, dtype=torch.float64), 0.0
    products = torch.zeros(layers, width, width, dtype=torch.float64)
    steps, counted = int(samples) // batch // 4 * 4, 0
    for step in range(steps):
        x = torch.randn(batch // 2, width, generator=generator)
        x = torch.cat((x, -x))
        for layer, weight in enumerate(weights):
            x = x @ weight
            x = x.clamp_(min=0) if layer < depth else x
            total[step % 2, layer] += x.sum(0)
            squares[layer] += float(x.square().sum())
            if step % 4 == 0:
                products[layer] += x.T @ x
        counted += batch * (step % 4 == 0)
        pairs += float((x[: batch // 2] + x[batch // 2 :]).square().sum()) / 4
    count = steps * batch
    mean = total.mean(0) * 2 / count
    variance = squares / count - mean.square().sum(1)
    of_pairs = pairs * 2 / count - float(mean[-1].square().sum())
    covariance = products / counted - mean[:, :, None] * mean[:, None]
    out = {
        "mean": total * 2 / count, "var": variance, "N": count, "cov": covariance.float(),
        "k": 2 * of_pairs / float(variance[-1]),
    }  # fmt: skip
    if cache:
        Path(cache).mkdir(parents=True, exist_ok=True)
        torch.save(out, path)
    return out


def vn_error(value: Tensor, known: dict[str, Any], layer: int = -1) -> float:
    """Squared error over variance, unbiased by the truth's noise: (G − T₁)(G − T₂)."""
    first, second = known["mean"][:, layer]
    value = value.double()
    return float(((value - first) * (value - second)).sum() / known["var"][layer])


def timed(run: Callable[[], Any], rounds: int) -> tuple[Any, float]:
    best, out = math.inf, None
    for _ in range(rounds):
        start = time.perf_counter()
        out = run()
        best = min(best, time.perf_counter() - start)
    return out, best


def sampling_seconds(problem: ou.NetworkMean) -> float:
    """Seconds per evaluation of antithetic sampling."""
    estimator = ou.MonteCarlo(2**15, seed=0, antithetic=True)
    return timed(lambda: estimator.estimate(problem), 3)[1] / 2**15


def conditioned(problem: ou.NetworkMean, run: Callable[[ou.NetworkMean], Tensor]) -> Tensor:
    """Quadrature (7 Gauss–Hermite nodes) over the input direction the output depends on most."""
    weights = [step.weight.detach() for step in problem.graph().affine]
    hidden = ou.Cumulants(2, hidden=True, tower=True).estimate(problem).hidden
    assert hidden is not None
    jacobian, mean, cov = weights[0], torch.zeros(len(weights[0])), weights[0] @ weights[0].T
    for weight, after in zip(weights[1:], hidden, strict=True):
        slope = torch.special.ndtr(mean / cov.diagonal().sqrt())
        jacobian, cov = (
            weight @ (slope[:, None] * jacobian),
            weight @ (cov * slope * slope[:, None]) @ weight.T,
        )
        mean = weight @ after
    u = torch.linalg.svd(jacobian).Vh[0]
    nodes, masses = gauss_hermite(7)
    rest = torch.eye(len(u)) - torch.outer(u, u)
    total = torch.zeros(len(weights[-1]))
    for node, mass in zip(nodes, masses, strict=True):
        total += mass * run(ou.NetworkMean(problem.module, ou.Gaussian(u * node, rest)))
    return total


def gauss_hermite(count: int) -> tuple[list[float], list[float]]:
    """Nodes and masses of the Gauss rule of the standard normal law."""
    off = torch.arange(1, count, dtype=torch.float64).sqrt()
    values, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return values.tolist(), vectors[0].square().tolist()


@torch.no_grad()
def measure(width: int, depth: int, cache: str | None, rounds: int, threads: int) -> dict[str, Any]:
    """Errors and times of everything on the networks of one shape."""
    networks, samples = GRID[width, depth]
    runs: dict[str, Callable[[ou.NetworkMean], Tensor]] = {
        name: (lambda p, e=e: e.estimate(p).value) for name, e in LIBRARY.items()
        if width < 100 or "(4" not in name
    } | {name: (lambda p, i=i: propagate(p, i)) for name, i in IDEAS.items()}  # fmt: skip
    if width > 100 and depth <= 16:
        for name in ("Cumulants(2)", "Cumulants(3, 'basic', tolerance=0)"):
            runs[f"{name}, conditioned"] = lambda p, run=runs[name]: conditioned(p, run)
        runs["budget 3, covariance, bfloat16, conditioned"] = lambda p: conditioned(
            p, lambda q: propagate(q, BEST)
        )
    errors: dict[str, list[float | None]] = {name: [] for name in runs}
    seconds = dict.fromkeys(runs, math.inf)
    per_sample, factors, values = math.inf, [], []
    for seed in range(networks):
        torch.set_num_threads(threads)
        known = truth(width, depth, seed, int(samples), cache)
        torch.set_num_threads(1)
        problem = network(width, depth, seed)
        per_sample = min(per_sample, sampling_seconds(problem))
        factors.append(known["k"])
        kept: dict[str, Tensor] = {}
        for name, run in runs.items():
            try:
                kept[name], took = timed(partial(run, problem), rounds)
            except ou.NumericalError:
                errors[name].append(None)
                continue
            error = vn_error(kept[name], known)
            errors[name].append(error if math.isfinite(error) else None)
            seconds[name] = min(seconds[name], took)
        values.append((kept, known))
    factor = statistics.fmean(factors)
    rows = []
    for name, found in errors.items():
        good = [e for e in found if e is not None]
        mean = statistics.fmean(good) if len(good) == len(found) else None
        rows.append(
            {
                "method": name, "vn_error": mean, "networks": found, "seconds": seconds[name],
                "antithetic_seconds": mean and factor / mean * per_sample,
                "time_ratio": mean and factor / mean * per_sample / seconds[name],
            }
        )  # fmt: skip
        shown = (
            "diverged"
            if mean is None
            else f"{mean:.2e}, sampling ÷ it {rows[-1]['time_ratio']:.2f}"
        )
        print(f"{width}×{depth} {name:48} {seconds[name]:.3f} s, vn {shown}", flush=True)
    return {
        "width": width, "depth": depth, "antithetic_factor": factor,
        "sampling_microseconds": per_sample * 1e6, "rows": rows,
        "extrapolated": extrapolated(values),
    }  # fmt: skip


def extrapolated(values: list[tuple[dict[str, Tensor], dict[str, Any]]]) -> float | None:
    """Order 3 plus c (order 3 − order 2), c the best for the other networks."""
    low, high = "Cumulants(2)", "Cumulants(3, 'basic', tolerance=0)"
    if any(low not in kept or high not in kept for kept, _ in values):
        return None
    errors, moves = [], []
    for kept, known in values:
        scale = known["var"][-1].sqrt()
        errors.append((kept[high].double() - known["mean"].mean(0)[-1]) / scale)
        moves.append((kept[high] - kept[low]).double() / scale)
    found = []
    for left, (kept, known) in enumerate(values):
        others = [i for i in range(len(values)) if i != left]
        dot = sum(float(errors[i] @ moves[i]) for i in others)
        c = -dot / sum(float(moves[i] @ moves[i]) for i in others)
        found.append(vn_error(kept[high] + c * (kept[high] - kept[low]), known))
    return statistics.fmean(found)


@torch.no_grad()
def fresh(activation: str, networks: int = 4, samples: int = 2**20) -> dict[str, float]:
    """Mean vn errors on 64×8 networks on which nothing was chosen."""
    runs: dict[str, Callable[[ou.NetworkMean], Tensor]] = {
        name: (lambda p, i=IDEAS[name]: propagate(p, i))
        for name in IDEAS
        if ("metric" in name and "budget 3, id" not in name) or name.endswith("partial trace")
    }
    published = LIBRARY["Cumulants(3, tolerance=0)"]
    runs["Cumulants(3, tolerance=0)"] = lambda p: published.estimate(p).value
    errors: dict[str, list[float]] = {name: [] for name in runs}
    for seed in range(100, 100 + networks):
        problem = ou.families.RandomMLP(
            width=64, depth=8, outputs=64, activation=activation, dtype="float32"
        ).problem(seed)
        first, second = (
            ou.MonteCarlo(samples, seed=s, antithetic=True).estimate(problem) for s in (1, 2)
        )
        variance = float(first.covariance.diagonal().sum())
        for name, run in runs.items():
            value = run(problem)
            product = (value - first.value).double() * (value - second.value).double()
            errors[name].append(float(product.sum()) / variance)
    return {name: statistics.fmean(found) for name, found in errors.items()}


@torch.no_grad()
def anatomy(width: int, depth: int, cache: str | None) -> list[dict[str, Any]]:
    """One network, layer by layer: spectrum, higher cumulants by sampling, errors of the means."""
    problem = network(width, depth, 0)
    known = truth(width, depth, 0, int(GRID[width, depth][1]), cache)
    weights = [step.weight.detach() for step in problem.graph().affine]
    states: dict[str, list[dict[str, Any]]] = {}
    for name, idea in (
        ("order 3 basic", Idea(budget=2, metric=False)), ("budget 3, covariance", Idea()),
        ("core", Idea(rank=16)),
    ):  # fmt: skip
        propagate(problem, idea, states.setdefault(name, []).append)
    second = ou.Cumulants(2, hidden=True).estimate(problem).hidden
    assert second is not None
    means = known["mean"].mean(0).float()
    spectra = [torch.linalg.eigh(c.double()) for c in known["cov"][:depth]]
    axes = [vectors.flip(1)[:, :64].float() for _, vectors in spectra]
    generator, moments = torch.Generator().manual_seed(5), torch.zeros(depth, 4, 64).double()
    batches = 64
    for _ in range(batches):
        x = torch.randn(2048, width, generator=generator)
        x = torch.cat((x, -x))
        for layer in range(depth):
            x = (x @ weights[layer].T).clamp_(min=0)
            y = ((x - means[layer]) @ axes[layer]).double()
            moments[layer] += torch.stack([(y**k).mean(0) for k in (1, 2, 3, 4)]) / batches
    rows = []
    for layer in range(depth):
        values = spectra[layer][0].flip(0)
        m1, m2, m3, m4 = moments[layer]
        variance = m2 - m1**2
        skew = (m3 - 3 * m1 * m2 + 2 * m1**3) / variance**1.5
        excess = (m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4) / variance**2 - 3
        error = (states["order 3 basic"][layer]["mean"] - means[layer]) @ spectra[layer][1].float()
        share = error.flip(0).square().cumsum(0) / error.square().sum()
        ratio = (weights[layer] @ (means[layer - 1] if layer else torch.zeros(width))).abs()
        before = known["cov"][layer - 1] if layer else torch.eye(width)
        ratio /= (weights[layer] @ before @ weights[layer].T).diagonal().sqrt()
        fourth = states["budget 3, covariance"][layer]["fourth"]
        row: dict[str, Any] = {
            "layer": layer + 1,
            "participation": float(values.sum() ** 2 / values.square().sum()),
            "top1": float(values[0] / values.sum()),
            "top16": float(values[:16].sum() / values.sum()),
            "skew_top4": float(skew[:4].square().mean().sqrt()),
            "skew_17_64": float(skew[16:].square().mean().sqrt()),
            "excess_top4": float(excess[:4].mean()), "excess_17_64": float(excess[16:].mean()),
            "certain_sign": float((ratio > 3).float().mean()),
            "error_in_top16": float(share[15]), "error_in_top64": float(share[63]),
            "fourth_multiple": None if fourth is None else float(fourth[0]),
            "vn_order_2": vn_error(second[layer], known, layer),
            **{f"vn_{k}": vn_error(v[layer]["mean"], known, layer) for k, v in states.items()},
        }  # fmt: skip
        core = states["core"][layer]["fourth"]
        if core is not None:
            row["core_outside_multiple"] = unexplained(core, states["core"][layer]["covariance"])
        rows.append(row)
    return rows


def unexplained(fourth: tuple[Tensor, Core], covariance: Tensor) -> float:
    """Share (norm) of κ_4 in the subspace that no multiple of Sym(C ⊗ C) explains."""
    scale, core = fourth
    small = core.basis.T @ covariance @ core.basis
    ansatz = Traced(Dense(small), small).slice((1, 1, 1, 1))
    whole = core.core + scale * ansatz
    rest = whole - ansatz * ((whole * ansatz).sum() / ansatz.square().sum())
    return float(rest.norm() / whole.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", help="folder where sampled truth is kept")
    parser.add_argument("--rounds", type=int, default=1, help="runs of everything timed")
    parser.add_argument("--shapes", nargs="*", default=[f"{n}x{d}" for n, d in GRID])
    parser.add_argument("--output", default="benchmarks/results/depth.json")
    options = parser.parse_args()
    shapes = [tuple(map(int, shape.split("x"))) for shape in options.shapes]
    threads = torch.get_num_threads()
    results: dict[str, Any] = {
        "settings": {k: v for k, v in vars(options).items() if k not in ("cache", "output")},
        "machine": machine(),
        "shapes": [measure(n, d, options.cache, options.rounds, threads) for n, d in shapes],
    }
    torch.set_num_threads(1)
    results["anatomy"] = anatomy(256, 16, options.cache) if (256, 16) in shapes else []
    results["fresh"] = {name: fresh(name) for name in ("relu", "gelu")}
    write_results(options.output, results)


if __name__ == "__main__":
    main()
