import itertools
import math
import operator
import random
from collections.abc import Callable

import pytest

import outsample as ou
from outsample import argmax, hidden, output
from outsample.catastrophe.detectors.detector import Detector
from outsample.catastrophe.detectors.normal_form import LinearThreshold, Widths, normal_form

WIDTHS = Widths(3, (2, 4))
Point = dict[tuple[int | None, int], float]
Truth = Callable[[Point], bool]


def forms(detector: Detector, widths: Widths = WIDTHS) -> list[list[str]]:
    """Conjunctions as readable text, in order."""
    return [[shown(t) for t in parts] for parts in normal_form(detector, widths)]


def shown(threshold: LinearThreshold) -> str:
    row = " ".join(f"{weight:+g}*{unit}" for unit, weight in threshold.row)
    return f"{row} {'>' if threshold.strict else '>='} {threshold.value:g}"


def test_a_single_threshold() -> None:
    assert forms(output[1] > 2) == [["+1*output[1] > 2"]]
    assert forms(output[1] <= 2) == [["-1*output[1] >= -2"]]
    assert forms(2 * output[-1] - output[0] < 3) == [["+0.5*output[0] -1*output[2] > -1.5"]]
    assert forms(hidden[-1][-2] >= 1) == [["+1*hidden[1][2] >= 1"]]


def test_argmax_is_a_conjunction_of_differences() -> None:
    assert forms(argmax(margin=2) == 0) == [
        ["+1*output[0] -1*output[1] > 2", "+1*output[0] -1*output[2] > 2"]
    ]
    assert forms(argmax() != 0) == [
        ["-1*output[0] +1*output[1] >= 0"],
        ["-1*output[0] +1*output[2] >= 0"],
    ]
    assert forms(argmax() == -1, Widths(2, ())) == [["-1*output[0] +1*output[1] > 0"]]


def test_multiples_of_a_functional_are_one() -> None:
    a = output[0] > 1
    assert forms(a & (2 * output[0] > 2) & (output[0] >= 1) & (-output[0] < -0.5)) == forms(a)
    assert forms(a | (3 * output[0] > 3) | (output[0] > 2)) == forms(a)
    assert forms((0.1 * output[0] + 0.3 * output[1] > 1) | (output[0] + 3 * output[1] > 10)) == (
        forms(output[0] / 3 + output[1] > 10 / 3)
    )


def test_weights_keep_all_their_digits() -> None:
    ((threshold,),) = normal_form(output[0] - output[1] / 3 > 1, WIDTHS)
    assert [weight for _, weight in threshold.row] == [1.0, -1 / 3]


def test_contradictions_are_impossible_and_complements_certain() -> None:
    a, b = output[0] > 1, output[1] > 1
    impossible, certain = [], [[]]
    assert forms(a & ~a) == impossible
    assert forms((output[0] >= 1) & (output[0] <= 1)) == [
        ["+1*output[0] >= 1", "-1*output[0] >= -1"]
    ]
    assert forms(a & (output[0] < 1)) == impossible
    assert forms(a | ~a) == certain
    assert forms(~a | (output[0] > 0)) == certain
    assert forms((output[0] > 1) | (output[0] < 1)) != certain  # an atom may lie at 1
    assert forms((a & b) | ~a | ~b) != impossible
    assert forms((a & ~a) | b) == forms(b)
    assert forms((a | ~a) & b) == forms(b)


def test_what_does_not_depend_on_the_input_is_decided() -> None:
    nothing = output[0] - output[0]
    for detector, certain in (
        (nothing > -1, True),
        (nothing > 0, False),
        (nothing >= 0, True),
        (nothing < 1, True),
        (nothing < 0, False),
        (output[0] - output[-3] <= 0, True),
        (output[0] > -math.inf, True),
        (output[0] > math.inf, False),
        (output[0] >= math.inf, False),
        (output[0] < math.inf, True),
        (output[0] <= -math.inf, False),
    ):
        assert forms(detector) == ([[]] if certain else []), detector


def test_conjunctions_within_others_are_left_out() -> None:
    a, b = output[0] > 1, output[1] > 1
    assert forms((a & b) | a) == forms(a | (a & b)) == forms(a)
    assert forms(a & (a | b)) == forms(a)


