"""The probability that a detector goes off on a network's random output."""

import math
from collections.abc import Hashable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from outsample.catastrophe.detectors.detector import Detector
from outsample.catastrophe.detectors.normal_form import LinearThreshold, Widths, normal_form
from outsample.catastrophe.event import Event, before_activations, read_out
from outsample.catastrophe.linear import exact_probability
from outsample.distributions import Gaussian, GaussianMixture
from outsample.errors import InputError, NumericalError
from outsample.networks import Affine, Graph, NetworkMean
from outsample.problem import Problem

_OWNER = "CatastropheProbability"


class CatastropheProbability(Problem):
    """P(detector(M(x))) for a network M and a random input x: M(x) is 1 if the detector goes off.

    A detector that is itself a network C stands behind M in one module, with a threshold on its
    output: ``CatastropheProbability(nn.Sequential(M, C), inputs, output[0] > 0)``.

    Parameters are read live: after a training step, the same problem speaks of the new network.

    Args:
        network: a chain of layers, see :class:`~outsample.networks.reader.Reader`; in eval mode
            if it has dropout or batch norm.
        inputs: law of x, a Gaussian or a mixture of Gaussians, on as many numbers as the network
            takes; cast to the network's dtype and device.
        detector: thresholds on :data:`output` and :data:`hidden` units, :func:`argmax`, and what
            ``&``, ``|``, ``~`` make of them.

    Raises:
        InputError: for what :class:`NetworkMean` refuses of a network and its input, for outputs,
            layers or units that the network does not have, and for anything but a detector.
        UnsupportedProblem: for a layer that is not known, by name, and for detectors that amount
            to a union of more than 64 conjunctions.

    Example:
        >>> from outsample.catastrophe.detectors import output
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> CatastropheProbability(net, Gaussian.standard(3), output[0] - output[1] > 2)
        CatastropheProbability 3-8-relu-2: output[0] - output[1] > 2
    """

    def __init__(
        self, network: nn.Module, inputs: Gaussian | GaussianMixture, detector: Detector
    ) -> None:
        if not isinstance(network, nn.Module):
            raise InputError(
                f"{_OWNER}: network is {type(network).__name__}; expected a torch.nn.Module"
            )
        if not isinstance(inputs, Gaussian | GaussianMixture):
            raise InputError(
                f"{_OWNER}: inputs is {type(inputs).__name__}; expected a Gaussian or a "
                "GaussianMixture"
            )
        if not isinstance(detector, Detector):
            hint = " (nothing was compared, or with something else)" * isinstance(detector, bool)
            raise InputError(
                f"{_OWNER}: detector is {detector!r}{hint}; expected one such as output[3] > 2.0 "
                "or argmax(margin=2) == 7"
            )
        self.network = network
        self.detector = detector
        self._outputs = NetworkMean(network, inputs)
        law = inputs.to(self._outputs.dtype, self._outputs.device)
        self.inputs: Gaussian | GaussianMixture = law  # pyright: ignore[reportIncompatibleVariableOverride]
        self.output_shape = ()
        #: The conjunctions of thresholds whose union the detector is.
        self.conjunctions = normal_form(detector, self._widths())
        unique = dict.fromkeys(t for parts in self.conjunctions for t in parts)
        self._distinct = tuple(unique)
        order = {threshold: place for place, threshold in enumerate(unique)}
        self._places = [[order[t] for t in parts] for parts in self.conjunctions]
        self._units = sorted(
            {unit for threshold in unique for unit, _ in threshold.row},
            key=lambda unit: (unit.layer is not None, unit),
        )
        self._rows = self.inputs.mean.new_zeros(len(unique), len(self._units))
        for place, threshold in enumerate(unique):
            for unit, weight in threshold.row:
                self._rows[place, self._units.index(unit)] = weight
        self._limits = self._limits_of([*unique])

    def __call__(self, x: Float[Tensor, "batch n"]) -> Float[Tensor, " batch"]:
        """1 where the detector goes off, else 0, at rows of inputs."""
        with torch.no_grad():
            return (self.score(x) > 0).to(self.dtype)

    def score(self, x: Float[Tensor, "batch n"]) -> Float[Tensor, " batch"]:
        """How far beyond the detector's thresholds each input is; above 0 if it goes off.

        The largest over its conjunctions of the smallest excess over a threshold: continuous in
        x.  ±inf for detectors that are certain or impossible.  A threshold that includes its
        value (>=, <=) is moved to the next number beyond.

        Raises:
            InputError: for rows of another width, or layers in training mode.
            NumericalError: if the network's values are not finite.
        """
        if not self.conjunctions:
            self._check_rows(x)
            return x.new_full((len(x),), -torch.inf)
        return self.scores(x).amax(1)

    def scores(self, x: Float[Tensor, "batch n"]) -> Float[Tensor, "batch conjunctions"]:
        """The same for each of :attr:`conjunctions`: the smallest excess over its thresholds.

        Raises:
            InputError: for rows of another width, or layers in training mode.
            NumericalError: if the network's values are not finite.
        """
        self._check_rows(x)
        excess = self._values(x) @ self._rows.T - self._limits
        if not math.isfinite(float(excess.detach().sum())):
            bad = ~torch.isfinite(excess.detach())
            if bool(bad.any()):
                raise NumericalError(
                    f"{self.describe()}: {int(bad.any(1).sum())} of {len(x)} inputs give values "
                    "that are not finite; rescale the network or its inputs"
                )
        certain = x.new_full((len(x),), torch.inf)
        found = [excess[:, places].amin(1) if places else certain for places in self._places]
        return torch.stack(found, 1) if found else x.new_empty(len(x), 0)

    def graph(self) -> Graph:
        """The network as a chain of steps; live parameters."""
        return self._outputs.graph()

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """Numbers of units after each activation."""
        return self._widths().hidden

    def events(self) -> tuple[Event, ...]:
        """The conjunctions as networks: the probability is that of their union.

        None if the detector is impossible; one without thresholds if it is certain.
        """
        graph = self._outputs.graph()
        found: list[Event] = []
        for parts, places in zip(self.conjunctions, self._places, strict=True):
            rows = [threshold.row for threshold in parts]
            rows, limits = before_activations(graph, rows, self._limits[places])
            found.append(Event(read_out(graph, rows, self.inputs.mean), limits))
        return tuple(found)

    def margins(self) -> tuple[Event, tuple[tuple[int, ...], ...]]:
        """All distinct thresholds as one event, and which of them each conjunction is made of."""
        graph = self._outputs.graph()
        rows = [threshold.row for threshold in self._distinct]
        rows, limits = before_activations(graph, rows, self._limits)
        event = Event(read_out(graph, rows, self.inputs.mean), limits)
        return event, tuple(tuple(places) for places in self._places)

    def exact(self) -> Tensor | None:
        """Closed form, shape (), for detectors that are certain or impossible and linear networks.

        The latter with at most three conjunctions, whose intersections are halfspaces with a
        closed form; differentiable.
        """
        return exact_probability(self.events(), self.inputs)

    def sampled_truth(self, samples: int, seed: int) -> tuple[Tensor, Tensor] | None:
        """The probability and its standard error by importance sampling from tilts."""
        # The sampler stands on this module.
        from outsample.catastrophe.samplers.tilted import TiltedImportanceSampling

        found = TiltedImportanceSampling(samples, seed, inflation=1.2).estimate(self)
        return None if found.standard_error is None else (found.value, found.standard_error)

    def variance_given(self, mean: Tensor) -> Tensor:
        """Variance p (1 - p) of the event, shape ()."""
        return mean * (1 - mean)

    def signature(self) -> Hashable:
        """The network's and the input's structure, and which units the detector reads."""
        sizes = tuple(len(parts) for parts in self.conjunctions)
        law: tuple[object, ...] = tuple(tuple(t.shape) for t in self.inputs.tensors())
        return "catastrophe", self._outputs.signature(), law, sizes, tuple(self._units)

    def tensors(self) -> list[Tensor]:
        """The network's parameters, the input's, and the detector's weights and thresholds."""
        return [*self._outputs.tensors(), self._rows, self._limits]

    def describe(self) -> str:
        """Widths, activations and the detector."""
        network = self._outputs.describe().removeprefix("NetworkMean ")
        return f"{_OWNER} {network}: {self.detector!r}"

    def __repr__(self) -> str:
        return self.describe()

    def _check_rows(self, x: Tensor) -> None:
        n = self.inputs.shape[0]
        if x.dim() != 2 or x.shape[1] != n:
            raise InputError(f"{_OWNER}: x has shape {tuple(x.shape)}; expected (batch, {n})")

    def _widths(self) -> Widths:
        """Numbers of outputs, and of units after each activation."""
        width = self.inputs.shape[0]
        hidden: list[int] = []
        for step in self._outputs.graph().steps:
            if isinstance(step, Affine):
                width = step.weight.shape[0]
            else:
                hidden.append(width)
        return Widths(width, tuple(hidden))

    def _limits_of(self, thresholds: list[LinearThreshold]) -> Float[Tensor, " m"]:
        """Thresholds in the problem's dtype: f >= t is f > the number before t."""
        exact = torch.tensor([t.value for t in thresholds], dtype=torch.float64)
        limits = exact.to(self.device, self.dtype)
        if not bool(torch.isfinite(limits).all()):
            raise InputError(
                f"{_OWNER}: a threshold of {self.detector!r} is beyond the range of {self.dtype}"
            )
        loose = torch.tensor([not t.strict for t in thresholds], dtype=torch.bool)
        loose = loose.to(self.device)
        before = torch.nextafter(limits, torch.full_like(limits, -torch.inf))
        return torch.where(loose, before, limits)

    def _values(self, x: Tensor) -> Float[Tensor, "batch units"]:
        """The outputs and hidden units that the detector reads."""
        chosen = [unit.place for unit in self._units if unit.layer is None]
        if len(chosen) == len(self._units):
            return self._outputs(x)[:, chosen]
        found: list[Tensor] = []
        layer = 0
        for step in self._outputs.graph().steps:
            x = step(x)
            if not isinstance(step, Affine):
                wanted = [unit.place for unit in self._units if unit.layer == layer]
                found += [x[:, wanted]] * bool(wanted)
                layer += 1
        return torch.cat((x[:, chosen], *found), 1)
