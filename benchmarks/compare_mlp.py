"""Estimators against sampling on random ReLU networks: width 256, 4 hidden layers, 10 networks.

Every opponent is measured on the same networks with the same threads.  Writes the whole
comparison as JSON and draws it.  About 5 minutes on two cores.

    python benchmarks/compare_mlp.py
"""

import argparse
from pathlib import Path

import outsample as ou
from common import machine, write_results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--instances", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/compare_mlp.json"))
    options = parser.parse_args()

    comparison = ou.compare(
        ou.families.RandomMLP(width=options.width, depth=options.depth),
        [
            ou.MeanPropagation(),
            ou.Cumulants(1),
            ou.Cumulants(2, "basic"),
            ou.Cumulants(2),
            ou.ExactCovariance(),
        ],
        options.instances,
        seed=options.seed,
        threads=options.threads,
    )
    print(comparison)
    write_results(str(options.output), comparison.to_dict() | {"machine": machine()})
    figure = options.output.with_suffix(".png")
    comparison.plot(figure)
    print(f"wrote {figure}")


if __name__ == "__main__":
    main()
