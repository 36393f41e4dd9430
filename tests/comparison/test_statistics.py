import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from outsample.comparison.statistics import (
    Interval,
    RatioEstimate,
    pooled_error,
    ratio_to_opponent,
    ratio_to_sampling,
    truth_floor,
)
from outsample.errors import InputError

ONES = np.ones(4)


def column(*numbers: float) -> NDArray:
    return np.array(numbers, dtype=float)


# Hand cases


def test_ratio_of_means_not_mean_of_ratios() -> None:
    assert pooled_error(column(1, 1), column(1, 3)).value == 0.5


def test_lower_limit_by_hand() -> None:
    """Standard error 1 about 2, one degree of freedom: Student's law is Cauchy's."""
    pooled = pooled_error(column(1, 3), column(1, 1))
    cauchy = math.tan(math.pi * (0.5 - 0.044))
    assert pooled.interval.low == pytest.approx(2 * math.exp(-cauchy / 2))
    assert pooled.resolved


def test_upper_limit_of_two_problems_by_hand() -> None:
    """T = (a² + b² - 2) / |a² - b²| for normal a and b, and t* is where P(T < -t*) = 0.022.

    With a² = r² cos² and b² = r² sin², r²/2 exponential and the angle uniform: T < -t if
    r² < 2 / (1 + t |cos 2φ|), which has probability 1 - exp(-1 / (1 + t |cos 2φ|)).
    """
    pooled = pooled_error(column(1, 3), column(1, 1))
    quantile = pooled.interval.high - 2  # the standard error is 1
    angle = np.linspace(0, math.pi / 2, 100_001)
    tail = np.mean(-np.expm1(-1 / (1 + quantile * np.abs(np.cos(angle)))))
    assert tail == pytest.approx(0.022, abs=0.004)  # t* is a quantile of 10 000 draws


def test_heavy_tails_stretch_the_upper_limit() -> None:
    """Same weights, so the same t*; the standard deviation is √10 = √5 · √2 of the mean."""
    even = column(*[0.9, 1.1] * 5)
    quantile = (pooled_error(even, np.ones(10)).interval.high - 1) / (0.1 / 3)
    heavy = pooled_error(column(*[0] * 9, 10), np.ones(10))
    assert heavy.interval.high == pytest.approx(1 + quantile * math.sqrt(5))


@pytest.mark.parametrize(
    ("samples", "verdict"), [(1.5, "beats"), (2.0, "matches"), (2.5, "loses to")]
)
def test_errors_that_all_agree(samples: float, verdict: str) -> None:
    """No spread, no uncertainty: vn error 1/2 is worth two samples."""
    ratio = ratio_to_sampling(ONES / 4, ONES / 2, samples)
    assert ratio.value == pytest.approx(2 / samples)
    assert ratio.interval.low == pytest.approx(ratio.interval.high)
    assert ratio.verdict == verdict


@given(st.lists(st.floats(0.05, 20), min_size=1, max_size=12))
def test_nobody_beats_itself(errors: list[float]) -> None:
    assert ratio_to_opponent(column(*errors), np.ones(len(errors)), column(*errors)).verdict == (
        "matches"
    )


def test_single_problem_has_the_noise_of_the_truth_only() -> None:
    reach = 1.959963984540054 * math.sqrt(1 * (1 + 2 * 10))
    pooled = pooled_error(column(10), column(1), column(1))
    assert pooled.interval.low == pytest.approx(10 - reach)
    assert pooled.interval.high == pytest.approx(10 + reach)
    exact = pooled_error(column(10), column(1))
    assert exact.interval == Interval(10, 10)


def test_difficulty_that_opponents_share_cancels() -> None:
    hard = column(1, 2, 5, 30)
    ratio = ratio_to_opponent(hard, ONES, 1.5 * hard)
    assert ratio.verdict == "beats"
    assert ratio.interval.low == pytest.approx(1.5)
    assert ratio.interval.high == pytest.approx(1.5)
    assert ratio_to_opponent(hard, ONES, 1.5 * hard[::-1]).verdict == "matches"


def test_error_below_the_floor_is_no_win_but_a_bound() -> None:
    errors, floor = column(3, -4, 2, 1) * 1e-6, ONES * 1e-4
    close = ratio_to_sampling(errors, ONES, 1e5, floor)
    assert (close.verdict, close.bound) == ("inconclusive", "lower")
    assert 0 < close.value == close.interval.low < 1
    assert close.interval.high == math.inf
    far = ratio_to_sampling(errors, ONES, 1e2, floor)
    assert (far.verdict, far.bound) == ("beats", "lower")
    # The bound counts the floor, not only the spread.
    assert far.value < 1e-2 / 0.5e-4
    pooled = pooled_error(errors, ONES, floor)
    assert not pooled.resolved
    assert pooled.interval.low == 0
    assert pooled.floor == pytest.approx(0.5e-4)


