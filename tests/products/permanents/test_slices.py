"""The row step against least squares on slices; the fast sweeps against the general one."""

import math

import numpy as np
import pytest
import torch
from tests.products.permanents import oracles

from outsample.products.permanents import slices
from outsample.products.permanents.slices import (
    sweep,
    sweep_constant,
    sweep_linear,
    sweep_quadratic,
)
from outsample.products.permanents.subsets import levels

KINDS = list(oracles.matrices(1))


def value(found: tuple[float, float]) -> float:
    return found[0] * math.exp(found[1])


@pytest.mark.parametrize("n", range(1, 8))
@pytest.mark.parametrize("kind", KINDS)
def test_least_squares_on_slices(n: int, kind: str) -> None:
    matrix = oracles.matrices(n)[kind]
    for degree in range(n // 2 + 1):
        expected = oracles.projected(matrix, degree)
        assert value(sweep(matrix, degree)) == pytest.approx(expected, rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("n", range(1, 8))
@pytest.mark.parametrize("kind", KINDS)
def test_exact_at_half_the_size(n: int, kind: str) -> None:
    matrix = oracles.matrices(n, seed=1)[kind]
    scale = oracles.average(np.abs(matrix))
    exact = oracles.average(matrix)
    assert value(sweep(matrix, n // 2)) == pytest.approx(exact, abs=1e-12 * scale)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [3, 4, 5, 6, 9, 25, 60])
def test_fast_sweeps_are_the_general_one(n: int, kind: str) -> None:
    matrix = oracles.matrices(n)[kind]
    matrix = matrix / np.abs(matrix).mean(1, keepdims=True)
    fast = [sweep_constant, sweep_linear, *([sweep_quadratic] if n >= 5 else [])]
    for degree, kernel in enumerate(fast):
        (a, log), (b, other) = kernel(matrix), sweep(matrix, degree)
        assert a * math.exp(log - other) == pytest.approx(b, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_tensors_give_what_arrays_give(degree: int) -> None:
    matrix = oracles.matrices(12)["uniform"]
    expected = value(sweep(matrix, degree))
    a, log = sweep(torch.from_numpy(matrix), degree)
    assert float(a) * math.exp(log) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(("n", "degree"), [(1, 0), (3, 1), (4, 2), (6, 2), (7, 3), (9, 1)])
def test_gradients(n: int, degree: int) -> None:
    def average(matrix: torch.Tensor) -> torch.Tensor:
        a, log = sweep(matrix, degree)
        return a * math.exp(log)

    matrix = torch.from_numpy(oracles.matrices(n)["signed"]).requires_grad_()
    assert torch.autograd.gradcheck(average, matrix)


def test_second_derivatives() -> None:
    matrix = torch.from_numpy(oracles.matrices(5)["uniform"]).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda a: sweep(a, 1)[0], matrix)


def test_recomputed_blocks_give_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = torch.from_numpy(oracles.matrices(17)["uniform"]).requires_grad_()
    gradients = []
    for kept in (1 << 28, 0):
        monkeypatch.setattr(slices, "_KEPT_BYTES", kept)
        a, _ = sweep(matrix, 2)
        gradients.append(torch.autograd.grad(a.log(), matrix)[0])
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kernel", [sweep_constant, sweep_linear, sweep_quadratic])
def test_long_products_stay_in_range(kernel: object) -> None:
    # Rows of mean 1, with the permanent of all ones: 900 factors of 1e-3 would underflow.
    n = 300
    a, log = kernel(np.full((n, n), 1e-3))  # type: ignore[operator]
    assert math.log(a) + log == pytest.approx(n * math.log(1e-3), rel=1e-12)


@pytest.mark.parametrize("kernel", [sweep_linear, sweep_quadratic])
def test_the_state_may_leave_degree_0(kernel: object) -> None:
    # Rows of mean 0 empty the constant again and again; a row that is 1e-200 times as large makes
    # the answer so much smaller, and no digit worse.
    matrix = np.ones((40, 40))
    draws = np.random.default_rng(4).random((20, 40))
    matrix[::2] = draws - draws.mean(1, keepdims=True)
    (a, log), expected = kernel(matrix), kernel(matrix)  # type: ignore[operator]
    matrix[::4] *= 1e-30
    (b, other) = kernel(matrix)  # type: ignore[operator]
    assert a == expected[0] != 0
    assert math.copysign(1, a) == math.copysign(1, b)
    shift = math.log(abs(b)) + other - math.log(abs(a)) - log
    assert shift == pytest.approx(-300 * math.log(10), rel=1e-12)


@pytest.mark.parametrize(("n", "degree"), [(1, 0), (4, 2), (6, 3), (9, 4)])
def test_tables_of_subsets(n: int, degree: int) -> None:
    tables = levels(n, degree)
    before = [()]
    for table in tables:
        subsets = [tuple(int(q) for q in row) for row in np.stack(table.elements, 1)]
        assert len(set(subsets)) == math.comb(n, len(subsets[0]))
        assert all(tuple(sorted(s)) == s for s in subsets)
        for r, face in enumerate(table.faces):
            assert all(before[f] == s[:r] + s[r + 1 :] for s, f in zip(subsets, face, strict=True))
        for p, row in zip(before, table.cofaces, strict=True):
            assert {subsets[c] for c in row} == {s for s in subsets if set(p) < set(s)}
        before = subsets


def test_up_and_down_are_transposes() -> None:
    draws = np.random.default_rng(0)
    for table in levels(7, 3):
        f, g = draws.random(table.cofaces.shape[0]), draws.random(len(table.elements[0]))
        assert table.up(f) @ g == pytest.approx(f @ table.down(g))
