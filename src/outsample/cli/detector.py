"""Detectors from text, without running any of it: ``(output[0] > 1) & ~(hidden[0][5] > 2)``."""

import ast
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from outsample.errors import InputError

if TYPE_CHECKING:
    from outsample.catastrophe import Detector

_LONGEST, _LARGEST = 2000, 10**15
_GRAMMAR = (
    "expected comparisons such as output[0] - 2 * output[1] > 3, hidden[0][5] <= 1 or "
    "argmax(margin=2) == 7, combined with & | ~ and parentheses"
)
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
_EVENTS: dict[type, Callable[[Any, Any], Any]] = {
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
}
_RELATIONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def parse_detector(text: str) -> "Detector":
    """The detector that ``text`` describes, in the words that detectors have in Python.

    The text is parsed, never run: anything but outputs, hidden units, numbers, ``argmax``, sums,
    products, comparisons and ``&``, ``|``, ``~`` is refused.

    Raises:
        InputError: for texts that are no detector, naming the part that is at fault.

    Example:
        >>> parse_detector("(output[0] > 3) & ~(argmax(margin=1) == 2)")
        (output[0] > 3) & (~(argmax(margin=1) == 2))
    """
    from outsample.catastrophe import Detector

    if len(text) > _LONGEST:
        raise InputError(f"detector: {len(text)} characters; expected at most {_LONGEST}")
    try:
        found = _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"detector {text[:80]!r} cannot be read; {_GRAMMAR}") from error
    if not isinstance(found, Detector):
        raise InputError(f"detector {text[:80]!r} is no event; {_GRAMMAR}")
    return found


def _value(node: ast.expr) -> Any:
    """What a part stands for: a number, a quantity, an argmax or a detector."""
    from outsample.catastrophe import argmax, hidden, output

    match node:
        case ast.Constant(value=int() | float() as number) if _is_number(number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=part):
            return operator.neg(_operand(part, node))
        case ast.UnaryOp(op=ast.Invert(), operand=part):
            return operator.invert(_event(part, node))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _ARITHMETIC[type(op)](_operand(left, node), _operand(right, node))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _EVENTS:
            return _EVENTS[type(op)](_event(left, node), _event(right, node))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _RELATIONS:
            sides = _value(left), _value(right)
            if not any(_is_compared(side) for side in sides):
                raise _refused(node)
            return _RELATIONS[type(op)](*sides)
        case ast.Subscript(value=ast.Name(id="output"), slice=place):
            return output[_index(place)]
        case ast.Subscript(
            value=ast.Subscript(value=ast.Name(id="hidden"), slice=layer), slice=place
        ):
            return hidden[_index(layer)][_index(place)]
        case ast.Call(func=ast.Name(id="argmax"), args=[], keywords=[]):
            return argmax()
        case ast.Call(
            func=ast.Name(id="argmax"), args=[], keywords=[ast.keyword(arg="margin", value=margin)]
        ):
            return argmax(_value(margin))
        case _:
            raise _refused(node)


def _operand(part: ast.expr, whole: ast.expr) -> Any:
    """What can be added and multiplied: a number or a quantity."""
    from outsample.catastrophe.detectors import Quantity

    found = _value(part)
    if not isinstance(found, Quantity) and not _is_number(found):
        raise _refused(whole)
    return found


def _event(part: ast.expr, whole: ast.expr) -> Any:
    """A detector; quantities pass, because their own message on ``&`` is the more helpful."""
    from outsample.catastrophe.detectors import Detector, Quantity

    found = _value(part)
    if not isinstance(found, Detector | Quantity):
        raise _refused(whole)
    return found


def _is_compared(value: object) -> bool:
    """Whether comparing it can give a detector."""
    from outsample.catastrophe.detectors import Detector, Quantity

    return not _is_number(value) and (
        isinstance(value, Quantity) or not isinstance(value, Detector)
    )


def _is_number(value: object) -> bool:
    """An integer or a float, small enough to be compared with floats."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) < _LARGEST


def _index(node: ast.expr) -> int:
    value = _value(node)
    if not isinstance(value, int):
        raise _refused(node)
    return value


def _refused(node: ast.expr) -> InputError:
    return InputError(f"detector: cannot take {ast.unparse(node)[:80]!r}; {_GRAMMAR}")
