import json
import math
from dataclasses import replace

import pytest
import torch
from tests.battery import Coin
from tests.comparison.toys import (
    Advised,
    Cheating,
    Failing,
    Misshapen,
    Overflowing,
    Quadratic,
    Quadratics,
    Shifted,
    Teacher,
)

import outsample as ou
from outsample.comparison.cells import Cell, Method, Truth, find_truth, run_cell, truth_sampler
from outsample.estimator import Estimator

PROBLEM = Quadratics().problem(0)


def run(estimator: Estimator, explainer: Teacher | None = None) -> Cell:
    return run_cell(PROBLEM, 5, Method("it", estimator, explainer))


def test_a_mechanistic_estimator() -> None:
    cell = run(Shifted(0.5))
    assert cell.error is None
    assert cell.problem == 5
    assert cell.value == pytest.approx((PROBLEM.mean + PROBLEM.variance.sqrt() / 2).tolist())
    assert cell.spread == pytest.approx((0, 0), abs=1e-30)
    assert cell.seconds > 0
    assert cell.flops == Shifted(0.5).flops(PROBLEM) > 0
    assert cell.samples is None
    assert cell.request["settings"] == {"shift": 0.5}


def test_a_random_estimator_gets_other_seeds_for_other_runs_and_problems() -> None:
    method = Method("it", ou.MonteCarlo(500, seed=3))
    cell, again, other = (run_cell(PROBLEM, seed, method) for seed in (5, 5, 6))
    assert cell.samples == 500
    # The mean squared standard error of one run, from its sample and from theory.
    assert cell.squared_error == pytest.approx((PROBLEM.variance / 500).tolist(), rel=0.3)
    # The spread of four runs estimates 3/4 of it, with 3 degrees of freedom for each output.
    assert all(0.01 < s / e < 5 for s, e in zip(cell.spread, cell.squared_error, strict=True))
    assert (again.value, again.spread) == (cell.value, cell.spread)
    assert other.value != cell.value


def test_failures_are_recorded() -> None:
    assert run(Failing()).error == "ZeroDivisionError: by zero"
    assert run(Failing()).value == ()
    assert (run(Overflowing()).error or "").startswith("NumericalError")
    assert "shape (1,); expected the problem's output_shape (2,)" in (run(Misshapen()).error or "")
    refused = run_cell(Coin(), 0, Method("it", Shifted()))
    assert "not quadratic" in (refused.error or "")


def test_a_cheat_is_recorded_as_failed() -> None:
    error = run(Cheating()).error or ""
    assert error.startswith("RandomnessError")
    assert "aten::randn" in error


def test_an_explanation_is_built_and_timed_apart() -> None:
    cell = run(Advised(), Teacher(2.0))
    assert cell.value == pytest.approx((PROBLEM.mean + 2 * PROBLEM.variance.sqrt()).tolist())
    assert cell.explanation_size == 1
    assert cell.explanation_seconds is not None
    assert cell.request["explainer"] == "Teacher(shift=2.0)"
    assert "cannot use explanation" in (run(Shifted(), Teacher(2.0)).error or "")


def test_records_survive_json() -> None:
    for record in (run(Advised(), Teacher(1.0)), run(Failing()), find_truth(PROBLEM, 0, 1000, 0)):
        assert json.loads(json.dumps(record.to_dict()))["problem"] == record.problem


def test_the_exact_truth() -> None:
    truth = find_truth(PROBLEM, 5, 1000, 0)
    assert truth.samples == 0
    assert truth.first == truth.second == tuple(PROBLEM.mean.tolist())
    assert truth.squared_error == pytest.approx((PROBLEM.mean * 2**-52).square().tolist())
    # Relative error of a variance: about sqrt((kurtosis - 1) / N), here at most 2 %.
    assert truth.variance == pytest.approx(PROBLEM.variance.tolist(), rel=0.1)
    assert truth.evaluation_flops == 2 * (2 * 3 * 2) + 3 + 2  # two products, squares, a sum


