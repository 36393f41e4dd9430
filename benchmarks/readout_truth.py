"""Sampled truths for ``readout.py``: run it first; it resumes where it stopped.

``python benchmarks/readout_truth.py [--one] [CASE …]``; with ``--one`` it stops after a network.
"""

import json
import sys
import time
from pathlib import Path

import torch

from common import machine
from readout_nets import CASES, truths

RESULTS = Path("benchmarks/results/readout_truth.json")
#: Networks and antithetic pairs of each case.
SIZES = {
    "relu 16x1024": (5, 3 * 10**6),
    "relu 32x4096": (3, 3 * 10**5),
    "gelu 16x1024": (5, 4 * 10**5),
    "tanh 16x1024": (5, 4 * 10**5),
    "erf 16x1024": (5, 4 * 10**5),
    "digits 16x1024": (5, 4 * 10**5),
    "digits 32x1024": (5, 4 * 10**5),
}


def main() -> None:
    torch.set_num_threads(1)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"machine": machine()}
    names = [name for name in sys.argv[1:] if name != "--one"]
    for name in names or SIZES:
        seeds, pairs = SIZES[name]
        done = known.setdefault(name, {"networks": []})["networks"]
        for seed in range(len(done), seeds):
            names, problem = CASES[name].problem(seed)
            start = time.perf_counter()
            rows = dict(zip(names, truths(problem, pairs, seed), strict=True))
            took = time.perf_counter() - start
            done.append({"pairs": pairs, "seconds": took, "readouts": rows})
            RESULTS.write_text(json.dumps(known, indent=1) + "\n")
            if "--one" in sys.argv:
                return


if __name__ == "__main__":
    main()
