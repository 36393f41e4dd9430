"""E[σ(f(x))] for a two-layer network f(x) = Σ_j v_j φ(w_j · x + b_j) + c with Gaussian inputs."""

import dataclasses
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Self, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from outsample.distributions import ArrayLike, Gaussian, as_tensor
from outsample.errors import InputError, UnsupportedProblem
from outsample.networks import NetworkMean
from outsample.networks.activations import Activation, from_name
from outsample.networks.graph import Affine
from outsample.problem import Problem
from outsample.readout.outputs import Built, Identity, Output, Threshold, as_output

_OWNER = "TwoLayer"


@dataclass(frozen=True)
class Whitened:
    """The network in coordinates z ~ N(0, I): f(z) = shift + Σ_j v_j φ(means_j + s_j u_j · z).

    All in float64.  A hidden unit that does not see the input has u = 0 and s = 0.
    """

    #: Unit vectors u_j, shape (m, n).
    directions: Float[Tensor, "m n"]
    #: Lengths s_j of the weights, shape (m,).
    lengths: Float[Tensor, " m"]
    #: Means of the pre-activations, shape (m,).
    means: Float[Tensor, " m"]
    #: v, one row for each readout, shape (k, m).
    readouts: Float[Tensor, "k m"]
    #: Constants added to the sums, shape (k,).
    shifts: Float[Tensor, " k"]
    activation: Activation
    #: Whether every pre-activation has mean zero.
    centred: bool

    @property
    def size(self) -> tuple[int, int]:
        """Numbers of inputs n and of hidden units m."""
        return self.directions.shape[1], self.directions.shape[0]

    @property
    def weights(self) -> Float[Tensor, "m n"]:
        """Rows s_j u_j, shape (m, n)."""
        return self.directions * self.lengths[:, None]

    def sums(self, z: Float[Tensor, "batch n"]) -> Float[Tensor, "batch k"]:
        """The readouts at the rows of ``z``, shape (batch, k)."""
        hidden = self.activation(torch.addmm(self.means, z, self.weights.T))
        return torch.addmm(self.shifts, hidden, self.readouts.T)


