"""Order 2 on wide networks against the time of its own matrix products, and its memory.

python benchmarks/scale.py            # width 4096, 8 layers, float32
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import outsample as ou
from common import machine, write_results

#: n × n × n products per layer: W C, (W C) Wᵀ, and for the augmented variant W Wᵀ.
PRODUCTS = {"basic": 2, "augmented": 3}


def wide_network(width: int, depth: int, seed: int) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for _ in range(depth):
        linear = nn.Linear(width, width, bias=False)
        with torch.no_grad():
            linear.weight.normal_(0, (2 / width) ** 0.5, generator=generator)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def products(weights: list[Tensor], variant: str) -> None:
    """The same matrix products as the propagation, with nothing between them."""
    covariance = weights[0] * 1.0
    for place, weight in enumerate(weights):
        covariance = covariance @ weight.T if place == 0 else weight @ covariance @ weight.T
        if variant == "augmented" and place:
            _ = weight @ weight.T


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="benchmarks/results/scale.json")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    net = wide_network(options.width, options.depth, options.seed)
    weights = [m.weight.detach() for m in net if isinstance(m, nn.Linear)]
    problem = ou.NetworkMean(net, ou.Gaussian.standard(options.width))
    rows = []
    with torch.no_grad():
        for variant in PRODUCTS:
            estimator = ou.Cumulants(2, variant)  # type: ignore[arg-type]
            pairs = []
            for _ in range(options.rounds):
                ours = seconds(lambda e=estimator: e.estimate(problem))
                pairs.append((ours, seconds(lambda v=variant: products(weights, v))))
            ratio = statistics.median(ours / bare for ours, bare in pairs)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            rows.append(
                {
                    "variant": variant,
                    "seconds": statistics.median(ours for ours, _ in pairs),
                    "seconds_of_products": statistics.median(bare for _, bare in pairs),
                    "ratio": ratio,
                    "peak_gibibytes": peak,
                }
            )
            print(
                f"Cumulants(2, {variant!r}): {rows[-1]['seconds']:.2f} s, {ratio:.3f} × its matrix "
                f"products, peak memory of the process {peak:.2f} GiB"
            )
    write_results(options.output, {"settings": vars(options), "machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