def test_bound_counts_the_uncertainty_of_the_opponent() -> None:
    errors, floor = column(3, -4, 2, 1) * 1e-6, ONES * 1e-4
    known = ratio_to_opponent(errors, ONES, ONES, floor)
    uncertain = ratio_to_opponent(errors, ONES, column(0.5, 1.5, 0.8, 1.2), floor)
    assert uncertain.bound == known.bound == "lower"
    assert uncertain.value < 0.9 * known.value


def test_negative_pooled_error_is_not_resolved() -> None:
    ratio = ratio_to_sampling(column(-3, -2, -4, 1), ONES, 1.0)
    assert (ratio.verdict, ratio.bound) == ("inconclusive", "lower")


def test_no_error_at_all() -> None:
    zero = np.zeros(4)
    assert ratio_to_sampling(zero, ONES, 10).verdict == "beats"
    assert ratio_to_sampling(zero, ONES, 10).value == math.inf
    assert ratio_to_opponent(zero, ONES, zero).verdict == "inconclusive"


@pytest.mark.parametrize(("error", "verdict"), [(50.0, "loses to"), (0.5, "inconclusive")])
def test_opponent_whose_error_drowns(error: float, verdict: str) -> None:
    ratio = ratio_to_opponent(ONES * error, ONES, column(-1, 0, 0.5, -0.2))
    assert (ratio.verdict, ratio.bound) == (verdict, "upper")
    assert ratio.interval.low == 0
    assert ratio.value == ratio.interval.high


def test_one_problem_that_holds_all_the_variance() -> None:
    """The others say nothing of the spread, so nothing can be claimed."""
    ratio = ratio_to_sampling(column(1.0, 1e-14, 1e-14), column(1.0, 1e-15, 1e-15), 0.5)
    assert ratio.verdict in ("matches", "inconclusive")


def test_results_are_frozen_and_intervals_closed() -> None:
    interval = Interval(1.0, 2.0)
    assert 1.0 in interval and 2.0 in interval and 2.1 not in interval
    with pytest.raises(FrozenInstanceError):
        interval.low = 0.0  # pyright: ignore[reportAttributeAccessIssue]


# The truth's noise


def test_floor_of_one_output_is_its_squared_error() -> None:
    rng = np.random.default_rng(0)
    squared = rng.uniform(1, 2, (6, 1))
    floor = truth_floor(rng.normal(size=(6, 1)), rng.normal(size=(6, 1)), squared)
    np.testing.assert_allclose(floor, squared[:, 0])


def test_floor_of_an_exact_truth_is_zero() -> None:
    value = np.ones((3, 2))
    assert not truth_floor(value, value, np.zeros((3, 2))).any()


def test_one_problem_tells_little_of_the_correlation() -> None:
    """Halves that look independent over outputs may do so by chance: f² is at least 1/2."""
    first = np.array([[1.0, -1.0, 1.0, -1.0]])
    floor = truth_floor(first, -first, np.full((1, 4), 2.0))
    assert floor[0] == pytest.approx(2 / math.sqrt(2))


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_floor_is_the_noise_of_products(correlation: float) -> None:
    """Against the definition: the deviation of the mean over outputs of t₁t₂."""
    problems, outputs = 4000, 16
    rng = np.random.default_rng(1)
    first, second = (
        math.sqrt(correlation) * rng.standard_normal((problems, 1))
        + math.sqrt(1 - correlation) * rng.standard_normal((problems, outputs))
        for _ in range(2)
    )
    floor = truth_floor(5 + 0.1 * first, 5 + 0.1 * second, np.full((problems, outputs), 0.01))
    assert floor[0] == pytest.approx(0.01 * (first * second).mean(1).std(), rel=0.1)


@given(seed=st.integers(0, 1000), problems=st.integers(1, 8), outputs=st.integers(1, 20))
def test_floor_is_within_what_any_correlation_allows(
    seed: int, problems: int, outputs: int
) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.standard_normal((2, problems, outputs))
    squared = rng.uniform(0.1, 2, (problems, outputs))
    floor = truth_floor(first, second, squared)
    assert np.all(floor <= squared.mean(1) * (1 + 1e-12))
    assert np.all(floor >= squared.mean(1) / math.sqrt(outputs) * (1 - 1e-12))


# Properties

numbers = st.floats(0.05, 20)


