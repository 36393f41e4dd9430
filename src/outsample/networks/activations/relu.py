"""ReLU: the coefficients that second-order estimators need, with as few operations as possible."""

import math
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.networks.activations.base import Activation, Expansion, positive
from outsample.networks.activations.bivariate import kinked_covariance
from outsample.networks.activations.gaussian import horizon
from outsample.networks.activations.kinks import warn_at_kinks
from outsample.networks.activations.piecewise import PiecewisePolynomial

#: The same function, for degrees and powers that are not written out here.
_GENERAL = PiecewisePolynomial((0.0,), ((0.0,), (0.0, 1.0)), "relu")

#: What e_{k,p} / σ^p consists of, for powers to 2 and for all.  With α = μ/σ, P = Φ(α) and f its
#: density: u = αP + f is the mean, w = u − α that of the negative part, t = u + w, s = t + u,
#: c = 1 − P; d = αf and h = (1 − α²)f are minus the first and second derivative of f,
#: j = (3 − α²)αf is the third.  Repeated letters are powers.
_FEW_TERMS = ("P", "uc", "uw", *(u + f for u in ("", "u") for f in "fdhj"))
_MORE_TERMS = (
    *("uuc", "uuuc", "uwt", "uwtt", "uwuw", "wP", "wPs"),
    *(u + f for u in ("uu", "uuu") for f in "fdhj"),
)

#: e_{k,p} / σ^p.  By Stein's identity it is E[∂^k F^p] with F = φ − u, which is −u at the kink, so
#: that powers of u come with derivatives of the density; the forms with w, from P + αu = E φ²
#: and so on, are those in which nothing cancels.
_FORMULAS: dict[tuple[int, int], dict[str, float]] = {
    (1, 1): {"P": 1},
    (2, 1): {"f": 1},
    (3, 1): {"d": -1},
    (4, 1): {"h": -1},
    (5, 1): {"j": 1},
    (0, 2): {"P": 1, "uw": -1},
    (1, 2): {"uc": 2},
    (2, 2): {"P": 2, "uf": -2},
    (3, 2): {"f": 2, "ud": 2},
    (4, 2): {"d": -2, "uh": 2},
    (5, 2): {"h": -2, "uj": -2},
    (0, 3): {"uwt": 1, "uc": 2, "wP": -1},
    (1, 3): {"P": 3, "uw": -3, "uuc": -3},
    (2, 3): {"uc": 6, "uuf": 3},
    (3, 3): {"P": 6, "uf": -6, "uud": -3},
    (4, 3): {"f": 6, "ud": 6, "uuh": -3},
    (5, 3): {"d": -6, "uh": 6, "uuj": 3},
    (0, 4): {"P": 3, "uuc": -3, "wPs": 1, "uw": -5, "uwtt": -1, "uwuw": 1},
    (1, 4): {"uwt": 4, "uc": 8, "wP": -4, "uuuc": 4},
    (2, 4): {"P": 12, "uw": -12, "uuc": -12, "uuuf": -4},
    (3, 4): {"uc": 24, "uuf": 12, "uuud": 4},
    (4, 4): {"P": 24, "uf": -24, "uud": -12, "uuuh": 4},
    (5, 4): {"f": 24, "ud": 24, "uuh": -12, "uuuj": -4},
}
#: The rows of two tables: powers 1 and 2, which second order needs, and 3 and 4.
_LOW, _HIGH = ([key for key in _FORMULAS if key[1] in powers] for powers in ((1, 2), (3, 4)))


