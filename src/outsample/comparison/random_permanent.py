"""Random matrices, whose permanents are wanted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from outsample.comparison.seeds import derive_seed
from outsample.errors import InputError
from outsample.estimator import positive_integer
from outsample.problem import Family
from outsample.products.permanents import Permanent

_Draw = Callable[[int, torch.Generator], Tensor]


def _uniform(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, n, generator=generator, dtype=torch.float64)


#: Independent entries: uniform on [0, 1), 0 or 1, -1 or 1, standard normal, exponential of mean 1.
_ENTRIES: dict[str, _Draw] = {
    "uniform": _uniform,
    "bernoulli": lambda n, g: (_uniform(n, g) < 0.5).double(),
    "sign": lambda n, g: 1 - 2 * (_uniform(n, g) < 0.5).double(),
    "gaussian": lambda n, g: torch.randn(n, n, generator=g, dtype=torch.float64),
    "exponential": lambda n, g: -torch.log1p(-_uniform(n, g)),
}


@dataclass(frozen=True)
class RandomPermanent(Family):
    """Permanents of square matrices with independent entries of one law, in float64.

    Args:
        size: n, rows and columns.
        entries: ``"uniform"`` on [0, 1), ``"bernoulli"`` (0 or 1, equally likely), ``"sign"`` (-1
            or 1, equally likely), ``"gaussian"`` (standard normal) or ``"exponential"`` (mean 1).

    Raises:
        InputError: for a size below 1 or an unknown law.

    Example:
        >>> RandomPermanent(size=4, entries="sign").problem(seed=0).describe()
        'Permanent of a 4 by 4 matrix'
    """

    size: int
    entries: Literal["uniform", "bernoulli", "sign", "gaussian", "exponential"] = "uniform"

    def __post_init__(self) -> None:
        positive_integer("RandomPermanent", "size", self.size)
        if self.entries not in _ENTRIES:
            raise InputError(
                f"RandomPermanent: entries = {self.entries!r}; expected one of "
                f"{', '.join(_ENTRIES)}"
            )

    def problem(self, seed: int) -> Permanent:
        """Return the permanent drawn with ``seed``."""
        generator = torch.Generator().manual_seed(derive_seed("RandomPermanent", seed))
        return Permanent(_ENTRIES[self.entries](self.size, generator))
