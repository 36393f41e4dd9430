"""Estimators, the estimates they return, and the explanations they may be given."""

import dataclasses
import hashlib
import json
import math
import platform
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from importlib.metadata import version
from typing import Any, ClassVar, Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.cost import Cost, count_flops
from outsample.errors import InputError, NumericalError, UnsupportedProblem
from outsample.problem import Problem

Trust = Literal["ok", "low_confidence", "unreliable"]
ErrorKind = Literal["none", "estimated", "bound"]

_TRUST_ORDER: tuple[Trust, ...] = ("ok", "low_confidence", "unreliable")
_FLOPS: OrderedDict[Hashable, int] = OrderedDict()
_FLOPS_KEPT = 512


class Explanation(ABC):
    """Advice π about the parameters θ of a problem, no longer than O(|θ|).

    An explanation may be wrong: it can cost accuracy, never validity.
    """

    @property
    @abstractmethod
    def size(self) -> int:
        """Length of the advice, in numbers."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The advice as named arrays; :meth:`from_tensors` rebuilds it."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild an explanation from what :meth:`tensors` returned."""

    def signature(self) -> Hashable:
        """Type and shapes: explanations with equal signatures cost the same to use."""
        return type(self), tuple((k, tuple(t.shape)) for k, t in self.tensors().items())


class Explainer(ABC):
    """Builds an explanation of a problem's parameters."""

    @abstractmethod
    def explain(self, problem: Problem) -> Explanation:
        """Return advice on ``problem`` as its parameters stand now."""


@dataclass(frozen=True)
class Provenance:
    """Where a number came from: enough to make it again."""

    outsample: str
    torch: str
    python: str
    machine: str
    threads: int
    dtype: str
    device: str
    seed: int | None
    #: SHA-256 of every tensor that defines the problem; None if one was changed since.
    input_hash: str | None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Estimate:
    """What an estimator says of a problem's expectation.

    ``cost`` and ``estimator`` are filled in by :meth:`Estimator.estimate`.
    """

    #: Estimate of E[M(x)], of the problem's output shape.
    value: Tensor
    #: Standard error of ``value``, same shape, or None; ``error_kind`` says what it is worth.
    standard_error: Tensor | None = None
    error_kind: ErrorKind = "none"
    #: Covariance of M(x) itself (never of the error), shape (outputs, outputs), or None.
    covariance: Float[Tensor, "outputs outputs"] | None = None
    #: log |E M| and its sign where values span orders of magnitude, else None.
    log_value: Tensor | None = None
    sign: Tensor | None = None
    #: Whether the method's own checks let the number stand, and why not.
    trust: Trust = "ok"
    reasons: tuple[str, ...] = ()
    #: Named figures about how the estimate came about (plain numbers and strings).
    diagnostics: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: FLOPs of this very run by the kernel's own formula, where they depend on more than shapes
    #: (iterations until convergence); None to count them by a metered run.
    kernel_flops: int | None = None
    cost: Cost = field(init=False)
    estimator: "Estimator" = field(init=False)
    _problem: Problem = field(init=False)
    _version: int = field(init=False)

    @cached_property
    def provenance(self) -> Provenance:
        """Versions, machine, dtype, seed and a hash of the input, gathered at first access."""
        unchanged = _version_of(self._problem) == self._version
        return Provenance(
            outsample=version("outsample"),
            torch=torch.__version__,
            python=platform.python_version(),
            machine=_machine(),
            threads=torch.get_num_threads(),
            dtype=str(self.value.dtype).removeprefix("torch."),
            device=str(self.value.device),
            seed=getattr(self.estimator, "seed", None),
            input_hash=input_hash(self._problem) if unchanged else None,
        )

    @property
    def expected_error(self) -> float | None:
        """Predicted vn error (squared error over the variance of M(x)), for methods with a law."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """The estimate as plain numbers, strings, lists and dictionaries."""
        return {
            "schema_version": 1,
            "value": _plain(self.value),
            "log_value": _plain(self.log_value),
            "sign": _plain(self.sign),
            "standard_error": _plain(self.standard_error),
            "error_kind": self.error_kind,
            "expected_error": _plain(self.expected_error),
            "covariance": _plain(self.covariance),
            "trust": self.trust,
            "reasons": list(self.reasons),
            "cost": self.cost.to_dict(),
            "estimator": self.estimator.to_dict(),
            "diagnostics": {k: _plain(v) for k, v in self.diagnostics.items()},
            "provenance": dataclasses.asdict(self.provenance),
        }

    def to_json(self, indent: int | None = None) -> str:
        """The estimate as a JSON document (fields as in :meth:`to_dict`)."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def __repr__(self) -> str:
        value, error = self.value.detach().flatten(), self.standard_error
        shown = [f"{v:.6g}" for v in value[:4].tolist()]
        if error is not None:
            errors = error.detach().flatten()[:4].tolist()
            shown = [f"{v} ± {e:.2g}" for v, e in zip(shown, errors, strict=True)]
        text = shown[0] if self.value.dim() == 0 else f"[{', '.join(shown)}"
        if self.value.dim() == 0 and self.log_value is not None:
            text += f" (log {self.log_value.item():.6g})"
        if self.value.dim() > 0:
            text += f", … {value.numel()} outputs]" if value.numel() > 4 else "]"
        trust = "" if self.trust == "ok" else f", trust={self.trust!r}"
        return f"{self.estimator!r}: {text}, {self.cost!r}{trust}"


