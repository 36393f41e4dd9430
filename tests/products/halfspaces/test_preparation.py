"""The common form of halfspaces: whitened, normalised, dropped, merged; and where that stops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.products.halfspaces import oracles
from torch import Tensor

import outsample as ou
from outsample.distributions import Sphere
from outsample.products.halfspaces import HalfspaceIntersection
from outsample.products.halfspaces.preparation import Prepared, prepare

F64 = torch.float64
INF = math.inf


def ready(v: object, b: object = None, law: object = None) -> Prepared:
    return prepare(HalfspaceIntersection(np.array(v, dtype=float), b, law))  # type: ignore[arg-type]


def at_angle(angle: float, sign: int = 1) -> list[list[float]]:
    return [[1.0, 0.0], [sign * math.cos(angle), sign * math.sin(angle)]]


def test_whitening_and_normalising() -> None:
    rng = np.random.default_rng(0)
    v, b, mean, factor = (rng.standard_normal(s) for s in ((3, 4), (3,), (4,), (4, 4)))
    cov = factor @ factor.T
    p = ready(v, b, ou.Gaussian(mean, cov))
    deviation = np.sqrt(np.einsum("ij,jk,ik->i", v, cov, v))
    np.testing.assert_allclose(p.deviation, deviation, rtol=1e-12)
    np.testing.assert_allclose(p.lower, (b - v @ mean) / deviation, rtol=1e-12)
    np.testing.assert_allclose(p.gram, v @ cov @ v.T / np.outer(deviation, deviation), atol=1e-12)
    np.testing.assert_allclose(p.directions @ p.directions.T, p.gram, atol=1e-12)
    assert bool((p.upper == INF).all())
    assert (p.factors, p.dropped, p.merged, p.empty) == (3, 0, 0, False)
    assert p.largest_correlation == pytest.approx(abs(p.gram.numpy() - np.eye(3)).max())


def test_the_structure_of_the_covariance_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    v, b = rng.standard_normal((3, 4)), rng.standard_normal(3)
    laws = [ou.Gaussian(np.zeros(4), c) for c in (2.5, np.full(4, 2.5), 2.5 * np.eye(4))]
    grams = [ready(v, b, law) for law in laws]
    for other in grams[1:]:
        torch.testing.assert_close(other.gram, grams[0].gram)
        torch.testing.assert_close(other.lower, grams[0].lower)


def test_a_sphere_is_like_a_standard_normal() -> None:
    v = np.random.default_rng(2).standard_normal((3, 4))
    torch.testing.assert_close(ready(v, None, Sphere(4, F64)).gram, ready(v).gram)


def test_single_precision_is_widened() -> None:
    p = prepare(HalfspaceIntersection(torch.ones(2, 3)))
    assert {p.gram.dtype, p.lower.dtype, p.directions.dtype} == {F64}


@pytest.mark.parametrize("size", [1e-310, 1e-200, 1e-160, 1.0, 1e160, 1e200, 1e307])
def test_the_length_of_normals_does_not_matter(size: float) -> None:
    p = ready(np.array([[3.0, 4.0], [0.0, 1.0]]) * size, np.array([1.0, 0.25]) * size)
    np.testing.assert_allclose(p.lower, [0.2, 0.25], rtol=1e-12)
    np.testing.assert_allclose(p.gram[0, 1], 0.8, rtol=1e-12)
    assert not p.empty


class TestConditionsThatDoNotVary:
    @pytest.mark.parametrize(("offset", "empty"), [(-1.0, False), (0.0, False), (1e-300, True)])
    def test_zero_normals(self, offset: float, empty: bool) -> None:
        p = ready([[0.0, 0.0], [1.0, 0.0]], np.array([offset, 0.3]))
        assert (p.factors, p.dropped, p.empty) == (1, 1, empty)

    @pytest.mark.parametrize(("offset", "empty"), [(0.9, False), (1.0, False), (1.1, True)])
    @pytest.mark.parametrize("dense", [False, True])
    def test_directions_without_variance(self, offset: float, empty: bool, dense: bool) -> None:
        variances = np.array([1.0, 0.0])
        law = ou.Gaussian(np.array([0.0, 1.0]), np.diag(variances) if dense else variances)
        p = ready([[1.0, 0.0], [0.0, 1.0]], np.array([0.3, offset]), law)
        assert (p.factors, p.dropped, p.empty) == (1, 1, empty)

    @pytest.mark.parametrize("seed", range(8))
    def test_a_singular_covariance(self, seed: int) -> None:
        """Combinations of entries that do not vary, up to round-off."""
        rng = np.random.default_rng(seed)
        factor = rng.standard_normal((6, 3))
        null = np.linalg.svd(factor.T)[2][3:]
        mean = rng.standard_normal(6)
        law = ou.Gaussian(mean, factor @ factor.T)
        v = rng.standard_normal((3, 3)) @ null
        # Meets v · x >= v · mean with equality, up to round-off.
        for b in (v @ mean, np.array([math.fsum(row * mean) for row in v])):
            assert not ready(v, b, law).empty
            assert ready(v, b, law).factors == 0
        assert ready(v, v @ mean + 1e-9, law).empty

    @pytest.mark.parametrize("variance", [1e-20, 1e-100, 1e-300])
    @pytest.mark.parametrize("dense", [False, True])
    def test_a_small_variance_is_one(self, variance: float, dense: bool) -> None:
        variances = np.array([1.0, variance])
        law = ou.Gaussian(np.zeros(2), np.diag(variances) if dense else variances)
        p = ready(np.eye(2), np.array([0.3, 0.7 * math.sqrt(variance)]), law)
        np.testing.assert_allclose(p.lower, [0.3, 0.7], rtol=1e-12)

    def test_no_limit_drops_a_condition(self) -> None:
        p = ready(np.eye(2), np.array([-INF, 0.3]))
        assert (p.factors, p.dropped) == (1, 1)

    def test_limits_out_of_range_are_empty(self) -> None:
        assert ready(np.eye(2) * 1e-200, np.array([1e200, 0.0])).empty
        assert ready(np.eye(2), np.array([1e160, 0.0])).empty
        assert ready(np.eye(2) * 1e-200, np.array([-1e200, 0.0])).factors == 1
        assert not ready(np.eye(2), np.array([1e100, 0.0])).empty


class TestMerging:
    def test_duplicates_keep_the_larger_offset(self) -> None:
        v = np.array([[0.6, 0.8], [1.2, 1.6], [0.0, 1.0], [0.3, 0.4]])
        p = ready(v, np.array([0.1, 1.0, 0.0, 0.2]))
        assert (p.factors, p.merged) == (2, 2)
        np.testing.assert_allclose(p.lower, [0.5, 0.0], rtol=1e-12)
        assert bool((p.upper == INF).all())
        assert p.rows.tolist() == [0, 2]

    def test_opposites_become_an_interval(self) -> None:
        p = ready([[0.6, 0.8], [-3, -4], [-0.6, -0.8]], np.array([-0.5, -4.0, -0.7]))
        assert (p.factors, p.merged, p.empty) == (1, 2, False)
        assert p.lower.item() == pytest.approx(-0.5)
        assert p.upper.item() == pytest.approx(0.7)

    @pytest.mark.parametrize(("b", "empty"), [(0.5, True), (0.0, True), (-1e-9, False)])
    def test_contradictory_opposites(self, b: float, empty: bool) -> None:
        assert ready([[1.0, 0], [-1, 0]], np.array([b, b])).empty is empty

    @pytest.mark.parametrize(("angle", "merged"), [(1e-9, 1), (1.3e-3, 1), (1.5e-3, 0), (0.1, 0)])
    @pytest.mark.parametrize("sign", [1, -1])
    def test_up_to_a_small_angle(self, angle: float, merged: int, sign: int) -> None:
        assert ready(at_angle(angle, sign), np.array([-1.0, -1.0])).merged == merged

    @pytest.mark.parametrize(("offset", "merged"), [(9.0, 1), (20.0, 0), (-40.0, 1)])
    def test_limits_far_out_feel_smaller_angles(self, offset: float, merged: int) -> None:
        assert ready(at_angle(1.3e-3), np.full(2, offset)).merged == merged

    @pytest.mark.parametrize("angle", [1e-3, 1e-6, 1e-9])
    def test_slim_wedges_stay_two_factors(self, angle: float) -> None:
        """Opposite up to an angle: the interval between them would be empty, but is a wedge."""
        p = ready(at_angle(angle, -1), np.zeros(2))
        assert (p.factors, p.empty) == (2, False)

    @pytest.mark.parametrize(("widths", "merged"), [(4, 0), (16, 1)])
    def test_slabs_must_be_wider_than_the_angle(self, widths: float, merged: int) -> None:
        angle = 1e-5
        assert ready(at_angle(angle, -1), np.array([0.3, -0.3 - widths * angle])).merged == merged

    def test_round_off_of_single_precision_is_no_angle(self) -> None:
        v = torch.randn(1, 50, generator=torch.Generator().manual_seed(0))
        both = HalfspaceIntersection(torch.cat([v, -v / 3]))
        assert prepare(both).empty
        assert prepare(both).factors == 1

    def test_what_merging_costs(self) -> None:
        """At the largest angle and far out: a wedge in place of a half-line."""
        for offset, angle in ((0.0, 1.4e-3), (5.0, 1.4e-3), (10.0, 1.4e-3), (30.0, 4.6e-4)):
            v, b = np.array(at_angle(angle)), np.full(2, offset)
            assert ready(v, b).merged == 1
            wedge = float(HalfspaceIntersection(v, b).exact())
            assert wedge == pytest.approx(math.erfc(offset / 2**0.5) / 2, rel=6e-3)

    def test_a_smaller_angle_can_be_asked_for(self) -> None:
        problem = HalfspaceIntersection(np.array(at_angle(1e-4)))
        assert prepare(problem).merged == 1
        assert prepare(problem, same=1e-5).merged == 0


def test_nothing_is_left() -> None:
    for p in (ready(np.zeros((0, 3))), ready(np.zeros((2, 3)))):
        assert (p.factors, p.largest_correlation, p.empty) == (0, 0.0, False)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_gradients_are_those_of_the_formula(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    v, b, mean = (torch.randn(s, generator=g, dtype=F64) for s in ((3, 4), (3,), (4,)))
    factor = torch.randn(4, 4, generator=g, dtype=F64)
    tensors = [t.clone().requires_grad_() for t in (v, b, mean, factor)]

    def by_library() -> tuple[Tensor, Tensor]:
        v, b, mean, factor = tensors
        p = prepare(HalfspaceIntersection(v, b, ou.Gaussian(mean, factor @ factor.T)))
        return p.gram, p.lower

    def by_formula() -> tuple[Tensor, Tensor]:
        v, b, mean, factor = tensors
        u = v @ factor
        length = u.norm(dim=1)
        unit = u / length[:, None]
        return unit @ unit.T, (b - v @ mean) / length

    weights = torch.randn(3, 3, generator=g, dtype=F64), torch.randn(3, generator=g, dtype=F64)
    slopes = [
        torch.autograd.grad(sum((a * w).sum() for a, w in zip(f(), weights, strict=True)), tensors)
        for f in (by_library, by_formula)
    ]
    for a, e in zip(*slopes, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-7, atol=1e-8 * float(e.abs().max()))


def test_near_duplicates_are_not_merged_where_that_moves_a_far_set() -> None:
    """A wedge of 4 degrees ends 10 deviations out, and turning a side moves its end."""
    turn = -7e-4
    sides = [math.pi - 0.07, 0.0, turn]
    normals = np.column_stack([np.cos(sides), np.sin(sides)])
    far = HalfspaceIntersection(normals, np.array([0.6, 0.1, 0.1]))
    near = HalfspaceIntersection(normals, np.array([-0.6, 0.1, 0.1]))
    assert (prepare(near).merged, prepare(far).merged) == (1, 0)
    truth = oracles.in_the_plane(normals, far.offsets.numpy())
    for method in (ou.ExpectationPropagation(), ou.CommonDirection()):
        found = method.estimate(far)
        assert found.trust != "ok"
        assert float(found.value) == pytest.approx(truth, rel=0.1)


def test_near_opposites_are_not_merged_where_a_far_interval_feels_the_angle() -> None:
    """A strip that narrows by a third on its way to where it is cut off."""
    angle, width, cut = 1.1e-5, 1.2e-4, 5.0
    sides = [0.0, math.pi + angle, math.pi / 2]
    normals = np.column_stack([np.cos(sides), np.sin(sides)])
    problem = HalfspaceIntersection(normals, np.array([0.3, -0.3 - width, cut]))
    truth = oracles.in_the_plane(normals, problem.offsets.numpy(), 4_000_000)
    found = ou.estimate(problem)
    assert prepare(problem).merged == 0
    assert float(found.value) == pytest.approx(truth, rel=0.05) or found.trust != "ok"
