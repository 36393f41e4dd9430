"""The source's method as stated: cumulants of the output as sums over tensor networks."""

import math
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from outsample.errors import InputError, UnsupportedProblem
from outsample.estimator import Explanation
from outsample.problem import Problem
from outsample.readout.advice import advice_for
from outsample.readout.contraction import Series, cumulant
from outsample.readout.edgeworth import edgeworth, in_range
from outsample.readout.estimate import ReadoutEstimate, ReadoutEstimator, two_layer_of
from outsample.readout.hermite_tensors import HermiteTensors, first_two
from outsample.readout.outputs import Output, Threshold
from outsample.readout.problem import TwoLayer
from outsample.readout.quadratic import QuadraticLaw
from outsample.readout.series_read_outs import cornish_fisher, maximum_entropy

ReadOut = Literal["edgeworth", "cornish_fisher", "maximum_entropy", "quadratic", "lugannani_rice"]
_READ_OUTS = ("edgeworth", "cornish_fisher", "maximum_entropy", "quadratic", "lugannani_rice")
#: Beyond these the series is not to be trusted: share of the variance above the highest degree,
#: last increment of κ_4 over κ_2², and share of one direction in the gradient's covariance.
_REMAINDER, _INCREMENT, _SHARE = 0.05, 0.25, 0.35


@dataclass(frozen=True)
class TensorNetworkCumulants(ReadoutEstimator):
    r"""E[σ(f(x))] of a two-layer network from the cumulants of f, as sums over multigraphs.

    The variance is exact.  The third and fourth cumulants are sums over connected multigraphs of
    contractions of the Hermite tensors; the largest degree counted is the one whose tensors added
    least, for the series is in general only asymptotic, and where it is not to be trusted the
    estimate says so: :class:`ConditionedReadout` is then the method to take.

    Without advice it builds the Hermite tensors itself.  Gradients do not flow.

    Args:
        degree: highest degree of the Hermite tensors, 2 to 8.
        order: highest cumulant, 2 to 4.
        prune: classes of multigraphs are dropped that add at most this much to the standardised
            cumulant, by a bound from operator norms; 0 keeps all.  ``dropped_bound`` among the
            diagnostics is certified for what was dropped together.
        readout: how E[σ] follows from the cumulants: ``"edgeworth"``, ``"cornish_fisher"``,
            ``"maximum_entropy"``, or, from the tensors of degrees 1 and 2, ``"quadratic"`` (all
            multigraphs of degree 2) and, for thresholds, ``"lugannani_rice"``.

    Raises:
        InputError: for settings out of range.

    Source: the Alignment Research Center's "Competing with sampling" (2025), problem 1 (tensor
    networks pruned by operator norm); formulas in the documentation, theory/readout.

    Example:
        >>> import torch
        >>> from outsample.readout import TwoLayer
        >>> weight = torch.eye(4, dtype=torch.float64)
        >>> problem = TwoLayer(weight, torch.ones(4, dtype=torch.float64), "square").tail(10.0)
        >>> method = TensorNetworkCumulants(readout="quadratic")
        >>> round(method.estimate(problem).value.item(), 4)  # chi-squared: 0.0404
        0.0404
    """

    degree: int = 4
    order: int = 4
    prune: float = 0.0
    readout: ReadOut = "edgeworth"

    def __post_init__(self) -> None:
        for name, low, high in (("degree", 2, 8), ("order", 2, 4)):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise InputError(
                    f"TensorNetworkCumulants: {name} = {value!r}; expected {low} to {high}"
                )
        if not 0 <= self.prune < math.inf:
            raise InputError(
                f"TensorNetworkCumulants: prune = {self.prune!r}; expected a finite number >= 0"
            )
        if self.readout not in _READ_OUTS:
            raise InputError(
                f"TensorNetworkCumulants: readout = {self.readout!r}; expected one of "
                f"{', '.join(_READ_OUTS)}"
            )

    @classmethod
    def at(cls, epsilon: float, problem: Problem) -> Self:
        """The largest degree d from 2 to 4 with n^d ≤ 1/ε²; the Gaussian alone where n² is more."""
        if not isinstance(problem, TwoLayer):
            raise UnsupportedProblem(f"TensorNetworkCumulants does not take {problem.describe()}")
        n = problem.weight.shape[1]
        fitting = [d for d in (2, 3, 4) if n**d <= 1 / epsilon**2]
        return cls(degree=max(fitting), order=4) if fitting else cls(degree=2, order=2)

    def accepts(self, problem: Problem) -> str | None:
        """Takes two-layer networks; by Lugannani and Rice's formula, those with a threshold."""
        if (reason := super().accepts(problem)) is not None:
            return reason
        output = two_layer_of(problem).output
        if self.readout == "lugannani_rice" and not isinstance(output, Threshold):
            return "readout = 'lugannani_rice' takes a Threshold as output; use 'quadratic'"
        return None

    @torch.no_grad()
    def _estimate(self, problem: Problem, explanation: Explanation | None) -> ReadoutEstimate:
        problem = two_layer_of(problem)
        advice, used = advice_for(problem, explanation, self.degree, 1)
        advice = advice.up_to(self.degree)
        found = [self._one(problem.output, advice, i) for i in range(len(advice.variance))]
        reasons = tuple(dict.fromkeys(reason for f in found for reason in f.reasons))
        values = torch.stack([f.value for f in found])
        return ReadoutEstimate(
            value=values.to(problem.weight).reshape(problem.output_shape),
            trust="unreliable" if reasons else "ok",
            reasons=reasons,
            cumulants=torch.tensor([f.cumulants for f in found], dtype=torch.float64),
            diagnostics={
                "degree": advice.degree,
                "advice": used,
                **{
                    name: max((f.figures[name] for f in found), key=abs)
                    for name in found[0].figures
                },
            },
        )

    def _one(self, output: Output, advice: HermiteTensors, readout: int) -> "_Found":
        mean, variance = float(advice.mean[readout]), float(advice.variance[readout])
        if variance <= 1e-300:
            value = output(advice.mean[readout : readout + 1])[0]
            return _Found(value, (mean, 0.0, 0.0, 0.0), (), dict.fromkeys(_FIGURES, 0.0))
        tensors = advice.full(readout)
        series = {
            r: cumulant(tensors, r, self.prune * variance ** (r / 2))
            for r in range(3, self.order + 1)
        }
        chosen = {r: s.settled() for r, s in series.items()}
        third, fourth = (chosen[r][1] if r in chosen else 0.0 for r in (3, 4))
        cumulants = (mean, variance, third, fourth)
        remainder = float(advice.remainder()[readout])
        increments = {r: _last(s) / variance ** (r / 2) for r, s in series.items()}
        shares = advice.shares[readout]
        explained = advice.explained()[readout].tolist()
        figures = {
            "degree_third": float(chosen[3][0]) if 3 in chosen else 0.0,
            "degree_fourth": float(chosen[4][0]) if 4 in chosen else 0.0,
            "remainder": remainder,
            "hypercontractive": sum(
                3 ** (d / 2) * math.sqrt(part / variance) for d, part in enumerate(explained, 1)
            ),
            "last_increment_third": increments.get(3, 0.0),
            "last_increment_fourth": increments.get(4, 0.0),
            "dropped_bound_third": series[3].dropped_bound if 3 in series else 0.0,
            "dropped_bound_fourth": series[4].dropped_bound if 4 in series else 0.0,
            "contracted": float(sum(s.contracted for s in series.values())),
            "dropped": float(sum(s.dropped for s in series.values())),
            "largest_share": float(shares[0]) if len(shares) else 0.0,
        }
        reasons = _doubts(cumulants, figures)
        value = in_range(output, self._read_out(output, cumulants, advice, readout).reshape(1))[0]
        return _Found(value, cumulants, reasons, figures)

    def _read_out(
        self,
        output: Output,
        cumulants: tuple[float, float, float, float],
        advice: HermiteTensors,
        readout: int,
    ) -> Tensor:
        if self.readout == "cornish_fisher":
            return cornish_fisher(output, cumulants)
        if self.readout == "maximum_entropy":
            return maximum_entropy(output, cumulants)
        if self.readout == "edgeworth":
            mean, variance, third, fourth = torch.tensor(cumulants, dtype=torch.float64)[:, None]
            return edgeworth(output, mean, variance, third, fourth)
        linear, matrix = first_two(advice.full(readout), advice.inputs)
        law = QuadraticLaw.of(cumulants[0], cumulants[1], linear, matrix)
        if self.readout == "lugannani_rice" and isinstance(output, Threshold):
            return law.tail(output.level)
        return law.expectation(output)


