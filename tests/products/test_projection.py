"""What the three products share, through the public API."""

import itertools
import json
import math
import random

import numpy as np
import pytest
import torch
from tests.battery import Coin

import outsample as ou
from outsample.products import recommended


def halfspaces(k: int, n: int, seed: int, offset: float = 0.0) -> ou.HalfspaceIntersection:
    rng = np.random.default_rng(seed)
    return ou.HalfspaceIntersection(
        rng.standard_normal((k, n)) / math.sqrt(n), offset * rng.standard_normal(k)
    )


def formula(n: int, m: int, seed: int, width: int = 3) -> ou.SatisfyingFraction:
    rng = np.random.default_rng(seed)
    clauses = [
        [int(v) * int(s) for v, s in zip(vs, rng.choice([-1, 1], width), strict=True)]
        for vs in (rng.choice(np.arange(1, n + 1), width, replace=False) for _ in range(m))
    ]
    return ou.SatisfyingFraction(clauses, variables=n)


def permanent(n: int, seed: int) -> ou.Permanent:
    return ou.Permanent(np.random.default_rng(seed).random((n, n)))


def enumerated(problem: ou.SatisfyingFraction, clauses: list[list[int]], n: int) -> float:
    held = sum(
        all(any((x[abs(v) - 1] == 1) == (v > 0) for v in c) for c in clauses)
        for x in itertools.product((0, 1), repeat=n)
    )
    return held / 2**n


PROBLEMS = [halfspaces(4, 6, 1), formula(9, 14, 1), permanent(8, 1)]
METHODS: list[tuple[ou.Estimator, ou.Problem]] = [
    *((ou.Projection(d), p) for d in (0, 1, 2, 3) for p in PROBLEMS),
    (ou.Projection(2, conditioned=3), PROBLEMS[1]),
    (ou.Projection(2, basis="uniform"), PROBLEMS[1]),
    (ou.Projection(2, scaling="none"), PROBLEMS[2]),
    (ou.Projection(2, scaling="full"), PROBLEMS[2]),
    (ou.ExpectationPropagation(), PROBLEMS[0]),
    (ou.ExpectationPropagation("D2"), PROBLEMS[0]),
    (ou.ExpectationPropagation(None), PROBLEMS[0]),
    (ou.CommonDirection(), PROBLEMS[0]),
]


@pytest.mark.parametrize(("method", "problem"), METHODS, ids=lambda x: type(x).__name__)
class TestEveryMethod:
    def test_is_near_a_sampled_value(self, method: ou.Estimator, problem: ou.Problem) -> None:
        sampled = ou.MonteCarlo(200_000, seed=3).estimate(problem)
        found = method.estimate(problem)
        assert found.value.shape == ()
        # Degree 0 of strongly dependent factors may be off by half.
        assert float(abs(found.value - sampled.value)) < 0.6 * float(sampled.value)

    def test_says_the_same_twice_and_draws_nothing(
        self, method: ou.Estimator, problem: ou.Problem
    ) -> None:
        before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
        first, second = (method.estimate(problem).value for _ in range(2))
        assert torch.equal(first, second)
        assert torch.equal(before[0], torch.get_rng_state())
        assert np.array_equal(before[1], np.random.get_state()[1])
        assert before[2] == random.getstate()

    def test_tells_its_story(self, method: ou.Estimator, problem: ou.Problem) -> None:
        found = method.estimate(problem)
        document = json.loads(found.to_json())
        assert document["estimator"]["method"] == type(method).__name__
        assert found.cost.flops is not None and found.cost.flops > 0
        assert found.log_value is not None
        assert float(found.log_value.exp()) == pytest.approx(float(found.value), rel=1e-9)

    def test_refuses_other_problems(self, method: ou.Estimator, problem: ou.Problem) -> None:
        with pytest.raises(ou.UnsupportedProblem):
            method.estimate(Coin())


