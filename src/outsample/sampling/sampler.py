"""What all samplers share: budgets, early stops, seeds, and the estimate they return."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.cost import Cost
from outsample.errors import InputError, NumericalError
from outsample.estimator import Estimate, Estimator, Explanation, positive_integer
from outsample.problem import Distribution, Problem
from outsample.sampling.moments import Moments

Stopped = Literal["samples", "standard_error", "seconds"]

#: Products of two outputs are gathered for at most this many: beyond, they would cost as much as
#: a layer of the network whose mean is wanted.
_COVARIANCE_OUTPUTS = 64
#: A standard error from fewer independent terms than this is marked ``low_confidence``.
_FEWEST_TERMS = 8
#: Bytes that a batch fills at the widest layer (about one level-2 cache), and the limits of its
#: rows.  Within 5 % of the best batch from 64 to 65536 rows, measured on ReLU networks of width 64,
#: 256 and 1024 with 4 hidden layers, in float32 and float64.
_BATCH_BYTES, _FEWEST_ROWS, _MOST_ROWS = 2**20, 512, 4096
#: Sets these streams of numbers apart from those that a user's own generator draws with an equal
#: seed: a network initialised from seed 0 must not meet its own weights as inputs.
_STREAM = 0x6F757473


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SampledEstimate(Estimate):
    """A sample average, with the standard error that the sample itself shows.

    ``covariance`` is the sample covariance of M(x), for at most 64 outputs.
    """

    #: Evaluations of the problem that were averaged.
    samples: int
    #: Largest number of them that were evaluated, or moment-matched, together.
    batch: int
    #: Independent terms behind ``standard_error``: samples, antithetic pairs, moment-matched
    #: batches or replicates.
    terms: int
    #: What ended the run: the number of samples asked for, or an early stop.
    stopped: Stopped

    def to_dict(self) -> dict[str, Any]:
        """The estimate as plain numbers and strings, with what was drawn."""
        drawn = {name: getattr(self, name) for name in ("samples", "batch", "terms", "stopped")}
        return {**super().to_dict(), **drawn}


class Sampler(Estimator):
    """A method that averages evaluations of the problem at random inputs.

    A run ends after ``samples`` evaluations, or earlier: once the standard errors of all outputs
    are at most ``standard_error``, or once ``seconds`` have passed.  A standard error at which a
    run was stopped is a little too small on average, because it was picked for being small.

    Samplers have no gradients: everything runs without recording any.
    """

    samples: int
    seed: int
    standard_error: float | None
    seconds: float | None

    mechanistic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        name = type(self).__name__
        positive_integer(name, "samples", self.samples)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"{name}: seed = {self.seed!r}; expected an integer of at least 0")
        for limit in ("standard_error", "seconds"):
            value = getattr(self, limit)
            if value is not None and not _positive(value):
                raise InputError(
                    f"{name}: {limit} = {value!r}; expected a finite number above 0, or None for "
                    "no early stop"
                )

    @abstractmethod
    def _estimate(self, problem: Problem, explanation: Explanation | None) -> SampledEstimate: ...

    def estimate(self, problem: Problem, explanation: Explanation | None = None) -> SampledEstimate:
        """Estimate E[M(x)] of ``problem`` by averaging; samplers use no explanation.

        Raises:
            UnsupportedProblem: if the input's law does not fit the method.
            InputError: if the settings do not fit the problem.
            BudgetError: if ``samples`` is too small for the method on this problem.
            NumericalError: if the problem returns values that are not finite.
        """
        estimate = cast(SampledEstimate, super().estimate(problem, explanation))
        if self._may_stop:
            # An early stop makes the cost depend on the run: count what was drawn.
            drawn = self._request_for(estimate)
            cost = Cost(estimate.cost.seconds, lambda: drawn.flops(problem))
            object.__setattr__(estimate, "cost", cost)
        return estimate

    @property
    def _may_stop(self) -> bool:
        return self.standard_error is not None or self.seconds is not None

    def _request_for(self, estimate: SampledEstimate) -> Self:
        """The request without early stops that draws what ``estimate`` took."""
        return replace(self, samples=estimate.samples, standard_error=None, seconds=None)

    def _reached(self, terms: Moments, varied: Moments, elapsed: float) -> Stopped | None:
        """Which early stop has been reached, if any, after ``elapsed`` seconds.

        An output that has not ``varied`` is not known exactly yet: its events may be rare.
        """
        if (
            self.standard_error is not None
            and bool((terms.standard_error <= self.standard_error).all())
            and not bool(varied.constant.any())
        ):
            return "standard_error"
        if self.seconds is not None and elapsed >= self.seconds:
            return "seconds"
        return None


def samples_at(epsilon: float) -> int:
    """⌈1/ε²⌉, the number of evaluations that tolerance ε pays for."""
    if not _positive(epsilon):
        raise InputError(f"epsilon = {epsilon!r}; expected a finite number above 0")
    return max(1, math.ceil(epsilon**-2 * (1 - 1e-12)))  # round-off in ε buys no extra sample


def generator(seed: int, device: torch.device) -> torch.Generator:
    """A generator of the samplers' own stream for ``seed``."""
    words = seed_sequence(seed).generate_state(1, np.uint64)
    return torch.Generator(device=device).manual_seed(int(words[0]))


