"""Closed forms of few halfspaces, against mpmath by other formulas."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import outsample as ou
from outsample.distributions import Sphere
from outsample.products.halfspaces.closed_forms import (
    closed_form,
    has_closed_form,
    interval_mass,
)
from outsample.products.halfspaces.problem import HalfspaceIntersection

F64 = torch.float64


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def exact(*arguments: object) -> float:
    value = closed_form(HalfspaceIntersection(*arguments))  # type: ignore[arg-type]
    assert value is not None
    return float(value)


def plackett(h: float, k: float, angle: float) -> mpmath.mpf:
    """P(y1 >= h, y2 >= k) at correlation cos(angle): an integral over the correlation."""
    h, k = mpmath.mpf(h), mpmath.mpf(k)

    def slope(s: mpmath.mpf) -> mpmath.mpf:
        cos2 = mpmath.cos(s) ** 2
        return mpmath.exp(-(h * h - 2 * h * k * mpmath.sin(s) + k * k) / (2 * cos2))

    top = mpmath.pi / 2 - mpmath.mpf(angle)
    cuts = [0, *(top * (1 - mpmath.mpf(10) ** -e) for e in (1, 2, 3, 5, 8)), top]
    integral = mpmath.quad(slope, cuts) / (2 * mpmath.pi)
    return mpmath.ncdf(-h) * mpmath.ncdf(-k) + integral


def wedge(angle: float) -> Tensor:
    """Two normals at an angle, in three dimensions."""
    v = torch.tensor([[1.0, 0, 0], [math.cos(angle), math.sin(angle), 0]], dtype=F64)
    return v @ torch.linalg.qr(randn(3, 3, seed=5))[0]


ANGLES = [1e-9, 1e-6, 1e-3, 0.1, 1.0, math.pi / 2, 2.0, 3.0, 3.14, math.pi - 1e-6]


@pytest.mark.parametrize("b", [-9.0, -1.0, 0.0, 0.3, 2.5, 8.0, 37.0])
def test_a_single_halfspace(b: float) -> None:
    truth = float(mpmath.ncdf(-b))
    assert exact(2.5 * torch.ones(1, 4, dtype=F64), torch.tensor([5.0 * b], dtype=F64)) == (
        pytest.approx(truth, rel=1e-12, abs=0)
    )


@pytest.mark.parametrize(
    ("low", "high"),
    [(-1, 2), (-1e-9, 1e-9), (5, 5 + 1e-7), (-9, -8.9), (3, 30), (-30, -3), (-0.1, 7), (0.2, 0.75)],
)
def test_an_interval(low: float, high: float) -> None:
    with mpmath.workdps(40):
        truth = float(mpmath.ncdf(mpmath.mpf(high)) - mpmath.ncdf(mpmath.mpf(low)))
    v = torch.tensor([[0.6, 0.8], [-0.6, -0.8]], dtype=F64)
    assert exact(v, torch.tensor([low, -high], dtype=F64)) == pytest.approx(truth, rel=1e-12, abs=0)


def test_intervals_without_ends() -> None:
    inf = torch.inf
    low = torch.tensor([-inf, -inf, 1.0, 4.0], dtype=F64)
    high = torch.tensor([inf, -2.0, inf, 3.0], dtype=F64)
    mass = interval_mass(low[:3], high[:3])
    truth = [1.0, float(mpmath.ncdf(-2)), float(mpmath.ncdf(-1))]
    torch.testing.assert_close(mass, torch.tensor(truth, dtype=F64), rtol=1e-13, atol=0)


@pytest.mark.parametrize("angle", ANGLES)
def test_a_wedge_through_the_centre(angle: float) -> None:
    assert exact(wedge(angle)) == pytest.approx((math.pi - angle) / (2 * math.pi), abs=3e-16)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize(
    "b", [(0.5, -0.3), (0.0, 1.2), (2.0, 2.0), (-1.0, -1.5), (0.5, 0.5 + 1e-6)]
)
def test_a_wedge_with_offsets(angle: float, b: tuple[float, float]) -> None:
    with mpmath.workdps(30):
        truth = float(plackett(*b, angle))
    assert exact(wedge(angle), torch.tensor(b, dtype=F64)) == pytest.approx(truth, abs=2e-14)


@pytest.mark.parametrize("angle", [0.7, 1.6, 2.9])
def test_a_distant_wedge_keeps_its_digits(angle: float) -> None:
    with mpmath.workdps(60):
        truth = float(plackett(4.0, 6.0, angle))
    b = torch.tensor([4.0, 6.0], dtype=F64)
    assert exact(wedge(angle), b) == pytest.approx(truth, rel=1e-9, abs=0)


def test_a_parallelogram() -> None:
    angle, low, high = 0.8, (-0.5, 0.2), (1.5, 0.9)
    with mpmath.workdps(30):
        truth = sum(
            sign * plackett(h, k, angle)
            for h, s in ((low[0], 1), (high[0], -1))
            for k, t in ((low[1], 1), (high[1], -1))
            for sign in (s * t,)
        )
    v = wedge(angle)
    b = torch.tensor([*low, *(-h for h in high)], dtype=F64)
    assert exact(torch.cat([v, -v]), b) == pytest.approx(float(truth), abs=1e-14)


def test_cones_of_three_sides() -> None:
    for seed in range(20):
        v = randn(3, 3, seed=seed)
        v /= v.norm(dim=1, keepdim=True)
        # The solid angle from the edges of the cone (van Oosterom and Strackee 1983).
        edges = torch.linalg.inv(v).T
        a, b, c = edges / edges.norm(dim=1, keepdim=True)
        size = torch.linalg.det(torch.stack([a, b, c])).abs()
        angle = 2 * math.atan2(size, 1 + a @ b + b @ c + a @ c)
        assert exact(v) == pytest.approx(angle / (4 * math.pi), abs=1e-13)


def test_independent_groups_multiply() -> None:
    box = HalfspaceIntersection.from_limits(
        torch.tensor([-1.0, -torch.inf, 0.0], dtype=F64),
        torch.tensor([1.0, 0.5, torch.inf], dtype=F64),
        ou.Gaussian.standard(3, F64),
    )
    truth = math.erf(1 / math.sqrt(2)) * float(mpmath.ncdf(0.5)) * 0.5
    assert float(box.exact()) == pytest.approx(truth, rel=1e-14)
    v = torch.block_diag(torch.tensor([[1.0, 0], [1, 1]]), torch.tensor([[2.0, 1], [0, 3]]))
    parts = [exact(v[:2].double()), exact(v[2:].double())]
    assert exact(v.double()) == pytest.approx(math.prod(parts), rel=1e-14)


def test_what_has_no_closed_form() -> None:
    for problem in (
        HalfspaceIntersection(randn(4, 6)),
        HalfspaceIntersection(randn(3, 6), randn(3)),
        HalfspaceIntersection(torch.cat([randn(3, 6), -randn(3, 6)[:1]]), -torch.ones(4).double()),
    ):
        assert not has_closed_form(problem)
        assert not problem.has_exact()
        assert closed_form(problem) is None


def test_nothing_everything_and_the_empty_set() -> None:
    assert exact(torch.zeros(0, 3, dtype=F64)) == 1
    assert exact(torch.zeros(2, 3, dtype=F64), torch.tensor([-1.0, 0], dtype=F64)) == 1
    assert exact(torch.zeros(1, 3, dtype=F64), torch.ones(1, dtype=F64)) == 0
    v = randn(1, 3)
    assert exact(torch.cat([v, -v]), torch.tensor([0.5, 0.5], dtype=F64)) == 0
    assert exact(torch.cat([v, -v])) == 0
    # Also among many conditions which have no closed form otherwise.
    assert (
        exact(torch.cat([randn(5, 9), torch.zeros(1, 9, dtype=F64)]), torch.ones(6).double()) == 0
    )


def test_repeated_normals_count_once() -> None:
    v = randn(2, 5)
    once = exact(v)
    assert exact(torch.cat([v, 3 * v, v])) == pytest.approx(once, rel=1e-14)


def test_on_the_sphere() -> None:
    v = randn(3, 5, seed=2)
    assert exact(v, None, Sphere(5, F64)) == pytest.approx(exact(v), rel=1e-14)


def test_single_precision_comes_back_as_it_came() -> None:
    value = closed_form(HalfspaceIntersection(wedge(1.0).float()))
    assert value is not None
    assert value.dtype == torch.float32


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_whitening(seed: int, k: int) -> None:
    """A general Gaussian gives what the standard one gives for the whitened halfspaces."""
    v, b = randn(k, 4, seed=seed), randn(k, seed=seed + 1) * (k < 3)
    factor, mean = randn(4, 4, seed=seed + 2), randn(4, seed=seed + 3)
    law = ou.Gaussian(mean, factor @ factor.T)
    assert exact(v, b + v @ mean, law) == pytest.approx(exact(v @ factor, b), abs=1e-11)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_gradients(k: int) -> None:
    b = torch.zeros(3, dtype=F64)[:k] if k == 3 else randn(k, seed=1)

    def value(v: Tensor, b: Tensor, mean: Tensor, factor: Tensor) -> Tensor | None:
        # Through the centre, offsets and mean stay put: beside it there is no closed form.
        law = ou.Gaussian(mean if k < 3 else 0 * mean, factor @ factor.T)
        return closed_form(HalfspaceIntersection(v, b if k < 3 else 0 * b, law))

    parts = [randn(k, 4, seed=4), b, randn(4, seed=2) / 4, torch.eye(4) + randn(4, 4, seed=3) / 4]
    parts = [p.double().clone().requires_grad_() for p in parts]
    assert torch.autograd.gradcheck(value, parts, eps=1e-6, atol=1e-8)


def test_offsets_that_the_mean_cancels_are_central_up_to_round_off() -> None:
    v, mean = randn(3, 4), randn(4, seed=3)
    nudged = v @ mean * (1 + 2e-16)
    assert exact(v, nudged, ou.Gaussian(mean)) == pytest.approx(exact(v), abs=1e-14)


@pytest.mark.parametrize("seed", range(40))
def test_opposite_by_a_singular_covariance(seed: int) -> None:
    """x on a line: the normals differ, their v · x do not, up to sign and round-off."""
    rng = np.random.default_rng(seed)
    line, mean = rng.standard_normal(3), rng.standard_normal(3)
    low, high = mean - abs(line), mean + 2 * abs(line)
    law = ou.Gaussian(mean, np.outer(line, line))
    free = np.array([-np.inf, np.inf])
    lower, upper = np.append(low[:2], free[0]), np.append(high[:2], free[1])
    problem = ou.HalfspaceIntersection.from_limits(lower, upper, law)
    for found in (problem.exact(), ou.estimate(problem).value):
        if np.sign(line[0]) == np.sign(line[1]):
            truth = math.erf(2 / math.sqrt(2)) / 2 + math.erf(1 / math.sqrt(2)) / 2
        else:
            truth = math.erf(1 / math.sqrt(2))
        assert found is not None
        assert float(found) == pytest.approx(truth, abs=1e-6)
