import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from tests.cumulants.brute_force import (
    compositions,
    pushed,
    random,
    random_symmetric,
    sliced,
    symmetrised,
)
from torch import Tensor

from outsample.cumulants.symmetric import (
    Dense,
    Powers,
    SymmetricTensor,
    Traced,
    along,
    placed,
)

N = 3
METRIC = random_symmetric(2, N, seed=20)
OTHER_METRIC = random_symmetric(2, N, seed=21)


def outer(*tensors: Tensor) -> Tensor:
    out = torch.ones((), dtype=torch.float64)
    for tensor in tensors:
        out = torch.tensordot(out, tensor, 0)
    return out


def powers(legs: int, columns: Tensor | None) -> tuple[SymmetricTensor, Tensor]:
    rank = N if columns is None else columns.shape[1]
    values, a = random(rank, seed=legs), torch.eye(N).double() if columns is None else columns
    plain = sum((values[r] * outer(*[a[:, r]] * legs) for r in range(rank)), torch.zeros(()))
    return Powers(legs, values, columns), plain


def cases() -> dict[str, tuple[SymmetricTensor, Tensor]]:
    """A representation, and the same tensor built entry by entry."""
    found: dict[str, tuple[SymmetricTensor, Tensor]] = {}
    for order in (2, 3, 4, 5):
        tensor = random_symmetric(order, N, seed=order)
        found[f"dense {order}"] = Dense(tensor), tensor
    for order in (1, 2, 3, 4):
        core = random_symmetric(order, N, seed=order)
        found[f"traced {order + 2}"] = (
            Traced(Dense(core), METRIC),
            symmetrised(outer(core, METRIC)),
        )
    scalar = torch.tensor(1.7, dtype=torch.float64)
    twice = Traced(Traced(Dense(scalar), METRIC), METRIC)
    found["isotropic 4"] = twice, symmetrised(1.7 * outer(METRIC, METRIC))
    thrice = Traced(twice, METRIC)
    found["isotropic 6"] = thrice, symmetrised(1.7 * outer(METRIC, METRIC, METRIC))
    mixed = Traced(Traced(Dense(random(N, seed=5)), METRIC), OTHER_METRIC)
    found["two metrics 5"] = mixed, symmetrised(outer(random(N, seed=5), METRIC, OTHER_METRIC))
    for order in (3, 4):
        found[f"powers {order}"] = powers(order, random(N, 5, seed=9))
        found[f"independent {order}"] = powers(order, None)
    found["traced powers 5"] = (
        Traced(powers(3, None)[0], METRIC),
        symmetrised(outer(powers(3, None)[1], METRIC)),
    )
    return found


CASES = cases()


def close(found: Tensor, expected: Tensor) -> None:
    size = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found, expected, atol=1e-13 * size, rtol=1e-12)


@pytest.fixture(params=CASES, ids=CASES.keys())
def case(request: pytest.FixtureRequest) -> tuple[SymmetricTensor, Tensor]:
    return CASES[request.param]


def test_all_entries(case: tuple[SymmetricTensor, Tensor]) -> None:
    found, plain = case
    assert found.order == plain.dim()
    close(found.dense(), plain)


def test_slices(case: tuple[SymmetricTensor, Tensor]) -> None:
    found, plain = case
    for multiplicities in compositions(found.order):
        close(found.slice(multiplicities), sliced(plain, multiplicities))


@pytest.mark.parametrize("out", [1, 2, 3, 4])
def test_through_a_linear_map(case: tuple[SymmetricTensor, Tensor], out: int) -> None:
    found, plain = case
    weight = random(out, N, seed=out)
    image, expected = found.through(weight), pushed(plain, weight)
    assert image.order == found.order
    close(image.dense(), expected)
    # and once more: what it is now is a cumulant like any other
    again = random(2, out, seed=out + 10)
    close(image.through(again).dense(), pushed(expected, again))
    for multiplicities in compositions(found.order):
        close(image.slice(multiplicities), sliced(expected, multiplicities))


def test_scaling_the_neurons(case: tuple[SymmetricTensor, Tensor]) -> None:
    found, plain = case
    factors = random(N, seed=30)
    close(found.scaled(factors).dense(), pushed(plain, torch.diag(factors)))


def test_the_last_leg_against_weights(case: tuple[SymmetricTensor, Tensor]) -> None:
    found, plain = case
    vector = random(N, seed=33)
    close(found.contracted(vector), plain @ vector)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name][1].dim() == 3])
def test_third_cumulants_against_a_matrix(name: str) -> None:
    found, plain = CASES[name]
    matrix, vector = random(N, N, seed=31), random(N, seed=32)
    close(found.against(matrix), torch.einsum("ijk,ik->ij", plain, matrix))
    close(found.against(vector), torch.einsum("ijk,k->ij", plain, vector))


def test_operations_leave_their_operand_alone(case: tuple[SymmetricTensor, Tensor]) -> None:
    found, plain = case
    for multiplicities in compositions(found.order):
        found.slice(multiplicities)
    found.through(random(2, N, seed=1))
    found.scaled(random(N, seed=2))
    close(found.dense(), plain)
    close(CASES["dense 2"][0].dense(), random_symmetric(2, N, seed=2))


@settings(max_examples=50)
@given(order=st.integers(1, 4), n=st.integers(1, 3), seed=st.integers(0, 2**31 - 1))
def test_a_trace_of_traces(order: int, n: int, seed: int) -> None:
    # Sym(A ⊗ G) summed against a vector on every leg is (A summed so) · vᵀ G v.
    core = random_symmetric(order, n, seed)
    metric, vector = random_symmetric(2, n, seed + 1), random(n, seed=seed + 2)
    found = Traced(Dense(core), metric).through(vector[None]).dense().item()
    expected = pushed(core, vector[None]).item() * float(vector @ metric @ vector)
    assert math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12)


def test_placing_axes() -> None:
    matrix = random(2, 3, seed=0)
    assert placed(matrix, (0, 2), 3).shape == (2, 1, 3)
    assert torch.equal(placed(matrix, (0, 2), 3)[:, 0], matrix)
    assert placed(matrix, (0, 1), 2) is matrix
    vector = random(4, seed=1)
    assert along(vector, 1, 3).shape == (1, 4, 1)
    assert along(vector, 0, 1).shape == (4,)
