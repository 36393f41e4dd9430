"""What constructors accept as arrays, and the checks they share."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from outsample.errors import InputError

ArrayLike = Tensor | NDArray[np.floating] | NDArray[np.integer] | float


def as_tensor(
    name: str, value: Tensor | ArrayLike, like: Tensor | None, owner: str = "Gaussian"
) -> Tensor:
    """Accept a tensor, a NumPy array or a number; refuse what is not real and finite."""
    if isinstance(value, Tensor):
        tensor = value
    elif isinstance(value, float | int):
        tensor = torch.tensor(float(value), dtype=None if like is None else like.dtype)
        if like is not None:
            tensor = tensor.to(like.device)
    else:
        array = np.asarray(value)
        if array.dtype.kind not in "fiu":
            raise InputError(
                f"{owner}: {name} has dtype {array.dtype}; expected real floating point"
            )
        tensor = torch.from_numpy(np.ascontiguousarray(array))
    if not tensor.is_floating_point():
        raise InputError(
            f"{owner}: {name} has dtype {tensor.dtype}; expected floating point "
            f"(convert it with .float() or .double())"
        )
    if like is not None and (tensor.dtype != like.dtype or tensor.device != like.device):
        raise InputError(
            f"{owner}: {name} is {tensor.dtype} on {tensor.device} but mean is {like.dtype} on "
            f"{like.device}; give both the same dtype and device"
        )
    bad = ~torch.isfinite(tensor.detach())
    if bool(bad.any()):
        place = tuple(int(i) for i in bad.nonzero()[0])
        raise InputError(
            f"{owner}: {name} has {int(bad.sum())} non-finite entries, the first at {place}: "
            f"{tensor[place].item()}; remove or impute them first"
        )
    return tensor
