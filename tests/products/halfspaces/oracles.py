"""True values of halfspace probabilities, and the textbook's formulas, to compare with."""

import itertools
import math
from collections.abc import Sequence

import mpmath
import numpy as np
from numpy.polynomial.hermite_e import hermegauss, hermeval
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

import outsample as ou

Array = NDArray[np.float64]


def halfspaces(k: int, n: int, seed: int, offset: float = 0.0) -> ou.HalfspaceIntersection:
    """Random normals and, in proportion to ``offset``, offsets."""
    rng = np.random.default_rng(seed)
    return ou.HalfspaceIntersection(rng.standard_normal((k, n)), offset * rng.standard_normal(k))


def in_the_plane(normals: Array, offsets: Array, points: int = 200_000) -> float:
    """P(v_i · x >= b_i for all i) in two dimensions: radii by closed form, angles by midpoints.

    The error is a few times 1/points², times the steepest kink.
    """
    angles = (np.arange(points) + 0.5) * (2 * np.pi / points)
    along = np.column_stack([np.cos(angles), np.sin(angles)]) @ normals.T
    with np.errstate(all="ignore"):
        radius = offsets / along
    low = np.where(along > 0, radius, 0).max(axis=1).clip(0)
    high = np.where(along < 0, radius, np.inf).min(axis=1)
    never = ((along == 0) & (offsets > 0)).any(axis=1)
    mass = np.exp(-(low**2) / 2) - np.exp(-(high**2) / 2)
    return float(np.where((high > low) & ~never, mass, 0).mean())


def trusted_in_the_plane(
    estimators: Sequence[ou.Estimator], seeds: range, most: int, shift: float
) -> list[float]:
    """Relative errors that are trusted, of 2 to ``most`` random halfspaces in two dimensions."""
    errors: list[float] = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        k = int(rng.integers(2, most))
        v, b = rng.standard_normal((k, 2)), rng.standard_normal(k) - shift
        truth = in_the_plane(v, b)
        for estimator in estimators:
            found = estimator.estimate(ou.HalfspaceIntersection(v, b))
            if found.trust == "ok" and truth > 1e-8:
                errors.append(abs(float(found.value) / truth - 1))
    return errors


def equicorrelated(lower: Array, r: float, upper: Array | None = None) -> float:
    """P(lower <= y <= upper) of standard normals with all correlations r >= 0, by one integral.

    Panels are as narrow as the steepest factor: y_i = sqrt(r) t + sqrt(1 - r) z_i.
    """
    points, weights = leggauss(20)
    own = math.sqrt(1 - r)
    cuts = np.linspace(-12, 12, 2 + math.ceil(24 / min(1.0, own)))
    half = np.diff(cuts)[:, None] / 2
    t = cuts[:-1, None] + half * (1 + points)
    z = (lower - math.sqrt(r) * t[..., None]) / own
    high = np.inf if upper is None else (upper - math.sqrt(r) * t[..., None]) / own
    masses = np.where(z > 0, ndtr(-z) - ndtr(-high), ndtr(high) - ndtr(z))
    density = np.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    return float((half * weights * density * masses.prod(axis=-1)).sum())


def truncated_moments(lower: float, upper: float) -> tuple[float, float, float]:
    """Log mass, mean and variance of a standard normal on [lower, upper], with 60 digits.

    The closed forms cancel many digits in tails and in tiny intervals: they get thousands.
    """
    if lower < 0 < upper:  # what is beyond 60 has less than exp(-1800) of the mass
        lower, upper = (x if abs(x) < 60 else math.copysign(math.inf, x) for x in (lower, upper))
    if math.isinf(lower) and math.isinf(upper):
        return 0.0, 0.0, 1.0
    digits = 60
    for limit in (lower, upper):
        if math.isfinite(limit):
            digits += int(limit * limit) + 1 if abs(limit) < 60 else 0
    if max(abs(x) for x in (lower, upper) if math.isfinite(x)) >= 60:
        return _far_moments(lower, upper)
    with mpmath.workdps(digits):
        low, high = mpmath.mpf(lower), mpmath.mpf(upper)
        mass = (mpmath.erfc(low / mpmath.sqrt(2)) - mpmath.erfc(high / mpmath.sqrt(2))) / 2
        at_low = mpmath.npdf(low) if math.isfinite(lower) else mpmath.mpf(0)
        at_high = mpmath.npdf(high) if math.isfinite(upper) else mpmath.mpf(0)
        mean = (at_low - at_high) / mass
        edge = (low * at_low if math.isfinite(lower) else 0) - (
            high * at_high if math.isfinite(upper) else 0
        )
        variance = 1 + edge / mass - mean**2
        return float(mpmath.log(mass)), float(mean), float(variance)


