import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from tests.cumulants.test_mean_propagation import all_pairs, turned
from torch import Tensor

import outsample as ou
from outsample.cumulants.advice import CovariancePattern, CovarianceSubspace


def test_size_counts_numbers() -> None:
    assert CovarianceSubspace((turned(7, 3), turned(4, 0), turned(4, 4))).size == 21 + 16
    assert CovariancePattern((all_pairs(4), all_pairs(3)[:1])).size == 12 + 2
    assert CovarianceSubspace(()).size == 0


@given(
    shapes=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), max_size=4),
    third=st.integers(0, 5),
)
@settings(max_examples=25)
def test_subspaces_survive_their_tensors(shapes: list[tuple[int, int]], third: int) -> None:
    advice = CovarianceSubspace(tuple(turned(n, min(n, r)) for n, r in shapes), third)
    again = CovarianceSubspace.from_tensors(advice.tensors())
    assert again.third == third
    assert again.signature() == advice.signature()
    assert all(torch.equal(a, b) for a, b in zip(again.readings, advice.readings, strict=True))


def test_patterns_survive_their_tensors() -> None:
    advice = CovariancePattern((all_pairs(5)[::2], all_pairs(3)[:0]))
    again = CovariancePattern.from_tensors(advice.tensors())
    assert all(torch.equal(a, b) for a, b in zip(again.pairs, advice.pairs, strict=True))


def test_signatures_tell_costs_apart() -> None:
    readings = (turned(6, 3),)
    one, same, other = (
        CovarianceSubspace(readings),
        CovarianceSubspace((turned(6, 3, seed=1),)),
        CovarianceSubspace(readings, third=2),
    )
    assert one.signature() == same.signature() != other.signature()
    assert hash(one.signature()) == hash(same.signature())


@pytest.mark.parametrize(
    ("basis", "message"),
    [
        (torch.ones(4, 2), "not orthonormal: .* off by 4"),
        (2 * turned(4, 2), "not orthonormal"),
        (turned(4, 2) + math.nan, "not orthonormal: .* nan"),
        (turned(4, 2).T, r"shape \(2, 4\).*r <= n"),
        (turned(4, 2)[:, 0], r"shape \(4,\).*matrix"),
        (torch.eye(4, dtype=torch.int64), "int64"),
        (torch.zeros(0, 0), r"shape \(0, 0\)"),
        ("up", "up; expected a floating-point matrix"),
    ],
)
def test_bad_readings(basis: Tensor, message: str) -> None:
    with pytest.raises(ou.InputError, match=rf"readings\[1\].*{message}"):
        CovarianceSubspace((turned(3, 1), basis))


@pytest.mark.parametrize("third", [-1, 1.5, True, None])
def test_bad_third(third: int) -> None:
    with pytest.raises(ou.InputError, match=f"third = {third}"):
        CovarianceSubspace((turned(3, 1),), third)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (torch.tensor([[0, 1], [2, 1]]), r"\[1\] = \[2, 1\]; expected 0 <= i < j"),
        (torch.tensor([[1, 1]]), r"\[0\] = \[1, 1\]"),
        (torch.tensor([[-1, 1]]), r"\[0\] = \[-1, 1\]"),
        (torch.tensor([[0, 1], [0, 2], [0, 1]]), "twice"),
        (torch.tensor([0, 1]), r"shape \(2,\)"),
        (torch.tensor([[0.0, 1.0]]), "float32"),
        ([[0, 1]], "expected an integer matrix"),
    ],
)
def test_bad_pairs(pairs: Tensor, message: str) -> None:
    with pytest.raises(ou.InputError, match=rf"pairs\[0\].*{message}"):
        CovariancePattern((pairs,))


@pytest.mark.parametrize("third", [torch.tensor(1.5), torch.tensor([1, 2]), torch.tensor(-1)])
def test_bad_third_from_a_file(third: Tensor) -> None:
    with pytest.raises(ou.InputError, match="third"):
        CovarianceSubspace.from_tensors({"third": third, "readings_0": turned(3, 1)})


def test_names_that_are_not_advice() -> None:
    with pytest.raises(ou.InputError, match=r"readings_1.*expected third, readings_0"):
        CovarianceSubspace.from_tensors({"third": torch.tensor(0), "readings_1": turned(3, 1)})
    with pytest.raises(ou.InputError, match="expected third"):
        CovarianceSubspace.from_tensors({})
    with pytest.raises(ou.InputError, match="expected pairs_0"):
        CovariancePattern.from_tensors({"pears_0": all_pairs(3)})


def test_advice_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        CovarianceSubspace((turned(3, 1),)).third = 2  # type: ignore[misc]