@pytest.mark.parametrize("seed", range(5))
def test_a_full_head_of_a_formula_is_exact(seed: int) -> None:
    problem = formula(7, 12, seed)
    exact = ou.Exact().estimate(problem).value
    for basis in ("messages", "uniform"):
        found = ou.Projection(degree=7, basis=basis).estimate(problem).value
        torch.testing.assert_close(found, exact, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("seed", range(5))
def test_conditioning_on_every_variable_is_exact(seed: int) -> None:
    problem = formula(8, 16, seed)
    found = ou.Projection(degree=0, conditioned=8).estimate(problem).value
    torch.testing.assert_close(found, ou.Exact().estimate(problem).value, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("seed", range(5))
def test_enumeration_counts_models(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clauses = [
        [int(v) * int(rng.choice([-1, 1])) for v in rng.choice(np.arange(1, 7), 2)]
        for _ in range(6)
    ]
    problem = ou.SatisfyingFraction(clauses, variables=6)
    assert float(ou.Exact().estimate(problem).value) == enumerated(problem, clauses, 6)


@pytest.mark.parametrize(
    ("clauses", "value"),
    [
        ([[1, -1]], 1.0),
        ([[1, 1]], 0.5),
        ([[1], [-1]], 0.0),
        ([[1], [-1, 2]], 0.25),
        ([[1, 2], [1, 2]], 0.75),
        ([[]], 0.0),
    ],
)
def test_formulas_that_simplify(clauses: list[list[int]], value: float) -> None:
    problem = ou.SatisfyingFraction(clauses, variables=3)
    assert float(ou.Projection(1).estimate(problem).value) == pytest.approx(value, abs=1e-14)
    assert float(ou.Exact().estimate(problem).value) == value


def test_marginals_of_a_formula() -> None:
    clauses = [[1, 2], [-1, 3], [2, -3]]
    problem = ou.SatisfyingFraction(clauses, variables=4)
    models = [
        x
        for x in itertools.product((0, 1), repeat=4)
        if all(any((x[abs(v) - 1] == 1) == (v > 0) for v in c) for c in clauses)
    ]
    found = ou.Projection(degree=3).estimate(problem)
    expected = torch.tensor(models, dtype=torch.float64).mean(0)
    assert isinstance(found, ou.SatisfyingEstimate)
    torch.testing.assert_close(found.marginals.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("k", [2, 3])
def test_propagation_is_near_the_closed_form(k: int) -> None:
    for seed in range(5):
        problem = halfspaces(k, 12, seed)
        exact = float(ou.Exact().estimate(problem).value)
        errors = [
            abs(math.log(float(ou.ExpectationPropagation(c).estimate(problem).value) / exact))
            for c in (None, "D3")
        ]
        assert errors[1] <= errors[0] + 1e-9
        assert errors[1] < 3e-3


def test_independent_halfspaces_are_exact_far_into_the_tail() -> None:
    problem = ou.HalfspaceIntersection(np.eye(5), np.full(5, 20.0))
    one = float(torch.special.log_ndtr(torch.tensor(-20.0, dtype=torch.float64)))
    for method in (ou.ExpectationPropagation(), ou.CommonDirection()):
        found = method.estimate(problem)
        assert float(found.log_value) == pytest.approx(5 * one, rel=1e-9)


def test_empty_intersections_are_zero() -> None:
    v = np.array([[1.0, 0.0], [-1.0, 0.0]])
    fan = np.array([[1.0, 0.0], [-0.5, 3**0.5 / 2], [-0.5, -(3**0.5) / 2]])
    for normals, offsets in ((v, [0.5, 0.5]), (fan, [0.2, 0.2, 0.2])):
        problem = ou.HalfspaceIntersection(normals, np.array(offsets))
        for method in (ou.ExpectationPropagation(), ou.CommonDirection()):
            found = method.estimate(problem)
            assert float(found.value) == 0.0
            assert found.trust == "ok"


def test_a_slab_is_one_factor() -> None:
    law = ou.Gaussian.standard(2, torch.float64)
    box = ou.HalfspaceIntersection.from_limits(np.array([-1.0, -1.0]), np.array([1.0, 1.0]), law)
    exact = math.erf(1 / math.sqrt(2)) ** 2
    found = ou.ExpectationPropagation().estimate(box)
    assert float(found.value) == pytest.approx(exact, rel=1e-9)


def test_near_duplicates_lower_trust() -> None:
    v = np.array([[1.0, 0.0], [1.0, 0.02]])
    assert ou.ExpectationPropagation().estimate(ou.HalfspaceIntersection(v)).trust != "ok"


@pytest.mark.parametrize("corrections", [None, "D2", "D3"])
def test_gradients_of_propagation(corrections: str | None) -> None:
    problem = halfspaces(3, 4, 2, 0.3)
    mean = torch.zeros(4, dtype=torch.float64)

    def log_p(v: torch.Tensor, b: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        law = ou.Gaussian(m, torch.ones((), dtype=torch.float64))
        found = ou.ExpectationPropagation(corrections).estimate(ou.HalfspaceIntersection(v, b, law))
        assert found.log_value is not None
        return found.log_value

    given = (problem.normals, problem.offsets, mean)
    wanted = tuple(t.clone().requires_grad_() for t in given)
    assert torch.autograd.gradcheck(log_p, wanted, rtol=1e-4, atol=1e-6)


def test_what_is_recommended() -> None:
    assert isinstance(recommended(PROBLEMS[0]), ou.ExpectationPropagation | ou.CommonDirection)
    shifted = ou.HalfspaceIntersection(halfspaces(4, 6, 1).normals + 3)
    assert recommended(shifted) == ou.CommonDirection()
    equal = ou.Gaussian(np.zeros(50), np.full((50, 50), 0.3) + 0.7 * np.eye(50))
    shared = ou.HalfspaceIntersection.from_limits(np.zeros(50), None, equal)
    assert recommended(shared) == ou.CommonDirection(), "many normals, each pair correlated a bit"
    assert recommended(halfspaces(60, 300, 0)) == ou.ExpectationPropagation()
    assert recommended(PROBLEMS[1]) == ou.Projection(2, conditioned=6)
    assert recommended(PROBLEMS[2]) == ou.Projection(2)
    assert recommended(Coin()) is None
    assert ou.estimate(permanent(5, 0)).estimator == ou.Exact()
    assert isinstance(ou.estimate(permanent(30, 0)).estimator, ou.Projection)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: type(p).__name__)
def test_a_smaller_tolerance_buys_a_higher_degree(problem: ou.Problem) -> None:
    settings = [ou.Projection.at(epsilon, problem) for epsilon in (1.0, 1e-2, 1e-4)]
    effort = [s.degree + s.conditioned for s in settings]
    assert effort == sorted(effort)
    assert effort[-1] > effort[0]
    with pytest.raises(ou.UnsupportedProblem):
        ou.Projection.at(0.1, Coin())


@pytest.mark.parametrize(
    "settings",
    [
        {"degree": -1}, {"degree": 1.5}, {"degree": True}, {"conditioned": -1},
        {"basis": "other"}, {"scaling": "other"},
    ],
)  # fmt: skip
def test_settings_are_checked(settings: dict[str, object]) -> None:
    with pytest.raises(ou.InputError, match=next(iter(settings))):
        ou.Projection(**settings)
