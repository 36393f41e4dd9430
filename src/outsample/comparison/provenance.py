"""What figures depend on besides their settings: code, versions, machine, linear algebra."""

import hashlib
import os
import platform
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch


def environment() -> dict[str, Any]:
    """Code, versions, processor, linear algebra and threads of this process, as plain values."""
    return {**_fixed(), "threads": torch.get_num_threads()}


@cache
def _fixed() -> dict[str, Any]:
    """What does not change while a process runs."""
    return {
        "outsample": version("outsample"),
        "code": code_digest(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "BLAS": blas(),
    }


@cache
def code_digest() -> str:
    """Twelve hexadecimal digits that change with every line of outsample's own code."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def processor() -> str:
    """Model of the processor, as far as the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = re.search(r"model name\s*:\s*(.+)", file.read())
    except OSError:
        found = None
    return found[1] if found else platform.processor() or "unknown"


def blas() -> str:
    """The linear algebra that PyTorch was built with."""
    found = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return found[1] if found else "unknown"


def package_version(package: str) -> str | None:
    """Version of an installed package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
