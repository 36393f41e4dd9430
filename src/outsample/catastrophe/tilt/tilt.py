"""Probabilities of catastrophes by Gaussian tilts that cumulant propagation finds."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, Self, cast

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.catastrophe.estimate import TailEstimate, TailEstimator, catastrophe_of
from outsample.catastrophe.event import Event
from outsample.catastrophe.problem import CatastropheProbability
from outsample.catastrophe.tilt.conjunction import Mode, chosen_outputs
from outsample.catastrophe.tilt.events import Found, log_probability_of
from outsample.catastrophe.tilt.response import closure_of
from outsample.catastrophe.tilt.search import Settings
from outsample.catastrophe.tilt.union import LogProbability, log_union
from outsample.catastrophe.tilt.warm import WarmStarts
from outsample.cumulants.activation_step import Variant
from outsample.distributions import Gaussian, GaussianMixture
from outsample.errors import InputError
from outsample.estimator import Explanation, Trust, positive_integer, worst_trust
from outsample.problem import Problem

#: The variant of each order that is used unless told.
_VARIANTS: dict[int, Variant] = {2: "augmented", 3: "elliptical", 4: "basic"}
#: How precisely the fixed point is found, and how precisely where a refinement goes on from it.
_FINAL, _TO_REFINE = 0.03, 0.06


@dataclass(frozen=True)
class CatastropheMode:
    """One way to a catastrophe: inputs that a tilt makes typical, and what they account for."""

    #: Log of the probability that this way has.
    log_value: float
    #: The tilted law, in the coordinates of the inputs.
    inputs: Gaussian
    #: Mean of the inputs given the catastrophe, to first order, shape (n,).
    mean: Float[Tensor, " n"]
    #: How strongly each threshold of the conjunction pulls, in units of its quantity's standard
    #: deviation, shape (d,): 0 for those that hold of themselves once the others do.
    strength: Float[Tensor, " d"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TiltEstimate(TailEstimate):
    """A probability with the tilted laws it rests on."""

    #: Ways to the catastrophe, likeliest first, over components of the inputs and conjunctions.
    modes: tuple[CatastropheMode, ...] = ()


@dataclass(frozen=True)
class Tilt(TailEstimator):
    r"""Saddlepoint approximation about the best Gaussian tilt of the input, without samples.

    The law of the inputs tilted towards the catastrophe, :math:`dP_b \propto e^{b \cdot f} dP`,
    is approximated by the Gaussian Q that is P tilted by the expected quadratic of b · f under Q
    itself.  Under Q the catastrophe is an everyday event, and mean, covariance and gradient of the
    outputs f follow from cumulant propagation.  With q the quadratic that Q is the tilt by,

    .. math:: \log P(f > t) = -KL(Q \| P) + \tfrac12 Var_Q\,q
              + \log P[N(E_Q f - Cov_Q(f, q),\ Cov_Q f) > t],

    which is exact for linear networks and takes f and q as jointly Gaussian under Q otherwise.
    The fixed point is found at order 2, then refined by a step with the gradients of the full
    order, and evaluated at that order.

    Several thresholds are tilted towards together; unions go by inclusion and exclusion; parts of
    a conjunction that no common input reaches are multiplied; mixtures are summed over.

    ``log_value`` is differentiable in the network's parameters and the input's law at fixed tilts
    (the envelope rule), unless gradients are off.

    Args:
        order: order of the cumulant propagation, 2, 3 or 4.
        variant: of the propagation: ``"elliptical"`` (of order 3, its default, and the fastest of
            the accurate ones), ``"augmented"`` (default of order 2) or ``"basic"`` (of order 4).
        starts: from how many laws to look for tilts: the inputs' own, the mirror image of the tilt
            found, then ways along the outputs' curvature.  Images of the tilt where the outputs
            come near their thresholds are tried as well.  Distinct tilts are added up.
        refinements: steps with the gradients of the full order, for orders 3 and 4.
        steps: most steps to the fixed point.

    Raises:
        InputError: for settings out of range, by name.

    Source: Gibbs' variational principle; H. E. Daniels, "Saddlepoint approximations in
    statistics" (1954) for the last factor; the documentation, theory/catastrophes, has the
    derivation and what it was measured against.

    Example:
        >>> import torch, outsample as ou
        >>> net = torch.nn.Linear(4, 1, dtype=torch.float64)
        >>> problem = ou.CatastropheProbability(net, ou.Gaussian.standard(4), ou.output[0] > 5)
        >>> estimate = ou.Tilt().estimate(problem)
        >>> bool(abs(estimate.log_value - problem.exact().log()) < 1e-8)
        True
    """

    mechanistic: ClassVar[bool] = True

    order: Literal[2, 3, 4] = 3
    variant: Variant | None = None
    starts: int = 1
    refinements: int = 1
    steps: int = 60

    def __post_init__(self) -> None:
        if type(self.order) is not int or self.order not in (2, 3, 4):
            raise InputError(
                f"Tilt: order = {self.order!r}; expected 2, 3 or 4 (order 1 has no variance)"
            )
        if self.variant not in ("basic", "augmented", "elliptical", None):
            raise InputError(
                f"Tilt: variant = {self.variant!r}; expected 'elliptical', 'augmented' or 'basic'"
            )
        if self.variant == "elliptical" and self.order != 3:
            raise InputError(
                f"Tilt: variant = 'elliptical' with order = {self.order}; it is one of order 3"
            )
        for name in ("starts", "steps"):
            positive_integer("Tilt", name, getattr(self, name))
        if type(self.refinements) is not int or self.refinements < 0:
            raise InputError(
                f"Tilt: refinements = {self.refinements!r}; expected an integer of at least 0"
            )

    @classmethod
    def at(cls, epsilon: float, problem: Problem) -> Self:
        """Order 3 if 1/ε² evaluations pay for the solve (about 25 · 6 · width), else order 2.

        Raises:
            InputError: unless 0 < ε ≤ 1.
        """
        if not isinstance(epsilon, int | float) or not 0 < epsilon <= 1:
            raise InputError(f"Tilt.at: epsilon = {epsilon!r}; expected 0 < epsilon <= 1")
        width = max(t.shape[-1] for t in catastrophe_of(problem).tensors() if t.dim() > 1)
        return cls(3 if epsilon**-2 >= 150 * width else 2)

    @property
    def settings(self) -> Settings:
        """What the search for tilts needs to know."""
        closure = closure_of(self.order, self.variant or _VARIANTS[self.order])
        tolerance = _TO_REFINE if self.order > 2 and self.refinements else _FINAL
        return Settings(closure, self.starts, self.refinements, self.steps, tolerance)

    def estimate(self, problem: Problem, explanation: Explanation | None = None) -> TiltEstimate:
        """Estimate the probability; no explanation is of use.

        Raises:
            UnsupportedProblem: if ``problem`` is no CatastropheProbability.
            NumericalError: if the cumulants diverge under the tilt.
        """
        return cast(TiltEstimate, super().estimate(problem, explanation))

    def _estimate(self, problem: Problem, explanation: Explanation | None) -> TiltEstimate:
        catastrophe = catastrophe_of(problem)
        log, modes, diagnostics = log_probability(catastrophe, self.settings)
        log_value = log.value.to(problem.dtype)
        value = log_value.exp()
        modes.sort(key=lambda mode: -mode.log_value)
        return TiltEstimate(
            value=value,
            log_value=log_value,
            sign=torch.ones_like(value),
            trust=log.trust,
            reasons=log.reasons,
            diagnostics=diagnostics,
            modes=tuple(modes),
        )


def log_probability(
    problem: CatastropheProbability, settings: Settings, warm: WarmStarts | None = None
) -> tuple[LogProbability, list[CatastropheMode], dict[str, Any]]:
    """Log probability of the detector over all components of the inputs, with the tilts.

    Solves start from the tilts in ``warm``, and leave there what they find.
    """
    events = problem.events()
    if not events:
        return LogProbability(_double_zero(problem) - torch.inf), [], {}
    if any(len(event.thresholds) == 0 for event in events):
        return LogProbability(_double_zero(problem)), [], {}
    logs: list[LogProbability] = []
    modes: list[CatastropheMode] = []
    found_modes: list[Mode] = []
    for place, (weight, law) in enumerate(components(problem.inputs)):
        found = [_found(event, law, settings, warm, (place, i)) for i, event in enumerate(events)]
        intersection = partial(_intersection, problem, law, settings, warm, place)
        union = log_union([one.log for one in found], intersection)
        logs.append(LogProbability(union.value + weight, union.trust, union.reasons))
        log_weight = float(weight.detach())
        for one in found:
            modes += _in_input_space(one, law, log_weight)
            found_modes += [mode for part in one.parts for mode in part]
    total = torch.logsumexp(torch.stack([log.value for log in logs]), 0)
    main = [log for log in logs if float(log.value.detach()) >= float(total.detach()) - 4.6]
    grades: list[Trust] = [log.trust for log in main]
    trust = worst_trust(*grades)
    reasons = tuple(dict.fromkeys(reason for log in main for reason in log.reasons))
    return LogProbability(total, trust, reasons), modes, _diagnostics(found_modes)


def components(inputs: Gaussian | GaussianMixture) -> list[tuple[Tensor, Gaussian]]:
    """Log weights and laws of what the inputs are a mixture of."""
    if isinstance(inputs, Gaussian):
        return [(inputs.mean.new_zeros((), dtype=torch.float64), inputs)]
    logs = inputs.weights.double().log()
    pairs = zip(logs, inputs.components, strict=True)
    return [(log, law) for log, law in pairs if float(log.detach()) > -math.inf]


def _found(
    event: Event, law: Gaussian, settings: Settings, warm: WarmStarts | None, key: Hashable
) -> Found:
    """Log probability of one event, from the tilt found for it before if there is one."""
    if warm is None:
        return log_probability_of(event, law, settings)
    found = log_probability_of(event, law, settings, warm.of(key))
    warm.keep(key, found)
    return found


def _intersection(
    problem: CatastropheProbability,
    law: Gaussian,
    settings: Settings,
    warm: WarmStarts | None,
    place: int,
    chosen: Sequence[int],
) -> LogProbability:
    margins, conjunctions = problem.margins()
    rows = [*dict.fromkeys(row for i in chosen for row in conjunctions[i])]
    graph = chosen_outputs(margins.graph, torch.tensor(rows, device=margins.thresholds.device))
    event = Event(graph, margins.thresholds[rows])
    return _found(event, law, settings, warm, (place, *sorted(chosen))).log


def _double_zero(problem: CatastropheProbability) -> Tensor:
    return problem.inputs.mean.detach().new_zeros((), dtype=torch.float64)


def _in_input_space(found: Found, law: Gaussian, log_weight: float) -> list[CatastropheMode]:
    """Tilted laws of the inputs, for events that do not fall into independent parts."""
    if len(found.parts) != 1:
        return []
    root, centre = law.square_root().detach().double(), law.mean.detach().double()
    modes: list[CatastropheMode] = []
    for mode in found.parts[0]:
        tilt = mode.solution.law
        covariance = root @ tilt.covariance @ root.T
        covariance = (covariance + covariance.T) / 2
        modes.append(
            CatastropheMode(
                float(mode.log_value.detach()) + log_weight,
                Gaussian.trusted(centre + root @ tilt.mean, covariance).to(law.dtype, law.device),
                (centre + root @ mode.mean_given_event).to(law.dtype),
                mode.solution.strength.to(law.dtype),
            )
        )
    return modes


def _diagnostics(modes: Sequence[Mode]) -> dict[str, Any]:
    if not modes:
        return {}
    main = max(modes, key=lambda mode: float(mode.log_value.detach()))
    return {
        "modes": len(modes),
        "divergence": main.solution.law.divergence,
        "strength": main.solution.strength.tolist(),
        "residual": main.residual,
        "refinement_change": None if math.isnan(main.change) else main.change,
        "missed": main.missed,
        "steps": main.solution.steps,
        "lowest_precision": float(main.solution.law.axes[0][0]),
    }
