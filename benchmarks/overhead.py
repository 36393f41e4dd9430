"""Time per estimate where Python could dominate: width 64, 4 hidden layers, one thread.

Sets the public API beside a bare loop that propagates mean and covariance with nothing around it,
in alternation, so that the ratios hold on a noisy machine.

    python benchmarks/overhead.py
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

import outsample as ou
from common import machine, write_results


def bare_loop(weights: list[Tensor]) -> Tensor:
    """Order 2 basic for a ReLU network without biases on N(0, I)."""
    mean = torch.zeros(weights[0].shape[1])
    covariance = torch.eye(weights[0].shape[1])
    for place, weight in enumerate(weights):
        mean = weight @ mean
        covariance = weight @ covariance @ weight.T
        if place == len(weights) - 1:
            break
        variance = covariance.diagonal()
        std = variance.sqrt()
        alpha = mean / std
        cdf = torch.special.ndtr(alpha)
        pdf = torch.exp(-0.5 * alpha * alpha) / math.sqrt(2 * math.pi)
        new = mean * cdf + std * pdf
        second = (mean * mean + variance) * cdf + mean * std * pdf
        covariance = covariance * cdf * cdf[:, None]
        covariance.diagonal().copy_(second - new * new)
        mean = new
    return mean


def milliseconds(run: Callable[[], object], calls: int = 50) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="benchmarks/results/overhead.json")
    options = parser.parse_args()

    torch.set_num_threads(1)
    family = ou.families.RandomMLP(width=options.width, depth=options.depth, dtype="float32")
    problem = family.problem(options.seed)
    weights = [step.weight.detach() for step in problem.graph().affine]
    runs: dict[str, Callable[[], object]] = {
        "bare loop": lambda: bare_loop(weights),
        "MeanPropagation()": lambda: ou.MeanPropagation().estimate(problem),
        "Cumulants(1)": lambda: ou.Cumulants(1).estimate(problem),
        "Cumulants(2, 'basic')": lambda: ou.Cumulants(2, "basic").estimate(problem),
        "Cumulants(2, 'augmented')": lambda: ou.Cumulants(2).estimate(problem),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    with torch.no_grad():
        for run in runs.values():
            milliseconds(run)
        for _ in range(options.rounds):
            for name, run in runs.items():
                times[name].append(milliseconds(run))
    rows = []
    for name, values in times.items():
        ratios = [value / bare for value, bare in zip(values, times["bare loop"], strict=True)]
        rows.append(
            {
                "method": name,
                "milliseconds_median": statistics.median(values),
                "milliseconds_best": min(values),
                "ratio_to_bare_loop_median": statistics.median(ratios),
            }
        )
        print(
            f"{name:28} median {rows[-1]['milliseconds_median']:.3f} ms, best "
            f"{rows[-1]['milliseconds_best']:.3f} ms, "
            f"{rows[-1]['ratio_to_bare_loop_median']:.2f} × the bare loop"
        )
    write_results(options.output, {"settings": vars(options), "machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
