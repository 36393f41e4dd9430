"""Reads ``torch.nn.Sequential``-like modules into a :class:`~outsample.networks.graph.Graph`."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from outsample.errors import InputError, UnsupportedProblem
from outsample.networks import activations
from outsample.networks.activations.base import Activation
from outsample.networks.graph import Affine, Graph, Step

_DROPOUT = (nn.Dropout, nn.AlphaDropout, nn.FeatureAlphaDropout)
_NOTHING = (nn.Identity, nn.Flatten, *_DROPOUT)


@dataclass(frozen=True)
class _Part:
    """One module of the chain with its place, e.g. ``2.0``, and what it computes."""

    place: str
    module: nn.Module
    activation: Activation | None

    def __str__(self) -> str:
        return f"module {self.place} ({type(self.module).__name__})"


class Reader:
    """The chain of steps of one module; parameters are read anew at every :meth:`graph`.

    Args:
        module: nested ``nn.Sequential`` of Linear, BatchNorm1d (eval), Flatten, Identity, Dropout
            (eval) and known activations.

    Raises:
        InputError: for an empty network, widths that do not fit, non-finite or integer
            parameters, mixed dtypes or devices, dropout or batch norm in training mode.
        UnsupportedProblem: for any other module, by name.
    """

    def __init__(self, module: nn.Module) -> None:
        self._parts = list(_walk(module, ""))
        self._live = [part for part in self._parts if not isinstance(part.module, _NOTHING)]
        if not self._live:
            raise InputError(
                f"the network ({type(module).__name__}) has no layers; expected at least one "
                "Linear layer or activation"
            )
        self._modes = [p for p in self._parts if isinstance(p.module, (*_DROPOUT, nn.BatchNorm1d))]
        self.check_modes()
        self.dtype, self.device = _check_parameters(self._parts)
        self.width = _check_widths(self._live)

    def tensors(self) -> list[Tensor]:
        """Parameters and buffers of every part, read live."""
        # Not parameters() and buffers(): walking the tree costs more than a small estimate.
        found: list[Tensor] = []
        for part in self._live:
            module = part.module
            if part.activation is None:
                found += [t for t in module._parameters.values() if t is not None]  # pyright: ignore[reportPrivateUsage]
                found += [t for t in module._buffers.values() if t is not None]  # pyright: ignore[reportPrivateUsage]
                if module._modules:  # pyright: ignore[reportPrivateUsage]
                    found += [*module.parameters()]  # parametrizations hold the true ones
        return found

    def graph(self) -> Graph:
        """The network as it stands now; batch norms are folded into their neighbours."""
        self.check_modes()
        steps: list[Step] = []
        waiting: tuple[Tensor, Tensor] | None = None  # scale and shift that await a Linear
        for part in self._live:
            module = part.module
            if isinstance(module, nn.Linear):
                weight, bias = module.weight, module.bias
                if waiting is not None:
                    scale, shift = waiting
                    moved = weight @ shift
                    # torch's stubs forget that bias may be None
                    bias = moved if bias is None else bias + moved  # pyright: ignore[reportUnnecessaryComparison]
                    weight, waiting = weight * scale, None
                steps.append(Affine(weight, bias))
            elif isinstance(module, nn.BatchNorm1d):
                scale, shift = _scale_and_shift(module)
                if waiting is not None:
                    waiting = (waiting[0] * scale, waiting[1] * scale + shift)
                elif steps and isinstance(steps[-1], Affine):
                    steps[-1] = _scaled(steps[-1], scale, shift)
                else:
                    waiting = (scale, shift)
            else:
                if waiting is not None:
                    steps.append(Affine(torch.diag(waiting[0]), waiting[1]))
                    waiting = None
                steps.append(part.activation)  # pyright: ignore[reportArgumentType]
        if waiting is not None:
            steps.append(Affine(torch.diag(waiting[0]), waiting[1]))
        return Graph(tuple(steps))

    def check_modes(self) -> None:
        """Raise InputError if dropout or batch norm is in training mode."""
        for part in self._modes:
            if part.module.training:
                raise InputError(
                    f"{part} is in training mode, where the network is a random function of its "
                    "batch; call .eval() first"
                )


def _walk(module: nn.Module, place: str) -> Iterator[_Part]:
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        # Not named_children(): it leaves out the second use of a module that stands in two places.
        for name, child in module._modules.items():  # pyright: ignore[reportPrivateUsage]
            yield from _walk(child, f"{place}.{name}" if place else name)
        return
    activation = activations.from_module(module)
    if activation is None and not isinstance(module, (nn.Linear, nn.BatchNorm1d, *_NOTHING)):
        raise UnsupportedProblem(
            f"module {place or '(root)'} is {type(module).__name__}, which outsample does not "
            "know; it reads nested nn.Sequential of Linear, BatchNorm1d, Flatten, Identity, "
            "Dropout and activations; wrap a function of one variable in outsample.Elementwise"
        )
    if isinstance(module, nn.BatchNorm1d) and module.running_mean is None:
        raise UnsupportedProblem(
            f"module {place} (BatchNorm1d) has track_running_stats=False: it uses the batch's own "
            "statistics also in eval mode"
        )
    yield _Part(place or "(root)", module, activation)


def _check_parameters(parts: list[_Part]) -> tuple[torch.dtype | None, torch.device | None]:
    """One floating dtype and device throughout, everything finite and initialised."""
    dtype: torch.dtype | None = None
    device: torch.device | None = None
    for part in parts:
        for name, tensor in [*part.module.named_parameters(), *part.module.named_buffers()]:
            if name == "num_batches_tracked":
                continue
            if isinstance(tensor, nn.UninitializedParameter):
                raise InputError(f"{part} is not initialised; run one forward pass first")
            if not tensor.is_floating_point():
                raise InputError(
                    f"{part}: {name} has dtype {tensor.dtype}; expected floating point"
                )
            if dtype is not None and (tensor.dtype, tensor.device) != (dtype, device):
                raise InputError(
                    f"{part}: {name} is {tensor.dtype} on {tensor.device} but the layers before "
                    f"are {dtype} on {device}; give the whole network one dtype and device"
                )
            dtype, device = tensor.dtype, tensor.device
            bad = ~torch.isfinite(tensor.detach())
            if bool(bad.any()):
                raise InputError(
                    f"{part}: {name} has {int(bad.sum())} non-finite entries of {tensor.numel()}"
                )
    return dtype, device


def _check_widths(parts: list[_Part]) -> tuple[int | None, int | None]:
    """Return the widths of input and output, None where no layer fixes them."""
    first: int | None = None
    width: int | None = None
    for part in parts:
        if isinstance(part.module, nn.Linear):
            taken, given = part.module.in_features, part.module.out_features
        elif isinstance(part.module, nn.BatchNorm1d):
            taken = given = part.module.num_features
        else:
            continue
        if taken < 1 or given < 1:
            raise InputError(f"{part} has width 0; expected at least one input and one output")
        if width is not None and taken != width:
            raise InputError(
                f"{part} takes {taken} inputs but the layer before it gives {width} outputs"
            )
        first = taken if first is None else first
        width = given
    return first, width


def _scale_and_shift(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise InputError("BatchNorm1d lost its running statistics since it was read")
    scale = torch.rsqrt(variance + norm.eps)
    if not norm.affine:
        return scale, -mean * scale
    scale = scale * norm.weight
    return scale, norm.bias - mean * scale


def _scaled(affine: Affine, scale: Tensor, shift: Tensor) -> Affine:
    bias = shift if affine.bias is None else torch.addcmul(shift, affine.bias, scale)
    return Affine(affine.weight * scale[:, None], bias)
