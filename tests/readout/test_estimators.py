"""The two estimators of read-outs, against exact quadrature and other laws."""

import math

import pytest
import torch
from scipy.stats import chi2, norm
from tests.battery import Coin, EstimatorBattery
from tests.readout.helpers import F64, gauss_hermite, network

import outsample as ou
from outsample.problem import Problem
from outsample.readout import (
    ConditionedReadout,
    HermiteTensors,
    Hinge,
    Sigmoid,
    TensorNetworkCumulants,
    Threshold,
    TwoLayer,
)
from outsample.readout.quadratic import QuadraticLaw


def plane(dtype: torch.dtype, activation: str = "tanh") -> TwoLayer:
    """Two inputs: ConditionedReadout leaves nothing to expand."""
    p = network(2, 8, activation, bias=0.3)
    weight, readout, bias = (t.to(dtype) for t in (p.weight, p.readout, p.bias))
    return TwoLayer(weight, readout, activation, Sigmoid(1.5, 0.2), bias=bias)


class ReadoutBattery(EstimatorBattery):
    estimator: ConditionedReadout | TensorNetworkCumulants

    def make_problem(self, dtype: torch.dtype) -> Problem:
        return plane(dtype)

    def exact_value(self, problem: Problem) -> torch.Tensor:
        z, weights = gauss_hermite(2, 60)
        return weights @ problem(z.to(problem.dtype)).double()

    def test_linear_networks(self) -> None:
        """A linear f is normal: every output function is exact."""
        problem = network(5, 7, "identity", bias=0.2)
        mean = float(problem.exact())
        deviation = float((problem.readout @ problem.weight).norm())
        level = mean + deviation
        found = self.estimator.estimate(problem.tail(level))
        assert float(found.value) == pytest.approx(norm.sf(1), abs=1e-9)
        hinge = self.estimator.estimate(problem.with_output(Hinge(mean)))
        assert float(hinge.value) == pytest.approx(deviation / math.sqrt(2 * math.pi), rel=1e-9)

    def test_a_single_output_is_a_scalar(self) -> None:
        many = network(4, 30, readouts=3, output=Sigmoid())
        whole = self.estimator.estimate(many)
        assert whole.value.shape == (3,)
        one = self.estimator.estimate(TwoLayer(many.weight, many.readout[1], output=Sigmoid()))
        assert one.value.shape == ()
        torch.testing.assert_close(one.value, whole.value[1], atol=1e-10, rtol=1e-10)

    def test_the_mean_is_exact(self) -> None:
        problem = network(6, 40, "gelu", bias=0.4, readout_bias=2.0)
        found = self.estimator.estimate(problem)
        assert float(found.value) == pytest.approx(float(problem.exact()), rel=1e-12)

    def test_permuted_and_rotated(self) -> None:
        problem = network(6, 40, "gelu", output=Sigmoid(2.0))
        before = self.estimator.estimate(problem)
        g = torch.Generator().manual_seed(9)
        order = torch.randperm(40, generator=g)
        turn = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=F64))[0]
        other = TwoLayer(problem.weight[order] @ turn, problem.readout[order], "gelu", Sigmoid(2.0))
        after = self.estimator.estimate(other)
        torch.testing.assert_close(after.value, before.value, atol=1e-9, rtol=0)
        torch.testing.assert_close(after.cumulants, before.cumulants, atol=1e-9, rtol=1e-8)

    def test_scaling_and_shifting(self) -> None:
        problem = network(6, 40, "relu")
        a = self.estimator.estimate(problem.with_output(Hinge(0.1)))
        doubled = TwoLayer(problem.weight, 2 * problem.readout, readout_bias=1.0)
        b = self.estimator.estimate(doubled.with_output(Hinge(1.2)))
        assert float(b.value) == pytest.approx(2 * float(a.value), rel=1e-10)

    def test_constants(self) -> None:
        silent = TwoLayer(torch.ones(3, 4), torch.zeros(3), output="sigmoid", readout_bias=1.0)
        found = self.estimator.estimate(silent)
        assert float(found.value) == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-6)
        blind = TwoLayer(
            torch.zeros(3, 4, dtype=F64), torch.ones(3, dtype=F64), bias=torch.ones(3, dtype=F64)
        )
        assert float(self.estimator.estimate(blind.tail(2.5)).value) == 1

    def test_it_takes_no_other_problem(self) -> None:
        with pytest.raises(ou.UnsupportedProblem, match="TwoLayer"):
            self.estimator.estimate(Coin())

    def test_advice_changes_the_cost_not_the_value(self) -> None:
        problem = network(6, 80, "relu", output=Sigmoid(2.0))
        alone = self.estimator.estimate(problem)
        advice = HermiteTensors.of(problem)
        helped = self.estimator.estimate(problem, advice)
        torch.testing.assert_close(helped.value, alone.value, atol=1e-12, rtol=1e-12)
        assert helped.cost.flops < alone.cost.flops
        assert helped.diagnostics["advice"] == "used"

    def test_wrong_advice_is_not_used(self) -> None:
        problem = network(6, 80, "relu", output=Sigmoid(2.0))
        other = HermiteTensors.of(network(6, 80, seed=4))
        with pytest.warns(ou.OutsampleWarning, match="do not fit the network"):
            found = self.estimator.estimate(problem, other)
        torch.testing.assert_close(found.value, self.estimator.estimate(problem).value)
        assert found.diagnostics["advice"].startswith("refused")

    def test_cumulants_of_quadratic_networks(self) -> None:
        """Of b·z + zᵀHz/2 as a two-layer network with a quadratic activation."""
        problem = network(5, 9, "square", bias=0.3)
        found = self.estimator.estimate(problem)
        h = 2 * problem.weight.T @ (problem.readout[:, None] * problem.weight)
        b = 2 * problem.weight.T @ (problem.readout * problem.bias)
        expected = [
            float(b @ b + (h @ h).trace() / 2),
            float(3 * b @ h @ b + (h @ h @ h).trace()),
            float(12 * b @ h @ h @ b + 3 * (h @ h @ h @ h).trace()),
        ]
        assert found.cumulants[0, 1:].tolist() == pytest.approx(expected, rel=1e-6)


