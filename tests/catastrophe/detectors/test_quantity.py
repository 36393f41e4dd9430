import math

import numpy as np
import pytest
import torch

import outsample as ou
from outsample import hidden, output


def test_arithmetic_is_shown_as_it_is_written() -> None:
    quantity = 2 * output[0] - hidden[1][4] / 2 + 1
    assert repr(quantity) == "2 * output[0] - 0.5 * hidden[1][4] + 1"
    assert repr(-output[3]) == "-output[3]"
    assert repr(1 - output[3]) == "-output[3] + 1"
    assert repr(+output[-1]) == "output[-1]"


def test_comparisons_move_constants_to_the_right() -> None:
    assert repr(2 * output[0] + 1 > 5) == "2 * output[0] > 4"
    assert repr(output[0] + 1 <= output[1] - 3) == "output[0] - output[1] <= -4"


@pytest.mark.parametrize("limit", [np.float64(2), np.int64(2), torch.tensor(2.0), 2])
def test_numbers_of_any_library_stand_on_either_side(limit: object) -> None:
    assert repr(output[0] >= limit) == "output[0] >= 2"
    assert repr(limit >= output[0]) == "output[0] <= 2"
    assert repr(limit * output[0]) == "2 * output[0]"


@pytest.mark.parametrize("limit", [math.inf, -math.inf])
def test_thresholds_may_be_infinite(limit: float) -> None:
    assert (output[0] > limit).value == limit


def test_equality_is_refused_with_a_hint() -> None:
    with pytest.raises(ou.InputError, match="probability 0"):
        _ = output[0] == 1.0
    with pytest.raises(ou.InputError, match="probability 0"):
        _ = output[0] != 1.0


def test_chained_comparisons_are_refused() -> None:
    with pytest.raises(ou.InputError, match=r"write 1 < output\[0\] < 2 as"):
        _ = 1 < output[0] < 2
    with pytest.raises(ou.InputError, match="no truth value"):
        bool(output[0])


def test_forgotten_parentheses_are_named() -> None:
    with pytest.raises(ou.InputError, match="put every comparison in parentheses"):
        _ = output[0] > 1 & output[1] > 2
    with pytest.raises(ou.InputError, match="put every comparison in parentheses"):
        _ = output[0] > 1 | output[1] > 2
    with pytest.raises(ou.InputError, match="compare it first"):
        _ = ~output[0]


@pytest.mark.parametrize("value", [math.nan, "2", None, True, [1.0], torch.ones(1), 1j])
def test_only_numbers_are_compared(value: object) -> None:
    with pytest.raises(ou.InputError, match="cannot compare with"):
        _ = output[0] > value


def test_only_finite_numbers_are_added_and_multiplied() -> None:
    with pytest.raises(ou.InputError, match="cannot multiply with inf"):
        _ = output[0] * math.inf
    with pytest.raises(ou.InputError, match="cannot add nan"):
        _ = output[0] + math.nan
    with pytest.raises(ou.InputError, match="must be finite"):
        _ = output[0] * 1e200 * 1e200
    with pytest.raises(ou.InputError, match="other than 0"):
        _ = output[0] / 0
    with pytest.raises(ou.InputError, match="put a detector that is not linear behind"):
        _ = output[0] * output[1]
    with pytest.raises(ou.InputError, match="plain numbers"):
        _ = output[0] > torch.tensor(1.0, requires_grad=True)


@pytest.mark.parametrize("index", [1.0, slice(2), None, (0, 1), True])
def test_indices_are_integers(index: object) -> None:
    for place in (output, hidden, hidden[0]):
        with pytest.raises(ou.InputError, match="expected one integer"):
            place[index]


def test_all_outputs_at_once_are_no_quantity() -> None:
    with pytest.raises(ou.InputError, match="say which one"):
        _ = output > 2
    with pytest.raises(ou.InputError, match=r"as in hidden\[1\]\[0\]"):
        _ = hidden[1] > 2
    for endless in (output, hidden, hidden[0]):
        with pytest.raises(TypeError, match="not iterable"):
            list(endless)
