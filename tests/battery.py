"""The tests every estimator inherits; a test class says how to make a problem it knows exactly."""

import itertools
import json
import random
from abc import ABC, abstractmethod

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import outsample as ou
from outsample.estimator import Estimator
from outsample.problem import Distribution, Problem


def mlp(
    *widths: int,
    activation: type[nn.Module] | nn.Module = nn.ReLU,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    bias: float = 0.3,
) -> nn.Sequential:
    """A random network with He weights and Gaussian biases, from its own generator."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for taken, given in itertools.pairwise(widths):
        linear = nn.Linear(taken, given, dtype=dtype)
        with torch.no_grad():
            weight = torch.randn(given, taken, generator=generator, dtype=torch.float64)
            linear.weight.copy_(weight * (2 / taken) ** 0.5)
            linear.bias.copy_(bias * torch.randn(given, generator=generator, dtype=torch.float64))
        layers += [linear, activation if isinstance(activation, nn.Module) else activation()]
    return nn.Sequential(*layers[:-1])


def gaussian(n: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> ou.Gaussian:
    """A Gaussian with a mean and a dense covariance, from its own generator."""
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(n, n, generator=generator, dtype=torch.float64) / n**0.5
    mean = 0.5 * torch.randn(n, generator=generator, dtype=torch.float64)
    covariance = factor @ factor.T + 0.1 * torch.eye(n, dtype=torch.float64)
    return ou.Gaussian(mean.to(dtype), covariance.to(dtype))


class Coin(Problem):
    """A problem that is no network, with an input that is no Gaussian."""

    class Law(Distribution):
        shape = (1,)
        latent_size = 1
        mean = torch.tensor([0.5], dtype=torch.float64)
        covariance = torch.tensor([[0.25]], dtype=torch.float64)

        def to(self, dtype: torch.dtype, device: torch.device) -> Distribution:
            return self

        def tensors(self) -> list[Tensor]:
            return [self.mean]

        def sample(self, n: int, generator: torch.Generator) -> Tensor:
            return torch.randint(2, (n, 1), generator=generator).double()

    def __init__(self) -> None:
        self.inputs = self.Law()
        self.output_shape = ()

    def __call__(self, x: Tensor) -> Tensor:
        return x[:, 0]

    def signature(self) -> str:
        return "coin"

    def tensors(self) -> list[Tensor]:
        return []


class EstimatorBattery(ABC):
    """Exactness, shapes, dtype, determinism, honesty and refusals, for any estimator."""

    estimator: Estimator
    #: Largest error on the problem of :meth:`make_problem`.
    tolerance: float

    @abstractmethod
    def make_problem(self, dtype: torch.dtype) -> Problem:
        """A problem on which the estimator is right to ``tolerance``."""

    @abstractmethod
    def exact_value(self, problem: Problem) -> Tensor:
        """Its expectation, known independently of the estimator."""

    @pytest.fixture
    def problem(self) -> Problem:
        return self.make_problem(torch.float64)

    def test_it_is_right_where_it_must_be(self, problem: Problem) -> None:
        estimate = self.estimator.estimate(problem)
        assert estimate.value.shape == problem.output_shape
        torch.testing.assert_close(
            estimate.value, self.exact_value(problem), atol=self.tolerance, rtol=0
        )

    def test_linear_networks(self) -> None:
        problem = ou.NetworkMean(nn.Sequential(*mlp(5, 4, 3)[::2]), gaussian(5))
        value = self.estimator.estimate(problem).value
        exact = problem(problem.inputs.mean[None])[0]
        torch.testing.assert_close(value, exact, atol=max(self.tolerance, 1e-13), rtol=0)

    def test_a_single_output_is_a_scalar(self) -> None:
        problem = ou.NetworkMean(mlp(5, 4, 3), gaussian(5), output=1)
        whole = self.estimator.estimate(ou.NetworkMean(mlp(5, 4, 3), gaussian(5)))
        one = self.estimator.estimate(problem)
        assert one.value.shape == ()
        torch.testing.assert_close(one.value, whole.value[1])

    def test_same_bits_twice(self, problem: Problem) -> None:
        first, second = (self.estimator.estimate(problem).value for _ in range(2))
        assert torch.equal(first, second)

    def test_threads_do_not_change_the_answer(self, problem: Problem) -> None:
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(2)
            two = self.estimator.estimate(problem).value
        finally:
            torch.set_num_threads(threads)
        torch.testing.assert_close(
            two, self.estimator.estimate(problem).value, atol=1e-12, rtol=1e-12
        )

    def test_dtype_follows_the_problem(self, problem: Problem) -> None:
        single = self.estimator.estimate(self.make_problem(torch.float32)).value
        assert single.dtype == torch.float32
        torch.testing.assert_close(
            single.double(), self.exact_value(problem), atol=max(2 * self.tolerance, 1e-4), rtol=0
        )

    def test_global_generators_are_untouched(self, problem: Problem) -> None:
        before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
        self.estimator.estimate(problem)
        assert torch.equal(before[0], torch.get_rng_state())
        assert np.array_equal(before[1], np.random.get_state()[1])
        assert before[2] == random.getstate()

    def test_the_estimate_tells_its_story(self, problem: Problem) -> None:
        estimate = self.estimator.estimate(problem)
        document = json.loads(estimate.to_json())
        assert document["schema_version"] == 1
        assert document["estimator"]["method"] == type(self.estimator).__name__
        assert document["value"] == estimate.value.tolist()
        assert document["cost"]["flops"] == self.estimator.flops(problem) > 0
        assert document["cost"]["seconds"] > 0
        assert len(document["provenance"]["input_hash"]) == 64
        assert document["provenance"]["dtype"] == "float64"
        line = repr(estimate)
        assert "\n" not in line
        assert type(self.estimator).__name__ in line
        if estimate.standard_error is None:
            assert estimate.error_kind == "none"
        else:
            assert estimate.error_kind in ("estimated", "bound")
            assert estimate.standard_error.shape == estimate.value.shape

    def test_settings_are_frozen_and_compare_by_value(self) -> None:
        assert hash(self.estimator) == hash(self.estimator)
        with pytest.raises(AttributeError):
            self.estimator.anything = 1  # type: ignore[attr-defined]


class NetworkEstimatorBattery(EstimatorBattery):
    """What holds besides for mechanistic estimators of networks on Gaussian inputs."""

    #: Whether gradients are checked entry by entry, or along a random direction in each argument.
    every_entry: bool = True

    def test_it_refuses_what_it_cannot_take(self) -> None:
        with pytest.raises(ou.UnsupportedProblem, match=type(self.estimator).__name__):
            self.estimator.estimate(Coin())

    def test_permuted_neurons(self) -> None:
        net = mlp(6, 7, 5, 2)
        before = self.estimator.estimate(ou.NetworkMean(net, gaussian(6))).value
        order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
        with torch.no_grad():
            net[0].weight.copy_(net[0].weight[order].clone())
            net[0].bias.copy_(net[0].bias[order].clone())
            net[2].weight.copy_(net[2].weight[:, order].clone())
        after = self.estimator.estimate(ou.NetworkMean(net, gaussian(6))).value
        torch.testing.assert_close(after, before, atol=1e-13, rtol=1e-12)

    def test_rotated_input(self) -> None:
        net, law = mlp(6, 7, 5, 2), gaussian(6)
        before = self.estimator.estimate(ou.NetworkMean(net, law)).value
        turn = torch.linalg.qr(gaussian(6, seed=3).covariance)[0]
        turned = ou.Gaussian(turn @ law.mean, _symmetric(turn @ law.covariance @ turn.T))
        with torch.no_grad():
            net[0].weight.copy_(net[0].weight @ turn.T)
        after = self.estimator.estimate(ou.NetworkMean(net, turned)).value
        torch.testing.assert_close(after, before, atol=1e-12, rtol=1e-11)

    def test_no_layer_shares_memory_with_the_estimate(self) -> None:
        net = mlp(6, 7, 2)
        estimate = self.estimator.estimate(ou.NetworkMean(net, gaussian(6)))
        kept = estimate.value.clone()
        with torch.no_grad():
            net[0].weight.zero_()
            net[2].bias.add_(1)
        assert torch.equal(estimate.value, kept)
        assert estimate.provenance.input_hash is None

    def test_parameters_are_read_live(self) -> None:
        net = mlp(6, 7, 2)
        problem = ou.NetworkMean(net, gaussian(6))
        before = self.estimator.estimate(problem).value
        with torch.no_grad():
            net[2].bias.add_(1)
        after = self.estimator.estimate(problem).value
        torch.testing.assert_close(after, before + 1)

    @pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh], ids=["relu", "tanh"])
    def test_gradients(self, activation: type[nn.Module]) -> None:
        net = mlp(3, 4, 3, 2, activation=activation)
        names = [name for name, _ in net.named_parameters()]

        def value(mean: Tensor, factor: Tensor, *parameters: Tensor) -> Tensor:
            chosen = dict(zip(names, parameters, strict=True))
            law = ou.Gaussian(mean, factor @ factor.T)
            return self.estimator.estimate(ou.NetworkMean(_with(net, chosen), law)).value

        law = gaussian(3)
        factor = torch.linalg.cholesky(law.covariance)
        arguments = [law.mean, factor, *net.parameters()]
        arguments = [a.detach().clone().requires_grad_() for a in arguments]
        tolerances = {"eps": 1e-6, "atol": 1e-6, "rtol": 1e-5}
        assert torch.autograd.gradcheck(
            value, arguments, **tolerances, fast_mode=not self.every_entry
        )

    def test_overflow_is_an_error(self) -> None:
        net = mlp(4, 5, 5, 2)
        with torch.no_grad():
            net[0].weight.mul_(1e200)
            net[2].weight.mul_(1e200)
        with pytest.raises(ou.NumericalError, match="float64"):
            self.estimator.estimate(ou.NetworkMean(net, gaussian(4)))


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.T) / 2


def _with(net: nn.Sequential, parameters: dict[str, Tensor]) -> nn.Sequential:
    """A copy of a chain of Linear and activations whose parameters are the given tensors."""
    layers: list[nn.Module] = []
    for place, layer in enumerate(net):
        if isinstance(layer, nn.Linear):
            new = nn.Linear(layer.in_features, layer.out_features, dtype=torch.float64)
            for name in ("weight", "bias"):
                # A plain tensor instead of a Parameter keeps the graph of the argument.
                del new._parameters[name]
                setattr(new, name, parameters[f"{place}.{name}"])
            layers.append(new)
        else:
            layers.append(layer)
    return nn.Sequential(*layers)
