"""The polynomial head, against projections by quadrature in up to three dimensions."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial.hermite_e import hermegauss, hermevander
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray
from torch import Tensor

import outsample as ou
from outsample.cost import FlopMeter
from outsample.distributions import Sphere
from outsample.products.halfspaces.polynomial_head import project, settings_at
from outsample.products.halfspaces.problem import HalfspaceIntersection

F64 = torch.float64


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def by_quadrature(v: NDArray[np.float64], limits: list[tuple[float, float]], degree: int) -> float:
    """The same projections with every integral done numerically, in up to three dimensions."""
    n = v.shape[1]
    orders = [a for a in itertools.product(range(degree + 1), repeat=n) if sum(a) <= degree]
    factorials = np.array([math.prod(map(math.factorial, a)) for a in orders])

    def basis(x: NDArray[np.float64]) -> NDArray[np.float64]:
        single = [hermevander(x[:, j], degree) for j in range(n)]
        return np.stack(
            [np.prod([single[j][:, a[j]] for j in range(n)], axis=0) for a in orders], 1
        )

    across, across_weights = hermegauss(2 * degree + 2)
    across_weights = across_weights / math.sqrt(2 * math.pi)
    head = np.zeros(len(orders))
    head[orders.index((0,) * n)] = 1
    for normal, (low, high) in zip(v, limits, strict=True):
        frame = np.linalg.qr(np.column_stack([normal, np.eye(n)[:, : n - 1] + 0.1]))[0]
        frame[:, 0] = normal
        low, high = max(low, -14.0), min(high, 14.0)
        x, weights = leggauss(200)
        along = low + (high - low) * (1 + x) / 2
        weights = weights * (high - low) / 2 * np.exp(-(along**2) / 2) / math.sqrt(2 * math.pi)
        grids = np.meshgrid(along, *[across] * (n - 1), indexing="ij")
        masses = np.meshgrid(weights, *[across_weights] * (n - 1), indexing="ij")
        points = np.stack([g.ravel() for g in grids], 1) @ frame.T
        mass = np.prod([m.ravel() for m in masses], axis=0)
        values = basis(points)
        head = values.T @ (mass * (values @ head)) / factorials
    return float(head[orders.index((0,) * n)])


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4, 6])
@pytest.mark.parametrize(("k", "n"), [(2, 2), (3, 3), (5, 3), (4, 2), (1, 3)])
def test_exact_projections(degree: int, k: int, n: int) -> None:
    v, b = unit(randn(k, n, seed=k)), randn(k, seed=n) / 2
    b = -b.abs() if k > n else b  # no contradictions
    estimate = project(HalfspaceIntersection(v, b), degree)
    truth = by_quadrature(v.numpy(), [(float(x), math.inf) for x in b], degree)
    raw = estimate.diagnostics["over_independent"] * float(torch.special.log_ndtr(-b).sum().exp())
    assert raw == pytest.approx(truth, abs=1e-13)


@pytest.mark.parametrize("degree", [1, 2, 4])
def test_intervals(degree: int) -> None:
    v, low, high = unit(randn(3, 3, seed=8)), (-0.3, 0.2, -1.0), (0.1, 2.0, 0.5)
    both = torch.tensor([*low, *(-h for h in high)], dtype=F64)
    estimate = project(HalfspaceIntersection(torch.cat([v, -v]), both), degree)
    truth = by_quadrature(v.numpy(), list(zip(low, high, strict=True)), degree)
    assert float(estimate.value) == pytest.approx(truth, abs=1e-14)
    assert estimate.diagnostics["factors"] == 3


def test_high_degree_converges_to_the_wedge() -> None:
    problem = HalfspaceIntersection(torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=F64))
    exact = problem.exact()
    assert exact is not None
    errors = [abs(float(project(problem, d).value - exact)) for d in (1, 3, 7, 15)]
    assert errors[3] < 1e-5
    assert all(later < earlier / 4 for earlier, later in itertools.pairwise(errors))


def test_one_factor_and_independent_factors_are_exact() -> None:
    one = HalfspaceIntersection(randn(1, 4), torch.tensor([3.0], dtype=F64))
    exact = one.exact()
    assert exact is not None
    for degree in range(3):
        torch.testing.assert_close(project(one, degree).value, exact, rtol=1e-13, atol=0)
    box = HalfspaceIntersection(torch.eye(6, dtype=F64), randn(6))
    truth = torch.special.log_ndtr(-randn(6)).sum().exp()
    for degree in range(3):
        torch.testing.assert_close(project(box, degree).value, truth, rtol=1e-13, atol=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(2, 6), st.integers(0, 3))
def test_rotations_and_scales_change_nothing(seed: int, k: int, n: int, degree: int) -> None:
    v, b = randn(k, n, seed=seed), randn(k, seed=seed + 1)
    turn = torch.linalg.qr(randn(n, n, seed=seed + 2))[0]
    scale = randn(k, seed=seed + 3).exp()
    before = project(HalfspaceIntersection(v, b), degree)
    after = project(HalfspaceIntersection(scale[:, None] * (v @ turn), scale * b), degree)
    torch.testing.assert_close(after.value, before.value, rtol=1e-9, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_whitening(seed: int) -> None:
    v, b, mean, factor = (
        randn(*s, seed=seed + i) for i, s in enumerate([(3, 4), (3,), (4,), (4, 4)])
    )
    law = ou.Gaussian(mean, factor @ factor.T)
    moved = project(HalfspaceIntersection(v, b + v @ mean, law), 2)
    whitened = project(HalfspaceIntersection(v @ factor, b), 2)
    torch.testing.assert_close(moved.value, whitened.value, rtol=1e-7, atol=1e-10)


def test_sphere() -> None:
    v = randn(5, 7)
    on_sphere = project(HalfspaceIntersection(v, None, Sphere(7, F64)), 3).value
    torch.testing.assert_close(on_sphere, project(HalfspaceIntersection(v), 3).value)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_gradients(degree: int) -> None:
    def value(v: Tensor, b: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
        law = ou.Gaussian(mean, factor @ factor.T)
        return project(HalfspaceIntersection(v, b, law), degree).value

    parts = [
        randn(3, 4, seed=1),
        randn(3, seed=2) / 2,
        randn(4, seed=3) / 2,
        torch.eye(4) + randn(4, 4, seed=5) / 4,
    ]
    parts = [p.double().clone().requires_grad_() for p in parts]
    assert torch.autograd.gradcheck(value, parts, atol=1e-8)
    with torch.no_grad():
        plain = value(*parts)
    torch.testing.assert_close(plain, value(*parts).detach(), rtol=1e-12, atol=0)


def test_gradients_in_offsets_alone_take_any_normals() -> None:
    v = randn(5, 3)  # linearly dependent
    b = (randn(5) / 2).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda b: project(HalfspaceIntersection(v, b), 2).value, (b,), atol=1e-8
    )
    with pytest.raises(ou.UnsupportedProblem, match="5 normals are linearly dependent"):
        project(HalfspaceIntersection(v.requires_grad_(), b), 2)


def test_far_tails_do_not_underflow() -> None:
    estimate = project(
        HalfspaceIntersection(torch.eye(3, dtype=F64), torch.full((3,), 30.0, dtype=F64)), 2
    )
    assert estimate.log_value is not None
    truth = 3 * float(torch.special.log_ndtr(torch.tensor(-30.0, dtype=F64)))
    assert float(estimate.log_value) == pytest.approx(truth, rel=1e-13)


def test_memory_is_looked_at_first() -> None:
    with pytest.raises(ou.BudgetError, match=r"degree = 9.*30 dimensions"):
        project(HalfspaceIntersection(randn(30, 40)), 9)


def test_settings_at() -> None:
    problem = HalfspaceIntersection(randn(4, 10))
    for epsilon, degree in ((1.0, 0), (0.4, 0), (0.31, 1), (0.1, 2), (1e-2, 4), (3.0, 0)):
        assert settings_at(epsilon, problem) == {"degree": degree}
    assert settings_at(1e-9, HalfspaceIntersection(randn(100, 10)))["degree"] == 7  # by memory
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ou.InputError, match="epsilon"):
            settings_at(bad, problem)


def test_costs_follow_the_law() -> None:
    """Counted operations rise as k^(d+1) in the number of halfspaces."""

    def flops(k: int, degree: int) -> int:
        with FlopMeter() as meter:
            project(HalfspaceIntersection(randn(k, k)), degree)
        return meter.by_operation["polynomial_head"]

    for degree in (3, 4):
        slope = math.log2(flops(32, degree) / flops(16, degree))
        assert degree + 0.5 < slope < degree + 1.5


def test_nothing_and_the_empty_set() -> None:
    assert float(project(HalfspaceIntersection(torch.zeros(0, 3, dtype=F64)), 2).value) == 1
    v = randn(1, 3)
    empty = project(
        HalfspaceIntersection(torch.cat([v, -v]), torch.tensor([0.5, 0.5], dtype=F64)), 2
    )
    assert float(empty.value) == 0
    assert float(empty.log_value) == -math.inf  # type: ignore[arg-type]
    assert empty.trust == "ok"


def test_contradictions_of_several_normals() -> None:
    """The three sides of a triangle, turned outwards."""
    angles = torch.tensor([0.0, 2.0, 4.0], dtype=F64)
    v = torch.stack([angles.cos(), angles.sin(), 0 * angles], 1)
    outwards = project(HalfspaceIntersection(v, torch.full((3,), 0.1, dtype=F64)), 2)
    assert float(outwards.value) == 0
    inwards = project(HalfspaceIntersection(v, torch.full((3,), -0.1, dtype=F64)), 2)
    assert float(inwards.value) > 0


class TestTrust:
    """Every reason to doubt the number, one by one."""

    def test_all_is_well(self) -> None:
        estimate = project(HalfspaceIntersection(randn(4, 60)), 3)
        assert estimate.trust == "ok"
        assert estimate.reasons == ()

    def test_clamped_to_zero(self) -> None:
        v = unit(torch.eye(8, dtype=F64) - 0.12)  # all pairs at a negative correlation
        estimate = project(HalfspaceIntersection(v, torch.full((8,), 0.3, dtype=F64)), 1)
        assert float(estimate.value) == 0
        assert estimate.trust == "unreliable"
        assert "clamped to 0" in estimate.reasons[0]

    def test_a_large_last_degree(self) -> None:
        v = unit(torch.ones(6, 6, dtype=F64) + 2 * torch.eye(6, dtype=F64))
        estimate = project(HalfspaceIntersection(v), 1)
        assert estimate.trust == "low_confidence"
        assert "the last degree changed the estimate" in estimate.reasons[0]

    def test_degree_zero(self) -> None:
        estimate = project(HalfspaceIntersection(randn(4, 5)), 0)
        assert estimate.trust == "low_confidence"
        assert "degree 0" in estimate.reasons[0]

    def test_a_last_degree_without_effect_is_no_good_sign(self) -> None:
        v = torch.tensor([[1.0, 0.0], [-0.97, (1 - 0.97**2) ** 0.5]], dtype=F64)
        estimates = [project(HalfspaceIntersection(v), degree) for degree in (1, 2)]
        torch.testing.assert_close(estimates[0].value, estimates[1].value)
        assert [e.trust for e in estimates] == ["unreliable"] * 2

    def test_far_below_the_independent_estimate(self) -> None:
        v = torch.tensor([[1.0, 0.0], [-0.6, 0.8]], dtype=F64)
        problem = HalfspaceIntersection(v, torch.full((2,), 1.5, dtype=F64))
        estimate = project(problem, 6)
        assert estimate.trust == "low_confidence"
        assert any("product of the single probabilities" in reason for reason in estimate.reasons)

    @pytest.mark.parametrize("degree", [1, 2, 4, 8])
    def test_opposite_wedges(self, degree: int) -> None:
        """The last degree changes little, for the series converges as r^degree does."""
        v = torch.tensor([[1.0, 0.0], [-0.98, 0.2]], dtype=F64)
        problem = HalfspaceIntersection(v, torch.full((2,), -0.1, dtype=F64))
        estimate = project(problem, degree)
        assert abs(float(estimate.value) / float(problem.exact()) - 1) > 0.1
        assert estimate.trust != "ok"
        assert any("too low for" in reason for reason in estimate.reasons)

    def test_near_duplicates(self) -> None:
        v = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.01, 0.0], [0.0, 0.0, 1.0]], dtype=F64)
        estimate = project(HalfspaceIntersection(v), 2)
        assert estimate.trust == "unreliable"
        assert any("too close for a polynomial" in reason for reason in estimate.reasons)


@pytest.mark.parametrize(("degree", "least"), [(2, 12), (3, 25), (4, 30)])
def test_what_is_trusted_is_right(degree: int, least: int) -> None:
    errors: list[float] = []
    for n, k in ((10, 3), (10, 8), (20, 8), (40, 8)):
        for seed in range(100, 112):
            normals = np.random.default_rng(seed).standard_normal((k, n))
            problem = ou.HalfspaceIntersection(normals)
            found = ou.Projection(degree).estimate(problem)
            if found.trust == "ok":
                truth = float(problem.sampled_truth(100_000, 0)[0])
                errors.append(abs(float(found.value) / truth - 1))
    assert len(errors) >= least
    assert max(errors) < 0.3
    assert sum(e > 0.1 for e in errors) <= 0.05 * len(errors)