class TwoLayer(Problem):
    """E[σ(f(x))] for f(x) = Σ_j v_j φ(w_j · x + b_j) + c and Gaussian x.

    Args:
        weight: W, shape (m, n): one row w_j for each of m hidden units.
        readout: v, shape (m,); or (k, m) for k readouts of the same hidden layer, whose work
            estimators share.
        activation: φ, by name or as an :class:`~outsample.networks.activations.Activation`.
        output: σ, a name (``"identity"``, ``"sigmoid"``, ``"relu"``, ``"step"``), an
            :class:`~outsample.readout.Output` such as ``Threshold(2.0)``, or a function of a tensor
            that grows no faster than a polynomial.
        bias: b, shape (m,); zeros unless given.
        readout_bias: c, a number or shape (k,).
        inputs: law of x; standard normal unless given.

    Raises:
        InputError: for entries that are not real and finite, shapes that do not fit, an empty
            hidden layer, or an output function that does not work entry by entry.

    Source: the Alignment Research Center's "Competing with sampling" (2025), problem 1;
    formulas in the documentation, theory/readout.

    Example:
        >>> import torch
        >>> weight = torch.eye(2, dtype=torch.float64)
        >>> TwoLayer(weight, torch.ones(2, dtype=torch.float64)).exact()
        tensor(0.7979, dtype=torch.float64)
    """

    #: Law of the inputs.
    law: Gaussian

    def __init__(
        self,
        weight: Float[Tensor, "m n"] | ArrayLike,
        readout: Float[Tensor, " m"] | Float[Tensor, "k m"] | ArrayLike,
        activation: str | Activation = "relu",
        output: Output | Built | Callable[[Tensor], Tensor] = "identity",
        *,
        bias: Float[Tensor, " m"] | ArrayLike | None = None,
        readout_bias: Float[Tensor, " k"] | ArrayLike = 0.0,
        inputs: Gaussian | None = None,
    ) -> None:
        w = as_tensor("weight", weight, None, _OWNER)
        v = as_tensor("readout", readout, w, _OWNER)
        if w.dim() != 2 or 0 in w.shape:
            raise InputError(
                f"{_OWNER}: weight has shape {tuple(w.shape)}; expected (m, n), one row for each "
                "hidden unit, with m >= 1 and n >= 1"
            )
        m, n = w.shape
        if v.dim() not in (1, 2) or v.shape[-1] != m or v.numel() == 0:
            raise InputError(
                f"{_OWNER}: readout has shape {tuple(v.shape)}; expected ({m},) or (k, {m}) to fit "
                f"the weight of shape {tuple(w.shape)}"
            )
        b = None if bias is None else as_tensor("bias", bias, w, _OWNER)
        if b is not None and tuple(b.shape) != (m,):
            raise InputError(f"{_OWNER}: bias has shape {tuple(b.shape)}; expected ({m},)")
        c = as_tensor("readout_bias", readout_bias, w, _OWNER)
        if c.dim() > 0 and c.shape != v.shape[:-1]:
            raise InputError(
                f"{_OWNER}: readout_bias has shape {tuple(c.shape)}; expected a number or "
                f"{tuple(v.shape[:-1])}"
            )
        law = Gaussian.standard(n, w.dtype) if inputs is None else inputs
        if not isinstance(law, Gaussian):
            raise InputError(f"{_OWNER}: inputs is {type(law).__name__}; expected a Gaussian")
        if law.shape != (n,):
            raise InputError(
                f"{_OWNER}: inputs has {law.shape[0]} entries, the weights have {n}; expected as "
                "many"
            )
        if not isinstance(activation, str | Activation):
            raise InputError(
                f"{_OWNER}: activation is {activation!r}; expected a name such as 'relu', or an "
                "Activation"
            )
        #: W (m, n), v (m,) or (k, m), b (m,) or None, and c.
        self.weight: Tensor = w
        self.readout: Tensor = v
        self.bias: Tensor | None = b
        self.readout_bias: Tensor = c
        self.activation: Activation = (
            from_name(activation) if isinstance(activation, str) else activation
        )
        self.output: Output = as_output(output)
        self.inputs = self.law = law.to(w.dtype, w.device)
        self.output_shape = tuple(v.shape[:-1])
        self._check_output()

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        inputs: Gaussian | None = None,
        output: Output | Built | Callable[[Tensor], Tensor] = "identity",
    ) -> Self:
        """Read ``Sequential(Linear, activation, Linear)``; parameters as they stand now.

        One output makes one readout, several make several.

        Raises:
            UnsupportedProblem: if the module is no such chain.
        """
        first = next(module.parameters(), None)
        width = 1 if first is None or first.dim() != 2 else first.shape[1]
        law = inputs if inputs is not None else Gaussian.standard(width)
        steps = NetworkMean(module, law).graph().steps
        kinds = [isinstance(step, Affine) for step in steps]
        if kinds != [True, False, True]:
            raise UnsupportedProblem(
                f"{_OWNER}.from_module: the module has {len(steps)} steps; expected a linear map, "
                "an activation and a linear map"
            )
        hidden, activation, last = cast(tuple[Affine, Activation, Affine], steps)
        one = last.weight.shape[0] == 1
        readout = last.weight.detach()
        shift = readout.new_zeros(len(readout)) if last.bias is None else last.bias.detach()
        return cls(
            hidden.weight.detach(),
            readout[0] if one else readout,
            activation,
            output,
            bias=None if hidden.bias is None else hidden.bias.detach(),
            readout_bias=shift[0] if one else shift,
            inputs=inputs,
        )

    def __call__(self, x: Float[Tensor, "batch n"]) -> Float[Tensor, "batch *k"]:
        """σ(f) at the rows of ``x``."""
        hidden = self.activation(torch.nn.functional.linear(x, self.weight, self.bias))
        return self.output(nn.functional.linear(hidden, self.readout) + self.readout_bias)

    def with_output(self, output: Output | Built | Callable[[Tensor], Tensor]) -> "TwoLayer":
        """The same network with another output function."""
        return TwoLayer(
            self.weight,
            self.readout,
            self.activation,
            output,
            bias=self.bias,
            readout_bias=self.readout_bias,
            inputs=self.law,
        )

    def tail(self, level: float) -> "TwoLayer":
        """P(f(x) > level) as a problem."""
        return self.with_output(Threshold(level))

    @property
    def parameters(self) -> int:
        """|θ|: how many numbers the network has."""
        biases = (0 if self.bias is None else self.bias.numel()) + self.readout_bias.numel()
        return self.weight.numel() + self.readout.numel() + biases

    def whitened(self) -> Whitened:
        """The network as a function of z ~ N(0, I), x = mean + F z; on the CPU, no gradient."""
        with torch.no_grad():
            w, law = _plain(self.weight), self.law.to(torch.float64, torch.device("cpu"))
            means = w @ law.mean.detach()
            if self.bias is not None:
                means = means + _plain(self.bias)
            rows = _times_root(w, law)
            lengths = rows.norm(dim=1)
            unit = rows / lengths.clamp_min(1e-300)[:, None]
            v = _plain(self.readout).reshape(-1, len(w))
            shifts = _plain(self.readout_bias).expand(len(v))
        centred = not bool((means != 0).any())
        return Whitened(unit, lengths, means, v, shifts, self.activation, centred)

    def has_exact(self) -> bool:
        """Whether :meth:`exact` knows the expectation: without an output function."""
        return isinstance(self.output, Identity)

    def exact(self) -> Tensor | None:
        """The expectation for the identity as output function: one Gaussian integral a unit."""
        if not self.has_exact():
            return None
        net = self.whitened()
        mean = net.activation.expand(net.means, net.lengths.square()).mean
        value = net.readouts @ mean + net.shifts
        return value.to(self.weight).reshape(self.output_shape)

    def variance_given(self, mean: Tensor) -> Tensor | None:
        """Variance p (1 - p) of a tail event, else None."""
        return mean * (1 - mean) if isinstance(self.output, Threshold) else None

    def signature(self) -> Hashable:
        """Shapes, activation, output function, structure of the law, dtype and device."""
        law = tuple(tuple(t.shape) for t in self.inputs.tensors())
        shapes = (tuple(self.weight.shape), tuple(self.readout.shape), law, self.bias is not None)
        kind = (self.activation, self.output, self.whitened().centred)
        return "two layers", shapes, kind, self.dtype, self.device

    def tensors(self) -> list[Tensor]:
        """W, v, biases, and the tensors of the law."""
        bias = [] if self.bias is None else [self.bias]
        return [self.weight, self.readout, self.readout_bias, *bias, *self.inputs.tensors()]

    def describe(self) -> str:
        """One line, e.g. ``TwoLayer 16-1024-relu, output Sigmoid``."""
        m, n = self.weight.shape
        many = "" if self.readout.dim() == 1 else f", {len(self.readout)} readouts"
        kind = type(self.output).__name__
        return f"TwoLayer {n}-{m}-{self.activation.name}{many}, output {kind}"

    def __repr__(self) -> str:
        shown = self.output if dataclasses.is_dataclass(self.output) else type(self.output).__name__
        return f"{self.describe()} {shown} on {self.inputs!r}"

    def _check_output(self) -> None:
        probe = torch.linspace(-1.5, 1.5, 6, dtype=torch.float64).reshape(2, 3)
        with torch.no_grad():
            found = self.output(probe)
            alone = self.output(probe[:1, :1])
        if not isinstance(found, Tensor) or found.shape != probe.shape:
            what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"{_OWNER}: output returned {what} for a tensor of shape (2, 3); expected a "
                "function of one variable applied to every entry"
            )
        if not torch.allclose(found[:1, :1].double(), alone.double(), equal_nan=True):
            raise InputError(
                f"{_OWNER}: output depends on other entries than its own; expected a function of "
                "one variable"
            )


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()


def _times_root(w: Float[Tensor, "m n"], law: Gaussian) -> Float[Tensor, "m n"]:
    """W F for F Fᵀ = covariance, without a matrix product where F is diagonal."""
    if law.scale.dim() < 2:
        return w * law.scale.detach().sqrt()
    return w @ law.square_root().detach()
