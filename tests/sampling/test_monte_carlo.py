import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tests.sampling.problems import (
    Function,
    Uniform,
    gaussian,
    linear,
    mixture,
    quadratic,
    relu,
    step,
)
from torch import Tensor

from outsample.cost import count_flops
from outsample.distributions import Gaussian
from outsample.errors import BudgetError, InputError, NumericalError, UnsupportedProblem
from outsample.estimator import Estimator
from outsample.sampling import MonteCarlo
from outsample.sampling.monte_carlo import whitened
from outsample.sampling.sampler import batch_rows

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "antithetic": {"antithetic": True},
    "matched": {"moment_matched": True},
    "both": {"antithetic": True, "moment_matched": True},
}
variants = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
PROBLEMS: dict[str, Callable[[], Function]] = {
    "linear": lambda: linear(5, 3),
    "quadratic": lambda: quadratic(5),
    "relu": lambda: relu(6, 4),
    "mixture": mixture,
    "step": lambda: step(1.0),
}


# Right answers ----------------------------------------------------------------------------------


@variants
@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS)
def test_closed_forms(make: Callable[[], Function], variant: dict[str, Any]) -> None:
    problem = make()
    estimate = MonteCarlo(samples=20_000, seed=3, **variant).estimate(problem)
    assert estimate.value.shape == problem.output_shape
    error = (estimate.value - problem.truth).abs()
    assert estimate.standard_error is not None
    assert bool((error <= 5 * estimate.standard_error + 1e-12).all())


@given(n=st.integers(1, 6), outputs=st.integers(1, 4), seed=st.integers(0, 2**20))
@pytest.mark.parametrize("name", ["antithetic", "matched", "both"])
def test_linear_maps_are_exact(name: str, n: int, outputs: int, seed: int) -> None:
    problem = linear(n, outputs, seed)
    estimate = MonteCarlo(samples=400, seed=seed, **VARIANTS[name]).estimate(problem)
    size = problem.values.abs().max().item()
    torch.testing.assert_close(estimate.value, problem.truth, rtol=0, atol=1e-12 * size)
    assert estimate.standard_error is not None
    assert bool((estimate.standard_error <= 1e-12 * size).all())


@given(n=st.integers(1, 6), seed=st.integers(0, 2**20))
@pytest.mark.parametrize("name", ["matched", "both"])
def test_matched_moments_make_quadratics_exact(name: str, n: int, seed: int) -> None:
    problem = quadratic(n, seed)
    estimate = MonteCarlo(samples=600, seed=seed, **VARIANTS[name]).estimate(problem)
    size = problem.values.abs().max().item()
    torch.testing.assert_close(estimate.value, problem.truth, rtol=0, atol=1e-12 * size)
    assert estimate.trust == "ok"


def test_antithetic_sampling_alone_is_not_exact_on_quadratics() -> None:
    problem = quadratic(4)
    estimate = MonteCarlo(samples=400, antithetic=True).estimate(problem)
    assert abs(estimate.value - problem.truth) > 1e-6


@variants
def test_covariance_of_the_outputs(variant: dict[str, Any]) -> None:
    problem = linear(4, 3)
    a = problem.own[0]
    truth = a @ problem.inputs.covariance @ a.T
    covariance = MonteCarlo(samples=40_000, **variant).estimate(problem).covariance
    assert covariance is not None
    torch.testing.assert_close(covariance, covariance.T)
    torch.testing.assert_close(covariance, truth, rtol=0, atol=0.05 * truth.abs().max().item())


def test_a_scalar_output_has_a_covariance_matrix() -> None:
    covariance = MonteCarlo(samples=5000).estimate(step(0.0)).covariance
    assert covariance is not None
    assert covariance.shape == (1, 1)
    assert covariance.item() == pytest.approx(0.25, abs=0.01)


def test_no_covariance_for_many_outputs() -> None:
    assert MonteCarlo(samples=100).estimate(relu(2, 65)).covariance is None
    assert MonteCarlo(samples=100).estimate(relu(2, 64)).covariance is not None


# Honest standard errors -------------------------------------------------------------------------


