"""The fixed point of expectation propagation: one Gaussian factor for each condition.

Condition i says lower_i <= y_i <= upper_i of y ~ N(0, K), K the Gram matrix.  A *site*
exp(-τ_i y_i² / 2 + ν_i y_i) takes its place, such that the Gaussian with all sites has the mean
and variance of y_i that it has with condition i itself in place of its site, for every i.  All
sites are updated at once, for a batch of problems at once; Anderson's acceleration takes the place
of damping.  Problems for which that fails start again from sites that hold far out.

Source: T. P. Minka, UAI 2001; Cunningham, Hennig and Lacoste-Julien, arXiv:1111.6832 (2011), for
Gaussian probabilities.
"""

from typing import NamedTuple

import numpy as np

from outsample.products.halfspaces.least_distance import decay_rates
from outsample.products.halfspaces.truncated_normal import (
    Array,
    Module,
    Truncated,
    quadrature_flops,
    truncated,
)

#: Largest number of sweeps, and the change at which to stop, relative to 1 + |site|.
SWEEPS, TOLERANCE = 200, 1e-10
#: Round-off may keep the change above TOLERANCE: below this one, no progress is as good.
SETTLED = 1e-6
#: Sweeps without a smaller change after which a settled fixed point is taken.
_PATIENCE = 6
#: A sweep that makes the change this much larger is damped from then on.
_WORSE, _DAMPING, _LEAST_STEP = 2.0, 0.6, 0.1


class Cavities(NamedTuple):
    """The Gaussian with all sites, and with all but one; vectors over the factors."""

    #: (I + T K)⁻¹, shape (..., k, k), and α = (I + T K)⁻¹ ν: the mean of y is K α.
    inverse: Array
    weights: Array
    #: Mean and variance of y_i without site i.
    mean: Array
    variance: Array
    #: Mean of y.
    posterior_mean: Array


class FixedPoint(NamedTuple):
    """Sites of a batch of problems, shapes (batch, k), and how the iteration ended."""

    precision: Array
    shift: Array
    #: Last change of each problem's sites, relative to 1 + |site|; shape (batch,).
    change: Array
    #: Sweeps made, and the sum of them over the problems of the batch.
    sweeps: int
    work: int


def cavities(gram: Array, precision: Array, shift: Array, xp: Module = np) -> Cavities:
    """Marginals without their own site, from sites of shape (..., k)."""
    k = precision.shape[-1]
    eye = xp.eye(k, dtype=gram.dtype)
    inverse = _inverse(eye + precision[..., None] * gram, xp)
    weights = (inverse @ shift[..., None])[..., 0]
    mean = (gram @ weights[..., None])[..., 0]
    rest = xp.diagonal(inverse, 0, -2, -1)  # = 1 - τ_i S_ii
    # Of S = K (I + T K)⁻¹ only the diagonal; from 1 - rest where τ is large and K W cancels.
    marginal = (gram * xp.swapaxes(inverse, -1, -2)).sum(-1)
    steep = precision > 1
    marginal = xp.where(steep, (1 - rest) / xp.where(steep, precision, precision + 1), marginal)
    variance = marginal / rest
    return Cavities(inverse, weights, mean - weights * variance, variance, mean)


def tilt(cavity: Cavities, lower: Array, upper: Array, xp: Module = np) -> Truncated:
    """Each y_i's cavity law on its interval, in cavity standard deviations about its mean."""
    scale = xp.sqrt(cavity.variance)
    return truncated((lower - cavity.mean) / scale, (upper - cavity.mean) / scale, xp)


def matched_sites(cavity: Cavities, law: Truncated, xp: Module = np) -> tuple[Array, Array]:
    """The sites that give each marginal the mean and variance of its tilted law."""
    # Truncation to an interval never widens a Gaussian: τ >= 0, up to round-off.
    precision = ((1 - law.variance) / (law.variance * cavity.variance)).clip(0)
    scale = xp.sqrt(cavity.variance)
    return precision, precision * (cavity.mean + scale * law.mean) + law.mean / scale


