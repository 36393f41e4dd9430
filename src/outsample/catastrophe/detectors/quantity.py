"""Linear functionals of a network's outputs and hidden units, which detectors compare."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, SupportsFloat, cast

import numpy as np
from torch import Tensor

from outsample.catastrophe.detectors.detector import Relation, Threshold
from outsample.errors import InputError


class Unit(NamedTuple):
    """One output (``layer`` is None), or one neuron after activation step ``layer``.

    With ``before``, the neuron's pre-activation.
    """

    layer: int | None
    place: int
    before: bool = False

    def __str__(self) -> str:
        """As one writes it."""
        place = "output" if self.layer is None else f"hidden[{self.layer}]"
        return f"{place}[{self.place}]"


@dataclass(frozen=True, eq=False)
class Quantity:
    """Σ weight · unit + constant: what a threshold is put on.

    Made by indexing :data:`output` and :data:`hidden` and by arithmetic: sums, differences, and
    products with numbers.  Comparing it with a number, or with another quantity, gives a detector.

    Raises:
        InputError: for weights that are not finite, products of two quantities, comparisons with
            NaN, ``==``, and the use of a quantity as a truth value.
    """

    terms: tuple[tuple[Unit, float], ...]
    constant: float = 0.0

    #: NumPy's numbers leave arithmetic and comparisons to this class.
    __array_ufunc__ = None

    def __post_init__(self) -> None:
        """Refuse arithmetic that left the range of floating point."""
        numbers = [weight for _, weight in self.terms] + [self.constant]
        if not all(math.isfinite(number) for number in numbers):
            raise InputError(f"{self!r}: weights and constants must be finite numbers")

    def __add__(self, other: object) -> "Quantity":
        if not isinstance(other, Quantity):
            return Quantity(self.terms, self.constant + _number("add", other))
        weights = dict(self.terms)
        for unit, weight in other.terms:
            weights[unit] = weights.get(unit, 0.0) + weight
        return Quantity(tuple(weights.items()), self.constant + other.constant)

    def __mul__(self, factor: object) -> "Quantity":
        if isinstance(factor, Quantity):
            raise InputError(
                f"({self!r}) * ({factor!r}): quantities are linear in the network's outputs; put "
                "a detector that is not linear behind the network, as "
                "torch.nn.Sequential(network, detector), and compare its output"
            )
        scale = _number("multiply with", factor)
        terms = tuple((unit, scale * weight) for unit, weight in self.terms)
        return Quantity(terms, scale * self.constant)

    def __truediv__(self, divisor: object) -> "Quantity":
        if isinstance(divisor, Quantity) or _number("divide by", divisor) == 0:
            raise InputError(f"({self!r}) / ({divisor!r}): expected a number other than 0")
        return self * (1 / _number("divide by", divisor))

    def __neg__(self) -> "Quantity":
        return self * -1.0

    def __pos__(self) -> "Quantity":
        return self

    def __sub__(self, other: object) -> "Quantity":
        return self + (-other if isinstance(other, Quantity) else -_number("subtract", other))

    def __rsub__(self, other: object) -> "Quantity":
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __gt__(self, other: object) -> Threshold:
        return self._compared(">", other)

    def __ge__(self, other: object) -> Threshold:
        return self._compared(">=", other)

    def __lt__(self, other: object) -> Threshold:
        return self._compared("<", other)

    def __le__(self, other: object) -> Threshold:
        return self._compared("<=", other)

    def __eq__(self, other: object) -> NoReturn:
        raise InputError(
            f"({self!r}) == ({other!r}): equality with a continuous output has probability 0; use "
            ">, >=, <, <=, as in (output[0] >= 1) & (output[0] <= 2)"
        )

    def __ne__(self, other: object) -> NoReturn:
        self.__eq__(other)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __bool__(self) -> NoReturn:
        raise InputError(f"({self!r}) has no truth value: compare it, as in output[3] > 2.0")

    def _misplaced(self, other: object) -> NoReturn:
        raise InputError(
            f"& and | bind closer than comparisons, so that ({self!r}) met ({other!r}); put every "
            "comparison in parentheses, as in (output[0] > 1) & (output[1] > 2)"
        )

    __and__ = __rand__ = __or__ = __ror__ = _misplaced

    def __invert__(self) -> NoReturn:
        raise InputError(f"~({self!r}): compare it first, as in ~(output[0] > 1)")

    def __repr__(self) -> str:
        shown = ""
        for unit, weight in self.terms:
            size = "" if abs(weight) == 1 else f"{abs(weight):.6g} * "
            shown += _signed(weight, f"{size}{unit}", shown)
        if self.constant != 0 or not shown:
            shown += _signed(self.constant, f"{abs(self.constant):.6g}", shown)
        return shown

    def _compared(self, relation: Relation, other: object) -> Threshold:
        if isinstance(other, Quantity):
            difference = self - other
            value = -difference.constant
            return Threshold(Quantity(difference.terms), relation, value + 0.0)  # never -0
        limit = _number("compare with", other, infinite=True)
        return Threshold(Quantity(self.terms), relation, limit - self.constant)


class Outputs:
    """The network's outputs: ``output[3]`` is the fourth, ``output[-1]`` the last."""

    def __getitem__(self, index: int) -> Quantity:
        return Quantity(((Unit(None, _index("output", index)), 1.0),))

    __iter__ = None  # or Python would ask for output[0], output[1], … without end

    def _without_index(self, other: object) -> NoReturn:
        del other
        raise InputError("output stands for all outputs; say which one, as in output[0] > 2.0")

    __gt__ = __ge__ = __lt__ = __le__ = _without_index
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _without_index

    def __repr__(self) -> str:
        return "output"


