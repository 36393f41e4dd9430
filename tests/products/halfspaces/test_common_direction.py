"""Integration over a common direction: against one-dimensional integrals, its own nodes, Genz."""

# The truncated moments belong to the estimate of halfspaces, which the signature does not tell.
# pyright: reportAttributeAccessIssue=false

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_ndtr
from tests.products.halfspaces import oracles
from torch import Tensor

import outsample as ou
from outsample.products.halfspaces import CommonDirection, Directions

F64 = torch.float64
INF = math.inf


def equal(
    k: int, r: float, lower: float = 0.0, upper: float | None = None
) -> ou.HalfspaceIntersection:
    """Conditions lower <= y_i <= upper on k standard normals with correlations r."""
    law = ou.Gaussian(np.zeros(k), np.full((k, k), r) + (1 - r) * np.eye(k))
    high = None if upper is None else np.full(k, upper)
    return ou.HalfspaceIntersection.from_limits(np.full(k, lower), high, law)


def about(mean: float, k: int, n: int, seed: int, offset: float = 0.0) -> ou.HalfspaceIntersection:
    rng = np.random.default_rng(seed)
    v = rng.standard_normal((k, n))
    v[:, 0] += mean * math.sqrt(n)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    return ou.HalfspaceIntersection(v, offset * rng.standard_normal(k))


def value(problem: ou.HalfspaceIntersection, method: CommonDirection | None = None) -> float:
    return float((method or CommonDirection()).estimate(problem).value)


class TestEqualCorrelations:
    @pytest.mark.parametrize("k", [2, 5, 20, 50])
    @pytest.mark.parametrize("r", [0.05, 0.3, 0.6, 0.8, 0.9, 0.95])
    @pytest.mark.parametrize("lower", [-1.0, 0.0, 1.5])
    def test_orthants(self, k: int, r: float, lower: float) -> None:
        found = CommonDirection().estimate(equal(k, r, lower))
        truth = oracles.equicorrelated(np.full(k, lower), r)
        assert float(found.value) == pytest.approx(truth, rel=1e-6 if r <= 0.6 else 5e-4)
        assert found.trust == "ok"

    @pytest.mark.parametrize("r", [0.3, 0.7, 0.9])
    @pytest.mark.parametrize(("lower", "upper"), [(-1.0, 1.0), (0.5, 0.9), (-0.2, 3.0)])
    def test_boxes(self, r: float, lower: float, upper: float) -> None:
        truth = oracles.equicorrelated(np.full(8, lower), r, np.full(8, upper))
        assert value(equal(8, r, lower, upper)) == pytest.approx(truth, rel=1e-4)

    def test_different_limits(self) -> None:
        lower = np.array([-1.0, 0.3, 0.0, 1.2, -0.5, 0.1])
        law = ou.Gaussian(np.zeros(6), np.full((6, 6), 0.7) + 0.3 * np.eye(6))
        problem = ou.HalfspaceIntersection.from_limits(lower, None, law)
        assert value(problem) == pytest.approx(oracles.equicorrelated(lower, 0.7), rel=1e-5)

    @pytest.mark.parametrize("lower", [10.0, 25.0])
    def test_far_out(self, lower: float) -> None:
        """k = 2, where a closed form stands for the truth as long as it does not underflow."""
        problem = equal(2, 0.8, lower)
        assert value(problem) == pytest.approx(float(problem.exact()), rel=1e-3)


class TestTruth:
    @pytest.mark.parametrize("b", [-40.0, -1.0, 0.0, 3.0, 40.0])
    def test_one_halfspace(self, b: float) -> None:
        problem = ou.HalfspaceIntersection(np.array([[0.6, 0.8]]), np.array([b]))
        found = CommonDirection().estimate(problem)
        assert float(found.log_value) == pytest.approx(float(log_ndtr(-b)), rel=1e-8, abs=1e-8)

    @pytest.mark.parametrize("mean", [0.0, 1.0, 2.0])
    @pytest.mark.parametrize("offset", [0.0, 0.5])
    def test_against_quasi_monte_carlo(self, mean: float, offset: float) -> None:
        problem = about(mean, 8, 20, 3, offset)
        truth, error = problem.sampled_truth(100_000, 0)
        assert abs(value(problem) - float(truth)) < 5 * float(error) + 1e-3 * float(truth)

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_a_few_directions(self, count: int) -> None:
        """Normals about two directions: more directions leave less to be approximated."""
        rng = np.random.default_rng(1)
        v = rng.standard_normal((8, 20))
        v[:4, 0] += 6
        v[4:, 1] += 6
        problem = ou.HalfspaceIntersection(v)
        truth, error = problem.sampled_truth(200_000, 0)
        nodes = 19 if count == 3 else None  # thousands, and seconds, with a fine step
        found = CommonDirection(nodes=nodes, directions=count).estimate(problem)
        assert found.diagnostics["directions"] == count
        tolerance = 5 * float(error) + (0.02 if count == 1 else 1e-3) * float(truth)
        assert abs(float(found.value - truth)) < tolerance

    def test_in_the_plane(self) -> None:
        """What is said to be right is, and enough is said to be."""
        errors = oracles.trusted_in_the_plane([CommonDirection()], range(40), 6, 1.0)
        assert len(errors) >= 5
        assert max(errors) < 1e-3

    def test_nearly_equal_normals(self) -> None:
        """What plain propagation gets wrong by 20 %."""
        found = CommonDirection().estimate(equal(6, 0.999))
        assert float(found.value) == pytest.approx(
            oracles.equicorrelated(np.zeros(6), 0.999), rel=1e-4
        )
        assert found.trust == "ok"


