"""Derivatives of the fixed point: against finite differences, with respect to all inputs."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.products.halfspaces import oracles
from torch import Tensor

import outsample as ou
from outsample.distributions import Sphere

Array = NDArray[np.float64]
F64 = torch.float64
INF = math.inf
WORDS = [None, "D2", "D3"]


class TestGradients:
    """Derivatives by the implicit function theorem against differences of estimates."""

    @pytest.mark.parametrize("corrections", WORDS)
    def test_all_inputs(self, corrections: str | None) -> None:
        rng = np.random.default_rng(7)
        parts = [rng.standard_normal(s) for s in ((3, 4), (3,), (4,), (4, 4))]

        def value(v: Tensor, b: Tensor, mean: Tensor, root: Tensor) -> Tensor:
            law = ou.Gaussian(mean, root @ root.T + torch.eye(4, dtype=F64))
            problem = ou.HalfspaceIntersection(v, b - 1, law)
            return ou.ExpectationPropagation(corrections).estimate(problem).log_value  # type: ignore

        check(value, parts)

    def test_intervals_and_what_was_dropped(self) -> None:
        rng = np.random.default_rng(8)
        v = rng.standard_normal((2, 3))
        fixed = torch.tensor([-INF, -1.0], dtype=F64)

        def value(v: Tensor, low: Tensor, width: Tensor) -> Tensor:
            rows = torch.cat([v, -v, v[:1], torch.zeros(1, 3, dtype=F64)])
            limits = torch.cat([low, -(low + width.exp()), fixed])
            problem = ou.HalfspaceIntersection(rows, limits)
            return ou.ExpectationPropagation().estimate(problem).value

        check(value, [v, np.array([-0.5, 0.2]), np.array([0.1, -0.4])])

    def test_more_factors_than_dimensions(self) -> None:
        rng = np.random.default_rng(9)

        def value(v: Tensor, b: Tensor) -> Tensor:
            problem = ou.HalfspaceIntersection(v, b - 1.5)
            return ou.ExpectationPropagation().estimate(problem).log_value  # type: ignore

        check(value, [rng.standard_normal((4, 2)), 0.3 * rng.standard_normal(4)])

    def test_on_the_sphere(self) -> None:
        def value(v: Tensor) -> Tensor:
            problem = ou.HalfspaceIntersection(v, None, Sphere(4, F64))
            return ou.ExpectationPropagation().estimate(problem).log_value  # type: ignore

        check(value, [np.random.default_rng(10).standard_normal((3, 4))])

    def test_far_out_where_the_value_underflows(self) -> None:
        b = torch.tensor([50.0, 60.0], dtype=F64, requires_grad=True)
        problem = ou.HalfspaceIntersection(torch.eye(2, dtype=F64), b)
        found = ou.ExpectationPropagation().estimate(problem)
        slope = torch.autograd.grad(found.log_value, b)[0]
        hazard = [-oracles.truncated_moments(z, INF)[1] for z in (50.0, 60.0)]
        torch.testing.assert_close(slope, torch.tensor(hazard, dtype=F64), rtol=1e-9, atol=0)

    def test_none_unless_asked(self) -> None:
        v = torch.eye(3, dtype=F64, requires_grad=True)
        with torch.no_grad():
            found = ou.ExpectationPropagation().estimate(ou.HalfspaceIntersection(v))
        assert not found.value.requires_grad
        assert ou.ExpectationPropagation().estimate(ou.HalfspaceIntersection(v)).value.requires_grad


def check(value: Callable[..., Tensor], parts: list[Array]) -> None:
    arguments = [torch.tensor(p, dtype=F64, requires_grad=True) for p in parts]
    assert torch.autograd.gradcheck(value, arguments, eps=1e-5, atol=1e-6, rtol=1e-5)