@st.composite
def studies(draw: st.DrawFn) -> tuple[NDArray, NDArray, NDArray]:
    """Errors, variances and an opponent's errors."""
    size = draw(st.integers(3, 12))
    rows = [draw(st.lists(numbers, min_size=size, max_size=size)) for _ in range(3)]
    errors, variances, opponent = (np.array(row) for row in rows)
    return errors, variances, opponent


def ends(ratio: RatioEstimate) -> list[float]:
    return [ratio.value, ratio.interval.low, ratio.interval.high]


@given(study=studies())
@settings(max_examples=50)
def test_verdict_is_what_the_interval_says(study: tuple[NDArray, NDArray, NDArray]) -> None:
    ratio = ratio_to_opponent(*study)
    assert ratio.value in ratio.interval
    where = {"beats": ratio.interval.low > 1, "loses to": ratio.interval.high < 1}
    where["matches"] = 1.0 in ratio.interval
    assert where[ratio.verdict]


@given(study=studies(), unit=numbers, samples=numbers)
@settings(max_examples=50)
def test_units_cancel(study: tuple[NDArray, NDArray, NDArray], unit: float, samples: float) -> None:
    errors, variances, opponent = study
    np.testing.assert_allclose(
        ends(ratio_to_opponent(unit * errors, variances, unit * opponent)),
        ends(ratio_to_opponent(errors, variances, opponent)),
        rtol=1e-9,
    )
    np.testing.assert_allclose(
        ends(ratio_to_sampling(unit * errors, unit * variances, samples)),
        ends(ratio_to_sampling(errors, variances, samples)),
        rtol=1e-9,
    )


@given(study=studies(), samples=numbers)
@settings(max_examples=50)
def test_formula_is_an_opponent_measured_exactly(
    study: tuple[NDArray, NDArray, NDArray], samples: float
) -> None:
    errors, variances, _ = study
    formula = ratio_to_sampling(errors, variances, samples)
    measured = ratio_to_opponent(errors, variances, variances / samples)
    assert ends(formula) == ends(measured)
    pooled = pooled_error(errors, variances)
    assert formula.interval.low == pytest.approx(1 / samples / pooled.interval.high)
    assert formula.interval.high * pooled.interval.low == pytest.approx(1 / samples)


@given(study=studies(), floor=st.floats(0, 1))
@settings(max_examples=50)
def test_noise_of_the_truth_widens(study: tuple[NDArray, NDArray, NDArray], floor: float) -> None:
    errors, variances, _ = study
    clean = pooled_error(errors, variances)
    noisy = pooled_error(errors, variances, floor * variances)
    assert noisy.value == clean.value
    assert noisy.interval.low <= clean.interval.low
    assert noisy.interval.high >= clean.interval.high


def test_same_answer_every_time_and_no_global_randomness() -> None:
    rng = np.random.default_rng(3)
    errors, variances = rng.chisquare(1, 7), rng.uniform(1, 2, 7)
    before = np.random.get_state()[1].copy()
    first = ratio_to_sampling(errors, variances, 3.0)
    # Other sizes in between, so that nothing kept from the first call helps the second.
    for size in (3, 4, 5):
        pooled_error(np.ones(size), np.ones(size))
    assert ratio_to_sampling(errors, variances, 3.0) == first
    assert np.array_equal(before, np.random.get_state()[1])


def test_many_problems() -> None:
    """The interval of very many problems is the normal one, but for the tails' sizes."""
    rng = np.random.default_rng(5)
    size = 5_000
    errors = rng.normal(1.0, 0.1, size)
    pooled = pooled_error(errors, np.ones(size))
    error = errors.std() / math.sqrt(size)
    assert pooled.interval.high - pooled.value == pytest.approx(2.01 * error, rel=0.2)
    assert pooled.value - pooled.interval.low == pytest.approx(1.71 * error, rel=0.01)


# Calibration: plain Monte Carlo against itself, so that the true ratio is 1

STUDIES = 600
#: Three standard deviations of a share of 0.03 or 0.95 in so many studies.
SLACK_BEATS, SLACK_COVERAGE = 0.021, 0.027


def simulate(
    problems: int, outputs: int, correlation: float, replicates: int
) -> list[tuple[NDArray, NDArray, NDArray, NDArray]]:
    """Errors, variances, opponent and floor of studies with truths of 10 N samples; N = 1."""
    rng = np.random.default_rng([problems, outputs])
    found: list[tuple[NDArray, NDArray, NDArray, NDArray]] = []
    for _ in range(STUDIES):
        variances = np.exp(0.75 * rng.standard_normal(problems))
        shape = (3 + replicates, problems, outputs)
        drawn = math.sqrt(1 - correlation) * rng.standard_normal(shape)
        drawn += math.sqrt(correlation) * rng.standard_normal((*shape[:2], 1))
        drawn *= np.sqrt(variances)[:, None]
        first, second = drawn[:2] / math.sqrt(10)
        squares = ((drawn[2:] - first) * (drawn[2:] - second)).mean(2)
        noise = np.broadcast_to(variances[:, None] / 10, (problems, outputs))
        floor = truth_floor(first, second, noise)
        found.append((squares[0], variances, squares[1:].mean(0), floor))
    return found


