"""The heads of all branches: every clause multiplied in, one after the other."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from outsample.errors import BudgetError
from outsample.products.cnf.branches import Branches
from outsample.products.cnf.factors import residual_flops, residuals
from outsample.products.cnf.messages import Edges, Messages, propagate, uniform
from outsample.products.cnf.order import Order, greedy_order
from outsample.products.cnf.plan import columns, entries, make_plan

Array = NDArray[np.float64]

#: Most coefficients and indices that a branch may take (1 GiB), and that branches worked on
#: together do (32 MiB).
_MOST_ENTRIES, _ENTRIES_TOGETHER = 1 << 27, 1 << 22


@dataclass(frozen=True)
class Heads:
    """What became of each branch: P(branch and all clauses) is exp(log_scale) · constant."""

    #: Log-probability of the branch and of all normalisers: the estimate of degree 0.
    log_scale: Array
    #: Constant term of the head.
    constant: Array
    #: Norm of the coefficients of the highest degree, over the absolute constant term; 0 where
    #: nothing was projected away.
    highest: Array
    #: Largest change of a message in the last iteration.
    change: Array
    #: E[head · x_j], shape (branches, variables), where variables were kept.
    first: Array
    iterations: int
    #: Operations, by formula.
    flops: int


def run_heads(
    branches: Branches, weights: Array, degree: int, messages: bool, keep: bool = False
) -> Heads:
    """Multiply the clauses of every branch into its head.

    Args:
        branches: what conditioning has left of the formula.
        weights: P(x_j = 1) for the variables of the branches, shape (variables,).
        degree: of the head.
        messages: whether to centre it on the messages of belief propagation.
        keep: keep variables to the end, to find E[head · x_j].

    Raises:
        BudgetError: if the coefficients and indices of a branch would take more than 1 GiB;
            before any of them is made.
    """
    number, count = len(branches.log_chance), len(weights)
    if len(branches.lengths) == 0:
        values = np.where(branches.values == 0, weights, branches.values > 0)
        none = np.zeros(number)
        return Heads(branches.log_chance, none + 1, none, none, values, 0, 0)
    degree = min(degree, count)
    _check_size(branches.lengths, number, count, degree)
    variables = np.where(branches.literals == 0, count, np.abs(branches.literals) - 1)
    order = greedy_order(branches.branch, variables, number, count, keep)
    needed = entries(order, branches.branch, branches.lengths, number, degree)
    if (worst := float(needed.max())) > _MOST_ENTRIES:
        raise BudgetError(
            f"Projection: degree = {degree} takes {worst:.3g} coefficients and indices for "
            f"{count} variables and {len(branches.lengths)} clauses; at most {_MOST_ENTRIES:.3g} "
            "are allowed: lower the degree"
        )
    parts = min(int(needed.sum() // _ENTRIES_TOGETHER) + 1, number)
    if parts == 1:
        with np.errstate(over="ignore", invalid="ignore"):  # odds of weights beside 0: not finite
            return _together(branches, order, variables, weights, degree, messages)
    bounds = np.linspace(0, number, parts + 1).astype(int).tolist()
    return _joined(
        [
            run_heads(branches.part(start, stop), weights, degree, messages, keep)
            for start, stop in pairwise(bounds)
        ]
    )


def _check_size(lengths: NDArray[np.intp], branches: int, count: int, degree: int) -> None:
    """Raise BudgetError if the order of the clauses, or their matrices, would not fit."""
    longest, clauses = int(lengths.max()), len(lengths)
    matrices = sum(
        int(number) * columns(int(length), degree) ** 2
        for length, number in zip(*np.unique(lengths, return_counts=True), strict=True)
    )
    # The order takes three tables of a byte for each clause and variable.
    if max(matrices, 3 * clauses * (count + longest) // 8, branches * count) > _MOST_ENTRIES:
        raise BudgetError(
            f"Projection: {clauses} clauses of up to {longest} literals in {count} variables take "
            f"more memory at degree {degree} than the {_MOST_ENTRIES:.3g} entries allowed: lower "
            "the degree, or the number of variables conditioned on"
        )


def _together(
    branches: Branches,
    order: Order,
    variables: NDArray[np.intp],
    weights: Array,
    degree: int,
    messages: bool,
) -> Heads:
    number, count = len(branches.log_chance), len(weights)
    branch, lengths = branches.branch, branches.lengths
    plan = make_plan(order, branch, variables, lengths, degree)
    edges = Edges.of(branch, branches.literals, lengths, number, count)
    prior = np.concatenate([np.tile(1 - weights, number), np.tile(weights, number)])
    sent = propagate(edges, prior) if messages else uniform(edges, prior)
    flops = order.flops + plan.flops + sent.flops

    log_clause = np.zeros(len(lengths))
    matrices: dict[int, Array] = {}
    for length, clauses in plan.groups.items():
        matrices[length], log_clause[clauses] = residuals(edges, sent, clauses, length, degree)
        flops += residual_flops(len(clauses), length, degree)

    # One more coefficient stays 0: it stands for those that a branch does not have.
    state = np.zeros(number * plan.size + 1)
    state[: -1 : plan.size] = 1
    for step in plan.steps:
        matrix = matrices[step.length][step.clauses]
        for index in step.updates:
            sets = index.shape[2]
            state[index] = state.take(index) @ matrix[:, :sets, :sets]

    heads = state[:-1].reshape(number, plan.size)
    log_scale = branches.log_chance + sent.log_normaliser.reshape(number, count).sum(1)
    log_scale += np.bincount(branch, log_clause, number)
    change = np.zeros(number)
    np.maximum.at(change, branch, np.maximum.reduceat(sent.change, edges.start))
    return Heads(
        log_scale,
        heads[:, 0],
        _highest(heads, count, degree),
        change,
        _first(branches, sent, heads, degree),
        sent.iterations,
        flops,
    )


def _first(branches: Branches, sent: Messages, heads: Array, degree: int) -> Array:
    """E[head · x_j] = f_∅ q_j + f_j sqrt(q_j (1 - q_j)), for variables that are free."""
    values = branches.values
    shape = (2, *values.shape)
    false, true = sent.false.reshape(shape)
    first = heads[:, :1] * true
    if degree:
        first = first + heads[:, 1 : 1 + values.shape[1]] * np.sqrt(true * false)
    return np.where(values == 0, first, heads[:, :1] * (values > 0))


def _highest(heads: Array, count: int, degree: int) -> Array:
    if degree >= count:
        return np.zeros(len(heads))
    norm = np.linalg.norm(heads[:, heads.shape[1] - math.comb(count, degree) :], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(norm > 0, norm / abs(heads[:, 0]), 0.0)


def _joined(parts: list[Heads]) -> Heads:
    return Heads(
        log_scale=np.concatenate([p.log_scale for p in parts]),
        constant=np.concatenate([p.constant for p in parts]),
        highest=np.concatenate([p.highest for p in parts]),
        change=np.concatenate([p.change for p in parts]),
        first=np.concatenate([p.first for p in parts]),
        iterations=max(p.iterations for p in parts),
        flops=sum(p.flops for p in parts),
    )
