"""Studies made up of records, for tests of reports: no estimator runs."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from outsample.comparison.cells import Cell, Truth
from outsample.comparison.result import Comparison
from outsample.comparison.scores import PLAIN

#: Samplers by N times their vn error.
SAMPLERS = {PLAIN: 1.0, "antithetic": 0.6, "moment-matched": 0.2, "scrambled Sobol": 0.1}
#: Vn errors of made-up estimators, times the width squared, and their cost in evaluations.
ESTIMATORS = {
    "Cumulants(1)": (3e2, 2),
    "Cumulants(2)": (2e0, 60),
    "Cumulants(3) at N=4096": (5e-1, 2000),
    "Cumulants(3) at N=65536": (5e-2, 30000),
    "Poor": (3e3, 4000),
}


def comparison(
    width: int = 16,
    depth: int = 2,
    *,
    estimators: Sequence[str] = tuple(ESTIMATORS),
    problems: int = 5,
    noise: float = 1e-5,
    kind: str = "RandomMLP",
    name: str | None = None,
    seed: int = 0,
    opponents: Sequence[str] = tuple(SAMPLERS),
    **more: object,
) -> Comparison:
    """A family of the given size: errors fall with the width and grow with the depth."""
    rng = np.random.default_rng([seed, width, depth])
    flops = 2.0 * width * width * (depth + 1)
    cells, truths = [], []
    for p in range(problems):
        variance = 1.0 + 0.1 * p
        halves = noise**0.5 * rng.standard_normal(2)
        truths.append(
            Truth(
                problem=p,
                first=(halves[0],),
                second=(halves[1],),
                squared_error=(noise,),
                variance=(variance,),
                evaluation_flops=flops,
                samples=2**16,
            )
        )
        for estimator in estimators:
            scale, evaluations = ESTIMATORS.get(estimator, (1.0, 100))
            error = scale * depth / width**2 * variance * rng.chisquare(8) / 8
            cells.append(
                Cell(
                    problem=p,
                    method=estimator,
                    request={},
                    value=(math.sqrt(error) * rng.choice((-1, 1)),),
                    spread=(0.0,),
                    flops=int(evaluations * flops),
                    seconds=evaluations * flops * 1e-9 + 1e-4 * (1 + 0.1 * rng.random()),
                )
            )
        for sampler in opponents:
            constant = SAMPLERS[sampler]
            lengths = (128, 1024, 8192) if sampler == "scrambled Sobol" else (8192,)
            for samples in lengths:
                spread = constant * variance * (samples / 8192) ** -0.2
                cells.append(
                    Cell(
                        problem=p,
                        method=sampler,
                        request={"settings": {}},
                        value=(math.sqrt(spread / samples) * rng.standard_normal(),),
                        spread=(0.0,),
                        squared_error=(spread / samples * rng.chisquare(50) / 50,),
                        samples=samples,
                        flops=int(samples * flops * 1.1),
                        seconds=samples * (flops * 1e-10 + 1e-7),
                    )
                )
    settings = {"width": width, "depth": depth, "activation": "relu", "outputs": 1, **more}
    return Comparison(
        family=name or f"{kind}(width={width}, depth={depth})",
        methods=tuple(estimators),
        opponents=tuple(opponents),
        cells=tuple(cells),
        truths=tuple(truths),
        provenance={"outsample": "0.1.0", "BLAS": "mkl", "threads": 1, "seeds": "0–4"},
        kind=kind,
        parameters=settings,
    )


def study() -> list[Comparison]:
    """Three widths and two depths."""
    return [comparison(width, depth) for width in (16, 64, 256) for depth in (1, 4)]


def failing(found: Comparison, method: str, error: str, problems: Sequence[int]) -> Comparison:
    """The same comparison, but ``method`` failed on some problems."""
    cells = [
        Cell(problem=c.problem, method=method, request=c.request, error=error)
        if c.method == method and c.problem in problems
        else c
        for c in found.cells
    ]
    return dataclasses.replace(found, cells=tuple(cells))
