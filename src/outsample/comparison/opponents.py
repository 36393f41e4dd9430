"""The samplers that estimators are measured against."""

from collections.abc import Iterator

from outsample.comparison.cells import Method
from outsample.comparison.scores import PLAIN
from outsample.problem import Problem
from outsample.sampling import MonteCarlo, QuasiMonteCarlo

#: Samples of one run of an opponent, and the FLOPs it may cost before they are cut.
_SAMPLES, _FEWEST_SAMPLES, _SAMPLING_FLOPS = 2**14, 2**10, 1e11
#: A moment-matched run has at least this many samples a coordinate.
_MATCHED_RATIO = 32
#: Batch sizes tried besides the samplers' own, on the first problem.
_BATCHES = (2**8, 2**10, 2**12, 2**14)
#: Scrambled Sobol points gain on 1/N as N grows: the N measured are these parts of the samples.
_SOBOL_SHARES, _SOBOL_REPLICATES = (128, 16, 2), 8


def opponents(problem: Problem, flops: float, other_batches: bool) -> Iterator[Method]:
    """The samplers to measure; they differ in batch size only where timing is all they add."""
    affordable = int(_SAMPLING_FLOPS / max(flops, 1.0))
    samples = min(max(1 << affordable.bit_length() >> 1, _FEWEST_SAMPLES), _SAMPLES)
    for name, antithetic in ((PLAIN, False), ("antithetic", True)):
        batches = [b for b in _BATCHES if b <= samples] if other_batches else []
        for batch in (None, *batches):
            yield Method(name, MonteCarlo(samples, antithetic=antithetic, batch=batch))
    matched = max(samples, _MATCHED_RATIO * problem.inputs.latent_size)
    yield Method("moment-matched", MonteCarlo(matched, antithetic=True, moment_matched=True))
    for share in _SOBOL_SHARES:
        points = _SOBOL_REPLICATES * (samples // share)
        yield Method("scrambled Sobol", QuasiMonteCarlo(points, replicates=_SOBOL_REPLICATES))
