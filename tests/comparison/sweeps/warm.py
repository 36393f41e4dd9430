"""For the server that processes are forked from: what each would else load and look up itself."""

import scipy.stats  # noqa: F401  # pyright: ignore[reportUnusedImport]
import torch._dynamo  # noqa: F401  # pyright: ignore[reportUnusedImport]
from tests.comparison.sweeps.cases import study

KEYS = [task.key for task in study().tasks()]
