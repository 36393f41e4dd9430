"""Mechanistic distillation against gradient descent on fresh samples, at equal CPU time.

A random ReLU teacher (He weights, one output, standard normal inputs) is distilled into a
narrower student of the same depth.  Mechanistic: Adam on E|student - teacher|² by cumulant
propagation of order 2 and 3.  Sampled: Adam on fresh batches of the same inputs, the best of
two batch sizes.  All from the same start, each with the same seconds of CPU time and a rate
that falls to 0 as a cosine of the time; the best of two peak rates for each method, by the
held-out loss, which favours none of them.  Reported: held-out error over the teacher's variance
(100 000 samples), and how far the mechanistic loss at the end is from it.

Seed 0 of each shape, ``--seeds`` for more.  About two minutes on one core of two; ``--shapes``
picks some.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import outsample as ou
from catastrophe_tasks import copied, generator, mlp
from common import machine, write_results

#: Name: inputs, teacher's width, student's width, hidden layers, seconds.
SHAPES = {
    "16: 64 to 24, depth 1": (16, 64, 24, 1, 2.0),
    "16: 64 to 32, depth 2": (16, 64, 32, 2, 2.5),
    "128: 128 to 128, depth 2": (128, 128, 128, 2, 6.0),
}
RATES = (3e-3, 1e-2)
RESULTS = Path("benchmarks/results/distillation.json")


def descend(
    student: nn.Module, loss: Callable[[int], Tensor], rate: float, seconds: float
) -> tuple[int, float]:
    """Adam for so many seconds of CPU time; steps taken and the last loss."""
    optimizer = torch.optim.Adam(student.parameters(), lr=rate)
    start, step, last = time.process_time(), 0, math.nan
    while (gone := (time.process_time() - start) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * gone))
        optimizer.zero_grad()
        value = loss(step)
        value.backward()
        optimizer.step()
        step, last = step + 1, float(value.detach())
    return step, last


def row(name: str, seed: int) -> dict[str, Any]:
    """All methods on one teacher."""
    n, wide, narrow, depth, seconds = SHAPES[name]
    teacher = mlp([n, *[wide] * depth, 1], generator("teacher", name, seed)).requires_grad_(False)
    student = mlp([n, *[narrow] * depth, 1], generator("student", name, seed))
    law = ou.Gaussian.standard(n, torch.float64)
    test = law.sample(100_000, generator("test", name, seed))
    answers = teacher(test)
    spread = float(answers.var())

    def held_out(model: nn.Module) -> float:
        with torch.no_grad():
            return float((model(test) - answers).square().mean()) / spread

    found: dict[str, Any] = {}
    for order in (2, 3):
        runs = []
        for rate in RATES:
            model = copied(student)
            loop = ou.mechanistic_distillation(model, teacher, law, order=order)
            steps, last = descend(model, lambda step, loop=loop: loop.loss(), rate, seconds)
            runs.append(
                {
                    "rate": rate,
                    "steps": steps,
                    "held_out": held_out(model),
                    "own_loss": last / spread,
                }
            )
        found[f"order {order}"] = min(runs, key=lambda run: run["held_out"])
        with torch.no_grad():
            loop = ou.mechanistic_distillation(copied(student), teacher, law, order=order)
            found[f"order {order}"]["own_loss_at_start"] = float(loop.loss()) / spread
    sampled = []
    for batch in (64, 256):
        for rate in RATES:
            model = copied(student)
            draws = generator("batches", name, seed, batch)

            def loss(step: int, model: nn.Module = model, b: int = batch, g: Any = draws) -> Tensor:
                x = law.sample(b, g)
                return (model(x) - teacher(x)).square().mean()

            steps, _ = descend(model, loss, rate, seconds)
            sampled.append(
                {"batch": batch, "rate": rate, "steps": steps, "held_out": held_out(model)}
            )
    best = min(sampled, key=lambda run: run["held_out"])
    return {
        "shape": name,
        "seed": seed,
        "seconds": seconds,
        "held_out_at_start": held_out(student),
        **found,
        "sampled": best,
        "ratio": {key: found[key]["held_out"] / best["held_out"] for key in found},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.shapes:
        for seed in options.seeds:
            one = row(name, seed)
            known = json.loads(options.output.read_text()) if options.output.exists() else {}
            rows = [r for r in known.get("rows", []) if (r["shape"], r["seed"]) != (name, seed)]
            rows = sorted([*rows, one], key=lambda r: (r["shape"], r["seed"]))
            results = {"machine": machine(), "rows": rows}
            write_results(str(options.output), results, quiet=True)
            print(name, seed, one["ratio"], one["sampled"]["held_out"], flush=True)


if __name__ == "__main__":
    main()
