import json
import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from tests.battery import Coin, gaussian, mlp
from torch import Tensor

import outsample as ou
from outsample.estimator import Estimate, Estimator, Explanation, input_hash, worst_trust
from outsample.problem import Problem


@dataclass(frozen=True)
class Constant(Estimator):
    """Says the same whatever the problem."""

    value: float = 1.0
    mechanistic: ClassVar[bool] = True

    def accepts(self, problem: Problem) -> str | None:
        return None

    def _estimate(self, problem: Problem, explanation: Explanation | None) -> Estimate:
        return Estimate(
            value=torch.full(problem.output_shape, self.value, dtype=torch.float64) * 1.0
        )


@pytest.fixture
def problem() -> ou.NetworkMean:
    return ou.NetworkMean(mlp(4, 5, 3), gaussian(4))


def test_one_line_of_text(problem: ou.NetworkMean) -> None:
    text = repr(Constant(2.5).estimate(problem))
    assert text.startswith("Constant(value=2.5): [2.5, 2.5, 2.5], Cost(seconds=")
    assert "±" in repr(ou.MonteCarlo(64, seed=0).estimate(problem))
    assert "[" not in repr(Constant(2.5).estimate(Coin())).split(", Cost")[0].split(": ")[1]


def test_costs_are_metered_once_per_settings_and_shapes(
    problem: ou.NetworkMean, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    original = Constant._estimate
    monkeypatch.setattr(
        Constant, "_estimate", lambda self, *rest: (runs.append(self), original(self, *rest))[1]
    )
    estimator = Constant(3.25)
    estimator.estimate(problem)
    assert len(runs) == 1, "an estimate nobody asks the FLOPs of is not metered"
    first = estimator.flops(problem)
    again = estimator.flops(ou.NetworkMean(mlp(4, 5, 3, seed=9), gaussian(4, 9)))
    assert first == again
    assert len(runs) == 2


def test_non_finite_values_are_an_error(problem: ou.NetworkMean) -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(ou.NumericalError, match="3 of 3 outputs are not finite"):
            Constant(value).estimate(problem)


def test_large_finite_values_are_not(problem: ou.NetworkMean) -> None:
    assert Constant(1.5e308).estimate(problem).value[0] == 1.5e308


def test_foreign_explanations_are_refused(problem: ou.NetworkMean) -> None:
    class Other(Explanation):
        size = 1

        def tensors(self) -> dict[str, Tensor]:
            return {"a": torch.ones(1)}

        @classmethod
        def from_tensors(cls, tensors: object) -> "Other":
            return cls()

    with pytest.raises(ou.UnsupportedProblem, match="explanation of type Other"):
        Constant().estimate(problem, Other())


def test_input_hash_sees_every_tensor(problem: ou.NetworkMean) -> None:
    before = input_hash(problem)
    assert before == input_hash(ou.NetworkMean(mlp(4, 5, 3), gaussian(4)))
    for tensor in problem.tensors():
        with torch.no_grad():
            kept = tensor.clone()
            tensor.view(-1)[0] += 1e-9
            assert input_hash(problem) != before
            tensor.copy_(kept)
    assert input_hash(problem) == before


def test_provenance_names_seed_and_versions(problem: ou.NetworkMean) -> None:
    provenance = ou.MonteCarlo(64, seed=7).estimate(problem).provenance
    assert provenance.seed == 7
    assert provenance.torch == torch.__version__
    assert provenance.outsample == ou.__version__
    assert Constant().estimate(problem).provenance.seed is None


def test_json_is_plain(problem: ou.NetworkMean) -> None:
    document = json.loads(ou.Cumulants(2).estimate(problem).to_json())
    assert len(document["covariance"]) == 3
    assert document["estimator"]["settings"] == {
        "order": 2,
        "variant": "augmented",
        "factored": "auto",
        "tolerance": 0.05,
        "precision": "full",
        "metric": "full",
        "hidden": False,
        "tower": False,
    }


def test_no_setting_is_governed_by_epsilon_unless_said(problem: ou.NetworkMean) -> None:
    with pytest.raises(ou.UnsupportedProblem, match="Constant"):
        Constant.at(0.1, problem)


def test_a_bare_network_is_refused() -> None:
    for call in (ou.estimate, ou.Cumulants(2).estimate, ou.MonteCarlo(16).estimate):
        with pytest.raises(ou.InputError, match="NetworkMean"):
            call(mlp(4, 5, 3))


def test_worst_trust() -> None:
    assert worst_trust("ok", "unreliable", "low_confidence") == "unreliable"
    assert worst_trust() == "ok"


def test_default_estimator_per_kind_of_problem(problem: ou.NetworkMean) -> None:
    assert ou.estimate(problem).estimator == ou.Cumulants(2)
    assert isinstance(ou.estimate(Coin()).estimator, ou.MonteCarlo)

    class Known(Coin):
        def exact(self) -> Tensor:
            return torch.tensor(0.5).double()

    assert ou.estimate(Known()).estimator == ou.Exact()
    with pytest.raises(ou.UnsupportedProblem, match="no exact answer"):
        ou.Exact().estimate(Coin())


def test_errors_refine_builtins() -> None:
    pairs = {
        ou.InputError: ValueError,
        ou.UnsupportedProblem: NotImplementedError,
        ou.FormatError: ValueError,
        ou.NumericalError: ArithmeticError,
    }
    for error, builtin in pairs.items():
        assert issubclass(error, builtin) and issubclass(error, ou.OutsampleError)


def test_warnings_point_at_the_caller() -> None:
    net = mlp(3, 4, 2)
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].bias.zero_()
    with pytest.warns(ou.NumericalWarning) as caught:
        ou.Cumulants(2).estimate(ou.NetworkMean(net, gaussian(3)))
    assert caught[0].filename == __file__


@dataclass(frozen=True)
class Logarithmic(Estimator):
    """Says what it was told, on a logarithmic scale."""

    log: float
    mechanistic: ClassVar[bool] = True

    def accepts(self, problem: ou.Problem) -> str | None:
        return None

    def _estimate(self, problem: ou.Problem, explanation: Explanation | None) -> ou.Estimate:
        log = torch.tensor(self.log, dtype=torch.float64)
        return ou.Estimate(value=log.exp(), log_value=log, sign=log.new_ones(()), kernel_flops=7)


@pytest.mark.parametrize(("log", "value"), [(2000.0, math.inf), (-2000.0, 0.0)])
def test_a_logarithm_says_what_its_exponential_cannot(
    problem: ou.NetworkMean, log: float, value: float
) -> None:
    estimate = Logarithmic(log).estimate(problem)
    assert float(estimate.value) == value
    assert f"(log {log:.6g})" in repr(estimate)
    assert json.loads(estimate.to_json())["log_value"] == log


@pytest.mark.parametrize("log", [math.inf, math.nan])
def test_an_infinite_logarithm_is_an_error(problem: ou.NetworkMean, log: float) -> None:
    with pytest.raises(ou.NumericalError, match="not finite"):
        Logarithmic(log).estimate(problem)


def test_a_kernel_may_count_its_own_flops(problem: ou.NetworkMean) -> None:
    assert Logarithmic(0.0).estimate(problem).cost.flops == 7
