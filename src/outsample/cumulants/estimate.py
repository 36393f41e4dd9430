"""What propagation estimators return."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from outsample.estimator import Estimate


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CumulantEstimate(Estimate):
    """An estimate by propagation through the layers of a network."""

    #: Means after every activation, first to last, each of shape (width,); None unless asked for.
    hidden: tuple[Float[Tensor, " width"], ...] | None = None