@dataclass(frozen=True)
class Estimator(ABC):
    """A method with its settings: turns a problem into an estimate.

    A subclass is a frozen dataclass whose fields are its settings.  It defines
    :meth:`accepts` and :meth:`_estimate`, and states whether it is mechanistic.
    """

    #: True if the method draws no random or pseudorandom numbers; ``compare`` verifies it.
    mechanistic: ClassVar[bool]
    #: Kinds of explanation that :meth:`estimate` can use.
    explanations: ClassVar[tuple[type[Explanation], ...]] = ()

    @abstractmethod
    def accepts(self, problem: Problem) -> str | None:
        """Return None if this estimator takes ``problem``, else why not and what would."""

    @abstractmethod
    def _estimate(self, problem: Problem, explanation: Explanation | None) -> Estimate:
        """Do the work on a problem that was accepted."""

    def estimate(self, problem: Problem, explanation: Explanation | None = None) -> Estimate:
        """Estimate E[M(x)] of ``problem``, with the help of ``explanation`` if there is one.

        Raises:
            UnsupportedProblem: if the estimator does not take this problem or explanation.
            NumericalError: if the arithmetic overflows the dtype.
        """
        self._admit(problem, explanation)
        version = _version_of(problem)
        start = time.perf_counter()
        estimate = self._estimate(problem, explanation)
        seconds = time.perf_counter() - start
        if not math.isfinite(float(estimate.value.detach().sum())):
            _refuse_overflow(self, estimate)
        flops = estimate.kernel_flops
        counted = partial(self.flops, problem, explanation) if flops is None else flops
        # Stamped here, not passed in, so that no method can misstate its own cost.
        stamp = object.__setattr__
        stamp(estimate, "cost", Cost(seconds, counted))
        stamp(estimate, "estimator", self)
        stamp(estimate, "_problem", problem)
        stamp(estimate, "_version", version)
        return estimate

    @classmethod
    def at(cls, epsilon: float, problem: Problem) -> Self:
        """Return the settings the matching sampling principle would use at tolerance ε.

        The budget is the cost of 1/ε² evaluations of the problem.

        Raises:
            UnsupportedProblem: if no setting of this estimator is governed by ε.
        """
        del epsilon, problem
        raise UnsupportedProblem(
            f"{cls.__name__} has no setting that a tolerance governs; build it with its settings"
        )

    def flops(self, problem: Problem, explanation: Explanation | None = None) -> int:
        """Floating-point operations of one estimate, from a separate metered run.

        Counted once per settings, shapes and dtype, then remembered.
        """
        key = (self, problem.signature(), explanation and explanation.signature())
        if key not in _FLOPS:
            self._admit(problem, explanation)
            _FLOPS[key] = self._count_flops(problem, explanation)
            if len(_FLOPS) > _FLOPS_KEPT:
                _FLOPS.popitem(last=False)
        return _FLOPS[key]

    def to_dict(self) -> dict[str, Any]:
        """The request: name of the method and its settings."""
        settings = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return {"method": type(self).__name__, "settings": settings}

    def _count_flops(self, problem: Problem, explanation: Explanation | None) -> int:
        with torch.no_grad():
            return count_flops(lambda: self._estimate(problem, explanation))

    def _admit(self, problem: Problem, explanation: Explanation | None) -> None:
        if not isinstance(problem, Problem):
            raise InputError(
                f"{type(self).__name__}: problem is {type(problem).__name__}; expected a Problem, "
                "such as NetworkMean(module, Gaussian.standard(n))"
            )
        reason = self.accepts(problem)
        if reason is not None:
            raise UnsupportedProblem(
                f"{self!r} does not take this problem ({problem.describe()}): {reason}"
            )
        if explanation is not None and not isinstance(explanation, self.explanations):
            known = ", ".join(kind.__name__ for kind in self.explanations) or "none"
            raise UnsupportedProblem(
                f"{self!r} cannot use explanation of type {type(explanation).__name__}; "
                f"kinds it can use: {known}"
            )


def worst_trust(*grades: Trust) -> Trust:
    """Return the lowest of several grades of trust."""
    return max(("ok", *grades), key=_TRUST_ORDER.index)


def input_hash(problem: Problem) -> str:
    """SHA-256 over the shapes, dtypes and bytes of the tensors that define ``problem``."""
    digest = hashlib.sha256(repr(problem.signature()).encode())
    for tensor in problem.tensors():
        # Bytes of the tensor whatever its dtype: NumPy has no bfloat16.
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(raw.numpy().tobytes())
    return digest.hexdigest()


def positive_integer(owner: str, name: str, value: object) -> None:
    """Raise InputError unless ``value`` is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{owner}: {name} = {value!r}; expected an integer of at least 1")


def _refuse_overflow(estimator: Estimator, estimate: Estimate) -> None:
    value = estimate.value
    bad = ~torch.isfinite(value.detach())
    if estimate.log_value is not None:
        # Only the value left the range of its dtype: the logarithm says what it is.
        bad = value.detach().isnan() | estimate.log_value.detach().isnan()
        bad |= estimate.log_value.detach() == torch.inf
    if not bool(bad.any()):
        return  # or only the sum of finite outputs overflowed
    wider = "use float64" if value.dtype != torch.float64 else "rescale the problem"
    raise NumericalError(
        f"{estimator!r}: {int(bad.sum())} of {value.numel()} outputs are not finite: the "
        f"arithmetic left the range of {value.dtype}; {wider}"
    )


def _version_of(problem: Problem) -> int:
    return sum(0 if t.is_inference() else t._version for t in problem.tensors())


def _plain(value: Any) -> Any:
    """Numbers, strings and lists of them; what JSON has no word for, as null or as text."""
    if isinstance(value, Tensor):
        return _plain(value.detach().cpu().tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return repr(value)


@cache
def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {platform.processor() or 'unknown'}"