class TestConditioned(ReadoutBattery):
    estimator = ConditionedReadout()
    tolerance = 1e-8


class TestConditionedOnOne(ReadoutBattery):
    estimator = ConditionedReadout(directions=1, nodes=40)
    tolerance = 3e-3


class TestTensorNetworks(ReadoutBattery):
    estimator = TensorNetworkCumulants()
    tolerance = 2e-2


@pytest.mark.parametrize(
    ("activation", "bias"),
    [(a, b) for a in ("relu", "gelu", "erf", "tanh", "silu") for b in (0.0, 0.4)]
    + [pytest.param("elu", 0.0, marks=pytest.mark.slow), ("elu", 0.4)],
)
def test_three_inputs_against_quadrature(activation: str, bias: float) -> None:
    problem = network(3, 12, activation, bias, output=Sigmoid(2.0, 0.1))
    z, weights = gauss_hermite(3, 64)
    exact = float(weights @ problem(z))
    found = ConditionedReadout(nodes=40).estimate(problem)
    # Gauss-Hermite itself is good to 3e-4 only where ReLU bends.
    assert float(found.value) == pytest.approx(exact, abs=2e-3)
    assert found.cost.flops > 0


def test_one_unit_is_exact() -> None:
    """E σ(max(g, 0)) in closed form: half the mass is at zero."""
    weight = torch.zeros(1, 8, dtype=F64)
    weight[0, 3] = 1.0
    problem = TwoLayer(weight, torch.ones(1, dtype=F64), output=Hinge(0.5))
    exact = norm.pdf(0.5) - 0.5 * norm.sf(0.5)
    assert float(ConditionedReadout(nodes=40).estimate(problem).value) == pytest.approx(
        exact, abs=1e-3
    )  # σ bends between nodes