@variants
def test_standard_errors_are_calibrated(variant: dict[str, Any]) -> None:
    """Squared errors over 200 seeds against squared standard errors: a χ² with 200 degrees."""
    problem, runs = mixture(), 200
    errors, claims = torch.zeros(runs, 2), torch.zeros(runs, 2)
    for seed in range(runs):
        estimate = MonteCarlo(samples=6000, seed=seed, **variant).estimate(problem)
        assert estimate.standard_error is not None
        errors[seed] = (estimate.value - problem.truth).square()
        claims[seed] = estimate.standard_error.square()
    ratio = errors.mean(0) / claims.mean(0)
    low, high = stats.chi2(runs).ppf([1e-3, 1 - 1e-3]) / runs
    assert bool((low < ratio).all())
    assert bool((ratio < high).all())


@variants
def test_standard_errors_cover(variant: dict[str, Any]) -> None:
    """Student intervals at 90 % hold the truth 90 % of the time, by the binomial law."""
    problem, runs = mixture(), 200
    hits = torch.zeros(2)
    for seed in range(1000, 1000 + runs):
        estimate = MonteCarlo(samples=6000, seed=seed, **variant).estimate(problem)
        assert estimate.standard_error is not None
        width = stats.t(estimate.terms - 1).ppf(0.95) * estimate.standard_error
        hits += (estimate.value - problem.truth).abs() <= width
    low, high = stats.binom(runs, 0.9).ppf([1e-3, 1 - 1e-3])
    assert bool(((low <= hits) & (hits <= high)).all())


def test_antithetic_and_matched_sampling_help_where_they_should() -> None:
    problem = relu(8, 5)
    errors = {
        name: MonteCarlo(samples=30_000, **variant).estimate(problem).standard_error
        for name, variant in VARIANTS.items()
    }
    plain = errors.pop("plain")
    for error in errors.values():
        assert error is not None
        assert plain is not None
        assert bool((error < 0.8 * plain).all())


def test_a_rare_event_that_never_came_is_not_called_certain() -> None:
    estimate = MonteCarlo(samples=1000).estimate(step(8.0))
    assert estimate.value == 0
    assert estimate.trust == "low_confidence"
    assert "0.003" in estimate.reasons[0]


@pytest.mark.parametrize(
    ("settings", "terms"), [({"samples": 5}, 5), ({"samples": 14, "antithetic": True}, 7)]
)
def test_few_terms_are_low_confidence(settings: dict[str, Any], terms: int) -> None:
    estimate = MonteCarlo(**settings).estimate(relu(3, 2))
    assert estimate.terms == terms
    assert estimate.trust == "low_confidence"
    assert str(terms) in estimate.reasons[0]


def test_one_sample_has_no_standard_error() -> None:
    problem = relu(3, 2)
    estimate = MonteCarlo(samples=1).estimate(problem)
    assert torch.equal(estimate.value, problem.values[0])
    assert estimate.standard_error is None
    assert estimate.error_kind == "none"
    assert estimate.covariance is None
    assert estimate.trust == "low_confidence"


