"""What every benchmark writes beside its numbers."""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch


def machine() -> dict[str, Any]:
    """The machine and versions that numbers were measured on."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def write_results(path: str, results: dict[str, Any], quiet: bool = False) -> None:
    """Write ``results`` as JSON, creating the folder."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n")
    if not quiet:
        print(f"wrote {target}")


#: A part of a benchmark: yields all it has found each time it has found something more.
Part = Callable[[], Iterator[dict[str, Any]]]


def run_parts(parts: dict[str, Part], path: str, description: str | None, **stamp: Any) -> None:
    """Run the parts named by ``--only`` on one thread, all of them unless told.

    Results are written after each row, so that a long run that is cut loses nothing; those of
    other parts stay as they stand in the file.
    """
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(parts), default=list(parts))
    parser.add_argument("--output", type=Path, default=Path(path))
    options = parser.parse_args()
    torch.set_num_threads(1)
    output = options.output
    results: dict[str, Any] = json.loads(output.read_text()) if output.exists() else {}
    for name in options.only:
        start = time.perf_counter()
        for found in parts[name]():
            took = {"took_seconds": time.perf_counter() - start, "machine": machine()}
            results[name] = {**stamp, **took, **found}
            write_results(str(output), results, quiet=True)
    print(f"wrote {output}")
