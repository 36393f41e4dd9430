"""Intervals and verdicts: how far a study of a few problems can be trusted.

A study has P problems.  On problem i an estimator has squared error e_i, the mean over outputs of
(G - T₁)(G - T₂) with two independent truths: unbiased, and negative at times where the truth is
noisier than the estimator.  With v_i, the mean over outputs of Var M, the vn error is
Σ e_i / Σ v_i.  Ten skewed numbers stand behind it, so that an interval from the percentile
bootstrap claims a win in one of ten fair games.  The intervals here are built for that case.

**Scale.**  u_i = e_i / v_i has the same spread on large and small problems if errors go with the
variance, so the standard error of Σ w_i u_i (w_i = v_i / Σ v) is s·√Σw², with s² the weighted
variance of the u_i.  Against a measured opponent, u_i minus the opponent's (both relative to
their means) takes the place of u_i: what makes a problem hard for both cancels.

**The upper limit of the error**, which decides *beats*, is of the bootstrap-t kind: the estimate
plus t* standard errors, with t* the quantile of the studentised mean of χ²₁ variables under the
same weights.  They are the most skewed squares that Gaussian errors have (one output, or many
that err together), and being studentised, t* also holds for χ²₁ plus a constant, so for any
common correlation of the outputs.  Less skewed errors get a limit that is too high: a few
problems do not tell the two apart.  A spread above √2, that of χ²₁, shows heavier tails, and
stretches the limit in proportion.

**The lower limit** is Student's on the logarithm, widened by the truth's noise.  An error that is
no larger than this noise is not resolved: only its upper limit is known.

A table of coverage, false claims and power: ``benchmarks/verdict_calibration.py``.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import special

from outsample.errors import InputError

Values = NDArray[np.float64]

#: What a comparison says: G *beats*, *matches* or *loses to* its opponent, or cannot be told.
Verdict = Literal["beats", "matches", "loses to", "inconclusive"]

#: Nominal coverage of every interval.
LEVEL = 0.95
# Two tails, each for the errors least favourable to it, so that no law of errors fills both; set
# by simulation: intervals cover 93-97 % (a little more at places), false *beats* are below 3 %.
_UPPER_TAIL = 0.022
_LOWER_TAIL = 0.044
# Draws behind t*: the tail that it cuts off is known to 0.0015.  Fewer where problems are many,
# to bound memory.
_DRAWS = 10_000
_MOST_NUMBERS = 2_000_000
# Errors that agree to this share of their mean are equal: a tie is no win in the last digit.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Interval:
    """Confidence interval from ``low`` to ``high``, ends included; ``high`` may be infinite."""

    low: float
    high: float
    level: float = LEVEL

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class PooledError:
    """A vn error: squared error over variance, a ratio of means over problems and outputs."""

    #: Σ e_i / Σ v_i; negative at times, if not ``resolved``.
    value: float
    interval: Interval
    #: Standard deviation that the truth's noise alone gives ``value``.
    floor: float
    #: Whether the error can be told from that noise; if not, ``interval.low`` is 0.
    resolved: bool


@dataclass(frozen=True)
class RatioEstimate:
    """Error of an opponent over that of the estimator, at equal cost: above 1 is a win."""

    value: float
    #: Interval of the ratio; its end is ``value`` itself where that is a bound.
    interval: Interval
    verdict: Verdict
    #: Why this verdict, in one sentence.
    reason: str
    #: ``"lower"`` if the estimator's error drowns in the truth's noise, so that ``value`` is the
    #: least that the ratio can be; ``"upper"`` if the opponent's does.
    bound: Literal["none", "lower", "upper"] = "none"


def truth_floor(
    first: Float[Values, "problems outputs"],
    second: Float[Values, "problems outputs"],
    squared_error: Float[Values, "problems outputs"],
) -> Float[Values, " problems"]:
    """Standard deviation that the truth's noise alone gives the squared error of each problem.

    With C the covariance of one truth over q outputs this is ‖C‖_F / q = f · tr C / q, where f is
    between 1/√q (independent outputs) and 1 (one output, or all err alike).  tr C is known; f
    comes from the halves, since the mean over outputs of (T₁ - T₂)²/2, over tr C / q, has mean 1
    and variance 2f² for normal noise.

    Args:
        first: T₁ of every problem and output.
        second: T₂, drawn independently of T₁.
        squared_error: squared standard error of one of them; zeros if the truth is exact.

    Raises:
        InputError: for shapes that differ, non-finite entries or negative squared errors.
    """
    one = _array("first", first, None, dims=2)
    two = _array("second", second, one.shape, dims=2)
    spread = _array("squared_error", squared_error, one.shape, dims=2, least=0.0).mean(1)
    noisy = spread > 0
    if not noisy.any():
        return spread
    halves = ((one - two) ** 2).mean(1)[noisy] / (2 * spread[noisy])
    # One more problem on which all outputs err alike: few problems tell little about f.
    square = (float(np.sum((halves - 1) ** 2)) / 2 + 1) / (halves.size + 1)
    return spread * math.sqrt(min(max(square, 1 / one.shape[1]), 1.0))


def pooled_error(
    errors: Float[Values, " problems"],
    variances: Float[Values, " problems"],
    floor: Float[Values, " problems"] | None = None,
) -> PooledError:
    """The vn error Σ e / Σ v with its interval.

    With a single problem there is no spread over problems to learn from: the interval then covers
    the truth's noise only.

    Args:
        errors: squared error of the estimator on each problem, as (G - T₁)(G - T₂).
        variances: Var M on each problem, positive.
        floor: standard deviation of ``errors`` from the truth's noise (:func:`truth_floor`);
            none for exact truths.

    Raises:
        InputError: for empty input, shapes that differ, non-finite entries, variances that are
            not positive, a negative floor.
    """
    e, v, noise = _checked(errors, variances, floor)
    return _Study(v).pool(e, noise)


def ratio_to_sampling(
    errors: Float[Values, " problems"],
    variances: Float[Values, " problems"],
    samples: float,
    floor: Float[Values, " problems"] | None = None,
) -> RatioEstimate:
    """Compare with plain Monte Carlo, whose vn error is 1 / ``samples`` exactly.

    Args:
        errors: as for :func:`pooled_error`.
        variances: as for :func:`pooled_error`.
        samples: how many samples cost as much as one estimate; need not be whole.
        floor: as for :func:`pooled_error`.

    Raises:
        InputError: as :func:`pooled_error`, and for ``samples`` not positive and finite.
    """
    e, v, noise = _checked(errors, variances, floor)
    if not (math.isfinite(samples) and samples > 0):
        raise InputError(f"samples = {samples}; expected a positive finite number")
    return _Study(v).ratio(e, noise, v / samples)


def ratio_to_opponent(
    errors: Float[Values, " problems"],
    variances: Float[Values, " problems"],
    opponent: Float[Values, " problems"],
    floor: Float[Values, " problems"] | None = None,
) -> RatioEstimate:
    """Compare with an opponent that was measured on the same problems.

    The noise of the opponent's measurement is part of the interval as far as it shows in the
    spread over problems; averaging over replicates makes it small.

    Args:
        errors: as for :func:`pooled_error`.
        variances: as for :func:`pooled_error`.
        opponent: squared error of the opponent on each problem at the estimator's cost, a mean
            over replicates.
        floor: as for :func:`pooled_error`.

    Raises:
        InputError: as :func:`pooled_error`.
    """
    e, v, noise = _checked(errors, variances, floor)
    return _Study(v).ratio(e, noise, _array("opponent", opponent, e.shape, dims=1))


def _judge(
    value: float, interval: Interval, bound: Literal["none", "lower", "upper"] = "none"
) -> RatioEstimate:
    low, high = interval.low, interval.high
    if low > 1:
        verdict: Verdict = "beats"
        reason = f"the ratio is at least {low:.3g}"
    elif high < 1:
        verdict = "loses to"
        reason = f"the ratio is at most {high:.3g}"
    elif bound == "none":
        verdict = "matches"
        reason = f"the ratio is between {low:.3g} and {high:.3g}"
    else:
        verdict = "inconclusive"
        reason = f"the ratio is only known to be {'above' if bound == 'lower' else 'below'} " + (
            f"{value:.3g}"
        )
    if bound != "none":
        whose = "the estimator's" if bound == "lower" else "the opponent's"
        reason += f": {whose} error cannot be told from noise"
    return RatioEstimate(value, interval, verdict, reason, bound)


class _Study:
    """The problems that all errors of one study refer to, and the quantiles that go with them."""

    def __init__(self, variances: Values) -> None:
        self.variances = variances
        self.weights = variances / variances.sum()
        self.concentration = float(self.weights @ self.weights)
        # Above 0 even if one problem holds all the variance and the others say nothing.
        self.spare = max(1 - self.concentration, 1e-12)
        self.single = variances.size == 1
        if self.single:
            self.below = self.above = float(special.ndtri((1 + LEVEL) / 2))
        else:
            self.below = float(special.stdtrit(variances.size - 1, 1 - _LOWER_TAIL))
            self.above = self._skewed_quantile()

    def _skewed_quantile(self) -> float:
        """t*: how many standard errors the mean of χ²₁ variables may fall short."""
        draws, squares = _reference(self.weights.size)
        means = draws @ self.weights
        squares = np.maximum(squares @ self.weights - means**2, 1e-100)
        errors = np.sqrt(squares * self.concentration / self.spare)
        return -float(np.quantile(means / errors, _UPPER_TAIL))

    def pool(self, errors: Values, noise: Values) -> PooledError:
        """The pooled error; ``noise`` is what the truth adds to ``errors``."""
        total = self.variances.sum()
        value = float(errors.sum() / total)
        floor = float(np.linalg.norm(noise) / total)
        low, high = self.limits(errors, floor, self.variances)
        return PooledError(value, Interval(low, high), floor, value > self.below * floor)

    def limits(self, errors: Values, floor: float, shape: Values) -> tuple[float, float]:
        """Limits of the pooled error; ``floor`` is what the truth's noise alone adds to it.

        ``shape`` is, up to a factor, how the error should be distributed over the problems: only
        departures from it count as spread.
        """
        rates = errors / self.variances
        value = float(self.weights @ rates)
        size = max(value, 0.0)
        if self.single:
            # (b + t₁)(b + t₂) with t's of variance σ² has variance σ⁴ + 2b²σ², and σ² = floor.
            reach = self.above * math.sqrt(floor * (floor + 2 * size))
            return max(value - reach, 0.0), size + reach
        expected = shape / self.variances
        residuals = rates - value * expected / (self.weights @ expected)
        spread = math.sqrt(float(self.weights @ residuals**2) / self.spare)
        width = spread * math.sqrt(self.concentration) + _ROUNDING * size
        noise = self.below * floor
        gaussian = math.sqrt(2) * float(self.weights @ np.abs(rates))
        stretch = max(spread / gaussian, 1.0) if spread > 0 else 1.0
        high = size + max(self.above * stretch * width, noise)
        if size == 0:
            return 0.0, high
        kept = math.exp(-self.below * width / size)
        # size - hypot(drop, noise) with drop = size (1 - kept), but exact for the smallest kept.
        reach = math.hypot(size * (1 - kept), noise)
        return max(size**2 * kept * (2 - kept) - noise**2, 0.0) / (size + reach), high

    def ratio(self, errors: Values, noise: Values, opponent: Values) -> RatioEstimate:
        """The ratio of ``opponent`` to ``errors``."""
        mine = self.pool(errors, noise)
        theirs = self.pool(opponent, np.zeros_like(opponent))
        if not mine.resolved:
            bound = _quotient(theirs.interval.low, mine.interval.high)
            return _judge(bound, Interval(bound, math.inf), "lower")
        if not theirs.resolved:
            bound = _quotient(theirs.interval.high, mine.interval.low)
            return _judge(bound, Interval(0.0, bound), "upper")
        low, high = self.limits(errors, mine.floor, opponent)
        interval = Interval(theirs.value / high, _quotient(theirs.value, low))
        return _judge(theirs.value / mine.value, interval)


def _quotient(opponent: float, mine: float) -> float:
    """How many times ``mine`` goes into ``opponent``: 0 into 0 not at all, so that none wins."""
    if mine > 0:
        return opponent / mine
    return math.inf if opponent > 0 else 0.0


@lru_cache(maxsize=2)
def _reference(problems: int) -> tuple[Values, Values]:
    """Centred χ²₁ variables, (draws, problems), and their squares; always the same ones."""
    draws = min(_DRAWS, max(_MOST_NUMBERS // problems, 500))
    values = np.random.default_rng(0).standard_normal((draws, problems)) ** 2 - 1
    return values, values**2


def _checked(
    errors: Values, variances: Values, floor: Values | None
) -> tuple[Values, Values, Values]:
    e = _array("errors", errors, None, dims=1)
    v = _array("variances", variances, e.shape, dims=1, least=0.0)
    if not (v > 0).all():
        raise InputError(
            f"variances[{int(np.argmin(v))}] = 0; expected positive numbers: leave out problems "
            "whose output does not vary, sampling is exact there"
        )
    noise = np.zeros_like(v) if floor is None else _array("floor", floor, e.shape, dims=1, least=0)
    return e, v, noise


def _array(
    name: str, given: Values, shape: tuple[int, ...] | None, *, dims: int, least: float = -math.inf
) -> Values:
    array = np.asarray(given, dtype=np.float64)
    if array.size == 0 or array.ndim != dims or (shape is not None and array.shape != shape):
        wanted = f"{dims} dimension(s), not empty" if shape is None else str(shape)
        raise InputError(
            f"{name} has shape {array.shape}; expected {wanted}: one row or entry per problem"
        )
    if not np.isfinite(array).all():
        raise InputError(
            f"{name} has non-finite entries; expected finite numbers: leave out problems on which "
            "a method failed"
        )
    if (array < least).any():
        raise InputError(f"{name} has the entry {array.min():g}; expected at least {least:g}")
    return array