# Streaming --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "batch"), [(1000, 100), (1000, 64), (1000, 5000), (7, 3)])
def test_plain_streaming_equals_statistics_of_all_samples(samples: int, batch: int) -> None:
    problem = relu(4, 3)
    estimate = MonteCarlo(samples=samples, batch=batch).estimate(problem)
    values = problem.values
    assert len(values) == estimate.samples == estimate.terms == samples
    assert estimate.batch == max(problem.batches) == min(batch, samples)
    torch.testing.assert_close(estimate.value, values.mean(0), rtol=1e-13, atol=1e-14)
    assert estimate.standard_error is not None
    torch.testing.assert_close(
        estimate.standard_error, values.std(0) / math.sqrt(samples), rtol=1e-12, atol=1e-14
    )
    assert estimate.covariance is not None
    torch.testing.assert_close(estimate.covariance, values.T.cov(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("samples", "batch"), [(1000, 100), (1000, 64), (1000, 5000), (10, 4)])
def test_antithetic_streaming_equals_statistics_of_all_pairs(samples: int, batch: int) -> None:
    problem = mixture()
    estimate = MonteCarlo(samples=samples, batch=batch, antithetic=True).estimate(problem)
    pairs = []
    for x, y in problem.seen:
        half = len(x) // 2
        assert torch.equal(x[:half], -x[half:])
        pairs.append((y[:half] + y[half:]) / 2)
    means = torch.cat(pairs)
    assert 2 * len(means) == estimate.samples == samples
    assert estimate.terms == len(means)
    torch.testing.assert_close(estimate.value, means.mean(0), rtol=1e-12, atol=1e-13)
    assert estimate.standard_error is not None
    torch.testing.assert_close(
        estimate.standard_error, means.std(0) / math.sqrt(len(means)), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize(("samples", "sizes"), [(800, [100] * 8), (998, [100] * 8 + [198])])
def test_matched_streaming_equals_statistics_of_batches(
    samples: int, sizes: list[int], antithetic: bool
) -> None:
    problem = mixture()
    estimate = MonteCarlo(
        samples=samples, batch=100, moment_matched=True, antithetic=antithetic
    ).estimate(problem)
    assert problem.batches == sizes
    assert estimate.samples == samples
    assert estimate.terms == len(sizes)
    for x, _ in problem.seen:
        second = x.T @ x / len(x)
        torch.testing.assert_close(x.mean(0), torch.zeros_like(x[0]), rtol=0, atol=1e-14)
        torch.testing.assert_close(second, torch.eye(3).double(), rtol=0, atol=1e-13)
    torch.testing.assert_close(estimate.value, problem.values.mean(0), rtol=1e-12, atol=1e-13)
    weights = torch.tensor(sizes, dtype=torch.float64)[:, None] / samples
    means = torch.stack([y.mean(0) for _, y in problem.seen])
    spread = (weights * (means - estimate.value).square()).sum(0) / (len(sizes) - 1)
    assert estimate.standard_error is not None
    torch.testing.assert_close(estimate.standard_error, spread.sqrt(), rtol=1e-12, atol=1e-14)


def test_large_matched_batches_are_evaluated_piecemeal() -> None:
    problem = mixture()
    estimator = MonteCarlo(samples=160_000, batch=20_000, moment_matched=True, antithetic=True)
    estimate = estimator.estimate(problem)
    assert max(problem.batches) <= batch_rows(problem) < estimate.batch
    assert sum(problem.batches) == estimate.samples
    assert estimate.terms == 8


def test_default_batches_shrink_with_width() -> None:
    narrow, wide = mixture(), relu(2000, 1)
    assert batch_rows(narrow) == 4096
    assert batch_rows(wide) == 512
    MonteCarlo(samples=1200).estimate(wide)
    assert wide.batches == [512, 512, 176]


@pytest.mark.parametrize("antithetic", [False, True])
def test_default_matched_batches(antithetic: bool) -> None:
    problem = mixture()
    many = MonteCarlo(samples=64_000, moment_matched=True, antithetic=antithetic)
    assert many.estimate(problem).terms == 25
    assert replace(many, samples=128_000).estimate(problem).terms == 32
    few = MonteCarlo(samples=64 + 2, moment_matched=True, antithetic=antithetic).estimate(problem)
    assert few.samples == 66
    assert few.terms == 8


@pytest.mark.parametrize(("stop", "batch"), [({}, 2**21), ({"seconds": 1e-9}, 2**19)])
def test_default_matched_batches_are_bounded(stop: dict[str, float], batch: int) -> None:
    problem = Function(lambda x: x[:, 0], Gaussian.standard(2, dtype=torch.float32))
    estimator = MonteCarlo(samples=10**12, moment_matched=True, **stop)
    assert estimator._batch(problem) == batch


# Early stops ------------------------------------------------------------------------------------


@variants
def test_stop_at_a_standard_error(variant: dict[str, Any]) -> None:
    target = 0.05
    estimate = MonteCarlo(samples=1_000_000, batch=200, standard_error=target, **variant).estimate(
        mixture()
    )
    assert estimate.stopped == "standard_error"
    assert estimate.standard_error is not None
    assert 0.5 * target < estimate.standard_error.max() <= target
    assert 1600 <= estimate.samples < 1_000_000


@variants
def test_stop_after_some_time_and_eight_batches(variant: dict[str, Any]) -> None:
    problem = mixture()
    estimate = MonteCarlo(samples=10**9, batch=100, seconds=1e-9, **variant).estimate(problem)
    assert estimate.stopped == "seconds"
    assert estimate.samples == len(problem.values) == 800


@variants
def test_run_to_the_end_if_nothing_stops_it(variant: dict[str, Any]) -> None:
    estimate = MonteCarlo(
        samples=900, batch=100, standard_error=1e-9, seconds=1e6, **variant
    ).estimate(mixture())
    assert estimate.stopped == "samples"
    assert estimate.samples == 900


def test_what_has_not_varied_is_not_known() -> None:
    estimate = MonteCarlo(samples=5000, batch=100, standard_error=0.5).estimate(step(8.0))
    assert estimate.stopped == "samples"


def test_the_same_prefix_is_drawn_whether_or_not_a_run_stops_early() -> None:
    stopped = MonteCarlo(samples=10_000, batch=100, standard_error=0.2).estimate(mixture())
    whole = MonteCarlo(samples=stopped.samples, batch=100).estimate(mixture())
    assert stopped.samples < 10_000
    assert torch.equal(stopped.value, whole.value)


# Cost -------------------------------------------------------------------------------------------


@variants
@pytest.mark.parametrize("samples", [800, 998])
def test_flops_are_those_of_a_metered_run(variant: dict[str, Any], samples: int) -> None:
    problem = relu(5, 3)
    estimator = MonteCarlo(samples=samples, batch=100, **variant)
    metered = count_flops(lambda: Estimator.estimate(estimator, problem))
    # The final division and square root of each output are left out of the formula.
    assert 0 <= metered - estimator.flops(problem) <= 50 * 3


def test_flops_of_a_huge_run_are_counted_without_running_it() -> None:
    problem = relu(5, 3)
    one = MonteCarlo(samples=100, batch=100).flops(problem)
    assert MonteCarlo(samples=10**12, batch=100).flops(problem) == one * 10**10
    assert sum(problem.batches) == 200


@variants
def test_an_early_stop_costs_what_was_drawn(variant: dict[str, Any]) -> None:
    problem = relu(5, 3)
    stopped = MonteCarlo(samples=10**9, batch=100, seconds=1e-9, **variant).estimate(problem)
    whole = MonteCarlo(samples=stopped.samples, batch=100, **variant)
    assert stopped.cost.flops == whole.flops(problem)
    assert stopped.cost.seconds > 0
    assert stopped.estimator.to_dict()["settings"]["samples"] == 10**9


@pytest.mark.parametrize(
    ("epsilon", "samples"),
    [(1.0, 1), (0.5, 4), (0.1, 100), (0.3, 12), (1e-3, 10**6), (7.0, 1), (1 / math.sqrt(7), 7)],
)
def test_tolerance_buys_samples(epsilon: float, samples: int) -> None:
    assert MonteCarlo.at(epsilon, mixture()) == MonteCarlo(samples=samples)


@pytest.mark.parametrize("epsilon", [0, -1.0, math.nan, math.inf, "0.1", True])
def test_bad_tolerance(epsilon: Any) -> None:
    with pytest.raises(InputError, match="epsilon"):
        MonteCarlo.at(epsilon, mixture())


# Randomness -------------------------------------------------------------------------------------


@variants
def test_same_seed_same_bits(variant: dict[str, Any]) -> None:
    first, second, other = (
        MonteCarlo(samples=1000, seed=seed, **variant).estimate(mixture()) for seed in (1, 1, 2)
    )
    assert first.standard_error is not None
    assert second.standard_error is not None
    assert torch.equal(first.value, second.value)
    assert torch.equal(first.standard_error, second.standard_error)
    assert not torch.equal(first.value, other.value)


def test_seeds_beyond_32_bits_count() -> None:
    low, high = (MonteCarlo(samples=50, seed=s).estimate(mixture()) for s in (1, 1 + 2**32))
    assert not torch.equal(low.value, high.value)


@variants
def test_threads_do_not_matter(variant: dict[str, Any]) -> None:
    problem, threads = relu(100, 40), torch.get_num_threads()
    estimator = MonteCarlo(samples=8000, batch=1000, **variant)
    try:
        torch.set_num_threads(1)
        one = estimator.estimate(problem)
        torch.set_num_threads(2)
        two = estimator.estimate(problem)
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(one.value, two.value, rtol=1e-12, atol=0)
    torch.testing.assert_close(one.standard_error, two.standard_error, rtol=1e-10, atol=0)


@variants
def test_global_generators_are_untouched(variant: dict[str, Any]) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    MonteCarlo(samples=1000, **variant).estimate(mixture())
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()


@variants
def test_inputs_are_not_the_numbers_a_user_draws_from_the_same_seed(
    variant: dict[str, Any],
) -> None:
    """Else a network initialised from seed 0 would meet its own weights as inputs."""
    problem = mixture()
    MonteCarlo(samples=100, seed=0, **variant).estimate(problem)
    own = torch.randn(100, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    correlation = torch.corrcoef(torch.stack([problem.seen[0][0][:6].ravel(), own[:6].ravel()]))
    assert abs(correlation[0, 1]) < 0.9


def test_the_inputs_follow_their_law() -> None:
    problem = Function(lambda x: x[:, 0], gaussian(3))
    MonteCarlo(samples=4000).estimate(problem)
    x = torch.cat([x for x, _ in problem.seen])
    scores = (x - problem.inputs.mean) / problem.inputs.covariance.diagonal().sqrt()
    for column in scores.T:
        assert stats.kstest(column.numpy(), "norm").pvalue > 1e-3


# Types and refusals -----------------------------------------------------------------------------


@variants
def test_dtype_follows_the_problem(variant: dict[str, Any]) -> None:
    problem = Function(lambda x: x.relu(), Gaussian.standard(3, dtype=torch.float32), (3,))
    estimate = MonteCarlo(samples=20_000, **variant).estimate(problem)
    for tensor in (estimate.value, estimate.standard_error, estimate.covariance):
        assert tensor is not None
        assert tensor.dtype == torch.float32
    torch.testing.assert_close(estimate.value, torch.full((3,), 0.39894), atol=0.02, rtol=0)


def test_other_output_shapes_and_dtypes() -> None:
    inputs = gaussian(4)
    counts = Function(lambda x: (x > 0).reshape(-1, 2, 2).int(), inputs, (2, 2))
    estimate = MonteCarlo(samples=500).estimate(counts)
    assert estimate.value.shape == (2, 2)
    assert estimate.value.dtype == torch.float64
    assert estimate.standard_error is not None
    assert estimate.standard_error.shape == (2, 2)


@variants
def test_no_gradient_is_recorded(variant: dict[str, Any]) -> None:
    weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    scale = torch.eye(3, dtype=torch.float64, requires_grad=True)
    problem = Function(lambda x: x @ weight, Gaussian(weight, scale), tensors=[weight])
    estimate = MonteCarlo(samples=200, **variant).estimate(problem)
    assert not estimate.value.requires_grad
    assert torch.is_grad_enabled()


def test_plain_sampling_takes_any_law() -> None:
    problem = Function(lambda x: x.sum(1), Uniform(3))
    estimate = MonteCarlo(samples=5000).estimate(problem)
    assert estimate.value.item() == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize("name", ["antithetic", "matched", "both"])
def test_shaped_normals_need_normals(name: str) -> None:
    problem = Function(lambda x: x.sum(1), Uniform(3))
    with pytest.raises(UnsupportedProblem, match=r"Uniform.*plain MonteCarlo"):
        MonteCarlo(samples=1000, **VARIANTS[name]).estimate(problem)


@pytest.mark.parametrize(
    ("settings", "argument", "given"),
    [
        ({"samples": 0}, "samples", "0"),
        ({"samples": -5}, "samples", "-5"),
        ({"samples": 1.5}, "samples", "1.5"),
        ({"samples": 1e4}, "samples", "10000.0"),
        ({"samples": True}, "samples", "True"),
        ({"samples": "9"}, "samples", "'9'"),
        ({"samples": None}, "samples", "None"),
        ({"seed": -1}, "seed", "-1"),
        ({"seed": 0.5}, "seed", "0.5"),
        ({"seed": None}, "seed", "None"),
        ({"seed": False}, "seed", "False"),
        ({"batch": 0}, "batch", "0"),
        ({"batch": -3}, "batch", "-3"),
        ({"batch": 2.0}, "batch", "2.0"),
        ({"standard_error": 0.0}, "standard_error", "0.0"),
        ({"standard_error": -0.1}, "standard_error", "-0.1"),
        ({"standard_error": math.nan}, "standard_error", "nan"),
        ({"standard_error": "small"}, "standard_error", "'small'"),
        ({"standard_error": True}, "standard_error", "True"),
        ({"seconds": 0}, "seconds", "0"),
        ({"seconds": -1}, "seconds", "-1"),
        ({"seconds": math.inf}, "seconds", "inf"),
        ({"antithetic": 1}, "antithetic", "1"),
        ({"antithetic": None}, "antithetic", "None"),
        ({"moment_matched": "yes"}, "moment_matched", "'yes'"),
        ({"samples": 11, "antithetic": True}, "samples", "11"),
        ({"batch": 7, "antithetic": True}, "batch", "7"),
    ],
)
def test_bad_settings(settings: dict[str, Any], argument: str, given: str) -> None:
    with pytest.raises(InputError, match=f"{argument} = {given}"):
        MonteCarlo(**settings)


@pytest.mark.parametrize(("batch", "trust"), [(100, "low_confidence"), (1000, "ok")])
def test_many_small_matched_batches_are_low_confidence(batch: int, trust: str) -> None:
    """E x⁴ = 3 is 3 b/(b + 2) in whitened batches of b: averaging them does not mend that."""
    inputs = Gaussian.standard(1, dtype=torch.float64)
    problem = Function(lambda x: x[:, 0] ** 4, inputs, (), 3.0)
    estimate = MonteCarlo(samples=100_000, batch=batch, moment_matched=True).estimate(problem)
    assert estimate.trust == trust
    assert ("larger ones" in "".join(estimate.reasons)) == (trust != "ok")


@pytest.mark.parametrize(("antithetic", "smallest"), [(False, 6), (True, 12)])
def test_matched_batches_must_exceed_the_width(antithetic: bool, smallest: int) -> None:
    problem = linear(5, 2)

    def estimate(samples: int, batch: int | None) -> None:
        MonteCarlo(
            samples=samples, batch=batch, moment_matched=True, antithetic=antithetic
        ).estimate(problem)

    with pytest.raises(InputError, match=rf"batch = {smallest - 2}; .* each of {smallest} "):
        estimate(10_000, smallest - 2)
    with pytest.raises(BudgetError, match=rf"samples = 46; .* samples={8 * smallest}"):
        estimate(46, None)
    with pytest.raises(BudgetError, match=r"samples = 790; .* samples=800"):
        estimate(790, 100)
    estimate(8 * smallest, None)
    estimate(8 * smallest, smallest)


@variants
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_outputs_that_are_not_finite(bad: float, variant: dict[str, Any]) -> None:
    def function(x: Tensor) -> Tensor:
        return torch.stack([x[:, 0], torch.where(x[:, 0] > 1.0, bad, x[:, 0])], 1)

    problem = Function(function, Gaussian.standard(2, dtype=torch.float32), (2,))
    with pytest.raises(NumericalError, match=r"output 1.*float64"):
        MonteCarlo(samples=1000, **variant).estimate(problem)


def test_squares_that_leave_float64() -> None:
    problem = Function(lambda x: 1e200 * x[:, 0], Gaussian.standard(1, dtype=torch.float64))
    with pytest.raises(NumericalError, match="squares"):
        MonteCarlo(samples=100).estimate(problem)


def test_outputs_at_the_edge_of_float64_do_not_average_to_infinity() -> None:
    inputs = Gaussian.standard(1, dtype=torch.float64)
    problem = Function(lambda x: torch.full_like(x[:, 0], 1e307), inputs)
    with pytest.raises(NumericalError, match="range of float64"):
        MonteCarlo(samples=100).estimate(problem)


def test_a_problem_that_breaks_its_promise() -> None:
    problem = Function(lambda x: x, Gaussian.standard(3, dtype=torch.float64), (2,))
    with pytest.raises(InputError, match=r"\(10, 3\).*\(10, 2\)"):
        MonteCarlo(samples=10).estimate(problem)


# Whitening --------------------------------------------------------------------------------------


@given(width=st.integers(1, 12), extra=st.integers(1, 40), seed=st.integers(0, 2**20))
def test_whitened_rows_have_exact_moments(width: int, extra: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(width + extra, width, generator=g, dtype=torch.float64)
    # With one row to spare the smallest singular value is small, and digits are lost.
    slack = 1e-13 * torch.linalg.cond(z - z.mean(0)).item() ** 2
    for centred in (False, True):
        w = whitened(z, centred)
        second = w.T @ w / len(w)
        torch.testing.assert_close(
            second, torch.eye(width, dtype=torch.float64), rtol=0, atol=slack
        )
    assert whitened(z, False).mean(0).abs().max() <= slack


@pytest.mark.parametrize("rows", [33, 63, 64, 500])
def test_float32_rows_are_whitened_to_float32_accuracy(rows: int) -> None:
    z = torch.randn(rows, 32, generator=torch.Generator().manual_seed(0))
    w = whitened(z, centred=True)
    assert w.dtype == torch.float32
    torch.testing.assert_close(w.T @ w / len(w), torch.eye(32), rtol=0, atol=1e-5)


def test_dependent_rows() -> None:
    with pytest.raises(NumericalError, match="larger batches"):
        whitened(torch.ones(9, 3, dtype=torch.float64), centred=True)
