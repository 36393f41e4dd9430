import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tests.sampling.problems import Function, Uniform, linear, mixture, quadratic, relu, step

from outsample.cost import count_flops
from outsample.distributions import Gaussian
from outsample.errors import InputError, NumericalError, UnsupportedProblem
from outsample.estimator import Estimator
from outsample.sampling import MonteCarlo, QuasiMonteCarlo


@pytest.mark.parametrize(
    "make",
    [lambda: linear(5, 3), lambda: quadratic(5), lambda: relu(6, 4), mixture],
    ids=["linear", "quadratic", "relu", "mixture"],
)
def test_closed_forms(make: Callable[[], Function]) -> None:
    problem = make()
    estimate = QuasiMonteCarlo(seed=5).estimate(problem)
    assert estimate.value.shape == problem.output_shape
    assert estimate.standard_error is not None
    width = stats.t(estimate.terms - 1).ppf(1 - 1e-5) * estimate.standard_error
    assert bool(((estimate.value - problem.truth).abs() <= width).all())


def test_standard_errors_are_calibrated() -> None:
    """Squared errors over 200 seeds against squared standard errors: a χ² with 200 degrees."""
    problem, runs = mixture(), 200
    errors, claims = torch.zeros(runs, 2), torch.zeros(runs, 2)
    for seed in range(runs):
        estimate = QuasiMonteCarlo(samples=1024, seed=seed).estimate(problem)
        assert estimate.standard_error is not None
        errors[seed] = (estimate.value - problem.truth).square()
        claims[seed] = estimate.standard_error.square()
    ratio = errors.mean(0) / claims.mean(0)
    low, high = stats.chi2(runs).ppf([1e-3, 1 - 1e-3]) / runs
    assert bool((low < ratio).all())
    assert bool((ratio < high).all())


def test_smooth_functions_of_few_variables_converge_faster_than_sampling() -> None:
    inputs = Gaussian.standard(2, dtype=torch.float64)
    problem = Function(lambda x: (x.sum(1) / 2).exp(), inputs, (), math.exp(0.25))
    errors = [QuasiMonteCarlo(samples=n).estimate(problem).standard_error for n in (2**11, 2**15)]
    plain = MonteCarlo(samples=2**15).estimate(problem).standard_error
    assert errors[0] is not None
    assert errors[1] is not None
    assert plain is not None
    assert errors[1] < errors[0] / 6  # sampling would gain a factor of 4
    assert errors[1] < plain / 20


# Points -----------------------------------------------------------------------------------------


def points(problem: Function) -> torch.Tensor:
    return torch.cat([x for x, _ in problem.seen])


def identity(n: int) -> Function:
    return Function(lambda x: x, Gaussian.standard(n, dtype=torch.float64), (n,))


@given(dimension=st.integers(1, 40), seed=st.integers(0, 2**62))
def test_every_replicate_is_balanced(dimension: int, seed: int) -> None:
    """Each of 64 intervals of equal probability holds one of 64 points, in every coordinate."""
    problem = identity(dimension)
    QuasiMonteCarlo(samples=128, replicates=2, seed=seed).estimate(problem)
    cells = (64 * torch.special.ndtr(points(problem))).floor().long()
    for replicate in cells.split(64):
        for column in replicate.T:
            assert column.unique().numel() == 64


def test_replicates_have_scrambles_of_their_own() -> None:
    problem = identity(3)
    QuasiMonteCarlo(samples=1024, replicates=8).estimate(problem)
    first = torch.stack([x[0] for x, _ in problem.seen])
    assert first.unique(dim=0).shape[0] == 8


def test_points_are_finite_normals() -> None:
    problem = identity(50)
    QuasiMonteCarlo(samples=2**13).estimate(problem)
    z = points(problem)
    assert bool(z.isfinite().all())
    assert stats.kstest(z[:, 17].numpy(), "norm").pvalue > 1e-3
    assert abs(z.mean()) < 1e-3