def _far_moments(lower: float, upper: float) -> tuple[float, float, float]:
    """The same beyond |z| = 60, by quadrature in the distance from the nearer limit."""
    if lower < 0:
        log_mass, mean, variance = _far_moments(-upper, -lower)
        return log_mass, -mean, variance
    with mpmath.workdps(40):
        a = mpmath.mpf(lower)
        end = min(mpmath.mpf(upper) - a, 120 / a)
        cuts = [end * i / 40 for i in range(41)]

        def moment(power: int) -> mpmath.mpf:
            return mpmath.quad(lambda t: t**power * mpmath.exp(-t * (t / 2 + a)), cuts)

        mass, first, second = (moment(p) for p in range(3))
        shift = first / mass
        log_mass = mpmath.log(mass) - a * a / 2 - mpmath.log(2 * mpmath.pi) / 2
        return float(log_mass), float(a + shift), float(second / mass - shift**2)


def textbook_propagation(gram: Array, lower: Array) -> tuple[float, Array, Array]:
    """Sequential expectation propagation of half-lines, one site after the other.

    Returns the log probability and the sites; moments of half-lines by erfcx's hazard.
    """
    k = len(lower)
    precision, shift = np.zeros(k), np.zeros(k)
    for _ in range(500):
        before = precision.copy(), shift.copy()
        for i in range(k):
            s = gram @ np.linalg.inv(np.eye(k) + precision[:, None] * gram)
            mean = s @ shift
            tau, nu = 1 / s[i, i] - precision[i], mean[i] / s[i, i] - shift[i]
            m, v = nu / tau, 1 / tau
            z = (lower[i] - m) / math.sqrt(v)
            hazard = math.exp(-z * z / 2 - 0.5 * math.log(2 * math.pi) - log_ndtr(-z))
            new_mean = m + math.sqrt(v) * hazard
            new_variance = v * (1 - hazard * (hazard - z))
            precision[i] = 1 / new_variance - tau
            shift[i] = new_mean / new_variance - nu
        if max(abs(precision - before[0]).max(), abs(shift - before[1]).max()) < 1e-12:
            break
    s = gram @ np.linalg.inv(np.eye(k) + precision[:, None] * gram)
    mean = s @ shift
    variance = s.diagonal() / (1 - precision * s.diagonal())
    centre = variance * (mean / s.diagonal() - shift)
    z = (lower - centre) / np.sqrt(variance)
    root = np.sqrt(precision)
    b = np.eye(k) + root[:, None] * gram * root
    log_p = log_ndtr(-z).sum() - np.linalg.slogdet(b)[1] / 2 + shift @ mean / 2
    log_p += (np.log1p(precision * variance) / 2).sum()
    extra = centre**2 * precision - 2 * shift * centre - shift**2 * variance
    log_p += (extra / (1 + precision * variance)).sum() / 2
    return float(log_p), precision, shift


def pair_sum(c: Array, rho: Array, degree: int) -> float:
    """D2 as a sum over pairs and degrees; c[l, i] with l from 0."""
    k = c.shape[1]
    return sum(
        c[n, i] * c[n, j] * rho[i, j] ** n
        for i, j in itertools.combinations(range(k), 2)
        for n in range(3, degree + 1)
    )


def triple_sum(c: Array, rho: Array, degree: int) -> float:
    """D3 in full as sums over three factors, and what the logarithm takes off at second order."""
    k, f = c.shape[1], math.factorial
    pairs = np.zeros((k, k))
    for i, j in itertools.permutations(range(k), 2):
        pairs[i, j] = sum(c[n, i] * c[n, j] * rho[i, j] ** n for n in range(3, degree + 1))
    total = 0.0
    for i, j, m in itertools.combinations(range(k), 3):
        # All exponents of ρ_ij, ρ_im, ρ_jm: triangles, and chains where one of them is zero.
        for a, e, g in itertools.product(range(degree + 1), repeat=3):
            sides = a + e, a + g, e + g
            if min(sides) < 3 or max(sides) > degree:
                continue
            factor = math.sqrt(math.prod(f(s) for s in sides)) / (f(a) * f(e) * f(g))
            total += (
                factor
                * (c[sides[0], i] * c[sides[1], j] * c[sides[2], m])
                * (rho[i, j] ** a * rho[i, m] ** e * rho[j, m] ** g)
            )
    for i, j in itertools.combinations(range(k), 2):
        total -= pairs[i, j] ** 2 / 2
    for i in range(k):
        for j, m in itertools.combinations([x for x in range(k) if x != i], 2):
            total -= pairs[i, j] * pairs[i, m]
    return total


def expected_product(c: Array, rho: Array) -> float:
    """E[∏_i Σ_l c_il h_l(y_i)] of correlated standard normals, by Gauss's rule: no series in ρ."""
    k, degrees = c.shape[1], c.shape[0]
    points, weights = hermegauss(degrees * k // 2 + 2)
    weights = weights / weights.sum()
    factor = np.linalg.cholesky(rho + np.eye(k))
    grid = np.stack(np.meshgrid(*[points] * k, indexing="ij"), axis=-1).reshape(-1, k)
    mass = np.prod(np.meshgrid(*[weights] * k, indexing="ij"), axis=0).reshape(-1)
    y = grid @ factor.T
    scaled = c / np.sqrt([[float(math.factorial(n))] for n in range(degrees)])
    values = np.prod([hermeval(y[:, i], scaled[:, i]) for i in range(k)], axis=0)
    return float(mass @ values)
