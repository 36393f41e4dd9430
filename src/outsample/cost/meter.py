"""The cost of an estimate, and the meter that counts its FLOPs."""

import operator
import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from torch.utils._python_dispatch import TorchDispatchMode

from outsample.cost.prices import find_price, functional_name, is_free, price_call
from outsample.errors import InputError, OutsampleWarning, warn


class Cost:
    """What one estimate cost.

    ``flops`` comes from a separate run under the meter, which happens when it is first read: the
    time in ``seconds`` is never taken under the meter, and a cost nobody asks about is free.

    Args:
        seconds: wall-clock time, ≥ 0.
        flops: the number of floating-point operations, or a function that finds it, or None
            where it cannot be known.

    Raises:
        InputError: if ``seconds`` is negative or not a number.
    """

    __slots__ = ("_flops", "_seconds")

    def __init__(self, seconds: float, flops: int | Callable[[], int] | None = None) -> None:
        if not seconds >= 0:
            raise InputError(f"seconds={seconds!r}: expected a time of at least 0")
        self._seconds = seconds
        self._flops = flops

    @property
    def seconds(self) -> float:
        """Wall-clock time in seconds."""
        return self._seconds

    @property
    def flops(self) -> int | None:
        """Floating-point operations, counted at the first access; None where unknown."""
        if callable(self._flops):
            self._flops = self._flops()
        return self._flops

    def to_dict(self) -> dict[str, float | int | None]:
        """``{"seconds": ..., "flops": ...}``; counts the FLOPs if that was not done before."""
        return {"seconds": self.seconds, "flops": self.flops}

    def __repr__(self) -> str:
        known = isinstance(self._flops, int)
        return f"Cost(seconds={self.seconds:.3g}{f', flops={self._flops:.3g}' if known else ''})"

    def __reduce__(self) -> tuple[type["Cost"], tuple[float, int | None]]:
        # A copy or a pickle holds the number: the function that finds it need not travel.
        return Cost, (self.seconds, self.flops)


class FlopMeter(TorchDispatchMode):
    """Counts the arithmetic of the PyTorch code that runs inside it, forward and backward.

    The code runs as it would without the meter; only a few functions of PyTorch itself, such as
    ``linalg.eigvalsh``, take the path they take where gradients are wanted.  Meters nest: an
    outer one counts the inner one's operations too.  Only the thread that entered the meter is
    counted (autograd's backward pass belongs to the thread that asks for it), and kernels outside
    PyTorch count what they :func:`report_flops`.

    >>> import torch
    >>> with FlopMeter() as meter:
    ...     product = torch.ones(3, 4) @ torch.ones(4, 5)
    >>> meter.flops, dict(meter.by_operation)
    (120, {'mm': 120})
    """

    #: FLOPs of each priced operation, by its functional name: ``add_`` counts under ``add``.
    by_operation: Counter[str]
    #: Calls of each operation that has no price and whose kernel reported none.
    unpriced: Counter[str]
    #: How many times a kernel reported its FLOPs.
    reports: int

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or the first operation would load PyTorch's compiler, for seconds

    def __init__(self) -> None:
        super().__init__()
        self.by_operation = Counter()
        self.unpriced = Counter()
        self.reports = 0

    @property
    def flops(self) -> int:
        """Floating-point operations so far."""
        return sum(self.by_operation.values())

    def __enter__(self) -> Self:
        super().__enter__()
        _ACTIVE.meters.append(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _ACTIVE.meters.pop()
        super().__exit__(exc_type, exc_value, traceback)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operation, unchanged, and add its price."""
        kwargs = kwargs or {}
        name = functional_name(func)
        pricing = find_price(name)
        if pricing is None and not is_free(func):
            return self._run_unpriced(name, func, args, kwargs)
        result = func(*args, **kwargs)
        if pricing is not None and (flops := price_call(name, pricing, args, kwargs, result)):
            self.by_operation[name.removeprefix("_foreach_")] += flops
        return result

    def _run_unpriced(
        self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        # In inference mode composite operations (linear, matmul) arrive whole.
        with self:
            result = func.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
        reports = self.reports
        result = func(*args, **kwargs)
        if self.reports == reports:
            self.unpriced[name] += 1
        return result


def report_flops(flops: int, name: str) -> None:
    """Tell every active meter of this thread what a kernel outside PyTorch has computed.

    A kernel that is a PyTorch operation of its own, without a price in the table, is priced by
    what it reports while it runs.  Without an active meter nothing happens.

    Args:
        flops: the kernel's floating-point operations, ≥ 0, by its own formula.
        name: the key under which ``FlopMeter.by_operation`` lists them.

    Raises:
        InputError: if ``flops`` is negative or not an integer.
    """
    try:
        count = operator.index(flops)
    except TypeError:
        count = -1
    if count < 0:
        raise InputError(f"flops={flops!r} for {name!r}: expected an integer of at least 0")
    for meter in dict.fromkeys(_ACTIVE.meters):  # a meter is there twice while it decomposes
        meter.by_operation[name] += count
        meter.reports += 1


def count_flops(function: Callable[[], object]) -> int:
    """Run ``function`` once and return its floating-point operations.

    Warns with :class:`~outsample.errors.OutsampleWarning` if it used operations without a price:
    the count is then too low.
    """
    with FlopMeter() as meter:
        function()
    if meter.unpriced:
        calls = ", ".join(f"{name} ({n}×)" for name, n in sorted(meter.unpriced.items()))
        warn(
            f"the count of {meter.flops:.3g} FLOPs leaves out operations without a price: {calls}; "
            "the true cost is higher (a kernel of your own can tell its count to "
            "outsample.cost.report_flops)",
            OutsampleWarning,
        )
    return meter.flops


class _Active(threading.local):
    """The meters that this thread has entered, innermost last."""

    def __init__(self) -> None:
        self.meters: list[FlopMeter] = []


_ACTIVE = _Active()