def test_two_sampled_halves() -> None:
    unknown = Quadratic(PROBLEM.linear, PROBLEM.square.clone(), known=False)
    # Matched moments would make a quadratic function exact: take it with a cube.
    unknown.square[0] = 0
    cube = torch.tensor([[1.0, -1.0]], dtype=torch.float64)

    class Cubic(Quadratic):
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return super().__call__(x) + x[:, :1].relu() ** 3 @ cube

    problem = Cubic(unknown.linear, unknown.square, known=False)
    mean = problem.mean + cube[0] * math.sqrt(2 / math.pi)
    truth = find_truth(problem, 5, 20_000, 0)
    assert truth.samples == 20_000
    assert truth.sampler["settings"]["moment_matched"] is True
    assert truth.first != truth.second
    for half in (truth.first, truth.second):
        for value, exact, error in zip(half, mean.tolist(), truth.squared_error, strict=True):
            assert abs(value - exact) < 5 * math.sqrt(error)
    assert find_truth(problem, 5, 20_000, 0) == truth
    assert find_truth(problem, 5, 20_000, 1).first != truth.first
    assert find_truth(problem, 6, 20_000, 0).first != truth.first


def test_truth_where_inputs_are_not_made_from_normals() -> None:
    truth = find_truth(Coin(), 0, 4000, 0)
    assert truth.sampler["settings"]["antithetic"] is False
    assert abs(truth.first[0] - 0.5) < 5 * math.sqrt(truth.squared_error[0])
    assert truth.variance[0] == pytest.approx(0.25, rel=0.01)


class Known(Quadratic):
    """Has a sampler of its own, and knows its variance."""

    def sampled_truth(self, samples: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.mean + 1e-3 * (seed % 1000) / 1000, 1e-3 * torch.ones(2).double()

    def variance_given(self, mean: torch.Tensor) -> torch.Tensor:
        return mean.square() + 1


def test_truth_and_variance_that_the_problem_offers() -> None:
    problem = Known(PROBLEM.linear, PROBLEM.square, known=False)
    truth = find_truth(problem, 0, 1000, 0)
    assert truth.first != truth.second
    assert truth.first == pytest.approx(PROBLEM.mean.tolist(), abs=1e-3)
    assert truth.squared_error == pytest.approx((1e-6, 1e-6))
    assert truth.sampler["method"] == "Known.sampled_truth"
    assert truth.variance == pytest.approx((PROBLEM.mean**2 + 1).tolist(), rel=1e-2)
    exact = find_truth(Known(PROBLEM.linear, PROBLEM.square), 0, 1000, 0)
    assert exact.variance == pytest.approx((PROBLEM.mean**2 + 1).tolist(), rel=1e-12)


def test_truth_with_too_few_samples_for_matched_moments() -> None:
    assert truth_sampler(PROBLEM, 64 * 3).moment_matched
    assert not truth_sampler(PROBLEM, 62 * 3).moment_matched
    assert truth_sampler(PROBLEM, 62 * 3).antithetic


def test_problems_without_a_truth() -> None:
    flat = Quadratic(torch.zeros(3, 2), torch.zeros(3, 2))
    assert "does not vary" in (find_truth(flat, 0, 1000, 0).error or "")
    broken = Quadratic(torch.full((3, 2), torch.nan), torch.zeros(3, 2))
    assert (find_truth(broken, 0, 1000, 0).error or "").startswith("NumericalError")


def test_squared_error_against_two_halves() -> None:
    truth = Truth(problem=0, first=(1.0, 0.0), second=(3.0, 1.0))
    cell = Cell(problem=0, method="it", request={}, value=(4.0, 0.5), spread=(0.0, 0.25))
    # ((4 - 1)(4 - 3) + (0.5 - 0)(0.5 - 1) + 0.25) / 2
    assert truth.error_of(cell) == pytest.approx(1.5)


def test_squared_error_is_the_mean_over_runs() -> None:
    truth = Truth(problem=0, first=(0.3,), second=(-0.2,))
    runs = torch.tensor([0.1, 0.7, -1.0], dtype=torch.float64)
    cell = Cell(
        problem=0, method="it", request={}, value=(runs.mean().item(),),
        spread=(runs.var(correction=0).item(),),
    )  # fmt: skip
    direct = ((runs - 0.3) * (runs + 0.2)).mean().item()
    assert truth.error_of(cell) == pytest.approx(direct)
    assert truth.error_of(replace(cell, spread=(0.0,))) != pytest.approx(direct)
