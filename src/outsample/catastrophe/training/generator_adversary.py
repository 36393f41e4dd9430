"""An adversary that is a small network from Gaussian noise to inputs."""

import math
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from outsample.catastrophe.detectors import Detector
from outsample.catastrophe.problem import CatastropheProbability
from outsample.catastrophe.samplers.streams import stream
from outsample.catastrophe.training.adversary import Adversary
from outsample.catastrophe.training.behind import behind
from outsample.cumulants import ExactCovariance
from outsample.distributions import Gaussian
from outsample.errors import InputError
from outsample.estimator import positive_integer
from outsample.networks import Elementwise, NetworkMean
from outsample.networks.activations import Carried, ReLU


class GeneratorAdversary(Adversary):
    """D is the law of x = μ + A (δ + e^s z + U relu(V z + c)), z ~ N(0, I), P0 = N(μ, A Aᵀ).

    The generator is prepended to the model, and both are propagated through as one network.

    What the budget bounds is KL(G ‖ P0) for the Gaussian G with D's mean and covariance.  The
    divergence of D itself is larger, KL(D ‖ P0) = KL(D ‖ G) + KL(G ‖ P0): how far from Gaussian
    D is, is not bounded.  Take :class:`GaussianAdversary` where the bound must hold.

    Args:
        reference: P0, with a positive definite covariance; kept in float64.
        kl_budget: largest KL(G ‖ P0), in nats.
        width: hidden units of the generator.
        seed: of its hidden weights V; the law starts at P0 whatever they are.

    Raises:
        InputError: for a reference that is no Gaussian or has a singular covariance, and settings
            out of range.

    Example:
        >>> import outsample as ou
        >>> adversary = GeneratorAdversary(ou.Gaussian.standard(4), kl_budget=1.0)
        >>> abs(float(adversary.divergence().detach())) < 1e-12
        True
    """

    def __init__(
        self, reference: Gaussian, kl_budget: float, width: int = 16, seed: int = 0
    ) -> None:
        super().__init__(reference, kl_budget)
        name = "GeneratorAdversary"
        positive_integer(name, "width", width)
        if type(seed) is not int or seed < 0:
            raise InputError(f"{name}: seed = {seed!r}; expected an integer of at least 0")
        mean = self.reference.mean
        n = len(mean)
        draws = stream(name, seed, mean.device)
        hidden = torch.randn(width, n, generator=draws, dtype=mean.dtype, device=mean.device)
        self.shift = nn.Parameter(mean.new_zeros(n))
        self.log_scale = nn.Parameter(mean.new_zeros(n))
        self.hidden_weight = nn.Parameter(hidden / math.sqrt(n))
        self.hidden_bias = nn.Parameter(mean.new_zeros(width))
        self.output_weight = nn.Parameter(mean.new_zeros(n, width))

    def generator(self, dtype: torch.dtype = torch.float64) -> nn.Sequential:
        """The network from N(0, I) to inputs as it stands, differentiable in the parameters."""
        weight, bias, last = (part.to(dtype) for part in self._chain())
        axes = self.axes.to(dtype)
        centre = self.reference.mean.to(dtype) + axes @ self.shift.to(dtype)
        return nn.Sequential(
            _linear(weight, bias), self._activation(), _linear(axes @ last, centre)
        )

    def problem(self, network: nn.Module, detector: Detector) -> CatastropheProbability:
        """P(detector(network(x))), x ~ D, as a problem on the generator's noise."""
        example = next(network.parameters(), self.shift)
        chain = nn.Sequential(self.generator(example.dtype), network)
        noise = Gaussian.standard(len(self.shift), example.dtype)
        return CatastropheProbability(chain, noise, behind(detector, 1))

    def measure(self) -> Callable[[], Float64[Tensor, ""]]:
        """What computes KL(G ‖ P0): the hidden layer, by far the longer part, only once."""
        weight, bias, _ = self._chain()
        noise = Gaussian.standard(len(self.shift), self.shift.dtype)
        chain = nn.Sequential(_linear(weight, bias), self._activation())
        hidden = ExactCovariance().estimate(NetworkMean(chain, noise))
        if hidden.covariance is None:
            raise TypeError("exact covariance propagation always gives a covariance")
        return partial(self._divergence, hidden.value, hidden.covariance)

    def _divergence(self, hidden: Tensor, covariance: Tensor) -> Float64[Tensor, ""]:
        _, _, last = self._chain()
        mean = last @ hidden + self.shift
        spread = last @ covariance @ last.T
        excess = spread.trace() - torch.linalg.slogdet(spread)[1] - len(mean)
        return 0.5 * (mean.square().sum() + excess)

    def moves(self) -> list[nn.Parameter]:
        """The shift, the log scales and the weights of the hidden units."""
        return [self.shift, self.log_scale, self.output_weight]

    def _activation(self) -> Elementwise:
        return Elementwise(Carried(ReLU(), len(self.shift)))

    def _chain(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weight and bias up to the activation, which lets the noise pass, and the last weight."""
        n = len(self.shift)
        weight = torch.cat((self.hidden_weight, torch.eye(n).to(self.shift)))
        bias = torch.cat((self.hidden_bias, self.shift.new_zeros(n)))
        last = torch.cat((self.output_weight, torch.diag(self.log_scale.exp())), 1)
        return weight, bias, last


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A layer of tensors that need not be parameters."""
    # Made on "meta", because nn.Linear would initialise itself from the global generator.
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    del linear.weight, linear.bias
    linear.weight, linear.bias = weight, bias  # pyright: ignore[reportAttributeAccessIssue]
    return linear
