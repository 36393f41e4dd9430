"""What samplers of catastrophes share: inputs component by component, costs, and the verdict."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from outsample.catastrophe.estimate import TailEstimate, TailEstimator, catastrophe_of
from outsample.catastrophe.problem import CatastropheProbability
from outsample.catastrophe.samplers.streams import normals, stream
from outsample.cost import Cost, count_flops
from outsample.distributions import Gaussian, GaussianMixture
from outsample.errors import InputError
from outsample.estimator import Explanation, Trust, positive_integer, worst_trust
from outsample.problem import Problem
from outsample.sampling.progress import progress
from outsample.sampling.sampler import batch_rows

#: Rows of the batch whose operations are counted.
_METERED_ROWS = 512
#: Relative errors beyond which a sampled probability is not to be trusted.
_LARGE_ERROR, _USELESS_ERROR = 0.3, 1.0
#: Share of a mixture's probability below which a component may be uncertain.
_MINOR = 0.01

Reasons = list[tuple[Trust, str]]


@dataclass(frozen=True)
class Part:
    """What a sampler found on one Gaussian: the probability, and what speaks against it."""

    #: log p, -inf if the event was never seen.
    log_value: float
    #: Standard error over p; infinite if the event was never seen.
    relative_error: float
    #: Evaluations of the network.
    samples: int
    reasons: Sequence[tuple[Trust, str]]
    diagnostics: dict[str, Any]


class Evaluator:
    """The detector's scores at whitened inputs, in batches, with a count and a progress bar."""

    def __init__(
        self,
        problem: CatastropheProbability,
        law: Gaussian,
        advance: Callable[[float], None],
        tag: str,
    ) -> None:
        """Take the problem, the law to draw from, and what the stream of numbers is called."""
        self.problem, self.law, self.samples = problem, law, 0
        self._advance, self._tag = advance, tag
        self._rows = batch_rows(problem)

    def draws(self, seed: int, purpose: object = "") -> torch.Generator:
        """The stream of numbers for one purpose."""
        return stream(f"{self._tag} {purpose}", seed, self.problem.device)

    def normals(self, rows: int, draws: torch.Generator) -> Float[Tensor, "rows n"]:
        """Independent standard normals."""
        return normals(rows, self.problem, draws)

    def batches(self, rows: int) -> Iterator[int]:
        """Rows of each batch, first to last."""
        yield from [self._rows] * (rows // self._rows)
        if rows % self._rows:
            yield rows % self._rows

    def scores(self, z: Float[Tensor, "rows n"]) -> Float64[Tensor, "rows conjunctions"]:
        """Each conjunction's score; shape (rows, conjunctions)."""
        found = [self._scores(part) for part in z.split(self._rows)]
        return torch.cat(found)

    def _scores(self, z: Tensor) -> Tensor:
        self.samples += len(z)
        self._advance(len(z))
        return self.problem.scores(self.law.from_normal(z)).double()


class TailSampler(TailEstimator):
    """A sampler of catastrophes, with inputs whitened and mixtures taken component by component.

    Draws depend on the settings and ``seed`` alone, and come from a stream of the method's own.
    """

    samples: int
    seed: int

    mechanistic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        name = type(self).__name__
        positive_integer(name, "samples", self.samples)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise InputError(f"{name}: seed = {self.seed!r}; expected an integer of at least 0")

    @abstractmethod
    def _on_gaussian(self, evaluator: Evaluator) -> Part:
        """Sample on one Gaussian; the detector is neither certain nor impossible."""

    def _estimate(self, problem: Problem, explanation: Explanation | None) -> TailEstimate:
        catastrophe = catastrophe_of(problem)
        conjunctions = catastrophe.conjunctions
        if not all(conjunctions):  # one without thresholds is certain
            return _summary(catastrophe, [(1.0, Part(0.0, 0.0, 0, (), {}))])
        if not conjunctions:
            return _summary(catastrophe, [(1.0, Part(-math.inf, 0.0, 0, (), {}))])
        inputs, name = catastrophe.inputs, type(self).__name__
        laws = [(1.0, inputs)] if isinstance(inputs, Gaussian) else _components(inputs)
        parts: list[tuple[float, Part]] = []
        with torch.no_grad(), progress(name, None) as advance:
            for place, (weight, law) in enumerate(laws):
                evaluator = Evaluator(catastrophe, law, advance, f"{name} {place}")
                parts.append((weight, self._on_gaussian(evaluator)))
        return _summary(catastrophe, parts)

    def estimate(self, problem: Problem, explanation: Explanation | None = None) -> TailEstimate:
        """Estimate the probability by sampling.

        Raises:
            UnsupportedProblem: if ``problem`` is no CatastropheProbability.
            NumericalError: if the network's values are not finite.
        """
        estimate = super().estimate(problem, explanation)
        drawn = estimate.samples or 0
        cost = Cost(
            estimate.cost.seconds, lambda: _flops_of(problem, drawn) + self._preparation(problem)
        )
        object.__setattr__(estimate, "cost", cost)
        return estimate

    def _count_flops(self, problem: Problem, explanation: Explanation | None) -> int:
        drawn = self._estimate(problem, explanation).samples or 0
        return _flops_of(problem, drawn) + self._preparation(problem)

    def _preparation(self, problem: Problem) -> int:
        """Operations besides draws and evaluations."""
        del problem
        return 0


def _components(inputs: GaussianMixture) -> list[tuple[float, Gaussian]]:
    weights = inputs.weights.detach().tolist()
    pairs = zip(weights, inputs.components, strict=True)
    return [(weight, law) for weight, law in pairs if weight > 0]


def _flops_of(problem: Problem, samples: int) -> int:
    """Operations of so many draws and evaluations, by the count of one batch."""
    catastrophe = catastrophe_of(problem)
    inputs = catastrophe.inputs
    law = inputs if isinstance(inputs, Gaussian) else inputs.components[0]
    draws = stream("meter", 0, problem.device)

    def once() -> None:
        catastrophe.scores(law.from_normal(normals(_METERED_ROWS, problem, draws)))

    with torch.no_grad():
        return count_flops(once) * samples // _METERED_ROWS


def _summary(problem: CatastropheProbability, parts: list[tuple[float, Part]]) -> TailEstimate:
    """The estimate of a mixture from those of its components."""
    logs = torch.tensor([math.log(weight) + part.log_value for weight, part in parts]).double()
    log_value = float(torch.logsumexp(logs, 0))
    seen, impossible = log_value > -math.inf, not problem.conjunctions
    shares = (logs - log_value).exp().tolist() if seen else [1.0] * len(parts)
    errors = [share * part.relative_error for share, (_, part) in zip(shares, parts, strict=True)]
    # What was never seen has an infinite error and, beside what was, no share.
    relative = math.hypot(*(error for error in errors if not math.isnan(error)))
    grades: list[Trust] = []
    reasons: list[str] = []
    for place, (_, part) in enumerate(parts):
        if shares[place] < _MINOR and part.log_value > -math.inf:
            continue
        where = f" (component {place})" if len(parts) > 1 else ""
        grades.extend(grade for grade, _ in part.reasons)
        reasons += [text + where for _, text in part.reasons]
    unknown = not seen and not impossible
    if unknown:
        grades.append("unreliable")
        reasons.append("no sample met the detector: the probability is unknown")
    elif relative > _LARGE_ERROR:
        grades.append("unreliable" if relative > _USELESS_ERROR else "low_confidence")
        reasons.append(f"the relative standard error is {relative:.2g}; use more samples")
    mean = problem.inputs.mean.detach()
    return TailEstimate(
        value=mean.new_tensor(math.exp(log_value)),
        log_value=mean.new_tensor(log_value),
        sign=mean.new_tensor(1.0 if seen else 0.0),
        standard_error=None if unknown else mean.new_tensor(math.exp(log_value) * relative),
        error_kind="none" if unknown else "estimated",
        relative_error=None if unknown else mean.new_tensor(relative),
        samples=sum(part.samples for _, part in parts),
        trust=worst_trust(*grades),
        reasons=tuple(reasons),
        diagnostics=parts[0][1].diagnostics
        if len(parts) == 1
        else {"components": [part.diagnostics for _, part in parts]},
    )