def covariance(gram: Array, precision: Array, inverse: Array, xp: Module = np) -> Array:
    """Covariance of y with all sites, shape (..., k, k)."""
    eye = xp.eye(precision.shape[-1], dtype=gram.dtype)
    row, column = precision[..., :, None], precision[..., None, :]
    # (I - W) / τ by rows, where τ is large and K W cancels.
    by_rows = (eye - inverse) / xp.where(row > 1, row, row * 0 + 1)
    steep = xp.where(row >= column, by_rows, xp.swapaxes(by_rows, -1, -2))
    return xp.where(xp.maximum(row, column) > 1, steep, gram @ inverse)


def log_normaliser(
    gram: Array, precision: Array, cavity: Cavities, law: Truncated, xp: Module = np
) -> Array:
    """Log of the probability, with the sites in place of the conditions; shape (...).

    Sites enter as functions of y - E[y], in which nothing cancels, however steep they are.
    """
    eye = xp.eye(precision.shape[-1], dtype=gram.dtype)
    log_determinant = xp.linalg.slogdet(eye + precision[..., None] * gram)[1]
    alpha, variance = cavity.weights, cavity.variance
    own = xp.log(1 + precision * variance) + alpha * (alpha * variance - cavity.posterior_mean)
    return (law.log_mass + own / 2).sum(-1) - log_determinant / 2


def fixed_point(
    gram: Array, lower: Array, upper: Array, precision: Array, shift: Array
) -> FixedPoint:
    """Iterate to the fixed point, in NumPy, for a batch of problems that share the Gram matrix.

    Problems that do not converge start again from their set's point nearest to the centre.

    Args:
        gram: K, shape (k, k), positive semidefinite.
        lower: shape (batch, k).
        upper: shape (batch, k).
        precision: τ to start from, shape (batch, k); not changed.
        shift: ν to start from, shape (batch, k); not changed.
    """
    k = lower.shape[1]
    found = _iterate(gram, lower, upper, np.concatenate([precision, shift], axis=1))
    lost = np.flatnonzero(~(found.change < SETTLED))
    start = np.array([_at_the_nearest_point(gram, lower[i], upper[i]) for i in lost])
    if not start.any():
        return found
    again = _iterate(gram, lower[lost], upper[lost], start)
    better = again.change < found.change[lost]
    for old, new in zip(found[:3], again[:3], strict=True):
        old[lost[better]] = new[better]
    # A least-squares problem with non-negative weights takes about k steps of k² each.
    work = found.work + again.work + len(lost) * k
    return found._replace(sweeps=found.sweeps + again.sweeps, work=work)


def _iterate(gram: Array, lower: Array, upper: Array, sites: Array) -> FixedPoint:
    batch, k = lower.shape
    best, change = sites.copy(), np.full(batch, np.inf)
    live, work, sweep = np.arange(batch), 0, 0
    path = _Path(sites)
    idle = np.zeros(batch, dtype=int)
    with np.errstate(all="ignore"):  # what overflows is stepped back from
        while sweep < SWEEPS and len(live):
            sweep, work = sweep + 1, work + len(live)
            x = path.sites
            cavity = cavities(gram, x[:, :k], x[:, k:])
            law = tilt(cavity, lower[live], upper[live])
            step = np.concatenate(matched_sites(cavity, law), axis=1) - x
            size = (abs(step) / (1 + abs(x))).max(axis=1)
            size = np.where(np.isnan(size), np.inf, size)
            better = size < change[live]
            idle = np.where(better, 0, idle + 1)
            # The end of the step is closer to the fixed point than its start.
            best[live[better]] = (x + step)[better]
            change[live[better]] = size[better]
            going = (size >= TOLERANCE) & ~((change[live] < SETTLED) & (idle >= _PATIENCE))
            path.advance(step, size, k)
            if not going.all():
                live, idle = live[going], idle[going]
                path.keep(going)
    return FixedPoint(best[:, :k], best[:, k:], change, sweep, work)


