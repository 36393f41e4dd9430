"""Simple Monte Carlo, and its two classic improvements: antithetic pairs, matched moments."""

import math
import time
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, repeat
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.cost import count_flops
from outsample.errors import BudgetError, InputError, NumericalError
from outsample.estimator import Explanation, positive_integer
from outsample.problem import Problem
from outsample.sampling.moments import Moments
from outsample.sampling.progress import progress
from outsample.sampling.sampler import (
    SampledEstimate,
    Sampler,
    batch_rows,
    empty_terms,
    empty_values,
    evaluate,
    generator,
    needs_normals,
    samples_at,
    summarise,
)

#: Batches before an early stop, and at least as many moment-matched ones for a standard error.
_FEWEST_BATCHES = 8
#: Moment matching has a bias of order 1/batch.  Measured on ReLU networks and on polynomials of
#: degree 4, bias² is 1.5 to 3 times batches/batch of standard_error².  So by default there are at
#: most √samples/10 batches (bias² ≤ 3 %; more for fewer than 6400 samples, which 8 batches share),
#: and no more than 32, plenty for a standard error; batches of fewer rows than 4 times their
#: number are low_confidence.
_MATCHED_BATCHES, _MATCHED_SHARE, _BIASED_RATIO = 32, 10, 4
#: A default moment-matched batch has at most so many normals (fewer if the run may stop early and
#: had better look up often), or this small multiple of those behind an input for each of them.
_MATCHED_NORMALS, _STOPPING_NORMALS, _SMALL_RATIO = 2**22, 2**20, 2
#: Below this many normals a coordinate, float32 loses too many digits in the whitening.
_SAFE_RATIO = 2


