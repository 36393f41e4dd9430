"""Different expansions for different neurons of a layer."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from outsample.networks.activations.base import Expansion, standard_deviation


class Assembled(Expansion):
    """Expansions of disjoint groups of neurons, put together in the dtype of ``scale``."""

    def __init__(
        self, parts: "Sequence[tuple[Int[Tensor, ' m'], Expansion]]", scale: Float[Tensor, " n"]
    ) -> None:
        """Take the neurons' indices and the expansion of each group; they cover all n."""
        self.scale = scale
        self._parts = [part for _, part in parts]
        self._order = torch.cat([index for index, _ in parts]).argsort()
        self.mean = self._gather([part.mean for part in self._parts])

    def coefficient(self, degree: int, power: int = 1) -> Float[Tensor, " n"]:
        """See the base class."""
        return self._gather([part.coefficient(degree, power) for part in self._parts])

    def _gather(self, values: "list[Tensor]") -> Float[Tensor, " n"]:
        return torch.cat(values)[self._order].to(self.scale.dtype)


def either(
    chosen: Bool[Tensor, " n"],
    first: Callable[[Tensor, Tensor], Expansion],
    second: Callable[[Tensor, Tensor], Expansion],
    mean: Float[Tensor, " n"],
    variance: Float[Tensor, " n"],
) -> Expansion:
    """Expand the chosen neurons by ``first(mean, variance)``, the others by ``second``."""
    parts: list[tuple[Tensor, Expansion]] = []
    for group, expand in ((chosen, first), (~chosen, second)):
        index = group.nonzero()[:, 0]
        if len(index) == len(mean):
            return expand(mean, variance)
        if len(index):
            parts.append((index, expand(mean[index], variance[index])))
    return Assembled(parts, standard_deviation(variance))
