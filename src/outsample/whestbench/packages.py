"""What the adapter needs installed, and what these packages print."""

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec

from outsample.errors import InputError


def require() -> None:
    """Refuse, before any work, if WhestBench is not there.

    Raises:
        InputError: naming what is missing and how to install it.
    """
    for package in ("whestbench", "flopscope"):
        if find_spec(package) is None:
            raise InputError(
                f"the package {package!r} is not installed; install it with: "
                "pip install 'outsample[whestbench]'"
            )


@contextmanager
def quiet() -> Generator[None]:
    """Without the warnings and progress bars of the benchmark's packages: we report ourselves."""
    from datasets.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if shown:
            enable_progress_bars()