def _at_the_nearest_point(gram: Array, lower: Array, upper: Array) -> Array:
    """Sites (τ, ν) that hold far out, where the conditions' nearest point decides; shape (2k,).

    Behind a limit b the density falls off like exp(-r (y - b)): mean b + 1/r, variance 1/r².
    """
    rates = decay_rates(gram, lower, upper)
    limits = np.where(rates > 0, lower, np.where(rates < 0, upper, 0))
    return np.concatenate([rates**2, rates**2 * limits + 2 * rates])


class _Path:
    """Anderson's acceleration with a memory of two steps, each problem of the batch on its own."""

    def __init__(self, sites: Array) -> None:
        self.sites = sites
        self._size = np.full(len(sites), np.inf)
        self._step_length = np.ones(len(sites))
        self._last = (sites, np.zeros_like(sites))
        # Differences of sites and of steps, newest first; zeros have no effect.
        self._differences = [(np.zeros_like(sites), np.zeros_like(sites))] * 2
        self._fresh = True

    def advance(self, step: Array, size: Array, k: int) -> None:
        """Go on from the current sites, where the plain update would move by ``step``."""
        x, (before, last) = self.sites, self._last
        lost = ~np.isfinite(size)
        if lost.any():  # back to a tenth of the last step
            x = np.where(lost[:, None], before, x)
            step = np.where(lost[:, None], 0.1 * last, step)
        worse = lost | (size > _WORSE * self._size)
        damped = np.maximum(_DAMPING * self._step_length, _LEAST_STEP)
        self._step_length = np.where(worse, damped, self._step_length)
        length = self._step_length[:, None]
        new = x + length * step
        if not self._fresh:
            newest = (x - before, step - last)
            self._differences = [newest, self._differences[0]]
            if worse.any():
                kept = ~worse[:, None]
                self._differences = [(a * kept, b * kept) for a, b in self._differences]
            mixed = new - self._correction(x, step, length)
            plain = np.minimum(x[:, :k] + step[:, :k], x[:, :k])
            sound = (mixed[:, :k] >= 0.2 * plain).all(axis=1)
            new = np.where(sound[:, None], mixed, new)
        self._fresh = False
        self._last, self._size, self.sites = (x, step), np.where(lost, np.inf, size), new

    def keep(self, going: Array) -> None:
        """Forget the problems that are done."""
        self.sites, self._size = self.sites[going], self._size[going]
        self._step_length = self._step_length[going]
        self._last = (self._last[0][going], self._last[1][going])
        self._differences = [(a[going], b[going]) for a, b in self._differences]

    def _correction(self, x: Array, step: Array, length: Array) -> Array:
        """What a combination of past differences takes off the step, by least squares."""
        scale = 1 / (1 + abs(x))
        (x1, f1), (x2, f2) = self._differences
        s1, s2, s = f1 * scale, f2 * scale, step * scale
        a11, a22, a12 = (s1 * s1).sum(1), (s2 * s2).sum(1), (s1 * s2).sum(1)
        c1, c2 = (s1 * s).sum(1), (s2 * s).sum(1)
        ridge = 1e-12 * (a11 + a22) + 1e-300
        a11, a22 = a11 + ridge, a22 + ridge
        determinant = a11 * a22 - a12 * a12
        g1 = ((a22 * c1 - a12 * c2) / determinant)[:, None]
        g2 = ((a11 * c2 - a12 * c1) / determinant)[:, None]
        return g1 * (x1 + length * f1) + g2 * (x2 + length * f2)


def _inverse(matrices: Array, xp: Module) -> Array:
    """Inverses; NaN for those matrices of a batch that overflow has made singular."""
    try:
        return xp.linalg.inv(matrices)
    except np.linalg.LinAlgError:
        regular = abs(np.linalg.slogdet(matrices)[0])[..., None, None] == 1
        inverses = np.linalg.inv(np.where(regular, matrices, np.eye(matrices.shape[-1])))
        return np.where(regular, inverses, np.nan)


def sweep_flops(k: int) -> int:
    """FLOPs of one sweep of one problem: inverse, moments by quadrature, acceleration."""
    return 2 * k**3 + 10 * k * k + quadrature_flops(k) + 120 * k