@pytest.mark.parametrize("level", [3.0, 7.5, 20.0])
def test_quadratic_read_outs_on_chi_squared(level: float) -> None:
    problem = TwoLayer(torch.eye(6, dtype=F64), torch.ones(6, dtype=F64), "square").tail(level)
    exact = chi2.sf(level, 6)
    law = TensorNetworkCumulants(readout="quadratic").estimate(problem)
    assert float(law.value) == pytest.approx(exact, abs=1e-6)
    saddle = TensorNetworkCumulants(readout="lugannani_rice").estimate(problem)
    assert float(saddle.value) == pytest.approx(exact, rel=0.01)


def test_quadratic_law_with_linear_parts_and_rest() -> None:
    """b z + l (z² - 1)/2 + N(0, r) by convolution."""
    law = QuadraticLaw(0.2, torch.tensor([0.5], dtype=F64), torch.tensor([-0.6], dtype=F64), 0.3)
    z = torch.linspace(-12, 12, 200_001, dtype=F64)
    inner = 0.2 + 0.5 * z - 0.3 * (z * z - 1)
    density = torch.exp(-z * z / 2)
    for level in (-1.0, 0.4, 1.2):
        above = torch.special.ndtr((inner - level) / 0.3**0.5)
        exact = float((above * density).sum() / density.sum())
        assert float(law.expectation(Threshold(level))) == pytest.approx(exact, abs=1e-6)
        assert float(law.tail(level)) == pytest.approx(exact, rel=0.05)
    with pytest.raises(ou.NumericalError, match="undefined at the mean"):
        law.tail(0.2)
    bounded = QuadraticLaw(0.0, torch.zeros(1, dtype=F64), -torch.ones(1, dtype=F64), 0.0)
    with pytest.raises(ou.NumericalError, match="does not reach"):
        bounded.tail(0.6)


@pytest.fixture(scope="module")
def nearly_normal() -> tuple[TwoLayer, torch.Tensor]:
    """A wide smooth network, and its values at a sample before the output function."""
    problem = network(12, 400, "gelu")
    generator = torch.Generator().manual_seed(0)
    return problem, problem(torch.randn(200_000, 12, generator=generator, dtype=F64))


@pytest.mark.parametrize("readout", ["edgeworth", "cornish_fisher", "maximum_entropy", "quadratic"])
@pytest.mark.parametrize("output", [Sigmoid(2.0), Hinge(0.1), Threshold(0.8)])
def test_read_outs_agree_on_a_nearly_normal_network(
    readout: str, output, nearly_normal: tuple[TwoLayer, torch.Tensor]
) -> None:
    """A wide smooth network is nearly normal: a sample's error is what the routes differ by."""
    problem, sums = nearly_normal
    values = output(sums)
    error = float(values.std()) / 200_000**0.5
    found = TensorNetworkCumulants(readout=readout).estimate(problem.with_output(output))
    assert abs(float(found.value - values.mean())) < 4 * error + 2e-3


def test_maximum_entropy_keeps_the_moments() -> None:
    from outsample.readout.outputs import Function
    from outsample.readout.series_read_outs import maximum_entropy

    cumulants = (0.3, 1.7, 0.9, 1.1)
    cube = Function(lambda f: (f - 0.3) ** 3)
    quartic = Function(lambda f: (f - 0.3) ** 4)
    assert float(maximum_entropy(cube, cumulants)) == pytest.approx(0.9, rel=1e-6)
    assert float(maximum_entropy(quartic, cumulants)) == pytest.approx(1.1 + 3 * 1.7**2, rel=1e-6)


def test_what_the_read_outs_refuse() -> None:
    from outsample.readout.series_read_outs import cornish_fisher, maximum_entropy

    with pytest.raises(ou.NumericalError, match="does not rise"):
        cornish_fisher(Sigmoid(), (0.0, 1.0, 3.0, 0.0))
    with pytest.raises(ou.NumericalError, match="no law has skewness"):
        maximum_entropy(Sigmoid(), (0.0, 1.0, 2.0, 0.0))
    problem = network(4, 20, output=Sigmoid())
    with pytest.raises(ou.UnsupportedProblem, match="takes a Threshold"):
        TensorNetworkCumulants(readout="lugannani_rice").estimate(problem)


