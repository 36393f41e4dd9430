"""Errors and warnings of outsample: one base class, one class per family.

Each error is also the builtin it refines, so ``except ValueError`` keeps working.  Messages say
what was given, what was expected and what to do next.
"""

import os
import sys
import warnings

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class OutsampleError(Exception):
    """Base class of every error that outsample raises on purpose."""


class InputError(OutsampleError, ValueError):
    """An argument is not what it must be (shape, dtype, range, finiteness, definiteness)."""


class UnsupportedProblem(OutsampleError, NotImplementedError):
    """An estimator or reader does not take this problem; the message names what would work."""


class FormatError(OutsampleError, ValueError):
    """A file is damaged, hostile or not of the format it claims."""


class BudgetError(OutsampleError, RuntimeError):
    """The budget given is too small for the work asked for."""


class NumericalError(OutsampleError, ArithmeticError):
    """The arithmetic left the range of the dtype, or a repair would change the answer."""


class RandomnessError(OutsampleError, RuntimeError):
    """An estimator that calls itself mechanistic drew random numbers."""


class OutsampleWarning(UserWarning):
    """Base class of every warning that outsample issues."""


class NumericalWarning(OutsampleWarning):
    """A numerical repair was made, or a derivative does not exist; the message has its size."""


def warn(message: str, category: type[OutsampleWarning] = NumericalWarning) -> None:
    """Issue ``message``, attributed to the first caller outside this package."""
    level = 2
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)
