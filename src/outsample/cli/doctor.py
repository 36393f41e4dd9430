"""``outsample doctor``: what is installed here, and whether it computes what it should."""

import os
import platform
import time
from collections.abc import Callable

from outsample.cli.output import FAILED, FormatOption, JsonOption, number, seconds, session

_PACKAGES = ("outsample", "torch", "numpy", "scipy", "scikit-learn", "rich", "typer")
#: Optional packages, with the extra that brings them.
_EXTRAS = {
    "matplotlib": "plot",
    "duckdb": "compare",
    "plotly": "compare",
    "pydantic": "compare",
    "distributed": "distributed",
    "whestbench": "whestbench",
}


def doctor(form: FormatOption = None, as_json: JsonOption = False) -> None:
    """Show versions, linear algebra and threads, and check the estimators in a few seconds.

    The exit code is 1 if a check fails.

    [bold]Examples[/bold]

    outsample doctor

    outsample doctor --json > doctor.json
    """
    with session("doctor", form, as_json) as output:
        facts = environment()
        checks = [_run(name, check) for name, check in _CHECKS.items()]
        failed = [str(check["name"]) for check in checks if not check["passed"]]
        output.document |= {"environment": facts, "checks": checks, "passed": not failed}
        output.table(("environment", ""), [(k, str(v)) for k, v in facts.items()])
        output.text("")
        output.table(
            ("check", "result", "found", "time"),
            [
                (str(c["name"]), "ok" if c["passed"] else "FAILED", str(c["found"]),
                 seconds(float(str(c["seconds"]))))
                for c in checks
            ],
        )  # fmt: skip
        if failed:
            output.end_with(FAILED, f"error: failed checks: {', '.join(failed)}")


def environment() -> dict[str, str | int]:
    """Versions, processor, linear algebra and threads: what figures of time depend on."""
    import torch

    from outsample.comparison.provenance import blas, package_version, processor

    facts: dict[str, str | int] = {"python": platform.python_version()}
    facts |= {package: package_version(package) or "missing" for package in _PACKAGES}
    for package, extra in _EXTRAS.items():
        facts[package] = package_version(package) or f"missing (pip install 'outsample[{extra}]')"
    return facts | {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "BLAS": blas(),
        "cores": os.cpu_count() or "unknown",
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _run(name: str, check: Callable[[], tuple[bool, str]]) -> dict[str, str | bool | float]:
    """One check; an error in it is a failure, not the end."""
    start = time.perf_counter()
    try:
        passed, found = check()
    except Exception as error:
        passed, found = False, f"{type(error).__name__}: {error}"
    elapsed = time.perf_counter() - start
    return {"name": name, "passed": passed, "found": found, "seconds": elapsed}


def _closed_form() -> tuple[bool, str]:
    """E max(0, Z) = μ Φ(μ/σ) + σ φ(μ/σ) for one ReLU neuron."""
    import math

    import torch

    from outsample.cumulants import Cumulants
    from outsample.distributions import Gaussian
    from outsample.networks import NetworkMean

    mean, deviation = 0.3, 0.7
    ratio = mean / deviation
    density = math.exp(-0.5 * ratio**2) / math.sqrt(2 * math.pi)
    exact = mean * 0.5 * math.erfc(-ratio / math.sqrt(2)) + deviation * density
    inputs = Gaussian(torch.tensor([mean], dtype=torch.float64), deviation**2)
    found = Cumulants(order=2).estimate(NetworkMean(torch.nn.ReLU(), inputs)).value.item()
    error = abs(found / exact - 1)
    return error < 1e-12, f"relative error {number(error, 1)}"


def _agreement() -> tuple[bool, str]:
    """With one hidden layer cumulants are exact: sampling must agree within its error."""
    from outsample.comparison.families import RandomMLP
    from outsample.cumulants import Cumulants
    from outsample.sampling import MonteCarlo

    problem = RandomMLP(width=32, depth=1, outputs=8, dtype="float64").problem(seed=0)
    sampled = MonteCarlo(samples=20_000, seed=0).estimate(problem)
    if sampled.standard_error is None:
        return False, "sampling gave no standard error"
    gap = Cumulants(order=2).estimate(problem).value - sampled.value
    worst = float((gap / sampled.standard_error).detach().abs().max())
    return worst < 5, f"largest gap {worst:.2f} standard errors, of 8 outputs"


def _determinism() -> tuple[bool, str]:
    """Mechanistic estimators draw no random numbers; everything gives the same bits twice."""
    import torch

    from outsample.comparison.families import RandomMLP
    from outsample.comparison.mechanistic import forbid_randomness
    from outsample.cumulants import Cumulants, ExactCovariance, MeanPropagation
    from outsample.sampling import MonteCarlo, QuasiMonteCarlo

    problem = RandomMLP(width=32, depth=2, outputs=4).problem(seed=0)
    mechanistic = (MeanPropagation(), Cumulants(order=2), ExactCovariance())
    samplers = (MonteCarlo(samples=4096), QuasiMonteCarlo(samples=4096))
    with forbid_randomness():
        values = [e.estimate(problem).value for e in mechanistic]
    values += [e.estimate(problem).value for e in samplers]
    again = [e.estimate(problem).value for e in (*mechanistic, *samplers)]
    equal = [torch.equal(a, b) for a, b in zip(values, again, strict=True)]
    return all(equal), f"{sum(equal)} of {len(equal)} estimators"


def _metering() -> tuple[bool, str]:
    """An m × k by k × n product costs 2mkn."""
    import torch

    from outsample.cost import count_flops

    found = count_flops(lambda: torch.ones(30, 40) @ torch.ones(40, 50))
    return found == 2 * 30 * 40 * 50, f"{found} for a product that takes {2 * 30 * 40 * 50}"


_CHECKS: dict[str, Callable[[], tuple[bool, str]]] = {
    "closed form": _closed_form,
    "cumulants agree with sampling": _agreement,
    "same bits twice": _determinism,
    "counted operations": _metering,
}