def test_untrusted_cases_are_flagged() -> None:
    ridge = TwoLayer(torch.eye(6, dtype=F64)[:1], torch.ones(1, dtype=F64), output=Sigmoid())
    found = TensorNetworkCumulants().estimate(ridge)
    assert found.trust == "unreliable"
    assert any("one direction has 100%" in reason for reason in found.reasons)
    wide = network(16, 1024, "gelu", output=Sigmoid())
    assert TensorNetworkCumulants().estimate(wide).trust == "ok"
    assert ConditionedReadout().estimate(wide).trust == "ok"
    chi = TwoLayer(torch.eye(4, dtype=F64), torch.ones(4, dtype=F64), "square").tail(10.0)
    doubted = ConditionedReadout().estimate(chi)
    assert doubted.trust == "low_confidence"
    assert "far from normal" in doubted.reasons[0]


def test_pruning_keeps_its_promise() -> None:
    problem = network(8, 512, "relu", output=Sigmoid())
    whole = TensorNetworkCumulants(degree=4).estimate(problem)
    pruned = TensorNetworkCumulants(degree=4, prune=0.05).estimate(problem)
    assert pruned.diagnostics["dropped"] > 0
    gap = abs(float(pruned.cumulants[0, 3] - whole.cumulants[0, 3]))
    assert gap <= pruned.diagnostics["dropped_bound_fourth"]


def test_many_readouts_share_what_they_can() -> None:
    many = network(8, 256, readouts=6, output=Sigmoid())
    one = TwoLayer(many.weight, many.readout[0], output=Sigmoid())
    together = TensorNetworkCumulants(degree=2).flops(many)
    assert together < 4 * TensorNetworkCumulants(degree=2).flops(one)


def test_settings() -> None:
    for arguments in (
        {"directions": 4}, {"directions": -1}, {"nodes": 7}, {"nodes": 2}, {"degree": 1},
        {"mismatch": 0.0},
    ):  # fmt: skip
        with pytest.raises(ou.InputError, match=next(iter(arguments))):
            ConditionedReadout(**arguments)
    for arguments in ({"degree": 9}, {"order": 5}, {"prune": -1.0}, {"readout": "tea"}):
        with pytest.raises(ou.InputError, match=next(iter(arguments))):
            TensorNetworkCumulants(**arguments)


def test_a_tolerance_governs_the_settings() -> None:
    problem = network(16, 1024, output=Sigmoid())
    coarse, fine = (ConditionedReadout.at(e, problem) for e in (1.0, 1 / 64))
    assert coarse == ConditionedReadout(directions=0, degree=2)
    assert fine.directions == 2
    advice = HermiteTensors.of(problem)
    evaluation = ou.count_flops(lambda: problem(torch.zeros(1, 16, dtype=F64)))
    assert fine.flops(problem, advice) < 1.3 * 4096 * evaluation
    assert TensorNetworkCumulants.at(1 / 64, problem).degree == 3
    assert TensorNetworkCumulants.at(1 / 4, problem).order == 2
    for method in (ConditionedReadout, TensorNetworkCumulants):
        with pytest.raises(ou.UnsupportedProblem):
            method.at(0.1, Coin())


def test_one_input() -> None:
    """Nothing is left to expand: P(max(g, 0) + max(-g, 0) / 2 > 1)."""
    weight = torch.tensor([[1.0], [-1.0]], dtype=F64)
    problem = TwoLayer(weight, torch.tensor([1.0, 0.5], dtype=F64), output=Hinge(0.25))
    above = norm.pdf(0.25) - 0.25 * norm.sf(0.25)
    below = (norm.pdf(0.5) - 0.5 * norm.sf(0.5)) / 2
    found = ConditionedReadout(nodes=200).estimate(problem)
    assert float(found.value) == pytest.approx(above + below, abs=2e-4)