class TestDirections:
    def test_the_one_it_is_told(self) -> None:
        problem = about(2.0, 8, 20, 0)
        told = Directions(torch.eye(20, dtype=F64)[:1])
        truth, error = problem.sampled_truth(200_000, 1)
        for advice in (told, None):
            found = CommonDirection().estimate(problem, advice)
            assert abs(float(found.value - truth)) < 5 * float(error) + 5e-4 * float(truth)
            assert found.diagnostics["directions"] == 1

    def test_a_wrong_one_costs_accuracy_only(self) -> None:
        problem = about(2.0, 6, 20, 1)
        truth, _ = problem.sampled_truth(50_000, 1)
        wrong = CommonDirection().estimate(problem, Directions(torch.eye(20, dtype=F64)[5:6]))
        assert wrong.trust != "ok" or float(wrong.value) == pytest.approx(float(truth), rel=0.05)

    def test_they_are_in_the_coordinates_of_x(self) -> None:
        """A change of coordinates of the whole problem, the direction included."""
        problem = about(1.5, 6, 8, 2)
        rng = np.random.default_rng(0)
        root, mean = np.eye(8) + 0.3 * rng.standard_normal((8, 8)), rng.standard_normal(8)
        u = problem.normals.numpy() @ np.linalg.inv(root)
        law = ou.Gaussian(mean, root @ root.T)
        moved = ou.HalfspaceIntersection(u, u @ mean, law)
        # v = c e_1 + noise is u = F⁻ᵀ v.
        told = torch.from_numpy(np.linalg.inv(root).T[:, 0][None].copy())
        first = CommonDirection().estimate(problem, Directions(torch.eye(8, dtype=F64)[:1]))
        second = CommonDirection().estimate(moved, Directions(told))
        assert float(second.value) == pytest.approx(float(first.value), rel=1e-8)

    def test_too_many_or_of_another_length(self) -> None:
        problem = about(1.0, 4, 6, 0)
        with pytest.raises(ou.InputError, match="4 directions given"):
            CommonDirection().estimate(problem, Directions(torch.eye(6, dtype=F64)[:4]))
        with pytest.raises(ou.InputError, match="5 entries"):
            CommonDirection().estimate(problem, Directions(torch.ones(1, 5)))


class TestNodes:
    def test_more_nodes_converge(self) -> None:
        problem = equal(6, 0.6)
        truth = oracles.equicorrelated(np.zeros(6), 0.6)
        errors = [abs(value(problem, CommonDirection(nodes=q)) / truth - 1) for q in (5, 9, 17, 33)]
        assert errors[0] > 1e-3
        assert errors[1] < errors[0] / 10
        assert errors[2] < errors[1] / 10
        assert errors[3] < 1e-8

    def test_the_default_is_as_good_as_many(self) -> None:
        for mean in (0.5, 2.0):
            problem = about(mean, 8, 20, 4)
            many = value(problem, CommonDirection(nodes=101))
            assert value(problem) == pytest.approx(many, rel=1e-6)

    @pytest.mark.parametrize(
        "given",
        [
            {"nodes": 0}, {"nodes": 2.5}, {"nodes": True}, {"directions": 0}, {"directions": 4},
            {"directions": "1"}, {"corrections": "D4"},
        ],
    )  # fmt: skip
    def test_settings_are_checked(self, given: dict[str, object]) -> None:
        with pytest.raises(ou.InputError, match=next(iter(given))):
            CommonDirection(**given)  # type: ignore[arg-type]


class TestTrust:
    def test_nodes_too_far_apart(self) -> None:
        truth = oracles.equicorrelated(np.zeros(8), 0.95)
        few, enough = (CommonDirection(nodes=q).estimate(equal(8, 0.95)) for q in (15, 31))
        assert abs(float(few.value) / truth - 1) > 0.01
        assert few.trust == "low_confidence"
        assert "further apart" in few.reasons[0]
        assert float(enough.value) == pytest.approx(truth, rel=1e-3)
        assert enough.trust == "ok"

    def test_correlations_the_direction_does_not_explain(self) -> None:
        v = np.array([[1.0, 0, 0, 0], [1, 0.2, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0.2]])
        one = CommonDirection().estimate(ou.HalfspaceIntersection(v))
        assert one.trust == "low_confidence"
        assert "stay correlated" in one.reasons[0]
        two = CommonDirection(directions=2).estimate(ou.HalfspaceIntersection(v))
        assert two.trust == "ok"
        truth = ((math.pi - math.atan(0.2)) / (2 * math.pi)) ** 2
        assert float(two.value) == pytest.approx(truth, rel=1e-4)

    def test_empty(self) -> None:
        v = np.vstack([np.eye(3), -np.ones((1, 3))])
        found = CommonDirection().estimate(ou.HalfspaceIntersection(v, np.r_[np.ones(3), -2.9]))
        assert (float(found.value), found.trust) == (0.0, "ok")

    def test_no_condition(self) -> None:
        assert value(ou.HalfspaceIntersection(np.zeros((0, 3)))) == 1.0


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6))
def test_order_scale_and_rotation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    v, b = rng.standard_normal((5, 7)) + 0.5, 0.5 * rng.standard_normal(5)
    whole = value(ou.HalfspaceIntersection(v, b))
    order, factors = rng.permutation(5), 10.0 ** rng.uniform(-5, 5, 5)
    turn = np.linalg.qr(rng.standard_normal((7, 7)))[0]
    for u, c in ((v[order], b[order]), (v * factors[:, None], b * factors), (v @ turn, b)):
        assert value(ou.HalfspaceIntersection(u, c)) == pytest.approx(whole, rel=1e-6)


