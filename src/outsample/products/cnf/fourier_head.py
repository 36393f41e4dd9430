"""Projection of a formula: multiply in one clause exactly, project to low degree, repeat.

The head is a function of low degree on the cube, in the Fourier basis of a product measure.
"""

import math
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from outsample.cost import report_flops
from outsample.errors import NumericalError
from outsample.estimator import Trust
from outsample.problem import Problem
from outsample.products.cnf.branches import Branches, split
from outsample.products.cnf.estimate import SatisfyingEstimate
from outsample.products.cnf.heads import Heads, run_heads
from outsample.products.cnf.problem import SatisfyingFraction
from outsample.sampling.sampler import samples_at

Array = NDArray[np.float64]
Basis = Literal["messages", "uniform"]

#: Most literals in all branches together, which conditioning makes.
_MOST_LITERALS = 1 << 26
#: The estimate is suspect if clauses, multiplied into the head, change the estimate of degree 0
#: by a factor outside these …
_LEAST_FACTOR, _MOST_FACTOR = 0.3, 3.0
#: … or if the coefficients of the highest degree (0, 1, 2, 3 and more) have a norm beyond this
#: share of the constant term, for what was projected away is then no smaller.  Chosen on formulas
#: with 12 to 20 variables: of what stays trusted about 1 % was more than 10 % off;
_HIGHEST = (0.0, 0.25, 1.2, 1.5)
#: … or if messages still changed by more than this at the end,
_LARGEST_CHANGE = 1e-2
#: in branches that hold this share of the estimate; so many models more than one may be none.
_SHARE, _FEW_MODELS = 0.01, 1.0
#: Most variables that a budget is spent on.
_MOST_CONDITIONED = 12


