"""Families of trained problems M_θ(c, ·): parameters θ from a training run, and a context c apart.

A random network is all context.  Here the parameters are the outcome of training and the context
is drawn independently of them, as the variants of the principle with an explanation have it.
"""

import dataclasses
import math
import time
from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from outsample.comparison.seeds import derive_seed
from outsample.cost import count_flops
from outsample.distributions import Gaussian
from outsample.errors import InputError
from outsample.estimator import positive_integer
from outsample.networks import NetworkMean
from outsample.problem import Family, Problem

_RATE, _BATCH = 0.1, 64
_HELD_OUT = 0.25
#: Trained networks kept: the methods of a comparison take turns on one problem.
_KEPT = 4


@dataclass(frozen=True)
class Training:
    """A finished training run: what an explainer may read, and what it may cost."""

    #: The network with an input law that is known when training ends, before there is a context.
    problem: Problem
    #: |θ|: how many numbers were trained.
    size: int
    #: Wall-clock time of the training run.
    seconds: float
    #: Floating-point operations of the training run.
    flops: int


class TrainedProblem(Problem):
    """One function M_θ(c, ·) whose parameters θ come from training; the context c does not."""

    #: The training run that made θ.
    training: Training


class TrainedFamily(Family):
    """A family that trains: a problem's seed stands for a training run and for a context."""

    @abstractmethod
    def problem(self, seed: int) -> TrainedProblem:
        """Return the problem drawn with ``seed``; its training and its context are independent."""

    @abstractmethod
    def with_network(self, network: int) -> "TrainedFamily":
        """The family of problems whose parameters all come from one run, with seed ``network``."""


class TrainedNetwork(NetworkMean, TrainedProblem):
    """E[M_θ(x)] for a trained network, at an input law that its training did not know.

    Args:
        training: the run that made the network.
        module: the network.
        inputs: law of x: the context.
    """

    def __init__(self, training: Training, module: nn.Module, inputs: Gaussian) -> None:
        super().__init__(module, inputs)
        self.training = training


@dataclass(frozen=True)
class TrainedMLP(TrainedFamily):
    """ReLU networks trained on handwritten digits; the context is a digit they have not seen.

    The network reads scikit-learn's digits (64 pixels between 0 and 1), has ten outputs, the
    logits, and is trained by stochastic gradient descent on the cross-entropy (batches of 64,
    rate 0.1), in float32.  A quarter of the images, the same for all networks, is held out.  The
    context is one of these, chosen at random; the input is that image with independent Gaussian
    noise on every pixel.

    The problems' ``training`` says what the run took, and gives explainers the network on the
    Gaussian fitted to the training images.

    Args:
        width: neurons in every hidden layer.
        depth: number of hidden layers.
        steps: steps of gradient descent; 500 name about 96 % of the held-out digits rightly.
        noise: standard deviation of the noise on a pixel.
        network: seed of the one training run that all problems share; by default every problem
            has a run of its own.

    Raises:
        InputError: for sizes below 1, noise that is not positive and finite, a negative seed.

    Example:
        >>> problem = TrainedMLP(width=8, depth=1, steps=10).problem(seed=0)
        >>> problem.describe(), problem.training.size
        ('NetworkMean 64-8-relu-10', 610)
    """

    width: int = 64
    depth: int = 2
    steps: int = 500
    noise: float = 0.25
    network: int | None = None

    def __post_init__(self) -> None:
        for field in ("width", "depth", "steps"):
            positive_integer("TrainedMLP", field, getattr(self, field))
        if not 0 < self.noise < math.inf:
            raise InputError(f"TrainedMLP: noise = {self.noise!r}; expected a finite number > 0")
        if self.network is not None and (type(self.network) is not int or self.network < 0):
            raise InputError(
                f"TrainedMLP: network = {self.network!r}; expected an integer >= 0, or None"
            )

    def with_network(self, network: int) -> "TrainedMLP":
        """The family whose problems share the network trained with seed ``network``."""
        return dataclasses.replace(self, network=network)

    def problem(self, seed: int) -> TrainedNetwork:
        """Return the network and the context drawn with ``seed``."""
        run = seed if self.network is None else self.network
        module, training = _trained(self.width, self.depth, self.steps, run)
        images = _digits().held_out
        chosen = derive_seed("TrainedMLP context", seed) % len(images)
        return TrainedNetwork(training, module, Gaussian(images[chosen], self.noise**2))


@dataclass(frozen=True)
class _Digits:
    images: Float[Tensor, "train 64"]
    labels: Int[Tensor, " train"]
    held_out: Float[Tensor, "test 64"]
    #: Gaussian fitted to the training images.
    law: Gaussian


@lru_cache(maxsize=1)
def _digits() -> _Digits:
    from sklearn import datasets  # slow to import

    pixels, names = datasets.load_digits(return_X_y=True)
    images, labels = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(names)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    held_out, train = order.tensor_split([int(_HELD_OUT * len(order))])
    return _Digits(images[train], labels[train], images[held_out], Gaussian.fit(images[train]))


@lru_cache(maxsize=_KEPT)
def _trained(width: int, depth: int, steps: int, seed: int) -> tuple[nn.Module, Training]:
    digits = _digits()
    generator = torch.Generator().manual_seed(derive_seed("TrainedMLP training", seed))
    widths = [digits.images.shape[1], *[width] * depth, 10]
    parameters: list[Tensor] = []
    for taken, given in pairwise(widths):
        normal = torch.randn(given, taken, generator=generator)
        parameters += [normal * math.sqrt(2 / taken), torch.zeros(given)]

    def step(old: list[Tensor]) -> list[Tensor]:
        rows = torch.randint(len(digits.labels), (_BATCH,), generator=generator)
        return _descend(old, digits.images[rows], digits.labels[rows])

    # Every step costs the same; this one is not taken.
    flops = steps * count_flops(lambda: step(parameters))
    start = time.perf_counter()
    for _ in range(steps):
        parameters = step(parameters)
    seconds = time.perf_counter() - start

    module = _network(parameters)
    size = sum(p.numel() for p in parameters)
    return module, Training(NetworkMean(module, digits.law), size, seconds, flops)


def _descend(
    parameters: list[Tensor], images: Float[Tensor, "batch 64"], labels: Int[Tensor, " batch"]
) -> list[Tensor]:
    """The parameters (weight, bias, weight, …) after one step of gradient descent."""
    with torch.enable_grad():
        leaves = [p.detach().requires_grad_() for p in parameters]
        x = images
        for i in range(0, len(leaves), 2):
            x = nn.functional.linear(x if i == 0 else x.relu(), leaves[i], leaves[i + 1])
        slopes = torch.autograd.grad(nn.functional.cross_entropy(x, labels), leaves)
    return [p.detach() - _RATE * g for p, g in zip(leaves, slopes, strict=True)]


def _network(parameters: list[Tensor]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        # Made on "meta", because nn.Linear would initialise itself from the global generator.
        linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        linear.weight = nn.Parameter(weight, requires_grad=False)
        linear.bias = nn.Parameter(bias, requires_grad=False)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
