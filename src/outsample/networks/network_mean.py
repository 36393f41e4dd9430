"""The expected output of a network on a random input."""

import operator
from collections.abc import Hashable
from typing import SupportsIndex

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from outsample.distributions import Gaussian
from outsample.errors import InputError
from outsample.networks.graph import Affine, Graph
from outsample.networks.reader import Reader
from outsample.problem import Distribution, Problem


class NetworkMean(Problem):
    """E[M(x)] for a network M and a random input x.

    Parameters are read live: after a training step, the same problem speaks of the new network.

    Args:
        module: a chain of layers, see :class:`~outsample.networks.reader.Reader`; in eval mode
            if it has dropout or batch norm.
        inputs: law of x with values of shape (n,), n the first layer's width; cast to the
            network's dtype and device.
        output: which outputs: an index (the problem's ``output_shape`` is then ``()``), a slice,
            or a matrix of shape (k, outputs) whose rows are the linear functionals wanted.

    Raises:
        InputError: if the network, the input and the selection do not fit together, if a
            parameter is not finite, or if the module does not compute the chain read from it.
        UnsupportedProblem: if the module has a layer that is not known, by name.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> NetworkMean(net, Gaussian.standard(3)).output_shape
        (2,)
    """

    def __init__(
        self,
        module: nn.Module,
        inputs: Distribution,
        output: int | slice | Float[Tensor, "k outputs"] | NDArray[np.floating] | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise InputError(
                f"NetworkMean: module is {type(module).__name__}; expected a torch.nn.Module"
            )
        if not isinstance(inputs, Distribution):
            raise InputError(
                f"NetworkMean: inputs is {type(inputs).__name__}; expected a Distribution such as "
                "Gaussian.standard(n)"
            )
        self.module = module
        self._reader = Reader(module)
        dtype, device = self._reader.dtype, self._reader.device
        if dtype is not None and device is not None:
            inputs = inputs.to(dtype, device)
        self.inputs = inputs
        taken, given = self._reader.width
        if len(inputs.shape) != 1 or taken not in (None, inputs.shape[0]):
            raise InputError(
                f"NetworkMean: inputs have shape {inputs.shape} but the network takes "
                f"{'one flat vector' if taken is None else taken}"
            )
        self._output, self.output_shape = _selection(output, given or inputs.shape[0], self.inputs)
        self._check_chain()

    def __call__(self, x: Float[Tensor, "batch n"]) -> Float[Tensor, "batch *outputs"]:
        """Run the network on rows of inputs."""
        self._reader.check_modes()
        y: Tensor = self.module(x)
        if self._output is None:
            return y
        if isinstance(self._output, Tensor):
            return y @ self._output.T
        return y[:, self._output]

    def graph(self) -> Graph:
        """The network, selection of outputs included, as a chain of steps; live parameters."""
        graph = self._reader.graph()
        if self._output is None:
            return graph
        if isinstance(self._output, Tensor):
            return Graph((*graph.steps, Affine(self._output)))
        chosen = self._output
        rows = chosen if isinstance(chosen, slice) else slice(chosen, chosen + 1)
        last = graph.steps[-1]
        if not isinstance(last, Affine):
            last = Affine(torch.eye(self._width, dtype=self.dtype, device=self.device))
            graph = Graph((*graph.steps, last))
        last = Affine(last.weight[rows], None if last.bias is None else last.bias[rows])
        return Graph((*graph.steps[:-1], last))

    def exact(self) -> Float[Tensor, "*outputs"] | None:
        """The expectation where Gaussian integrals give it: at most one layer of activations.

        Exact to round-off for activations with closed forms, to about 1e-10 for the others.
        """
        graph = self.graph()
        hidden = [i for i, step in enumerate(graph.steps) if not isinstance(step, Affine)]
        if not hidden:
            return graph(self.inputs.mean[None]).reshape(self.output_shape)
        if len(hidden) > 1 or not isinstance(self.inputs, Gaussian):
            return None
        mean, scale = self.inputs.mean, self.inputs.scale
        dense = scale if scale.dim() == 2 else torch.diag(scale.expand(mean.shape[0]))
        variance = dense.diagonal()
        for step in graph.steps:
            if isinstance(step, Affine):
                dense = step.weight @ dense @ step.weight.T
                mean, variance = step(mean[None])[0], dense.diagonal()
            else:
                mean = step.expand(mean, variance).mean
        return mean.reshape(self.output_shape)

    def signature(self) -> Hashable:
        """Steps with their shapes, the input's structure, dtype and device."""
        steps = tuple(
            (tuple(s.weight.shape), s.bias is not None) if isinstance(s, Affine) else s
            for s in self.graph().steps
        )
        law = (type(self.inputs), tuple(tuple(t.shape) for t in self.inputs.tensors()))
        return steps, law, self.output_shape, self.dtype, self.device

    def tensors(self) -> list[Tensor]:
        """The network's parameters and buffers, then the input's."""
        extra = [self._output] if isinstance(self._output, Tensor) else []
        return self._reader.tensors() + self.inputs.tensors() + extra

    def describe(self) -> str:
        """Widths and activations, e.g. ``NetworkMean 64-256-relu-10``."""
        parts = [str(self.inputs.shape[0])]
        for step in self.graph().steps:
            parts.append(str(step.weight.shape[0]) if isinstance(step, Affine) else step.name)
        return "NetworkMean " + "-".join(parts)

    @property
    def _width(self) -> int:
        return self._reader.width[1] or self.inputs.shape[0]

    def _check_chain(self) -> None:
        """Hooks or an overridden forward would make the module differ from what was read."""
        with torch.no_grad():
            mean = self.inputs.mean.detach()
            spread = torch.linspace(-1, 1, mean.shape[0], dtype=mean.dtype, device=mean.device)
            x = torch.stack([mean, mean + spread])
            found, read, largest = self(x), x, x.abs().max()
            for step in self.graph().steps:
                read = step(read)
                largest = torch.maximum(largest, read.abs().max())
            if found.shape != (2, *self.output_shape):
                raise InputError(
                    f"NetworkMean: two inputs of width {mean.shape[0]} give outputs of shape "
                    f"{tuple(found.shape)}; expected (2, outputs)"
                )
            gap = (found - read.reshape(found.shape)).abs().max()
            eps = torch.finfo(mean.dtype).eps
            # The second term is for outputs that are small differences of large numbers.
            allowed = eps**0.5 * (read.abs().max() + 1e-30) + 64 * eps * largest
            if bool(gap > allowed):
                raise InputError(
                    f"NetworkMean: {type(self.module).__name__} does not compute the chain of "
                    f"layers read from it (outputs differ by {gap.item():.3g} at the mean input); "
                    "remove forward hooks or overridden forward methods"
                )

    def __repr__(self) -> str:
        return f"{self.describe()} on {self.inputs!r}"


def _selection(
    output: int | slice | Tensor | NDArray[np.floating] | None, outputs: int, inputs: Distribution
) -> tuple[int | slice | Tensor | None, tuple[int, ...]]:
    """Validate the selection of outputs; return it in normal form with the output's shape."""
    if output is None:
        return None, (outputs,)
    if isinstance(output, slice):
        count = len(range(outputs)[output])
        if count == 0:
            raise InputError(f"NetworkMean: output = {output} selects none of {outputs} outputs")
        if (output.step or 1) < 0:
            raise InputError(f"NetworkMean: output = {output}; expected a positive step")
        return output, (count,)
    if isinstance(output, np.ndarray):
        output = torch.from_numpy(output)
    if isinstance(output, Tensor):
        if output.dim() != 2 or output.shape[1] != outputs or output.shape[0] < 1:
            raise InputError(
                f"NetworkMean: output has shape {tuple(output.shape)}; expected (k, {outputs})"
            )
        if not output.is_floating_point() or not bool(torch.isfinite(output.detach()).all()):
            raise InputError("NetworkMean: output matrix must be finite floating point")
        return output.to(inputs.device, inputs.dtype), (output.shape[0],)
    if not isinstance(output, SupportsIndex) or isinstance(output, bool):
        raise InputError(
            f"NetworkMean: output = {output!r}; expected an index, a slice or a matrix"
        )
    index = operator.index(output)
    if not -outputs <= index < outputs:
        raise InputError(f"NetworkMean: output = {index}; the network has {outputs} outputs")
    return index % outputs, ()
