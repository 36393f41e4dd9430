import math
from itertools import combinations_with_replacement

import pytest
import torch
from tests.cumulants.brute_force import random_symmetric, symmetrised
from torch import Tensor

from outsample.cumulants.projection import isotropic, traced_core


def trace(tensor: Tensor) -> Tensor:
    """Σ_k T_kk…"""
    return sum((tensor[k, k] for k in range(tensor.shape[0])), torch.zeros(()))


def with_identity(core: Tensor) -> Tensor:
    """Sym(A ⊗ I)."""
    eye = torch.eye(core.shape[0], dtype=torch.float64)
    return symmetrised(torch.tensordot(core, eye, 0))


def basis(order: int, n: int) -> list[Tensor]:
    """Of the symmetric tensors."""
    out: list[Tensor] = []
    for index in combinations_with_replacement(range(n), order):
        one = torch.zeros((n,) * order, dtype=torch.float64)
        one[index] = 1.0
        out.append(symmetrised(one))
    return out


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_projection_is_orthogonal(order: int, n: int) -> None:
    tensor = random_symmetric(order + 2, n, seed=10 * order + n)
    found = with_identity(traced_core(trace(tensor)))
    columns = torch.stack([with_identity(one).flatten() for one in basis(order, n)], 1)
    solution = torch.linalg.lstsq(columns, tensor.flatten()[:, None]).solution
    torch.testing.assert_close(found, (columns @ solution).view_as(tensor), atol=1e-12, rtol=1e-12)
    # what is left has no trace
    zero = torch.zeros_like(trace(tensor))
    torch.testing.assert_close(trace(tensor - found), zero, atol=1e-12, rtol=0)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_what_is_of_the_form_is_kept(order: int, n: int) -> None:
    core = random_symmetric(order, n, seed=n)
    found = traced_core(trace(with_identity(core)))
    torch.testing.assert_close(found, core, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("order", [2, 4, 6])
def test_an_isotropic_tensor_has_its_full_trace(order: int, n: int) -> None:
    given = torch.tensor(-2.3, dtype=torch.float64)
    metric = torch.eye(n, dtype=torch.float64)
    found = isotropic(given, order, metric)
    assert found.order == order
    full = found.dense()
    for _ in range(order // 2):
        full = trace(full)
    torch.testing.assert_close(full, given, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("order", [2, 4, 6])
def test_the_isotropic_tensor_is_an_orthogonal_projection(order: int, n: int) -> None:
    tensor = random_symmetric(order, n, seed=n)
    full = tensor
    for _ in range(order // 2):
        full = trace(full)
    metric = torch.eye(n, dtype=torch.float64)
    found = isotropic(full, order, metric).dense()
    direction = isotropic(torch.ones((), dtype=torch.float64), order, metric).dense()
    share = (tensor * direction).sum() / direction.square().sum()
    torch.testing.assert_close(found, share * direction, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 3, 7])
def test_coefficients_of_the_specification(n: int) -> None:
    # κ_2 ≈ (tr κ_2 / n) I, and κ_4 ≈ 3 Σ κ_iijj / (n (n + 2)) Sym(I ⊗ I)
    metric, one = torch.eye(n, dtype=torch.float64), torch.ones((), dtype=torch.float64)
    torch.testing.assert_close(isotropic(one, 2, metric).dense(), metric / n)
    fourth = isotropic(one, 4, metric).dense()
    assert math.isclose(fourth[0, 0, 0, 0].item(), 3 / (n * (n + 2)))
    if n > 1:
        assert math.isclose(fourth[0, 0, 1, 1].item(), 1 / (n * (n + 2)))
        assert fourth[0, 0, 0, 1].item() == 0.0
