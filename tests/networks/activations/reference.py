"""Gaussian expectations in 30 digits, by another method than the library's own."""

import math
from itertools import pairwise

import mpmath as mp
from mpmath.calculus.quadrature import GaussLegendre

mp.mp.dps = 30
_NODES = GaussLegendre(mp.mp).get_nodes(mp.mpf(-1), mp.mpf(1), 4, mp.mp.prec)  # 24 a panel


def gaussian_nodes(kinks, bends, mu, sigma, *, finest=1.0, width=13):
    """Nodes g and weights for expectations; μ + σg is cut at ``kinks``, graded at ``bends``."""
    cuts = {mp.mpf(j) for j in range(-width, width + 1)}
    cuts |= {(mp.mpf(place) - mu) / sigma for place in (*kinks, *bends)}
    for place in bends:
        step = mp.mpf(1)
        while step > finest:
            step /= 3
            at = (mp.mpf(place) - mu) / sigma
            cuts |= {at - step, at + step}
    cuts = sorted(c for c in cuts if abs(c) <= width)
    for low, high in pairwise(cuts):
        half, middle = (high - low) / 2, (high + low) / 2
        for x, w in _NODES:
            g = middle + half * x
            yield g, half * w * mp.npdf(g)


def coefficients(function, places, mu, sigma, keys, **options):
    """The mean, the e_{k,p} for (k, p) in ``keys``, and the size of φ − mean over ±6σ."""
    mu, sigma = mp.mpf(mu), mp.mpf(sigma)
    nodes = gaussian_nodes((), places, mu, sigma, **options)
    nodes = [(g, w, function(mu + sigma * g)) for g, w in nodes]
    mean = mp.fsum(w * y for _, w, y in nodes)
    size = max(abs(y - mean) for g, _, y in nodes if abs(g) < 6)
    powers = {p: [w * (y - mean) ** p for _, w, y in nodes] for p in {p for _, p in keys}}
    polynomials = {k: [he(k, g) for g, _, _ in nodes] for k in {k for k, _ in keys}}
    values = [mp.fdot(polynomials[k], powers[p]) for k, p in keys]
    return mean, values, max(size, mp.mpf(10) ** -25)


def covariance(function, conditional_mean, places, mu, sigma, rho):
    """Cov(φ(Z₁), φ(Z₂)); ``conditional_mean(m, v)`` is E φ(N(m, v)), also at v = 0."""
    mu, sigma, rho = [mp.mpf(m) for m in mu], [mp.mpf(s) for s in sigma], mp.mpf(rho)
    rest = sigma[1] ** 2 * (1 - rho**2)
    images = [mu[0] + sigma[0] * (p - mu[1]) / sigma[1] / rho for p in places] if rho else []
    finest = max(mp.sqrt(1 - rho**2), mp.mpf(10) ** -9)
    nodes = gaussian_nodes(places, images, mu[0], sigma[0], finest=finest, width=9)
    means = [conditional_mean(m, s**2) for m, s in zip(mu, sigma, strict=True)]
    return mp.fsum(
        w
        * (function(mu[0] + sigma[0] * g) - means[0])
        * (conditional_mean(mu[1] + sigma[1] * rho * g, rest) - means[1])
        for g, w in nodes
    )


def he(k, x):
    """Probabilists' Hermite polynomial."""
    previous, current = mp.mpf(0), mp.mpf(1)
    for j in range(k):
        previous, current = current, x * current - j * previous
    return current


def relative_error(value, expected, size, k, p):
    """Error in units of size^p √k!, the natural scale of e_{k,p}."""
    return float(abs(mp.mpf(float(value)) - expected) / size**p) / math.sqrt(math.factorial(k))
