"""What advice is worth to propagation: a few tracked correlations against all and against none.

For networks trained on digits (64-256-256-256-10; inputs: a Gaussian fitted to each class, pixel
noise around one test image of each class, and advice found for other inputs than it is used on)
and for random ReLU networks (width 256, 4 hidden layers), the mean outputs' squared error against
moment-matched sampling, pooled over inputs, networks and outputs, and the share of

    (error of keeping none - error with advice) / (error of keeping none - error of keeping all)

in squared error and in its root.  "None" is mean propagation, "all" order 2, basic.  Then FLOPs
and seconds of an estimate.  One thread; about 10 minutes on two cores.

    python benchmarks/advice.py
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

import outsample as ou
from common import machine, write_results
from outsample.cli.digits import accuracy, load_digits, of_class, train_network
from outsample.cumulants.explain import PairExplainer

NOISE = 0.1  # standard deviation of the pixel noise
NONE, ALL = ou.MeanPropagation(), ou.Cumulants(2, "basic")
Advice = ou.Explanation
Advised = dict[str, Callable[[ou.NetworkMean], Advice]]


class Table:
    """Squared errors by method, pooled over problems and outputs, free of the truth's own noise."""

    def __init__(self) -> None:
        self.errors: dict[str, list[float]] = {}
        self.variance: list[float] = []
        self.noise: list[float] = []

    def truth(self, problem: ou.NetworkMean, samples: int, seed: int) -> Tensor:
        sampler = ou.MonteCarlo(samples, seed=seed, antithetic=True, moment_matched=True)
        found = sampler.estimate(problem)
        assert found.standard_error is not None and found.covariance is not None
        self.noise.append(float(found.standard_error.square().sum()))
        self.variance.append(float(found.covariance.diagonal().sum()))
        return found.value

    def add(self, name: str, value: Tensor, truth: Tensor) -> None:
        error = float((value - truth).detach().square().sum()) - self.noise[-1]
        self.errors.setdefault(name, []).append(error)

    def results(self) -> dict[str, dict[str, float]]:
        errors = {name: np.array(found) for name, found in self.errors.items()}
        rows: dict[str, dict[str, float]] = {}
        resample = np.random.default_rng(0).integers(len(self.noise), size=(4000, len(self.noise)))
        for name, found in errors.items():
            none, every = errors["none"], errors["all"]
            gains = (none - found)[resample].sum(1) / (none - every)[resample].sum(1)
            roots = [max(float(e.sum()), 0.0) ** 0.5 for e in (none, found, every)]
            rows[name] = {
                "vn": float(found.sum() / np.sum(self.variance)),
                "gain": float((none - found).sum() / (none - every).sum()),
                "gain_low": float(np.quantile(gains, 0.05)),
                "gain_high": float(np.quantile(gains, 0.95)),
                "gain_in_rmse": (roots[0] - roots[1]) / (roots[0] - roots[2]),
            }
        return rows

    def print(self, title: str) -> None:
        noise = np.sum(self.noise) / np.sum(self.variance)
        print(f"\n{title}\n(noise of the truth, subtracted: vn {noise:.1e})")
        print(f"{'':34} {'vn error':>9} {'gain':>7} {'90 % interval':>16} {'in RMSE':>8}")
        for name, row in self.results().items():
            interval = f"{row['gain_low']:.1%} .. {row['gain_high']:.1%}"
            print(
                f"{name:34} {row['vn']:9.2e} {row['gain']:7.1%} {interval:>16} "
                f"{row['gain_in_rmse']:8.1%}",
                flush=True,
            )


def low_rank(rank: int, third: int = 0) -> Callable[[ou.NetworkMean], Advice]:
    return ou.CorrelationExplainer(rank, third).explain


def pairs(count: int) -> Callable[[ou.NetworkMean], Advice]:
    return PairExplainer(count).explain


def blind(rank: int) -> Callable[[ou.NetworkMean], Advice]:
    """Readings that know nothing of the network: what propagation makes of them by itself."""

    def explain(problem: ou.NetworkMean) -> Advice:
        generator = torch.Generator().manual_seed(rank)
        widths = [step.weight.shape[0] for step in problem.graph().affine[:-1]]
        return ou.CovarianceSubspace(
            tuple(
                torch.linalg.qr(torch.randn(n, rank, generator=generator, dtype=torch.float64))[0]
                for n in widths
            )
        )

    return explain


def advice_for(
    problem: ou.NetworkMean, neighbour: ou.NetworkMean, where: str, whole: ou.NetworkMean
) -> Iterator[tuple[str, Advice]]:
    """What is tried on one input of a digits network: its own advice, and that of others."""
    for rank in (2, 4, 8, 16):
        yield f"rank {rank}", low_rank(rank)(problem)
    for rank in (8, 16):
        yield f"rank {rank}, third 8", low_rank(rank, 8)(problem)
    for count in (1024, 4096, 16384):
        yield f"{count} pairs", pairs(count)(problem)
    yield "rank 8, random readings", blind(8)(problem)
    for rank in (4, 8, 16):
        yield f"rank {rank}, from {where}", low_rank(rank)(neighbour)
        yield f"rank {rank}, from all digits", low_rank(rank)(whole)
    yield f"rank 8, third 8, from {where}", low_rank(8, 8)(neighbour)