def refusal(problem: Problem, degree: int, basis: Basis, conditioned: int) -> str | None:
    """Why the head cannot be made, before any work; None if it can.

    What a degree takes in memory depends on the order of the clauses: that limit is a BudgetError
    of :func:`project`.
    """
    del degree, basis
    if not isinstance(problem, SatisfyingFraction):
        return "a Fourier head takes a SatisfyingFraction"
    literals = sum(len(c) for c in problem.formula.clauses)
    depth = min(conditioned, len({abs(x) for c in problem.formula.clauses for x in c}))
    if literals << depth > _MOST_LITERALS:
        most = max((_MOST_LITERALS // literals).bit_length() - 1, 0)
        return (
            f"conditioned = {conditioned} makes up to 2^{depth} copies of {literals} literals; at "
            f"most 2^{most} fit: lower it to {most}"
        )
    return None


def project(
    problem: SatisfyingFraction, degree: int, basis: Basis, conditioned: int
) -> SatisfyingEstimate:
    """Estimate P(all clauses hold) by the constant term of a head of degree ``degree``.

    Args:
        problem: the formula and the law of its variables.
        degree: of the head, at least 0.
        basis: product measure that the head is centred on: tempered messages of belief
            propagation, or the ``"uniform"`` measure of the inputs.
        conditioned: depth of the tree of branches, each with its own head.

    Raises:
        BudgetError: if the head would take more than 1 GiB; before it is made.
    """
    weights, branches = _branches(problem, conditioned)
    if branches is None or len(branches.log_chance) == 0:
        return _estimate(problem, None, (), {"proof": "unit propagation"}, "ok", -math.inf)
    heads = run_heads(branches, weights, degree, basis == "messages")
    report_flops(branches.flops + heads.flops, "Fourier head")
    return _judge(problem, branches, heads, degree, basis, conditioned)


def settings_at(epsilon: float, problem: SatisfyingFraction) -> dict[str, Any]:
    """Degree, basis and variables to condition on, within the cost of 1/ε² evaluations.

    An evaluation takes an operation a literal.  Degree 2 comes first, then as many variables as
    the budget pays for: each doubles the cost.
    """
    literals = sum(len(c) for c in problem.formula.clauses)
    budget = samples_at(epsilon) * max(literals, 1)
    weights, branches = _branches(problem, 0)
    if branches is None or len(branches.log_chance) == 0:
        return {"degree": 0}
    for degree in (2, 1, 0):
        cost = branches.flops + run_heads(branches, weights, degree, messages=True).flops
        if cost <= budget:
            most = min(len(weights), _MOST_CONDITIONED, (budget // max(cost, 1)).bit_length() - 1)
            return {"degree": degree, "conditioned": most}
    cost = branches.flops + run_heads(branches, weights, 1, messages=False).flops
    return {"degree": 1 if cost <= budget else 0, "basis": "uniform"}


def _branches(problem: SatisfyingFraction, conditioned: int) -> tuple[Array, Branches | None]:
    """Weights of the variables that are left, and the branches; None if there are no models."""
    formula = problem.formula
    if formula.contradiction:
        return problem.weights[:0], None
    branches = split(formula, problem.weights, conditioned)
    return problem.weights[np.array(branches.variables, np.intp) - 1], branches


def _judge(
    problem: SatisfyingFraction,
    branches: Branches,
    heads: Heads,
    degree: int,
    basis: Basis,
    conditioned: int,
) -> SatisfyingEstimate:
    """Add the branches up, each clamped to what is possible, and say what is suspect."""
    held, top = _held(branches, heads)
    if not np.isfinite(held).all():
        raise NumericalError(
            "Projection: weights are so close to 0 or 1 that the estimate is no number; make them "
            "0 or 1"
        )
    total, raw = float(held.sum()), float((np.exp(heads.log_scale - top) * heads.constant).sum())
    factor = total / float(np.exp(heads.log_scale - top).sum())
    change = float(heads.change[held >= _SHARE * total].max())
    highest = float(held @ heads.highest) / total if total > 0 else 0.0
    most = _HIGHEST[min(degree, len(_HIGHEST) - 1)]
    log_value = _log(total) + top + _log_fixed(problem)
    least = _log_least(problem)
    diagnostics = {
        "factor": factor,
        "highest_degree": highest,
        "message_change": change,
        "iterations": heads.iterations,
        "branches": len(held),
    }
    reasons: list[str] = []
    trust: Trust = "low_confidence"
    if log_value < least:
        trust = "unreliable"
        reasons.append(
            "the estimate is less than the probability of any one assignment: the formula may "
            "have no models; a SAT solver can tell"
        )
    elif log_value < least + _FEW_MODELS:
        reasons.append("the estimate allows for few models, and so for none; a SAT solver can tell")
    if abs(total - raw) > 1e-3 * abs(total):
        reasons.append(
            f"branches were clamped to [0, their probability]: that changed the sum from "
            f"{raw * math.exp(top):.3g} to {total * math.exp(top):.3g}"
        )
    if not _LEAST_FACTOR < factor < _MOST_FACTOR:
        reasons.append(
            f"the head changes the estimate of degree 0 by a factor of {factor:.3g}; expected "
            f"{_LEAST_FACTOR} to {_MOST_FACTOR}: condition on more variables, or raise the degree"
        )
    if degree < min(1 + (basis == "messages"), len(branches.variables)):
        # Messages have the marginals right, and with them all that degree 1 could tell.
        reasons.append(
            f"a head of degree {degree} keeps nothing to judge it by in the basis {basis!r}: raise "
            "the degree"
        )
    elif highest > most:
        reasons.append(
            f"the coefficients of degree {degree}, the highest, have a norm of {highest:.3g} "
            f"beside the constant term, beyond {most:.3g}: what was projected away may be as "
            "large; condition on more variables, or raise the degree"
        )
    if change > _LARGEST_CHANGE:
        reasons.append(
            f"messages still change by {change:.2g} after {heads.iterations} iterations: "
            "condition on more variables"
        )
    if len(branches.lengths) == 0:  # every branch is settled: the sum is exact
        reasons = []
    marginals = partial(_marginals, problem, degree, basis, conditioned)
    return _estimate(
        problem, marginals, tuple(reasons), diagnostics, trust if reasons else "ok", log_value
    )


def _estimate(
    problem: SatisfyingFraction,
    marginals: partial[Tensor] | None,
    reasons: tuple[str, ...],
    diagnostics: dict[str, Any],
    trust: Trust,
    log_value: float,
) -> SatisfyingEstimate:
    """The estimate of this logarithm; of 0, for certain, without ``marginals``."""
    like = problem.inputs.probabilities
    n = problem.inputs.shape[0]
    fair = bool((problem.weights == 0.5).all())
    return SatisfyingEstimate(
        value=_scalar(min(math.exp(log_value), 1.0), like),
        log_value=_scalar(min(log_value, 0.0), like),
        sign=_scalar(float(log_value > -math.inf), like),
        log2_models=min(log_value, 0.0) / math.log(2) + n if fair else None,
        trust=trust,
        reasons=reasons,
        diagnostics=diagnostics,
        _marginals=marginals or partial(_no_marginals),
    )


def _marginals(problem: SatisfyingFraction, degree: int, basis: Basis, conditioned: int) -> Tensor:
    """P(x_j = 1 | all clauses hold) from heads that keep every variable."""
    weights, branches = _branches(problem, conditioned)
    found = problem.weights.copy()
    for v, value in problem.formula.fixed.items():
        found[v - 1] = value
    if branches is not None:
        heads = run_heads(branches, weights, degree, basis == "messages", keep=True)
        held, _ = _held(branches, heads)
        total = float(held.sum())
        if total <= 0:
            return _no_marginals()
        positive = np.where(heads.constant > 0, heads.constant, 1)[:, None]
        chances = np.clip(heads.first / positive, 0, 1)
        found[np.array(branches.variables, np.intp) - 1] = held @ chances / total
    return torch.as_tensor(found).to(problem.inputs.probabilities)


def _no_marginals() -> Tensor:
    raise NumericalError("marginals: the estimate is 0: there are no models to condition on")


def _held(branches: Branches, heads: Heads) -> tuple[Array, float]:
    """P(branch and all clauses), clamped to [0, P(branch)], over e^top; and top."""
    top = float(heads.log_scale.max())
    with np.errstate(over="ignore"):
        most = np.exp(branches.log_chance - top)
    return np.clip(np.exp(heads.log_scale - top) * heads.constant, 0, most), top


def _log_fixed(problem: SatisfyingFraction) -> float:
    return sum(map(math.log, problem.formula.fixed_chances(problem.weights)))


def _log_least(problem: SatisfyingFraction) -> float:
    """Log-probability of the least likely assignment, of those that can occur."""
    less = np.minimum(problem.weights, 1 - problem.weights)
    return float(np.log(less[less > 0]).sum())


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _scalar(value: float, like: Tensor) -> Tensor:
    return torch.tensor(value, dtype=like.dtype, device=like.device)