class TestGradients:
    """The direction and the nodes are held fixed: where they cannot move, gradients are exact."""

    @pytest.mark.parametrize("corrections", [None, "D2", "D3"])
    def test_offsets_and_mean(self, corrections: str | None) -> None:
        rng = np.random.default_rng(3)
        v = torch.tensor(rng.standard_normal((4, 5)) + 0.7)
        method = CommonDirection(corrections=corrections)  # type: ignore[arg-type]

        def log_p(b: Tensor, mean: Tensor) -> Tensor:
            law = ou.Gaussian(mean, torch.ones((), dtype=F64))
            return method.estimate(ou.HalfspaceIntersection(v, b, law)).log_value  # type: ignore

        parts = [rng.standard_normal(4) / 3, rng.standard_normal(5) / 3]
        arguments = [torch.tensor(p, requires_grad=True) for p in parts]
        assert torch.autograd.gradcheck(log_p, arguments, eps=1e-5, atol=1e-6, rtol=1e-5)

    def test_normals(self) -> None:
        """Here the direction moves, which changes the value by a part of its error only."""
        v = torch.tensor(np.random.default_rng(3).standard_normal((4, 5)) + 0.7, requires_grad=True)

        def log_p(v: Tensor) -> Tensor:
            return CommonDirection().estimate(ou.HalfspaceIntersection(v)).log_value  # type: ignore

        assert torch.autograd.gradcheck(log_p, [v], eps=1e-5, atol=1e-3, rtol=1e-2)

    def test_equal_correlations(self) -> None:
        """Σ_i d log p / d b_i is the derivative by a common offset."""
        b = torch.full((6,), 0.4, dtype=F64, requires_grad=True)
        whole = equal(6, 0.8)
        found = CommonDirection().estimate(ou.HalfspaceIntersection(whole.normals, b, whole.inputs))
        slope = torch.autograd.grad(found.log_value, b)[0].sum()
        step = 1e-4
        high, low = (oracles.equicorrelated(np.full(6, 0.4 + s), 0.8) for s in (step, -step))
        assert float(slope) == pytest.approx(math.log(high / low) / (2 * step), rel=1e-4)


def test_single_precision_and_story() -> None:
    problem = about(1.0, 6, 12, 5, 0.4)
    single = ou.HalfspaceIntersection(problem.normals.float(), problem.offsets.float())
    found = CommonDirection().estimate(single)
    assert found.value.dtype == torch.float32
    assert float(found.value) == pytest.approx(value(problem), rel=1e-5)
    document = json.loads(found.to_json())
    assert document["diagnostics"]["nodes"] == found.diagnostics["nodes"] > 5
    assert document["cost"]["flops"] > 0


def test_moments_of_x_in_the_set() -> None:
    """Equal correlations: mean of y_1 given all y_i >= 0, by its derivative."""
    k, r, step = 5, 0.8, 1e-4
    found = CommonDirection().estimate(equal(k, r))
    shifted = [oracles.equicorrelated(np.full(k, s), r) for s in (-step, step)]
    slope = math.log(shifted[0] / shifted[1]) / (2 * step)  # = Σ_i d log p / d mean_i
    # Σ⁻¹ E[x] sums to that, and 1 is an eigenvector of Σ.
    assert found.truncated_mean is not None
    assert float(found.truncated_mean.sum()) == pytest.approx(slope * (1 + (k - 1) * r), rel=1e-4)


@pytest.mark.parametrize(("directions", "k"), [(2, 40), (3, 4)])
def test_too_many_nodes_are_refused(directions: int, k: int) -> None:
    """As many directions as dimensions leave the normals nothing of their own."""
    angles = np.linspace(0.1, 3, k)
    normals = np.column_stack([np.cos(angles), np.sin(angles), 0.3 * np.sin(5 * angles)])
    problem = ou.HalfspaceIntersection(normals[:, :directions], np.full(k, -2.0))
    with pytest.raises(ou.BudgetError, match="lower the number of directions"):
        CommonDirection(directions=directions).estimate(problem)