def digits(options: argparse.Namespace) -> dict[str, Any]:
    """Advice on trained networks, for the input it was found for and for others."""
    tables: dict[str, Table] = {}
    for seed in range(options.seed, options.seed + options.networks):
        data = load_digits(seed)
        network = train_network(data, seed)
        print(f"digits network {seed}: accuracy {accuracy(network, data):.1%}", flush=True)
        network = network.double()
        whole = ou.NetworkMean(network, ou.Gaussian.fit(data.images))
        classes = [ou.NetworkMean(network, of_class(data, label)) for label in range(10)]
        for label in range(10):
            image = data.test_images[data.test_labels == label][0]
            noisy = ou.NetworkMean(network, ou.Gaussian(image, NOISE**2))
            for kind, problem, neighbour, where in (
                ("class", classes[label], classes[(label + 1) % 10], "the next class"),
                ("pixel noise", noisy, classes[label], "its class"),
            ):
                table = tables.setdefault(kind, Table())
                truth = table.truth(problem, options.samples, 100 * seed + label)
                table.add("none", NONE.estimate(problem).value, truth)
                table.add("all", ALL.estimate(problem).value, truth)
                for name, advice in advice_for(problem, neighbour, where, whole):
                    table.add(name, NONE.estimate(problem, advice).value, truth)
    for kind, table in tables.items():
        table.print(f"digits, {kind}, {options.networks} networks")
    return {kind: table.results() for kind, table in tables.items()}


def random_networks(options: argparse.Namespace, outputs: int, count: int) -> dict[str, Any]:
    """Advice on random networks, where little is there to be found."""
    family = ou.families.RandomMLP(width=256, depth=4, outputs=outputs)
    table = Table()
    for seed in range(options.seed, options.seed + count):
        problem = family.problem(seed)
        assert isinstance(problem, ou.NetworkMean)
        problem = ou.NetworkMean(problem.module.double(), ou.Gaussian.standard(256))
        truth = table.truth(problem, options.samples // 4, seed)
        table.add("none", NONE.estimate(problem).value, truth)
        table.add("all", ALL.estimate(problem).value, truth)
        methods: Advised = {
            **{f"rank {rank}": low_rank(rank) for rank in (8, 26, 64)},
            **{f"rank {rank}, third 8": low_rank(rank, 8) for rank in (8, 26, 64)},
            "rank 256, third 8": low_rank(256, 8),
            **{f"{n} pairs": pairs(n) for n in (1024, 4096, 16384)},
            "rank 26, random readings": blind(26),
        }
        for name, explain in methods.items():
            table.add(name, NONE.estimate(problem, explain(problem)).value, truth)
    table.print(f"random networks, {outputs} outputs, {count} networks")
    return table.results()


def costs(width: int) -> dict[str, Any]:
    """FLOPs and median seconds in float32, in units of a forward pass and of dense order 2."""
    problem = ou.families.RandomMLP(width=width, depth=4, outputs=10).problem(0)
    assert isinstance(problem, ou.NetworkMean)
    x = problem.inputs.mean[None]

    def cost(run: Callable[[], object]) -> dict[str, float]:
        run()
        times = []
        for _ in range(7):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return {"flops": ou.count_flops(run), "seconds": statistics.median(times)}

    rows: dict[str, Any] = {}
    with torch.no_grad():
        rows["forward pass"] = cost(lambda: problem(x))
        rows["all (order 2, basic)"] = cost(lambda: ALL.estimate(problem))
        rows["none"] = cost(lambda: NONE.estimate(problem))
        advised = {f"rank {r}": low_rank(r) for r in (4, 8, 26)}
        advised |= {"rank 8, third 8": low_rank(8, 8), "4096 pairs": pairs(4096)}
        for name, explain in advised.items():
            advice = explain(problem)
            rows[name] = cost(lambda advice=advice: NONE.estimate(problem, advice))
            rows[name]["size"] = advice.size
        rows["finding rank 8"] = cost(lambda: low_rank(8)(problem))
        rows["finding 4096 pairs"] = cost(lambda: pairs(4096)(problem))
    one, every = rows["forward pass"]["flops"], rows["all (order 2, basic)"]
    print(f"\ncost at width {width}, 4 hidden layers, float32")
    print(f"{'':24} {'FLOPs':>9} {'passes':>8} {'of all':>7} {'ms':>8} {'of all':>7}")
    for name, row in rows.items():
        print(
            f"{name:24} {row['flops']:9.2e} {row['flops'] / one:8.1f} "
            f"{row['flops'] / every['flops']:7.1%} {row['seconds'] * 1e3:8.2f} "
            f"{row['seconds'] / every['seconds']:7.1%}",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", type=int, default=3, help="trained on digits")
    parser.add_argument("--samples", type=int, default=1 << 20, help="behind each truth, at most")
    parser.add_argument("--output", default="benchmarks/results/advice.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {
        "command": f"python benchmarks/advice.py --seed {options.seed} "
        f"--networks {options.networks} --samples {options.samples}",
        "machine": machine(),
        "digits": digits(options),
        "random": {
            "10 outputs": random_networks(options, outputs=10, count=16),
            "1 output": random_networks(options, outputs=1, count=40),
        },
        "cost": {str(width): costs(width) for width in (256, 1024)},
    }
    write_results(options.output, results)


if __name__ == "__main__":
    main()