def test_the_ends_of_the_unit_interval_are_no_infinities(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.stats import qmc

    ends = np.array([[0.0], [1 - 2.0**-30]])
    monkeypatch.setattr(qmc.Sobol, "random", lambda self, n: ends)
    problem = identity(1)
    QuasiMonteCarlo(samples=4, replicates=2).estimate(problem)
    low, high = points(problem)[:2, 0]
    assert low == pytest.approx(-high)
    assert -6.3 < low < -6.1


# Streaming and rounding -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "replicates", "used"),
    [(2**14, 8, 2**14), (10_000, 8, 8192), (1000, 3, 768), (16, 8, 16), (31, 8, 16)],
)
def test_replicates_are_powers_of_two(samples: int, replicates: int, used: int) -> None:
    problem = mixture()
    estimate = QuasiMonteCarlo(samples=samples, replicates=replicates).estimate(problem)
    assert estimate.samples == len(problem.values) == used
    assert estimate.terms == replicates
    assert estimate.stopped == "samples"


def test_streaming_equals_statistics_of_replicates() -> None:
    problem = relu(600, 3)
    estimate = QuasiMonteCarlo(samples=4096, replicates=4).estimate(problem)
    assert problem.batches == [512] * 8
    values = problem.values
    means = values.reshape(4, 1024, 3).mean(1)
    torch.testing.assert_close(estimate.value, means.mean(0), rtol=1e-13, atol=0)
    torch.testing.assert_close(estimate.standard_error, means.std(0) / 2, rtol=1e-10, atol=0)
    torch.testing.assert_close(estimate.covariance, values.T.cov(), rtol=1e-12, atol=1e-13)


def test_few_replicates_are_low_confidence() -> None:
    estimate = QuasiMonteCarlo(samples=1024, replicates=4).estimate(mixture())
    assert estimate.trust == "low_confidence"
    assert "4 independent terms" in estimate.reasons[0]
    assert QuasiMonteCarlo(samples=1024).estimate(mixture()).trust == "ok"


def test_equal_replicates_are_not_called_exact() -> None:
    """Balanced points count an interval alike in every scramble, but not without error."""
    problem = step(1.0)
    estimate = QuasiMonteCarlo(seed=5).estimate(problem)
    assert estimate.standard_error == 0
    assert 0 < abs(estimate.value - problem.truth) < 1 / 2048
    assert estimate.trust == "low_confidence"
    assert "1/2048" in estimate.reasons[0]
    stopping = QuasiMonteCarlo(samples=2**17, seed=5, standard_error=1e-9).estimate(step(0.0))
    assert stopping.stopped == "samples"


# Early stops ------------------------------------------------------------------------------------


def test_stop_at_a_standard_error() -> None:
    problem, target = relu(600, 3), 0.2
    estimate = QuasiMonteCarlo(samples=2**16, standard_error=target).estimate(problem)
    assert estimate.stopped == "standard_error"
    assert estimate.standard_error is not None
    assert estimate.standard_error.max() <= target
    assert estimate.samples in [8 * 512 * 2**k for k in range(4)]
    whole = QuasiMonteCarlo(samples=estimate.samples).estimate(relu(600, 3))
    torch.testing.assert_close(estimate.value, whole.value, rtol=1e-13, atol=0)
    assert estimate.cost.flops == whole.cost.flops


def test_stop_after_some_time() -> None:
    problem = relu(600, 3)
    estimate = QuasiMonteCarlo(samples=2**25, seconds=1e-9).estimate(problem)
    assert estimate.stopped == "seconds"
    assert estimate.samples == len(problem.values) == 8 * 512


def test_run_to_the_end_if_nothing_stops_it() -> None:
    problem = relu(600, 2)
    estimate = QuasiMonteCarlo(samples=2**14, standard_error=1e-9, seconds=1e6).estimate(problem)
    assert estimate.stopped == "samples"
    assert estimate.samples == 2**14
    whole = QuasiMonteCarlo(samples=2**14).estimate(relu(600, 2))
    torch.testing.assert_close(estimate.value, whole.value, rtol=1e-13, atol=0)


def test_what_has_not_varied_is_not_known() -> None:
    estimate = QuasiMonteCarlo(samples=2**16, standard_error=0.5).estimate(step(8.0))
    assert estimate.stopped == "samples"
    assert estimate.trust == "low_confidence"


# Cost -------------------------------------------------------------------------------------------


def test_flops_are_those_of_a_metered_run() -> None:
    problem, estimator = relu(600, 3), QuasiMonteCarlo(samples=2**13)
    metered = count_flops(lambda: Estimator.estimate(estimator, problem))
    # Pooling the replicates at the end is left out of the formula.
    assert 0 <= metered - estimator.flops(problem) <= 8 * 100 * 3


