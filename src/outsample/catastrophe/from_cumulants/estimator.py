"""Tail probabilities from cumulants of the network's output: a baseline for shallow tails."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.catastrophe.estimate import TailEstimate, TailEstimator, catastrophe_of
from outsample.catastrophe.from_cumulants import formulas
from outsample.catastrophe.from_cumulants.margins import Margins, margins
from outsample.catastrophe.from_cumulants.maximum_entropy import maximum_entropy
from outsample.catastrophe.from_cumulants.tail import Standardised, Tail, deviate
from outsample.catastrophe.problem import CatastropheProbability
from outsample.distributions import Gaussian
from outsample.errors import InputError
from outsample.estimator import Explanation, Trust, worst_trust
from outsample.problem import Problem
from outsample.products import ExpectationPropagation, HalfspaceIntersection

Method = Literal[
    "gaussian",
    "edgeworth",
    "gram-charlier",
    "cornish-fisher",
    "lugannani-rice",
    "maximum-entropy",
]
_FORMULAS: dict[Method, Callable[[Standardised], Tail]] = {
    "gaussian": formulas.gaussian,
    "edgeworth": formulas.edgeworth,
    "gram-charlier": formulas.gram_charlier,
    "cornish-fisher": formulas.cornish_fisher,
    "lugannani-rice": formulas.lugannani_rice,
    "maximum-entropy": maximum_entropy,
}
#: Sizes of the first corrections, |λ_3| z³ / 6 and |λ_4| z⁴ / 24, up to which a formula may hold.
_LIMIT, _SADDLEPOINT_LIMIT = 0.3, 1.0
#: Below this no formula in cumulants of the input's own law is to be believed.
_DEEP = 1e-3
#: Variances below this are zero.
_CONSTANT = 1e-300
#: Events beyond which a union is bounded rather than summed.
_MOST_EVENTS = 4

_Grade = tuple[Trust, str]


class _Margin(NamedTuple):
    """One threshold: log P(f > t), the z that a normal law would have there, and its figures."""

    log_value: Float64[Tensor, ""]
    deviate: Float64[Tensor, ""]
    grades: Sequence[_Grade]
    figures: dict[str, float]


@dataclass(frozen=True)
class FromCumulants(TailEstimator):
    """Tail formulas in the cumulants of the output, which say nothing of what lies far out.

    The margins f - t have cumulants up to four by propagation through the network; a formula
    turns them into the probability of each threshold.  Conjunctions are orthants of a Gaussian
    with the margins' correlations and their own tails (for ``"gaussian"``: the joint Gaussian).
    Unions of up to four conjunctions are summed by inclusion and exclusion; larger ones are
    answered by the sum of all, an upper bound (``diagnostics["lower_bound"]`` is the largest).

    Only for shallow tails: the corrections |λ_3| z³ / 6 and |λ_4| z⁴ / 24 must be below 0.3 (1
    for ``"lugannani-rice"``), else the estimate is unreliable; below 1e-3 it is low_confidence at
    best.  Where a formula is undefined, or leaves [0, 1], the value is cut and the estimate says
    so.

    Args:
        method: ``"gaussian"``, ``"edgeworth"``, ``"gram-charlier"`` (series A),
            ``"cornish-fisher"``, ``"lugannani-rice"`` or ``"maximum-entropy"`` (no gradient).
        order: of the propagation: 2, 3 (κ_4 by its traces) or 4, whose cost grows as n⁴.

    Differentiable in the network's parameters and the Gaussian's, but for maximum entropy.

    Raises:
        InputError: for another method or order.

    Source: H. Cramér, "Mathematical Methods of Statistics" (1946), for Gram-Charlier and Edgeworth;
    E. A. Cornish and R. A. Fisher (1938); R. Lugannani and S. Rice (1980).

    Example:
        >>> import torch, outsample as ou
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        >>> problem = ou.CatastropheProbability(net, ou.Gaussian.standard(8), ou.output[0] > 0.5)
        >>> FromCumulants("edgeworth").estimate(problem).value.shape
        torch.Size([])
    """

    method: Method = "lugannani-rice"
    order: Literal[2, 3, 4] = 3

    mechanistic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            names = ", ".join(map(repr, get_args(Method)))
            raise InputError(f"FromCumulants: method = {self.method!r}; expected one of {names}")
        if type(self.order) is not int or not 2 <= self.order <= 4:
            raise InputError(f"FromCumulants: order = {self.order!r}; expected 2, 3 or 4")

    def _estimate(self, problem: Problem, explanation: Explanation | None) -> TailEstimate:
        catastrophe = catastrophe_of(problem)
        inputs = catastrophe.inputs
        laws = [inputs] if isinstance(inputs, Gaussian) else inputs.components
        found = [self._on_gaussian(catastrophe, law) for law in laws]
        logs = torch.stack([answer.log_value for answer in found])
        if not isinstance(inputs, Gaussian):
            logs = logs + inputs.weights.double().log()
        log_value = torch.logsumexp(logs, 0) if len(laws) > 1 else logs[0]
        grades: list[_Grade] = []
        for answer in found:
            grades += answer.grades
        if log_value.item() < math.log(_DEEP) and catastrophe.conjunctions:
            grades.append(
                (
                    "low_confidence",
                    f"cumulants of the input's own law say little of a probability below {_DEEP}; "
                    "use Tilt",
                )
            )
        trust: list[Trust] = [grade for grade, _ in grades]
        figures = [answer.figures for answer in found]
        seen = log_value.item() > -math.inf
        return TailEstimate(
            value=log_value.exp().to(inputs.dtype),
            log_value=log_value.to(inputs.dtype),
            sign=log_value.detach().new_tensor(1.0 if seen else 0.0).to(inputs.dtype),
            trust=worst_trust(*trust),
            reasons=tuple(dict.fromkeys(reason for _, reason in grades)),
            diagnostics=figures[0] if len(laws) == 1 else {"components": figures},
        )

    def _on_gaussian(self, problem: CatastropheProbability, law: Gaussian) -> "_Answer":
        """The union of all conjunctions on one Gaussian."""
        event, conjunctions = problem.margins()
        zero = law.mean.detach().new_zeros(()).double()
        if not all(conjunctions):
            return _Answer(zero, [], {})
        if not conjunctions:
            return _Answer(zero - torch.inf, [], {})
        joint = margins(event, law, self.order)
        parts = [self._margin(joint, place) for place in range(len(joint.mean))]
        grades = [grade for part in parts for grade in part.grades]
        figures: dict[str, Any] = {
            name: [part.figures[name] for part in parts] for name in parts[0].figures
        }
        correlation = _correlation(joint.covariance)

        def intersection(chosen: Sequence[int]) -> Tensor:
            places = sorted({place for event in chosen for place in conjunctions[event]})
            value, doubts = _orthant([parts[place] for place in places], places, correlation)
            grades.extend(doubts)
            return value

        count = len(conjunctions)
        single = torch.stack([intersection([i]) for i in range(count)])
        if count > _MOST_EVENTS:
            total = torch.logsumexp(single, 0).clamp_max(0)
            figures["lower_bound"] = float(single.detach().max().exp())
            grades.append(
                (
                    "low_confidence",
                    f"the union of {count} conjunctions is answered by the sum of their "
                    "probabilities, an upper bound",
                )
            )
            return _Answer(total, grades, figures)
        signs, terms = [torch.ones_like(single)], [single]
        for size in range(2, count + 1):
            for chosen in itertools.combinations(range(count), size):
                terms.append(intersection(chosen)[None])
                signs.append(torch.full_like(terms[-1], 1.0 if size % 2 else -1.0))
        return _Answer(_signed_sum(torch.cat(terms), torch.cat(signs)), grades, figures)

    def _margin(self, joint: Margins, place: int) -> _Margin:
        """The probability of one threshold."""
        mean, variance = joint.mean[place], joint.covariance[place, place]
        if variance.item() < _CONSTANT:
            certain = mean.item() > 0
            log_value = 0 * mean + (0.0 if certain else -torch.inf)
            grades: list[_Grade] = []
            if variance.item() < 0:
                reason = "a variance came out negative and was taken for zero"
                grades.append(("unreliable", reason))
            names = ("z", "skewness", "kurtosis", "size_3", "size_4")
            figures: dict[str, float] = {name: 0.0 for name in names}
            return _Margin(log_value, -log_value.nan_to_num(), grades, figures)
        deviation = variance.sqrt()
        above = mean.item() <= 0  # the threshold lies above the mean
        sign = 1.0 if above else -1.0
        law = Standardised(
            -sign * mean / deviation,
            sign * joint.third[place] / deviation**3,
            joint.fourth[place] / variance**2,
        )
        tail = _FORMULAS[self.method](law)
        log_tail = tail.log_value
        log_value = log_tail if above else torch.log1p(-log_tail.exp())
        far, skewness, kurtosis = (figure.item() for figure in law)
        size_3, size_4 = abs(skewness) * far**3 / 6, abs(kurtosis) * far**4 / 24
        grades = [] if tail.failure is None else [("unreliable", tail.failure)]
        limit = _SADDLEPOINT_LIMIT if self.method == "lugannani-rice" else _LIMIT
        if not max(size_3, size_4) < limit:
            reason = (
                f"the first corrections to a normal tail are {size_3:.2g} and {size_4:.2g}, "
                f"beyond the {limit} up to which {self.method} may hold"
            )
            grades.append(("unreliable", reason))
        finite = -torch.inf < log_tail.item() < 0
        z = deviate(log_tail) if finite else torch.zeros_like(log_tail)
        figures = {
            "z": sign * far,
            "skewness": sign * skewness,
            "kurtosis": kurtosis,
            "size_3": size_3,
            "size_4": size_4,
        }
        return _Margin(log_value, sign * z, grades, figures)


class _Answer(NamedTuple):
    """The probability on one Gaussian, what speaks against it, and its figures."""

    log_value: Float64[Tensor, ""]
    grades: list[_Grade]
    figures: dict[str, Any]


def _correlation(covariance: Float64[Tensor, "m m"]) -> Float64[Tensor, "m m"]:
    """Correlations with unit diagonal; indefinite ones are shrunk until they are not."""
    variance = covariance.diagonal()
    deviation = torch.where(variance > _CONSTANT, variance, 1.0).sqrt()
    found = covariance / (deviation[:, None] * deviation)
    found = (found + found.T) / 2
    found = torch.diagonal_scatter(found, torch.ones_like(variance))
    lowest = float(torch.linalg.eigvalsh(found.detach())[0])
    if lowest < 0:
        eye = torch.eye(len(variance), dtype=found.dtype, device=found.device)
        found = (found - lowest * eye) / (1 - lowest)
    return found


def _orthant(
    parts: Sequence[_Margin], places: Sequence[int], correlation: Float64[Tensor, "m m"]
) -> tuple[Float64[Tensor, ""], list[_Grade]]:
    """Log of the probability that all margins are positive."""
    logs = [part.log_value.item() for part in parts]
    if min(logs) == -math.inf:
        return parts[logs.index(-math.inf)].log_value, []
    open_ones = [i for i, log in enumerate(logs) if log < 0]
    if len(open_ones) < 2:
        return parts[open_ones[0] if open_ones else 0].log_value, []
    index = torch.tensor([places[i] for i in open_ones], device=correlation.device)
    matrix = correlation[index][:, index]
    limits = torch.stack([parts[i].deviate for i in open_ones])
    law = Gaussian.trusted(torch.zeros_like(limits), matrix)
    normals = torch.eye(len(limits), dtype=limits.dtype, device=limits.device)
    found = ExpectationPropagation().estimate(HalfspaceIntersection(normals, limits, law))
    if found.log_value is None:
        raise TypeError("expectation propagation returns logarithms")
    return found.log_value, [(found.trust, reason) for reason in found.reasons]


def _signed_sum(
    logs: Float64[Tensor, " terms"], signs: Float64[Tensor, " terms"]
) -> Float64[Tensor, ""]:
    """Log of Σ sign · exp(log), at least the largest term and at most 0.

    The first terms are the events themselves: a union is no less likely than any of them.
    """
    top = logs.detach().max()
    if not bool(torch.isfinite(top)):
        return logs.max()
    total = top + (signs * (logs - top).exp()).sum().clamp_min(1.0).log()
    return total.clamp_max(0)