@pytest.mark.parametrize("seed", range(60))
def test_random_detectors_say_the_same_as_their_normal_form(seed: int) -> None:
    """Against direct evaluation, at integer points so that thresholds are met exactly."""
    rng = random.Random(seed)
    detector, truth = tree(rng, depth=3)
    found = normal_form(detector, WIDTHS)
    units = [(None, i) for i in range(3)] + [(0, 0), (1, 3)]
    for _ in range(200):
        point: Point = {unit: float(rng.randint(-2, 2)) for unit in units}
        assert any(all(holds(t, point) for t in parts) for parts in found) == truth(point)


def holds(threshold: LinearThreshold, point: Point) -> bool:
    value = sum(weight * point[unit.layer, unit.place] for unit, weight in threshold.row)
    return value > threshold.value if threshold.strict else value >= threshold.value


def tree(rng: random.Random, depth: int) -> tuple[Detector, Truth]:
    """A random detector, and what it says of a point."""
    kind = rng.choice(("threshold", "argmax") if depth == 0 else ("and", "or", "not", "threshold"))
    if kind == "not":
        part, says = tree(rng, depth - 1)
        return ~part, lambda point: not says(point)
    if kind in ("and", "or"):
        (one, first), (other, second) = tree(rng, depth - 1), tree(rng, depth - 1)
        if kind == "and":
            return one & other, lambda point: first(point) and second(point)
        return one | other, lambda point: first(point) or second(point)
    if kind == "argmax":
        place, margin = rng.randrange(3), rng.choice((0, 1))
        return argmax(margin) == place, lambda point: all(
            point[None, place] - point[None, other] > margin for other in range(3) if other != place
        )
    compare = rng.choice((operator.gt, operator.ge, operator.lt, operator.le))
    limit, scale = rng.randint(-2, 2), rng.choice((1, -1, 2, -4))
    one, other = rng.sample([(None, 0), (None, 1), (None, 2), (0, 0), (1, 3)], 2)
    quantity = scale * (at(one) - at(other)) if rng.random() < 0.5 else scale * at(one)
    both = len(quantity.terms) == 2
    return compare(quantity, limit), lambda point: compare(
        scale * (point[one] - (point[other] if both else 0)), limit
    )


def at(unit: tuple[int | None, int]):
    return output[unit[1]] if unit[0] is None else hidden[unit[0]][unit[1]]


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        (output[3] > 0, r"output\[3\]: the network has 3 outputs"),
        (output[-4] > 0, r"output\[-4\]: the network has 3 outputs"),
        (hidden[2][0] > 0, r"hidden\[2\]\[0\]: the network has 2 activation steps"),
        (hidden[0][2] > 0, r"hidden\[0\]\[2\]: the network has 2 units in that layer"),
        (argmax() == 3, r"output\[3\]: the network has 3 outputs"),
    ],
)
def test_what_the_network_does_not_have_is_refused(detector: Detector, message: str) -> None:
    with pytest.raises(ou.InputError, match=message):
        normal_form(detector, WIDTHS)


def test_argmax_takes_two_outputs() -> None:
    with pytest.raises(ou.InputError, match="the network has one output"):
        normal_form(argmax() == 0, Widths(1, ()))


def test_too_many_conjunctions_are_refused() -> None:
    pairs = [(output[2 * i] > 0) | (output[2 * i + 1] > 0) for i in range(7)]
    wide = Widths(14, ())
    six = pairs[0] & pairs[1] & pairs[2] & pairs[3] & pairs[4] & pairs[5]
    assert len(normal_form(six, wide)) == 64
    with pytest.raises(ou.UnsupportedProblem, match="more than 64 conjunctions"):
        normal_form(six & pairs[6], wide)


def test_exactly_one_of_three() -> None:
    parts = [output[i] > 0 for i in range(3)]
    one = [parts[i] & ~parts[j] & ~parts[k] for i, j, k in ((0, 1, 2), (1, 0, 2), (2, 0, 1))]
    found = normal_form(one[0] | one[1] | one[2], WIDTHS)
    for signs in itertools.product((-1.0, 1.0), repeat=3):
        point: Point = {(None, i): sign for i, sign in enumerate(signs)}
        said = any(all(holds(t, point) for t in conjunction) for conjunction in found)
        assert said == (signs.count(1.0) == 1)
