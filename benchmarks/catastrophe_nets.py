"""Networks, thresholds and truths that the benchmarks of catastrophes share."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import outsample as ou

#: Thresholds and truths of earlier runs.
KEPT = Path("benchmarks/results/catastrophe_truths.json")
#: Draws of each of two proposals, and of the longer runs where these disagree or are noisy.
DRAWS = (100_000, 500_000)
#: Inflation of each proposal, and starts of its search for tilts: more than the estimators', whose
#: missing modes must show as errors of theirs, and more in one so that others set the two apart.
PROPOSALS = ((1.1, 8), (1.35, 16))
#: Largest relative standard error, share of one weight, and standard errors apart of a truth.
MOST_ERROR, MOST_SHARE, MOST_APART = 0.05, 0.02, 3.0


@dataclass(frozen=True)
class Truth:
    """log p by two importance-sampling proposals with streams of their own."""

    log_value: float
    relative_error: float
    apart: float
    largest_share: float
    draws: int = 1_000_000
    #: Most starts of a proposal; earlier runs had 1, and might have missed a way to the event.
    starts: int = 1

    @property
    def good(self) -> bool:
        """Whether it can judge an estimate."""
        return (
            self.relative_error <= MOST_ERROR
            and abs(self.apart) <= MOST_APART
            and self.largest_share <= MOST_SHARE
        )

    def row(self) -> dict[str, Any]:
        return {
            "log_p": self.log_value,
            "truth_error": self.relative_error,
            "truth_apart": self.apart,
        }


def truth(problem: ou.CatastropheProbability, key: str, seed: int) -> Truth:
    """The truth of one event; draws more where it is not good at first.

    Truths are kept in a file by ``key``, so that only the first run pays for them.
    """
    found: Truth | None = None
    known = _kept().get(key)
    if known is not None and known["detector"] == repr(problem.detector):
        found = Truth(**{k: v for k, v in known.items() if k != "detector"})
        found = found if found.starts == PROPOSALS[-1][1] else None
    for place, draws in enumerate(DRAWS):
        if found is None or (not found.good and found.draws < draws):
            found = _truth(problem, seed + place, draws)
            _keep(_kept() | {key: {"detector": repr(problem.detector), **asdict(found)}})
    if found is None:
        raise TypeError("there is at least one number of draws")
    return found


def threshold(network: nn.Module, key: str, quantity: Any, level: float) -> float:
    """A threshold that is exceeded with about that probability, the same in every run."""
    kept = _kept()
    if key not in kept:
        width = next(p.shape[1] for p in network.parameters())
        inputs = ou.Gaussian.standard(width, torch.float64)
        found = ou.threshold_of(network, inputs, quantity, math.log(level))
        kept[key] = {"threshold": float(f"{found:.8g}")}
        _keep(kept)
    return kept[key]["threshold"]


def _kept() -> dict[str, Any]:
    return json.loads(KEPT.read_text()) if KEPT.exists() else {}


def _keep(kept: dict[str, Any]) -> None:
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    fresh = KEPT.with_suffix(".new")
    fresh.write_text(json.dumps(kept, indent=1) + "\n")
    fresh.replace(KEPT)


def _truth(problem: ou.CatastropheProbability, seed: int, draws: int) -> Truth:
    runs = [
        ou.TiltedImportanceSampling(draws, 7919 * seed + place, inflation, starts).estimate(problem)
        for place, (inflation, starts) in enumerate(PROPOSALS)
    ]
    logs = [float(run.log_value) for run in runs]
    errors = [float(run.relative_error) for run in runs]
    weights = [error**-2 for error in errors]
    shift = max(logs)
    mean = sum(w * math.exp(x - shift) for w, x in zip(weights, logs, strict=True)) / sum(weights)
    return Truth(
        shift + math.log(mean),
        sum(weights) ** -0.5,
        (logs[0] - logs[1]) / math.hypot(*errors),
        max(float(run.diagnostics["largest_share"]) for run in runs),
        draws,
        PROPOSALS[-1][1],
    )


def random_network(
    width: int, depth: int, seed: int, bias: float, kind: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """He-initialised, with biases of a given standard deviation; one output."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [_linear(width, width, math.sqrt(2 / width), bias, generator), kind()]
    layers.append(_linear(width, 1, math.sqrt(1 / width), 0.0, generator))
    return nn.Sequential(*layers)


def trained_network(width: int, depth: int, seed: int, steps: int = 400) -> nn.Sequential:
    """Fitted by Adam to a saturated random network plus a product of two inputs."""
    network = random_network(width, depth, seed, 0.0).requires_grad_(True)
    teacher = random_network(width, 1, seed + 100_000, 0.3).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed + 200_000)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(steps):
        x = torch.randn(256, width, generator=generator, dtype=torch.float64)
        y = torch.tanh(2 * teacher(x)) + 0.3 * x[:, :1] * x[:, 1:2]
        loss = (network(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.requires_grad_(False)


def _linear(
    taken: int, given: int, scale: float, bias: float, generator: torch.Generator
) -> nn.Linear:
    linear = nn.Linear(taken, given, bias=bias > 0, dtype=torch.float64)
    with torch.no_grad():
        weight = torch.randn(given, taken, generator=generator, dtype=torch.float64)
        linear.weight.copy_(scale * weight)
        if bias > 0:
            linear.bias.copy_(bias * torch.randn(given, generator=generator, dtype=torch.float64))
    return linear.requires_grad_(False)


def summary(errors: list[float], flagged: list[bool]) -> dict[str, float]:
    """Factors that estimates are off by: median, shares within 15 and 40 %, worst unflagged."""
    size = sorted(abs(error) for error in errors)
    unflagged = [abs(e) for e, flag in zip(errors, flagged, strict=True) if not flag]
    return {
        "cases": len(errors),
        "median_factor": math.exp(size[len(size) // 2]),
        "within_15_percent": sum(e <= math.log(1.15) for e in size) / len(size),
        "within_40_percent": sum(e <= math.log(1.4) for e in size) / len(size),
        "worst_factor": math.exp(size[-1]),
        "worst_unflagged_factor": math.exp(max(unflagged, default=0.0)),
        "flagged": sum(flagged) / len(flagged),
    }
