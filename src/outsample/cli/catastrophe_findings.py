"""What ``outsample catastrophe demo`` finds: estimates, points, confirmations, all of a study."""

import math
import time
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from outsample.catastrophe import CatastropheProbability, TrainingStep
from outsample.catastrophe.estimate import TailEstimator
from outsample.distributions import Gaussian
from outsample.estimator import Trust

#: Neurons: 8 × 8 pixels, two hidden layers, ten classes.
WIDTHS = (64, 64, 64, 10)
#: What the image is, and what it must not be called.
SEEN, READ = 3, 8
#: The three networks that are looked at; the second takes the same steps on the task alone.
BEFORE, TASK_ONLY, AFTER = "before", "task alone", "after"
#: The laws of the input under which the catastrophe's fall is confirmed.
REFERENCE, TRAINED_AGAINST, FRESH = "Gaussian of the 3s", "training's adversary", "fresh adversary"
#: What is confirmed: networks under laws.
CASES = (
    (REFERENCE, BEFORE),
    (REFERENCE, TASK_ONLY),
    (REFERENCE, AFTER),
    (TRAINED_AGAINST, BEFORE),
    (TRAINED_AGAINST, AFTER),
    (FRESH, BEFORE),
    (FRESH, AFTER),
)

#: Logarithm of the largest number, about.
_LARGEST_LOG = 700.0


@dataclass(frozen=True)
class Found:
    """A probability as one method has it."""

    #: Natural logarithm of the probability; -inf where sampling saw nothing.
    log_value: float
    #: Standard error over the probability; None where none is computed.
    relative_error: float | None
    trust: Trust
    reasons: tuple[str, ...]
    #: Of processor time: on one thread, and little moved by what else the machine does.
    seconds: float
    samples: int | None

    @classmethod
    def by(cls, estimator: TailEstimator, problem: CatastropheProbability) -> "Found":
        """What figures and tables need of an estimate."""
        start = time.process_time()
        estimate = estimator.estimate(problem)
        taken = time.process_time() - start
        assert estimate.log_value is not None  # every TailEstimate has one
        error = estimate.relative_error
        return cls(
            float(estimate.log_value),
            None if error is None else float(error),
            estimate.trust,
            estimate.reasons,
            taken,
            estimate.samples,
        )

    @property
    def log10(self) -> float:
        """Decimal logarithm of the probability."""
        return self.log_value / math.log(10)


@dataclass(frozen=True)
class Point:
    """One margin: the mechanistic estimate, the sampled truth, and plain sampling."""

    margin: float
    tilt: Found
    truth: Found
    #: Share of plain samples that were catastrophes, and its standard error.
    plain: float
    plain_error: float


@dataclass(frozen=True)
class Confirmation:
    """One network under one law at the margin trained on: three methods, two independent."""

    law: str
    network: str
    tilt: Found
    importance: Found
    subset: Found


@dataclass(frozen=True)
class CatastropheStudy:
    """What the demo found."""

    margin: float
    law: Gaussian
    #: Mean of the inputs given the catastrophe at that margin, for the network before training.
    typical: Float[Tensor, " 64"]
    #: Share of the test images named rightly, by network.
    accuracy: dict[str, float]
    #: Points by rising margin, for the network before and after training.
    curves: dict[str, tuple[Point, ...]]
    steps: tuple[TrainingStep, ...]
    training_seconds: float
    confirmations: tuple[Confirmation, ...]
    plain_samples: int
    seconds_per_sample: float

    def confirmed(self, law: str, network: str) -> Confirmation:
        """What was found of one network under one law."""
        return next(c for c in self.confirmations if (c.law, c.network) == (law, network))

    def falls(self, law: str) -> dict[str, float]:
        """By what factor the probability fell under a law, by method."""
        old, new = self.confirmed(law, BEFORE), self.confirmed(law, AFTER)
        return {
            "tilt": _ratio(old.tilt, new.tilt),
            "importance": _ratio(old.importance, new.importance),
            "subset": _ratio(old.subset, new.subset),
        }

    def fall(self, law: str) -> float:
        """The factor that both independent samplers grant."""
        falls = self.falls(law)
        return min(falls["importance"], falls["subset"])


def _ratio(old: Found, new: Found) -> float:
    """Old over new; NaN where the old one was not seen, inf where the new one was not."""
    if old.log_value == -math.inf:
        return math.nan
    log = old.log_value - new.log_value
    return math.exp(log) if log < _LARGEST_LOG else math.inf