class HiddenLayer:
    """The neurons after one activation step: ``hidden[0][5]`` is the sixth of the first layer."""

    def __init__(self, layer: int) -> None:
        """Take the index of the activation step."""
        self._layer = layer

    def __getitem__(self, index: int) -> Quantity:
        return Quantity(((Unit(self._layer, _index(repr(self), index)), 1.0),))

    __iter__ = None

    def _without_index(self, other: object) -> NoReturn:
        del other
        raise InputError(f"{self!r} stands for a whole layer; say which unit, as in {self!r}[0]")

    __gt__ = __ge__ = __lt__ = __le__ = _without_index
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _without_index

    def __repr__(self) -> str:
        return f"hidden[{self._layer}]"


class Hidden:
    """Values after the network's activations: ``hidden[layer][unit]``, both from 0."""

    def __getitem__(self, layer: int) -> HiddenLayer:
        return HiddenLayer(_index("hidden", layer))

    __iter__ = None

    def __repr__(self) -> str:
        return "hidden"


#: What detectors are written with.
output = Outputs()
hidden = Hidden()


def _index(owner: str, index: object) -> int:
    if isinstance(index, bool) or not isinstance(index, int | np.integer):
        raise InputError(f"{owner}[{index!r}]: expected one integer")
    return int(index)


def _number(verb: str, value: object, infinite: bool = False) -> float:
    """A real number, infinite only where that has a meaning."""
    accepted = isinstance(value, int | float | np.integer | np.floating | Tensor)
    if not accepted or isinstance(value, bool) or (isinstance(value, Tensor) and value.dim() > 0):
        shown = type(cast(Any, value)).__name__
        raise InputError(f"cannot {verb} {shown} {value!r}: expected a number or a quantity")
    if isinstance(value, Tensor) and value.requires_grad:
        raise InputError(
            f"cannot {verb} {value!r}: thresholds and weights of detectors are plain numbers; "
            "call .item() on it"
        )
    number = float(cast(SupportsFloat, value))
    if math.isnan(number) or (math.isinf(number) and not infinite):
        expected = "a number" if infinite else "a finite number"
        raise InputError(f"cannot {verb} {number}: expected {expected}")
    return number


def _signed(value: float, size: str, before: str) -> str:
    """A term of a sum, with the sign that it needs after what stands before it."""
    if before:
        return f" {'-' if value < 0 else '+'} {size}"
    return f"-{size}" if value < 0 else size