@dataclass(frozen=True)
class ReLU(Activation):
    """max(x, 0)."""

    name: str = field(default="relu", init=False)

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function entrywise."""
        return torch.relu(x)

    def expand(self, mean: Float[Tensor, " n"], variance: Float[Tensor, " n"]) -> Expansion:
        """Closed-form expansion, in the dtype of the arguments."""
        return ReLUExpansion(mean, variance)

    def covariance(
        self,
        mean: Float[Tensor, " n"],
        covariance: Float[Tensor, "n n"],
        expansion: Expansion,
        degree: int,
    ) -> tuple[Float[Tensor, "n n"], None]:
        """Exact for every pair."""
        return kinked_covariance(mean, covariance, expansion, (0.0,), (1.0,), 1), None


class ReLUExpansion(Expansion):
    """Expansion of ReLU at N(mean, variance)."""

    def __init__(self, mean: Float[Tensor, " n"], variance: Float[Tensor, " n"]) -> None:
        """Compute the mean and what the coefficients share."""
        limit, minus_root_half, half, inverse_root_2pi = _constants(mean.dtype, mean.device)
        self._arguments = (mean, variance)
        self._variance = positive(variance)
        self.scale = scale = self._variance.sqrt()
        self._alpha = alpha = (mean * scale.reciprocal()).clamp_(-limit, limit)
        argument = alpha * minus_root_half
        self._cdf = cdf = torch.erfc(argument).mul_(half)
        self._pdf = pdf = (argument * argument).neg_().exp_() * inverse_root_2pi
        self._u = u = torch.addcmul(pdf, alpha, cdf)
        self._w = u - alpha
        self.mean = torch.addcmul(scale * pdf, mean, cdf)
        if torch.is_grad_enabled():
            warn_at_kinks("relu", mean, variance, alpha.abs() < limit)

    def coefficient(self, degree: int, power: int = 1) -> Float[Tensor, " n"]:
        """See the base class."""
        if degree == 1 and power == 1:
            return self.scale * self._cdf
        if degree == 0 and power == 2:
            return torch.addcmul(self._cdf, self._u, self._w, value=-1).mul_(self._variance)
        if (degree, power) not in _FORMULAS:
            return self._general.coefficient(degree, power)
        return (self._low if power < 3 else self._high)[degree, power]

    @cached_property
    def _few_terms(self) -> Float[Tensor, "terms n"]:
        """What powers 1 and 2 consist of; higher ones need more."""
        cdf, pdf, alpha, u = self._cdf, self._pdf, self._alpha, self._u
        slope = alpha * pdf
        bend = torch.addcmul(pdf, alpha, slope, value=-1)
        pdfs = torch.stack((pdf, slope, bend, torch.addcmul(slope + slope, alpha, bend)))
        plain = (cdf, torch.addcmul(u, u, cdf, value=-1), u * self._w)
        return torch.cat((torch.stack(plain), pdfs, u * pdfs))

    @cached_property
    def _low(self) -> dict[tuple[int, int], Tensor]:
        """Coefficients of powers 1 and 2."""
        table = _matrix("low", self.scale.dtype, self.scale.device) @ self._few_terms
        # Factor by factor: 0 · σ · σ is zero where 0 · σ² is 0 · ∞.
        table.mul_(self.scale)[_LOW.index((0, 2)) :].mul_(self.scale)
        return dict(zip(_LOW, table.unbind(), strict=True))

    @cached_property
    def _high(self) -> dict[tuple[int, int], Tensor]:
        """Coefficients of powers 3 and 4."""
        few, u, w = self._few_terms, self._u, self._w
        uc, uw, updfs = few[1], few[2], few[-4:]
        t, wcdf, uuc = u + w, w * self._cdf, u * uc
        uwt, uupdfs = uw * t, u * updfs
        plain = (uuc, u * uuc, uwt, uwt * t, uw * uw, wcdf, wcdf * (t + u))
        terms = torch.cat((few, torch.stack(plain), uupdfs, u * uupdfs))
        scale = self.scale
        table = (_matrix("high", scale.dtype, scale.device) @ terms).mul_(scale)
        table.mul_(scale).mul_(scale)[_HIGH.index((0, 4)) :].mul_(scale)
        return dict(zip(_HIGH, table.unbind(), strict=True))

    @cached_property
    def _general(self) -> Expansion:
        return _GENERAL.expand(*self._arguments)


@lru_cache(maxsize=16)
def _constants(dtype: torch.dtype, device: torch.device) -> tuple[float, Tensor, Tensor, Tensor]:
    """The horizon, and −√½, ½ and 1/√2π as tensors: a float costs a conversion at every use."""
    values = (-math.sqrt(0.5), 0.5, 1 / math.sqrt(2 * math.pi))
    a, b, c = (torch.tensor(value, dtype=dtype, device=device) for value in values)
    return horizon(dtype), a, b, c


@lru_cache(maxsize=32)
def _matrix(
    part: str, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "coefficients terms"]:
    keys, terms = (_LOW, _FEW_TERMS) if part == "low" else (_HIGH, _FEW_TERMS + _MORE_TERMS)
    rows = [[_FORMULAS[key].get(term, 0.0) for term in terms] for key in keys]
    return torch.tensor(rows, dtype=dtype, device=device)
