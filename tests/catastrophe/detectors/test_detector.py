import math

import pytest

import outsample as ou
from outsample import argmax, output

A, B, C = output[0] > 1, output[1] <= 2, output[2] < 3


def test_combinations_are_shown_as_they_are_written() -> None:
    assert repr(A & B | C) == "((output[0] > 1) & (output[1] <= 2)) | (output[2] < 3)"
    assert repr(A & B & C) == repr(A & (B & C))
    assert repr(argmax(margin=2) == 7) == "argmax(margin=2) == 7"
    assert repr(argmax() != 7) == "~(argmax() == 7)"


def test_negation_goes_inside() -> None:
    assert repr(~A) == "output[0] <= 1"
    assert repr(~(A & ~B)) == "(output[0] <= 1) | (output[1] <= 2)"
    assert repr(~(A | (argmax() == 1))) == "(output[0] <= 1) & (~(argmax() == 1))"
    assert repr(~~(argmax() == 1)) == "argmax() == 1"


def test_detectors_have_no_truth_value() -> None:
    for detector in (A, A & B, A | B, argmax() == 1, ~(argmax() == 1)):
        with pytest.raises(ou.InputError, match="has no truth value"):
            bool(detector)
    with pytest.raises(ou.InputError, match=r"with & \| ~ instead of and"):
        _ = A and B
    with pytest.raises(ou.InputError, match="no truth value"):
        _ = not A
    with pytest.raises(ou.InputError, match="compare it"):
        bool(argmax())


@pytest.mark.parametrize("other", [True, 1.0, output[0], None])
def test_detectors_combine_with_detectors_only(other: object) -> None:
    for combine in (lambda: A & other, lambda: A | other, lambda: other & A, lambda: other | A):
        with pytest.raises(ou.InputError, match=r"expected a detector|in parentheses"):
            combine()


@pytest.mark.parametrize("margin", [-1.0, math.nan, math.inf, "2", True, None])
def test_a_margin_is_a_number_of_at_least_zero(margin: object) -> None:
    with pytest.raises(ou.InputError, match="margin = "):
        argmax(margin=margin)


@pytest.mark.parametrize("place", [1.0, True, "7", None])
def test_a_class_is_an_integer(place: object) -> None:
    with pytest.raises(ou.InputError, match="expected a class"):
        _ = argmax() == place