def seed_sequence(seed: int) -> np.random.SeedSequence:
    """The samplers' own sequence of seeds for ``seed``."""
    return np.random.SeedSequence(seed, spawn_key=(_STREAM,))


def needs_normals(problem: Problem) -> str | None:
    """Why the inputs cannot be made from standard normals, or None if they can."""
    if type(problem.inputs).from_normal is Distribution.from_normal:
        return (
            f"its inputs ({type(problem.inputs).__name__}) are not made from standard normals, "
            "which antithetic, moment-matched and quasi-Monte Carlo sampling shape; use plain "
            "MonteCarlo"
        )
    return None


def batch_rows(problem: Problem) -> int:
    """Rows of a batch at which evaluation is fast: 1 MiB at the widest layer, 512 to 4096 rows.

    The widest layer is the longest side of the input, the output and the problem's tensors.
    """
    shapes = [problem.inputs.shape, problem.output_shape, *(t.shape for t in problem.tensors())]
    width = max(1, *(side for shape in shapes for side in shape))
    rows = _BATCH_BYTES // (problem.dtype.itemsize * width)
    rows = min(max(rows, _FEWEST_ROWS), _MOST_ROWS)
    return 1 << (rows.bit_length() - 1)  # a power of two, for quasi-Monte Carlo


def outputs(problem: Problem) -> int:
    """Number of outputs."""
    return math.prod(problem.output_shape)


def empty_values(problem: Problem) -> Moments:
    """Moments for the values of M(x), with products of outputs where they are few."""
    count = outputs(problem)
    return Moments.empty(count, count <= _COVARIANCE_OUTPUTS, problem.device)


def empty_terms(problem: Problem) -> Moments:
    """Moments for the independent terms behind a standard error."""
    return Moments.empty(outputs(problem), False, problem.device)


def evaluate(problem: Problem, x: Tensor) -> Float64[Tensor, "rows outputs"]:
    """Values of M at rows of inputs, flattened, in float64; refuses what is not finite."""
    y = problem(x)
    expected = (x.shape[0], *problem.output_shape)
    if tuple(y.shape) != expected:
        raise InputError(
            f"{problem.describe()}: {x.shape[0]} inputs gave outputs of shape {tuple(y.shape)}; "
            f"expected {expected} from its output_shape"
        )
    flat = y.reshape(x.shape[0], outputs(problem)).double()
    # The sum is a fast test: what is not finite makes it so, and little else does.
    if not math.isfinite(float(flat.sum())):
        bad = ~torch.isfinite(flat)
        if bool(bad.any()):
            row, column = bad.nonzero()[0].tolist()
            raise NumericalError(
                f"{problem.describe()}: {int(bad.sum())} of {bad.numel()} values in a batch of "
                f"{x.shape[0]} samples are not finite (first: {flat[row, column].item()} in output "
                f"{column}), so their average is not either; rescale the problem"
                + ("" if problem.dtype == torch.float64 else " or use float64")
            )
    return flat


def summarise(
    problem: Problem,
    values: Moments,
    terms: Moments,
    batch: int,
    stopped: Stopped,
    doubts: tuple[str, ...] = (),
) -> SampledEstimate:
    """The estimate that the gathered moments make; ``doubts`` of the method lower its trust."""
    if not bool(torch.isfinite(values.spread).all()):
        raise NumericalError(
            f"{problem.describe()}: the squares of its values left the range of float64 (largest "
            f"mean {values.mean.abs().max().item():.3g}); rescale the problem"
        )
    shape, dtype = problem.output_shape, problem.dtype
    matrix = values.square.dim() == 2 and values.count > 1
    reasons = (*doubts, *_doubts(values, terms))
    error = terms.standard_error.to(dtype).reshape(shape) if terms.count > 1 else None
    return SampledEstimate(
        value=values.mean.to(dtype).reshape(shape),
        standard_error=error,
        error_kind="none" if error is None else "estimated",
        covariance=(values.square / (values.count - 1)).to(dtype) if matrix else None,
        trust="low_confidence" if reasons else "ok",
        reasons=reasons,
        samples=values.count,
        batch=batch,
        terms=terms.count,
        stopped=stopped,
    )


def _doubts(values: Moments, terms: Moments) -> Iterator[str]:
    """Reasons not to believe the standard error."""
    if terms.count < _FEWEST_TERMS:
        yield (
            f"the standard error rests on {terms.count} independent "
            f"{'term' if terms.count == 1 else 'terms'}; it takes {_FEWEST_TERMS} to be useful"
        )
    constant = int(values.constant.sum())
    if constant and values.count > 1:
        yield (
            f"{constant} of {values.mean.numel()} outputs had the same value in all "
            f"{values.count} samples: constant, or changed only by events rarer than about "
            f"{3 / values.count:.1g}"
        )


def _positive(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < math.inf
