"""The problem: forms it takes, what it refuses, what it says of itself."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import outsample as ou
from outsample.distributions import Sphere
from outsample.products.halfspaces import HalfspaceIntersection

F64 = torch.float64
INF = math.inf


def law(n: int = 3, seed: int = 0) -> ou.Gaussian:
    g = torch.Generator().manual_seed(seed)
    factor = torch.randn(n, n, generator=g, dtype=F64)
    return ou.Gaussian(torch.randn(n, generator=g, dtype=F64), factor @ factor.T)


def test_it_is_an_indicator() -> None:
    problem = HalfspaceIntersection(np.array([[1.0, 0], [1, 1]]), np.array([0.5, 1.0]))
    x = torch.tensor([[0.5, 0.5], [0.4, 2.0], [2.0, -1.5], [3.0, 0.0]], dtype=F64)
    assert problem(x).tolist() == [1, 0, 0, 1]
    assert problem(x).dtype == F64
    assert problem.output_shape == ()


def test_defaults() -> None:
    problem = HalfspaceIntersection(torch.ones(2, 3))
    assert problem.offsets.tolist() == [0, 0]
    assert isinstance(problem.inputs, ou.Gaussian)
    assert torch.equal(problem.inputs.covariance, torch.eye(3))
    assert problem.dtype == torch.float32
    assert problem.describe() == "HalfspaceIntersection of 2 in 3 dimensions"


def test_the_law_follows_the_normals() -> None:
    problem = HalfspaceIntersection(torch.ones(1, 3), None, law())
    assert problem.inputs.dtype == torch.float32


def test_no_halfspace_holds_everything() -> None:
    problem = HalfspaceIntersection(torch.zeros(0, 3, dtype=F64))
    assert problem(torch.zeros(2, 3, dtype=F64)).tolist() == [1, 1]
    assert problem.has_exact()
    assert problem.exact() == 1


def test_inequalities() -> None:
    a, c = np.array([[1.0, 2.0], [0.0, -1.0]]), np.array([1.0, INF])
    problem = HalfspaceIntersection.from_inequalities(a, c)
    x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-9.0, 4.0]], dtype=F64)
    assert problem(x).tolist() == [1, 0, 1]
    assert float(problem.exact()) == pytest.approx(0.5 * math.erfc(-1 / 10**0.5), rel=1e-14)


def test_limits() -> None:
    lower, upper = np.array([-1.0, -INF, 0.0]), np.array([1.0, 2.0, INF])
    problem = HalfspaceIntersection.from_limits(lower, upper, ou.Gaussian.standard(3, F64))
    assert problem.normals.shape == (4, 3)
    x = torch.tensor([[0, 0, 1], [1.5, 0, 1], [0, 3, 1], [0, 0, -1], [-1, 2, 0]], dtype=F64)
    assert problem(x).tolist() == [1, 0, 0, 0, 1]
    for one_sided, signs in (((lower, None), 1), ((None, upper), -1)):
        part = HalfspaceIntersection.from_limits(*one_sided, ou.Gaussian.standard(3, F64))
        assert bool((part.normals.sum(1) == signs).all())
    none = HalfspaceIntersection.from_limits(None, None, ou.Gaussian.standard(3))
    assert none.normals.shape == (0, 3)


def test_crossed_limits_hold_nothing() -> None:
    problem = HalfspaceIntersection.from_limits(
        np.array([1.0, 0.0]), np.array([0.5, 1.0]), ou.Gaussian.standard(2, F64)
    )
    assert problem.exact() == 0
    for method in (ou.ExpectationPropagation(), ou.CommonDirection()):
        found = method.estimate(problem)
        assert (float(found.value), found.trust) == (0.0, "ok")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((np.ones(3),), r"normals has shape \(3,\)"),
        ((np.ones((2, 0)),), "n >= 1"),
        ((np.ones((2, 3), dtype=complex),), "complex"),
        ((torch.ones(2, 3, dtype=torch.int64),), "int64"),
        ((np.array([[1.0, np.nan]]),), "non-finite"),
        ((np.array([[1.0, np.inf]]),), "non-finite"),
        ((np.ones((2, 3)), np.zeros(3)), r"offsets has shape \(3,\)"),
        ((np.ones((2, 3)), np.array([0.0, np.nan])), r"offsets\[1\] is NaN"),
        ((np.ones((2, 3)), np.array([0.0, np.inf])), "offsets has an entry of inf"),
        ((np.ones((2, 3)), torch.zeros(2)), "float32"),
        ((np.ones((2, 3)), None, ou.Gaussian.standard(2)), "2 entries, the normals have 3"),
        ((np.ones((2, 3)), None, "normal"), "str"),
        ((np.ones((2, 3)), np.array([0.0, 0.1]), Sphere(3, F64)), "sphere"),
    ],
)
def test_refusals(given: tuple[object, ...], words: str) -> None:
    with pytest.raises(ou.InputError, match=words):
        HalfspaceIntersection(*given)  # type: ignore[arg-type]


def test_refusals_of_the_other_forms() -> None:
    normal = ou.Gaussian.standard(2, F64)
    limits = HalfspaceIntersection.from_limits
    with pytest.raises(ou.InputError, match="expected a Gaussian"):
        limits(None, None, Sphere(2, F64))  # type: ignore[arg-type]
    with pytest.raises(ou.InputError, match="lower has an entry of inf"):
        limits(np.array([INF, 0]), None, normal)
    with pytest.raises(ou.InputError, match="upper has an entry of -inf"):
        limits(None, np.array([-INF, 0]), normal)
    with pytest.raises(ou.InputError, match=r"upper\[0\] is NaN"):
        limits(None, np.array([np.nan, 0]), normal)
    with pytest.raises(ou.InputError, match=r"lower has shape \(3,\)"):
        limits(np.zeros(3), None, normal)
    with pytest.raises(ou.InputError, match="matrix"):
        HalfspaceIntersection.from_inequalities(np.array([[np.nan]]), np.zeros(1))
    with pytest.raises(ou.InputError, match="upper"):
        HalfspaceIntersection.from_inequalities(np.ones((1, 1)), np.zeros(2))


def test_a_sphere_takes_zero_offsets() -> None:
    v = np.random.default_rng(0).standard_normal((2, 4))
    on_sphere = HalfspaceIntersection(v, np.zeros(2), Sphere(4, F64))
    assert float(on_sphere.exact()) == pytest.approx(float(HalfspaceIntersection(v).exact()))


def test_what_it_says_of_itself() -> None:
    first, second = (HalfspaceIntersection(torch.ones(2, 3), None, g) for g in (None, law()))
    assert first.signature() != second.signature()
    assert first.signature() == HalfspaceIntersection(torch.zeros(2, 3)).signature()
    assert float(first.variance_given(torch.tensor(0.25))) == 0.1875
    assert [tuple(t.shape) for t in second.tensors()] == [(2, 3), (2,), (3,), (3, 3)]


def test_gradients_go_through_the_forms() -> None:
    limit = torch.tensor([0.3, INF], dtype=F64, requires_grad=True)
    normal = ou.Gaussian.standard(2, F64)
    value = HalfspaceIntersection.from_limits(None, limit, normal).exact()
    assert isinstance(value, Tensor)
    value.backward()
    density = math.exp(-0.045) / math.sqrt(2 * math.pi)
    assert limit.grad is not None
    assert limit.grad.tolist() == pytest.approx([density, 0.0])