def calibrated(found: list[Interval], least: float = 0.93, most: float = 0.97) -> bool:
    """Whether coverage and false claims are as promised, but for chance."""
    coverage = np.mean([1.0 in interval for interval in found])
    beats = np.mean([interval.low > 1 for interval in found])
    return bool(
        least - SLACK_COVERAGE <= coverage <= most + SLACK_COVERAGE and beats <= 0.03 + SLACK_BEATS
    )


CELLS = [(10, 1, 0.0), (10, 20, 0.0), (10, 20, 0.9), (20, 1, 0.0), (20, 20, 0.3)]


@pytest.mark.parametrize(("problems", "outputs", "correlation"), CELLS)
def test_calibration(problems: int, outputs: int, correlation: float) -> None:
    found = simulate(problems, outputs, correlation, replicates=6)
    assert calibrated([ratio_to_sampling(e, v, 1.0, f).interval for e, v, _, f in found])
    assert calibrated([ratio_to_opponent(e, v, o, f).interval for e, v, o, f in found])


def test_five_problems_err_on_the_safe_side() -> None:
    found = simulate(5, 1, 0.0, replicates=1)
    intervals = [ratio_to_sampling(e, v, 1.0, f).interval for e, v, _, f in found]
    assert calibrated(intervals, most=0.99)


def test_percentile_bootstrap_fails_the_same_check() -> None:
    """The check has the power to tell: it refuses the interval that is too short."""
    rng = np.random.default_rng(0)
    for problems, outputs, correlation in CELLS[:3]:
        intervals: list[Interval] = []
        for e, v, _, _ in simulate(problems, outputs, correlation, replicates=1):
            counts = rng.multinomial(problems, np.full(problems, 1 / problems), size=499)
            low, high = np.quantile((counts @ v) / (counts @ e), (0.025, 0.975))
            intervals.append(Interval(float(low), float(high)))
        assert not calibrated(intervals)


def test_power() -> None:
    """Intervals are not calibrated by being useless: a ratio of 4 shows."""
    found = simulate(20, 1, 0.0, replicates=1)
    wins = [ratio_to_sampling(e, v, 0.25, f).verdict == "beats" for e, v, _, f in found]
    assert np.mean(wins) > 0.8
    found = simulate(10, 20, 0.0, replicates=1)
    wins = [ratio_to_sampling(e, v, 0.5, f).verdict == "beats" for e, v, _, f in found]
    assert np.mean(wins) > 0.8


# Bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"errors": column()}, "errors has shape"),
        ({"errors": np.ones((4, 1))}, "errors has shape"),
        ({"errors": column(1, 2, math.nan, 1)}, "errors has non-finite"),
        ({"errors": column(1, 2, math.inf, 1)}, "errors has non-finite"),
        ({"variances": np.ones(3)}, "variances has shape"),
        ({"variances": column(1, 1, 0, 1)}, r"variances\[2\] = 0"),
        ({"variances": -ONES}, "variances has the entry -1"),
        ({"floor": np.ones(5)}, "floor has shape"),
        ({"floor": -ONES}, "floor has the entry -1"),
        ({"samples": 0.0}, "samples = 0"),
        ({"samples": math.inf}, "samples = inf"),
        ({"samples": math.nan}, "samples = nan"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    good: dict[str, object] = {"errors": ONES, "variances": ONES, "samples": 2.0, "floor": ONES}
    with pytest.raises(InputError, match=message):
        ratio_to_sampling(**{**good, **change})


def test_bad_opponents_and_truths() -> None:
    with pytest.raises(InputError, match="opponent has shape"):
        ratio_to_opponent(ONES, ONES, np.ones(3))
    with pytest.raises(InputError, match="opponent has non-finite"):
        ratio_to_opponent(ONES, ONES, ONES * math.nan)
    with pytest.raises(InputError, match="second has shape"):
        truth_floor(np.ones((2, 3)), np.ones((3, 2)), np.ones((2, 3)))
    with pytest.raises(InputError, match="first has shape"):
        truth_floor(np.ones(3), np.ones(3), np.ones(3))
    with pytest.raises(InputError, match="squared_error has the entry"):
        truth_floor(np.ones((2, 3)), np.ones((2, 3)), -np.ones((2, 3)))