@dataclass(frozen=True)
class MonteCarlo(Sampler):
    """Average of M over random inputs; plain, antithetic, moment-matched, or both.

    - ``antithetic``: the normals behind the inputs come in pairs z, -z.  Odd parts of M (Hermite
      degrees 1, 3, …) average to zero exactly; the variance of even parts doubles.
    - ``moment_matched``: each batch of normals is whitened, so that its mean is exactly 0 and
      its second moment exactly I.  Hermite degrees 1 and 2 of M average to zero exactly.  The
      rows of a batch then depend on each other: the standard error comes from the spread of
      batches, of which there are at least 8, and the estimate has a bias of order 1/batch that
      no number of batches removes.  By default batches grow with the samples, and the bias
      stays well below the standard error; with many small batches of your own it does not, and
      the estimate says ``low_confidence``.

    The draws depend on ``seed`` and ``batch`` (and, by a part in 1e12, on the number of threads);
    memory holds one batch.  The last batch has what remains: it is shorter, or, if moment-matched,
    up to twice as long.

    Args:
        samples: number N of evaluations, an even number if antithetic.
        seed: at least 0; equal seeds give equal draws.
        antithetic: draw the inputs in pairs.
        moment_matched: whiten the normals of each batch.
        batch: inputs drawn together, an even number if antithetic.  Default: 1 MiB at the widest
            layer, between 512 and 4096 rows; if moment-matched, 8 to 32 batches where memory
            allows (4 million normals each), evaluated piecemeal.
        standard_error: stop early, after 8 batches or more, once no output's is above this.
        seconds: stop early, after 8 batches or more, once this time has passed.

    Raises:
        InputError: for settings out of range, by name.

    Example:
        >>> import torch, outsample as ou
        >>> problem = ou.NetworkMean(torch.nn.Linear(4, 2), ou.Gaussian.standard(4))
        >>> ou.MonteCarlo(samples=1000, antithetic=True).estimate(problem).samples
        1000

    References:
        Hammersley and Morton, Proc. Camb. Phil. Soc. 52 (1956), for antithetic variates;
        Barraquand, Management Science 41 (1995), for quadratic resampling (moment matching).
    """

    samples: int = 100_000
    seed: int = 0
    antithetic: bool = False
    moment_matched: bool = False
    batch: int | None = None
    standard_error: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("antithetic", "moment_matched"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(
                    f"MonteCarlo: {name} = {getattr(self, name)!r}; expected True or False"
                )
        if self.batch is not None:
            positive_integer("MonteCarlo", "batch", self.batch)
        for name in ("samples", "batch"):
            if self.antithetic and (getattr(self, name) or 0) % 2:
                raise InputError(
                    f"MonteCarlo: {name} = {getattr(self, name)} with antithetic=True; expected "
                    "an even number, for pairs z, -z"
                )

    @classmethod
    def at(cls, epsilon: float, problem: Problem) -> Self:
        """Plain sampling with N = ⌈1/ε²⌉: its squared error is ε² Var M."""
        return cls(samples=samples_at(epsilon))

    def accepts(self, problem: Problem) -> str | None:
        """Takes every problem; pairs and matched moments need inputs made from normals."""
        return needs_normals(problem) if self.antithetic or self.moment_matched else None

    def _estimate(self, problem: Problem, explanation: Explanation | None) -> SampledEstimate:
        start = time.perf_counter()
        batch = self._batch(problem)
        draws = generator(self.seed, problem.device)
        values, terms = self._empty(problem)
        stopped = None
        work = None if self._may_stop else self.samples
        with torch.no_grad(), progress("MonteCarlo", work) as advance:
            sizes = chain.from_iterable(repeat(rows, n) for n, rows in self._runs(batch))
            for batches, rows in enumerate(sizes, start=1):
                self._take(problem, draws, rows, values, terms)
                advance(rows)
                if batches >= _FEWEST_BATCHES and values.count < self.samples:
                    stopped = self._reached(terms, values, time.perf_counter() - start)
                if stopped is not None:
                    break
        doubts: tuple[str, ...] = ()
        if self.moment_matched and batch < _BIASED_RATIO * terms.count:
            doubts = (
                f"moment matching in batches of {batch} has a bias of order 1/{batch}, which "
                f"may rival the standard error of {terms.count} batches; use fewer, larger ones",
            )
        return summarise(problem, values, terms, batch, stopped or "samples", doubts)

    def _count_flops(self, problem: Problem, explanation: Explanation | None) -> int:
        """Batches of one size cost the same, so one of each size is metered."""
        draws = generator(self.seed, problem.device)
        with torch.no_grad():
            return sum(
                n * count_flops(partial(self._take, problem, draws, rows, *self._empty(problem)))
                for n, rows in self._runs(self._batch(problem))
            )

    def _request_for(self, estimate: SampledEstimate) -> Self:
        return replace(super()._request_for(estimate), batch=estimate.batch)

    def _runs(self, batch: int) -> list[tuple[int, int]]:
        """Numbers of batches and their rows, in order."""
        full, rest = divmod(self.samples, batch)
        if rest == 0:
            return [(full, batch)]
        if self.moment_matched:  # what is left may be too little to be matched by itself
            return [(full - 1, batch), (1, batch + rest)]
        return [(full, batch), (1, rest)]

    def _batch(self, problem: Problem) -> int:
        """Rows of a batch; refuses those that cannot be moment-matched."""
        if not self.moment_matched:
            return min(self.batch or batch_rows(problem), self.samples)
        width, step = problem.inputs.latent_size, 1 + self.antithetic
        smallest = step * (width + 1)
        takes = (
            f"moment matching takes {_FEWEST_BATCHES} batches or more, each of {smallest} or more "
            f"samples here: more {'pairs' if self.antithetic else 'samples'} than the {width} "
            "normals behind an input"
        )
        if self.batch is not None and self.batch < smallest:
            raise InputError(f"MonteCarlo: batch = {self.batch}; {takes}")
        if self.samples < _FEWEST_BATCHES * (self.batch or smallest):
            raise BudgetError(
                f"MonteCarlo: samples = {self.samples}; {takes}; give at least "
                f"samples={_FEWEST_BATCHES * (self.batch or smallest)}"
            )
        if self.batch is not None:
            return self.batch
        wanted = min(_MATCHED_BATCHES, math.isqrt(self.samples) // _MATCHED_SHARE)
        batch = self.samples // max(wanted, _FEWEST_BATCHES)
        normals = _STOPPING_NORMALS if self._may_stop else _MATCHED_NORMALS
        most = step * max(normals // width, _SMALL_RATIO * width)
        batch = min(max(batch, smallest), most)
        return batch - batch % step

    def _empty(self, problem: Problem) -> tuple[Moments, Moments]:
        """Moments of the values and of the independent terms, which may be the values."""
        values = empty_values(problem)
        plain = not (self.antithetic or self.moment_matched)
        return values, values if plain else empty_terms(problem)

    def _take(
        self, problem: Problem, draws: torch.Generator, rows: int, values: Moments, terms: Moments
    ) -> None:
        """Draw one batch and take in its values."""
        inputs = problem.inputs
        if terms is values:
            values.add(evaluate(problem, inputs.sample(rows, draws)))
            return
        step = 1 + self.antithetic
        z = torch.randn(
            rows // step,
            inputs.latent_size,
            generator=draws,
            dtype=problem.dtype,
            device=problem.device,
        )
        if not self.moment_matched:
            y = evaluate(problem, inputs.from_normal(torch.cat([z, -z])))
            values.add(y)
            terms.add((y[: len(z)] + y[len(z) :]) / 2)
            return
        total = torch.zeros_like(terms.mean)
        for part in whitened(z, centred=self.antithetic).split(batch_rows(problem) // step):
            y = evaluate(
                problem,
                inputs.from_normal(torch.cat([part, -part]) if self.antithetic else part),
            )
            values.add(y)
            total += y.sum(0)
        terms.add(total[None] / rows, weight=rows)


def whitened(z: Float[Tensor, "rows n"], centred: bool) -> Float[Tensor, "rows n"]:
    """Transform rows so that their mean is exactly 0 and their second moment exactly I.

    With L the Cholesky factor of zᵀz / rows, of the rows minus their mean, it returns z L⁻ᵀ.

    Args:
        z: more rows than columns.
        centred: the mean is 0 already (antithetic pairs).

    Raises:
        NumericalError: if the rows are linearly dependent.
    """
    rows, width = z.shape
    x = z.double() if rows < _SAFE_RATIO * width else z
    if not centred:
        x = x - x.mean(0)
    factor, failed = torch.linalg.cholesky_ex(x.T @ x / rows)
    if int(failed):
        raise NumericalError(
            f"moment matching: {rows} rows of {width} normals are linearly dependent in {z.dtype}; "
            "use larger batches"
        )
    return torch.linalg.solve_triangular(factor.T, x, upper=True, left=False).to(z.dtype)