def test_flops_of_a_huge_run_are_counted_without_running_it() -> None:
    problem = relu(600, 3)
    assert QuasiMonteCarlo(samples=2**30).flops(problem) == 2**17 * QuasiMonteCarlo(
        samples=2**13
    ).flops(problem)
    assert sum(problem.batches) == 1024


@pytest.mark.parametrize(("epsilon", "samples"), [(1.0, 16), (0.1, 100), (0.01, 10_000)])
def test_tolerance_buys_samples(epsilon: float, samples: int) -> None:
    assert QuasiMonteCarlo.at(epsilon, mixture()) == QuasiMonteCarlo(samples=samples)


# Randomness -------------------------------------------------------------------------------------


def test_same_seed_same_bits() -> None:
    first, second, other = (
        QuasiMonteCarlo(samples=256, seed=seed).estimate(mixture()).value for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_threads_do_not_matter() -> None:
    problem, threads = relu(100, 40), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = QuasiMonteCarlo(samples=2**13).estimate(problem).value
        torch.set_num_threads(2)
        two = QuasiMonteCarlo(samples=2**13).estimate(problem).value
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(one, two, rtol=1e-12, atol=0)


def test_global_generators_are_untouched() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    QuasiMonteCarlo(samples=256).estimate(mixture())
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()


# Types and refusals -----------------------------------------------------------------------------


def test_dtype_follows_the_problem() -> None:
    problem = Function(lambda x: x.relu(), Gaussian.standard(3, dtype=torch.float32), (3,))
    estimate = QuasiMonteCarlo().estimate(problem)
    assert estimate.value.dtype == torch.float32
    assert problem.seen[0][0].dtype == torch.float32
    torch.testing.assert_close(estimate.value, torch.full((3,), 0.39894), atol=1e-3, rtol=0)


def test_no_gradient_is_recorded() -> None:
    weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    problem = Function(lambda x: x @ weight, Gaussian(weight, 1.0), tensors=[weight])
    assert not QuasiMonteCarlo(samples=64).estimate(problem).value.requires_grad


def test_inputs_must_be_made_from_normals() -> None:
    problem = Function(lambda x: x.sum(1), Uniform(3))
    with pytest.raises(UnsupportedProblem, match=r"Uniform.*plain MonteCarlo"):
        QuasiMonteCarlo().estimate(problem)


def test_too_many_dimensions() -> None:
    problem = Function(lambda x: x.sum(1), Gaussian.standard(21_202, dtype=torch.float64))
    with pytest.raises(UnsupportedProblem, match=r"21202 .* at most 21201; use MonteCarlo"):
        QuasiMonteCarlo().estimate(problem)


def test_outputs_that_are_not_finite() -> None:
    inputs = Gaussian.standard(2, dtype=torch.float64)
    problem = Function(lambda x: x[:, 0].log(), inputs)
    with pytest.raises(NumericalError, match=r"1024 samples are not finite.*output 0"):
        QuasiMonteCarlo(samples=2**13).estimate(problem)


@pytest.mark.parametrize(
    ("settings", "argument", "given"),
    [
        ({"samples": 0}, "samples", "0"),
        ({"samples": 2.0**14}, "samples", "16384.0"),
        ({"samples": 15}, "samples", "15"),
        ({"samples": 2**34}, "samples", "17179869184"),
        ({"samples": 5, "replicates": 3}, "samples", "5"),
        ({"replicates": 0}, "replicates", "0"),
        ({"replicates": 1}, "replicates", "1"),
        ({"replicates": 2.0}, "replicates", "2.0"),
        ({"replicates": None}, "replicates", "None"),
        ({"seed": -1}, "seed", "-1"),
        ({"seed": "a"}, "seed", "'a'"),
        ({"standard_error": 0}, "standard_error", "0"),
        ({"standard_error": math.inf}, "standard_error", "inf"),
        ({"seconds": -2.5}, "seconds", "-2.5"),
        ({"seconds": math.nan}, "seconds", "nan"),
    ],
)
def test_bad_settings(settings: dict[str, Any], argument: str, given: str) -> None:
    with pytest.raises(InputError, match=f"{argument} = {given}"):
        QuasiMonteCarlo(**settings)