_FIGURES = (
    "degree_third", "degree_fourth", "remainder", "hypercontractive", "last_increment_third",
    "last_increment_fourth", "dropped_bound_third", "dropped_bound_fourth", "contracted",
    "dropped", "largest_share",
)  # fmt: skip


@dataclass(frozen=True)
class _Found:
    value: Tensor
    cumulants: tuple[float, float, float, float]
    reasons: tuple[str, ...]
    figures: dict[str, float]


def _last(series: Series) -> float:
    """What the highest degree added; nothing where there is one degree only."""
    return series.increments[-1] if len(series.partial) > 1 else 0.0


def _doubts(
    cumulants: tuple[float, float, float, float], figures: dict[str, float]
) -> tuple[str, ...]:
    _, variance, third, fourth = cumulants
    g3, g4 = third / variance**1.5, fourth / variance**2
    doubts: list[str] = []
    if figures["remainder"] > _REMAINDER:
        doubts.append(f"{figures['remainder']:.0%} of the variance is above the highest degree")
    moved = figures["last_increment_fourth"]
    if abs(moved) > _INCREMENT:
        doubts.append(f"the highest degree moved the excess kurtosis by {moved:.2g}")
    if g4 + 2 < g3**2:
        doubts.append(f"no law has skewness {g3:.2g} and excess kurtosis {g4:.2g}")
    if figures["largest_share"] > _SHARE:
        doubts.append(
            f"one direction has {figures['largest_share']:.0%} of the gradient's covariance"
        )
    if doubts:
        doubts.append("ConditionedReadout does not depend on the series")
    return tuple(doubts)
