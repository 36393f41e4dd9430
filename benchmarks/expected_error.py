"""The law behind ``Estimate.expected_error``: fit on some activations, test on others.

Random networks of widths 24 to 128 and depths 2 to 8, with and without biases, 8 outputs each.
The vn error of every order is measured against moment-matched antithetic sampling; errors that
the truth's own noise hides are left out.  Networks with ReLU, tanh, GELU and softplus give the law

    ln vn = a + b ln Σ concentration + c ln Σ double edges + d ln Σ triple edges;

those with other activations test it.  Writes benchmarks/results/expected_error.json and prints
the constants to copy into src/outsample/cumulants/expected_error.py.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

import outsample as ou
from common import machine, write_results
from outsample.cumulants.expected_error import LAW

FIT = ("relu", "tanh", "gelu", "softplus")
TEST = ("silu", "erf", "hardtanh", "elu")
SHAPES = ((24, 2), (24, 4), (32, 2), (32, 4), (32, 8), (64, 2), (64, 4), (64, 8), (128, 3))
ESTIMATORS = [ou.Cumulants(order, variant, factored=order > 2 or "auto") for order, variant in LAW]
SAMPLES = 400_000
FIGURES = ("concentration", "double_edges", "triple_edges")
#: Order 4 grows with the fourth power of the width.
WIDEST = {(4, "basic"): 64, (4, "augmented"): 24}


def networks() -> Iterator[tuple[str, int, int, ou.NetworkMean]]:
    """Activation, width, depth and problem, the same on every run."""
    for name in (*FIT, *TEST):
        for width, depth in SHAPES:
            for bias in (0.0, 0.4):
                if bias == 0 and name in ("tanh", "erf", "hardtanh"):
                    continue  # odd functions: the mean is zero and every method says so
                generator = torch.Generator().manual_seed(width * 100 + depth)
                gain = 1.5 if name in ("tanh", "erf", "hardtanh") else 2.0
                layers: list[nn.Module] = []
                for layer in range(depth + 1):
                    linear = nn.Linear(width, width if layer < depth else 8)
                    with torch.no_grad():
                        linear.weight.normal_(0, (gain / width) ** 0.5, generator=generator)
                        linear.bias.normal_(0, bias or 1e-30, generator=generator)
                    layers += [linear, ou.Elementwise(name)]
                net = nn.Sequential(*layers[:-1])
                yield name, width, depth, ou.NetworkMean(net, ou.Gaussian.standard(width))


def measure() -> list[dict[str, Any]]:
    """One row for each network and estimator: measured error, noise, and the two figures."""
    rows: list[dict[str, Any]] = []
    for name, width, depth, problem in networks():
        sampler = ou.MonteCarlo(SAMPLES, seed=1, antithetic=True, moment_matched=True)
        truth = sampler.estimate(problem)
        assert truth.covariance is not None and truth.standard_error is not None
        variance = float(truth.covariance.diagonal().sum())
        noise = float(truth.standard_error.square().sum()) / variance
        for estimator in ESTIMATORS:
            key = (estimator.order, estimator.variant)
            if width > WIDEST.get(key, width):
                continue
            found = estimator.estimate(problem)
            error = float((found.value - truth.value).square().sum()) / variance - noise
            if error < max(3 * noise, 1e-9):
                continue
            figures = found.diagnostics
            rows.append(
                {
                    "activation": name,
                    "width": width,
                    "depth": depth,
                    "order": estimator.order,
                    "variant": estimator.variant,
                    "vn": error,
                    **{figure: sum(figures[figure]) for figure in FIGURES},
                    "expected": found.expected_error,
                }
            )
    return rows


def law(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Fit on some activations; residuals, in natural logarithms, on the others."""
    design = np.array([[1, *(math.log(r[figure]) for figure in FIGURES)] for r in rows])
    target = np.log([r["vn"] for r in rows])
    fitted = np.array([r["activation"] in FIT for r in rows])
    constants = np.linalg.lstsq(design[fitted], target[fitted], rcond=None)[0]
    left = (target - design @ constants)[~fitted]
    shipped = [r["vn"] / r["expected"] for r in rows if r["activation"] in TEST and r["expected"]]
    return {
        "law": [round(float(c), 2) for c in constants],
        "networks": [int(fitted.sum()), int((~fitted).sum())],
        "test_bias_factor": float(np.exp(left.mean())),
        "test_sd_factor": float(np.exp(left.std())),
        "test_within_4": float((abs(left) < math.log(4)).mean()),
        "shipped_within_4": float(np.mean([1 / 4 < x < 4 for x in shipped])) if shipped else None,
    }


def main() -> None:
    """Measure, fit, print, write."""
    torch.set_num_threads(1)
    with torch.no_grad():
        rows = measure()
    laws: dict[str, Any] = {}
    for estimator in ESTIMATORS:
        key = f"{estimator.order} {estimator.variant}"
        mine = [r for r in rows if f"{r['order']} {r['variant']}" == key]
        laws[key] = law(mine)
        print(f"{key:12}", laws[key])
    write_results(
        "benchmarks/results/expected_error.json",
        {"machine": machine(), "fit_on": FIT, "tested_on": TEST, "laws": laws, "rows": rows},
    )


if __name__ == "__main__":
    main()
