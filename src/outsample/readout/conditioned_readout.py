"""The recommended estimator: integrate over two directions, expand across the rest."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.errors import InputError, UnsupportedProblem
from outsample.estimator import Explanation, Trust, worst_trust
from outsample.problem import Problem
from outsample.readout.advice import advice_for
from outsample.readout.conditioning import Conditional, Split
from outsample.readout.edgeworth import edgeworth, in_range
from outsample.readout.estimate import ReadoutEstimate, ReadoutEstimator, two_layer_of
from outsample.readout.hermite_tensors import MISMATCH, HermiteTensors
from outsample.readout.kernels import second_order
from outsample.readout.outputs import Output
from outsample.readout.problem import TwoLayer, Whitened

#: Nodes per direction where σ is continuous, and where it jumps.
_SMOOTH, _JUMP = 24, 40
#: Conditional variances of this share of the whole are taken as Gaussian.
_NARROW = 1e-8
#: Missing variance below this share of the whole says that the nodes are too few.
_NEGATIVE = -1e-3
#: Changes on halving the nodes, against the spread of σ(f), that lower the trust.
_DOUBT, _WORSE = 0.01, 0.1

#: Average size of the conditional cumulants, in units of the whole deviation, likewise.
_SKEWED, _HEAVY = 0.5, 1.0


@dataclass(frozen=True)
class ConditionedReadout(ReadoutEstimator):
    r"""E[σ(f(x))] of a two-layer network: exact along a few directions, cumulants across them.

    The directions U are those along which f is least linear, the leading eigenvectors of the
    covariance of its gradient.  At every node y for U x the network is one in the other
    coordinates; its mean is exact, and its variance, third and fourth cumulant are those of its
    expansion to degree 2, corrected so that mean and variance of f come out exactly and the third
    and fourth cumulants have the tensors of higher degree in them on average.  E[σ] given y is an
    Edgeworth expansion.

    Without advice it builds the Hermite tensors itself, which costs more than the rest.  Advice
    that does not fit the network (:meth:`HermiteTensors.audit`) is not used, with a warning.
    Gradients do not flow.

    Args:
        directions: how many, 0 to 3; two are recommended.
        nodes: per direction, even; by default 24 where σ is continuous, 40 where it jumps.
        degree: highest degree of the tensors that correct the cumulants, at least 2.
        mismatch: advice may differ by this much, relatively, from the network: raise it for
            tensors that a :class:`HermiteStream` learned.

    Raises:
        InputError: for settings out of range.

    Source: the documentation, theory/readout, has the derivation; W. Gautschi, "Orthogonal
    Polynomials" (2004), for the half-range rules.

    Example:
        >>> import torch
        >>> from outsample.readout import TwoLayer
        >>> weight = torch.eye(16, dtype=torch.float64)
        >>> problem = TwoLayer(weight, torch.ones(16, dtype=torch.float64), "square").tail(20.0)
        >>> round(ConditionedReadout().estimate(problem).value.item(), 2)  # chi-squared: 0.2202
        0.22
    """

    directions: int = 2
    nodes: int | None = None
    degree: int = 4
    mismatch: float = MISMATCH

    def __post_init__(self) -> None:
        if type(self.directions) is not int or not 0 <= self.directions <= 3:
            raise InputError(
                f"ConditionedReadout: directions = {self.directions!r}; expected 0 to 3"
            )
        if self.nodes is not None and (
            type(self.nodes) is not int or not 4 <= self.nodes <= 200 or self.nodes % 4
        ):
            raise InputError(
                f"ConditionedReadout: nodes = {self.nodes!r}; expected a multiple of 4 from 4 to "
                "200, or None"
            )
        if type(self.degree) is not int or not 2 <= self.degree <= 8:
            raise InputError(f"ConditionedReadout: degree = {self.degree!r}; expected 2 to 8")
        if not 0 < self.mismatch < math.inf:
            raise InputError(
                f"ConditionedReadout: mismatch = {self.mismatch!r}; expected a finite number > 0"
            )

    @classmethod
    def at(cls, epsilon: float, problem: Problem) -> Self:
        """As many nodes as cost 1/ε² evaluations, on two directions, one, or none."""
        if not isinstance(problem, TwoLayer):
            raise UnsupportedProblem(f"ConditionedReadout does not take {problem.describe()}")
        budget = 1 / epsilon**2
        for directions in (2, 1):
            price = node_flops(problem, directions) / pass_flops(problem)
            nodes = 4
            while _grid_size(directions, nodes + 4) * price <= budget and nodes < _JUMP:
                nodes += 4
            if nodes >= 8:
                # Advice has the corrections across two directions; others would cost too much.
                return cls(directions, nodes, degree=4 if directions == 2 else 2)
        return cls(0, degree=2)

    @torch.no_grad()
    def _estimate(self, problem: Problem, explanation: Explanation | None) -> ReadoutEstimate:
        problem = two_layer_of(problem)
        net = problem.whitened()
        count = min(self.directions, net.size[0])
        advice, used = advice_for(problem, explanation, self.degree, count, self.mismatch)
        nodes = self.nodes or (_SMOOTH if problem.output.continuous else _JUMP)
        found = [
            _one(net, problem.output, advice, i, count, nodes, self.degree)
            for i in range(len(net.readouts))
        ]
        values = torch.stack([f.value for f in found])
        grades: list[Trust] = [f.trust for f in found]
        reasons = tuple(dict.fromkeys(reason for f in found for reason in f.reasons))
        return ReadoutEstimate(
            value=values.to(problem.weight).reshape(problem.output_shape),
            trust=worst_trust(*grades),
            reasons=reasons,
            cumulants=net.readouts.new_tensor([f.cumulants for f in found]),
            diagnostics={
                "nodes": nodes,
                "degree": min(self.degree, advice.degree),
                "advice": used,
                **{
                    name: max((f.figures[name] for f in found), key=abs)
                    for name in found[0].figures
                },
            },
        )


@dataclass(frozen=True)
class _Found:
    value: Float[Tensor, ""]
    cumulants: tuple[float, float, float, float]
    trust: Trust
    reasons: tuple[str, ...]
    figures: dict[str, float]


def _one(
    net: Whitened,
    output: Output,
    advice: HermiteTensors,
    readout: int,
    directions: int,
    nodes: int,
    degree: int,
) -> _Found:
    """The estimate for one readout."""
    mean, variance = float(advice.mean[readout]), float(advice.variance[readout])
    if variance <= 1e-300:
        value = output(advice.mean[readout : readout + 1])[0]
        return _Found(value, (mean, 0.0, 0.0, 0.0), "ok", (), dict.fromkeys(_FIGURES, 0.0))
    axes, added = _across(net, advice, readout, directions, degree)

    split = Split.of(net, readout, axes)

    def estimate(count: int) -> tuple[Conditional, Tensor, float]:
        law, missing = split.conditional(count).repaired(mean, variance, added)
        by_node = edgeworth(
            output, law.mean, law.variance, law.third, law.fourth, _NARROW * variance
        )
        return law, law.weights @ by_node, missing

    law, raw, missing = estimate(nodes)
    change = 0.0
    if directions:
        change = float(raw - estimate(nodes // 2)[1])
    cumulants = law.total()
    first, second, third, fourth = torch.tensor(cumulants, dtype=raw.dtype)[:, None]
    plain = float(edgeworth(output, first, second, third, fourth)[0])
    spread = _spread(output, law, float(raw))
    value = in_range(output, raw)
    shares = advice.shares[readout]
    figures = {
        "node_change": change,
        "missing_variance": missing / variance,
        "least_variance": float(law.variance.min()) / variance,
        "largest_share": float(shares[0]) if len(shares) else 0.0,
        "rest_third": law.average(law.third.abs()) / variance**1.5,
        "rest_fourth": law.average(law.fourth.abs()) / variance**2,
        "from_edgeworth": float(raw) - plain,
        "clipped": float(raw - value),
    }
    trust, reasons = _judge(figures, spread, directions)
    return _Found(value, cumulants, trust, reasons, figures)


_FIGURES = (
    "node_change",
    "missing_variance",
    "least_variance",
    "largest_share",
    "rest_third",
    "rest_fourth",
    "from_edgeworth",
    "clipped",
)


def _across(
    net: Whitened, advice: HermiteTensors, readout: int, directions: int, degree: int
) -> tuple[Float[Tensor, "r n"], Float[Tensor, "2"]]:
    """Directions to integrate over, and what higher degrees add across them."""
    n = net.size[0]
    known = advice.directions[readout]
    if directions >= n:
        return torch.eye(n, dtype=known.dtype), known.new_zeros(2)
    if directions > len(known):
        rest = HermiteTensors.finish(
            net, list(advice.tensors_by_degree), second_order(net), directions
        )
        known = rest.directions[readout]
    axes = known[:directions]
    if degree == 2:
        return axes, known.new_zeros(2)
    if directions == len(advice.directions[readout]) and degree >= advice.degree:
        return axes, advice.corrections[readout]
    return axes, advice.up_to(degree).across(readout, axes)


def _spread(output: Output, law: Conditional, value: float) -> float:
    """Standard deviation of σ(f), roughly: two points for what is left at each node."""
    scale = law.variance.clamp_min(0).sqrt()
    both = torch.stack((output(law.mean + scale), output(law.mean - scale)))
    return math.sqrt(max(law.average((both - value).square().mean(0)), value * 1e-12, 0.0))


def _judge(
    figures: dict[str, float], spread: float, directions: int
) -> tuple[Trust, tuple[str, ...]]:
    trust: Trust = "ok"
    reasons: list[str] = []
    if figures["missing_variance"] < _NEGATIVE:
        trust = "low_confidence"
        reasons.append(
            f"the nodes find {-figures['missing_variance']:.1%} more variance than there is; take "
            "more nodes"
        )
    change = abs(figures["node_change"])
    if change > _DOUBT * spread:
        trust = "unreliable" if change > _WORSE * spread else "low_confidence"
        reasons.append(
            f"half the nodes change the value by {change:.2g}, {change / max(spread, 1e-300):.1%} "
            "of the standard deviation of σ(f); take more nodes"
        )
    if figures["rest_third"] > _SKEWED or figures["rest_fourth"] > _HEAVY:
        trust = worst_trust(trust, "low_confidence")
        reasons.append(
            "what is left across the directions is far from normal (third and fourth cumulant "
            f"{figures['rest_third']:.2g} and {figures['rest_fourth']:.2g} in units of the "
            "standard deviation of f); take directions = 3"
        )
    if directions == 0 and figures["largest_share"] > 0.35:
        trust = worst_trust(trust, "low_confidence")
        reasons.append(
            f"one direction has {figures['largest_share']:.0%} of the gradient's covariance, and "
            "none is integrated over; take directions = 2"
        )
    return trust, tuple(reasons)


def pass_flops(problem: TwoLayer) -> int:
    """Operations of one forward pass, of the products of matrices alone."""
    m, n = problem.weight.shape
    return 2 * n * m + 2 * m * max(1, problem.readout.numel() // m)


def node_flops(problem: TwoLayer, directions: int) -> int:
    """Operations of one node, reflected nodes for nothing."""
    m, n = problem.weight.shape
    rest = max(n - directions, 0)
    readouts = problem.readout.numel() // m
    return readouts * m * (2 * directions + 50 + 2 * rest + rest * (rest + 1))


def _grid_size(directions: int, nodes: int) -> float:
    """Nodes that are worked out, with those of the halved rule."""
    return nodes**directions / 2 * (1 + 0.5**directions)
