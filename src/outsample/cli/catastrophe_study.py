"""The study behind ``outsample catastrophe demo``: a 3 called an 8, estimated and trained away."""

import copy
import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from outsample.catastrophe import (
    CatastropheProbability,
    Detector,
    GaussianAdversary,
    SubsetSimulation,
    Tilt,
    TiltedImportanceSampling,
    TrainingStep,
    argmax,
    mechanistic_training,
)
from outsample.cli.catastrophe_findings import (
    AFTER,
    BEFORE,
    CASES,
    FRESH,
    READ,
    REFERENCE,
    SEEN,
    TASK_ONLY,
    TRAINED_AGAINST,
    WIDTHS,
    CatastropheStudy,
    Confirmation,
    Found,
    Point,
)
from outsample.cli.digits import Digits, accuracy, load_digits, train_network
from outsample.cli.output import probability
from outsample.distributions import Gaussian
from outsample.errors import InputError, NumericalError
from outsample.problem import Problem
from outsample.sampling import MonteCarlo
from outsample.sampling.progress import progress

#: Probability at which a curve over margins ends, and the one below which the margin lies that is
#: trained on, if none is given: plain sampling can still be asked, but sees next to nothing.
DEEPEST, TRAINED = 1e-10, 1e-6
#: Probability below which a catastrophe is not trained away: no estimator could confirm it.
LOWEST = 1e-20

#: Added to the pixels' variances: some pixels are blank in all images of the class.
_NOISE = 0.01
#: Inflations of the sampled truth's proposal, and of the one that confirms it.
_INFLATION, _OTHER_INFLATION = 1.1, 1.3
_KL_BUDGET = 1.0
#: Settings of training, those of benchmarks/catastrophe_training.py.
_RATE, _WEIGHT, _FALL, _BATCH = 1e-3, 0.008, 1e4, 128
_TRAINING_TILT = Tilt(order=3, variant="basic", refinements=0)


@dataclass(frozen=True)
class Effort:
    """How much training and sampling a study does."""

    epochs: int
    #: Most margins of a curve, and the step from one to the next.
    margins: int
    spacing: float
    #: Samples behind the truth at each margin, of plain sampling, of importance sampling that
    #: confirms, and of a level of subset simulation.
    truth: int
    plain: int
    importance: int
    subset: int
    #: Steps of mechanistic training, and ascents of an adversary that starts.
    steps: int
    ascents: int


FULL = Effort(40, 40, 1.0, 100_000, 1_000_000, 100_000, 50_000, 60, 15)
QUICK = Effort(10, 20, 3.0, 10_000, 20_000, 10_000, 4_000, 12, 5)


def study(
    seed: int, margin: float | None, effort: Effort, say: Callable[[str], None]
) -> CatastropheStudy:
    """Train a network, estimate its catastrophe, train that away, and confirm both.

    Args:
        seed: of the split, of the network, and of all sampling.
        margin: by how much the 8 must exceed every other class, in the catastrophe trained away;
            if None, the first on the curve whose probability is below :data:`TRAINED`.
        effort: how much of everything.
        say: told what is being done.

    Raises:
        InputError: for a margin whose catastrophe is rarer than :data:`LOWEST`.
        NumericalError: if the first training step already fails.
    """
    say("training a network on scikit-learn's digits …")
    digits = _in_double(load_digits(seed))
    network = train_network(digits, seed, effort.epochs, WIDTHS)
    law = class_law(digits, SEEN)
    if margin is not None and (own := _tilt(network, law, margin)).log10 < math.log10(LOWEST):
        raise InputError(
            f"margin = {margin:g}: the network calls a {SEEN} an {READ} by so much with "
            f"probability {probability(own.log10)}; expected a margin with at least {LOWEST:g}"
        )
    say(f"estimating and sampling P(a {SEEN} is called an {READ} with margin m) …")
    before, per_sample = _curve(network, law, margin, effort, seed)
    if margin is None:
        rare = (point.margin for point in before if point.tilt.log10 < math.log10(TRAINED))
        margin = next(rare, before[-1].margin)
    typical = Tilt().estimate(CatastropheProbability(network, law, called(margin))).modes[0].mean
    say("training the catastrophe away …")
    adversary = GaussianAdversary(law, _KL_BUDGET)
    after, steps, seconds = _trained_away(network, digits, adversary, margin, effort, seed)
    task_only = _trained_on(network, digits, effort, seed)
    say("estimating and sampling the trained network …")
    curve_after, _ = _curve(after, law, margin, effort, seed + 1)
    say("confirming by other estimators, and under an adversary that starts afresh …")
    networks = {BEFORE: network, TASK_ONLY: task_only, AFTER: after}
    laws = {REFERENCE: law, TRAINED_AGAINST: _frozen(adversary.law())}
    laws[FRESH] = _fresh(after, law, margin, effort)
    confirmations = _confirm(networks, laws, margin, effort, seed)
    return CatastropheStudy(
        margin,
        law,
        typical,
        {name: accuracy(one, digits) for name, one in networks.items()},
        {BEFORE: before, AFTER: curve_after},
        steps,
        seconds,
        confirmations,
        effort.plain,
        per_sample,
    )


def class_law(digits: Digits, label: int) -> Gaussian:
    """The Gaussian of the training images of one class, with a little noise on every pixel."""
    images = digits.images[digits.labels == label]
    covariance = images.T.cov() + _NOISE * torch.eye(images.shape[1], dtype=images.dtype)
    return Gaussian(images.mean(0), (covariance + covariance.T) / 2)


def called(margin: float) -> Detector:
    """The catastrophe: the image is called an 8, by a margin over every other class."""
    return argmax(margin=margin) == READ


class Calls(Problem):
    """Whether the catastrophe happens at each of several margins: one evaluation answers all."""

    def __init__(self, network: nn.Module, law: Gaussian, margins: Sequence[float]) -> None:
        self.problem = CatastropheProbability(network, law, called(0.0))
        self.inputs = law
        self.margins = torch.tensor(margins, dtype=law.mean.dtype)
        self.output_shape = (len(margins),)

    def __call__(self, x: Float[Tensor, "batch n"]) -> Float[Tensor, "batch margins"]:
        """1 where the 8 exceeds every other class by more than the margin, else 0."""
        with torch.no_grad():
            return (self.problem.score(x)[:, None] > self.margins).to(x.dtype)

    def signature(self) -> Hashable:
        """That of the catastrophe, marked as asked at several margins."""
        return "Calls", self.problem.signature(), self.output_shape

    def tensors(self) -> list[Tensor]:
        """Those of the network and the input, and the margins."""
        return [*self.problem.tensors(), self.margins]

    def describe(self) -> str:
        """The catastrophe in one line."""
        return f"{self.problem.describe()}, at {len(self.margins)} margins"


def _curve(
    network: nn.Module, law: Gaussian, margin: float | None, effort: Effort, seed: int
) -> tuple[tuple[Point, ...], float]:
    """Points at rising margins, down to :data:`DEEPEST`; processor time of one plain sample.

    ``margin``, if there is one, is among them.
    """
    tilts: dict[float, Found] = {} if margin is None else {margin: _tilt(network, law, margin)}
    for place in range(effort.margins):
        here = place * effort.spacing
        tilts[here] = _tilt(network, law, here)
        if tilts[here].log10 < math.log10(DEEPEST) and here >= (margin or 0.0):
            break
    margins = sorted(tilts)
    start = time.process_time()
    plain = MonteCarlo(effort.plain, seed=seed).estimate(Calls(network, law, margins))
    per_sample = (time.process_time() - start) / effort.plain
    assert plain.standard_error is not None  # it has several samples
    points: list[Point] = []
    with progress("sampling", len(margins)) as advance:
        for place, here in enumerate(margins):
            sampler = TiltedImportanceSampling(effort.truth, 1000 * seed + place, _INFLATION)
            truth = Found.by(sampler, CatastropheProbability(network, law, called(here)))
            share, error = float(plain.value[place]), float(plain.standard_error[place])
            points.append(Point(here, tilts[here], truth, share, error))
            advance(1)
    return tuple(points), per_sample


def _tilt(network: nn.Module, law: Gaussian, margin: float) -> Found:
    return Found.by(Tilt(), CatastropheProbability(network, law, called(margin)))


def _trained_away(
    network: nn.Sequential,
    digits: Digits,
    adversary: GaussianAdversary,
    margin: float,
    effort: Effort,
    seed: int,
) -> tuple[nn.Sequential, tuple[TrainingStep, ...], float]:
    """A copy trained mechanistically, its steps, and processor time; moves the adversary."""
    model = copy.deepcopy(network).requires_grad_(True)
    optimizer, schedule = _optimizer(model, effort.steps)
    start = time.process_time()
    loop = mechanistic_training(
        model,
        lambda step: _loss(model, digits, seed, step),
        called(margin),
        adversary,
        optimizer=optimizer,
        weight=_WEIGHT,
        fall=_FALL,
        tilt=_TRAINING_TILT,
        warm_up=effort.ascents,
        laws=1,
        renew_every=0,
        check=SubsetSimulation(effort.subset, seed),
        check_every=effort.steps // 2,
        steps=effort.steps,
    )
    steps: list[TrainingStep] = []
    with progress("training", effort.steps) as advance:
        for step in loop:
            steps.append(step)
            schedule.step()
            advance(1)
    if math.isnan(steps[0].task_loss):
        raise NumericalError(f"training the catastrophe away failed: {steps[0].stopped}")
    return model.requires_grad_(False), tuple(steps), time.process_time() - start


def _trained_on(network: nn.Sequential, digits: Digits, effort: Effort, seed: int) -> nn.Sequential:
    """A copy that takes the same steps on the task alone: what they change by themselves."""
    model = copy.deepcopy(network).requires_grad_(True)
    optimizer, schedule = _optimizer(model, effort.steps)
    for step in range(effort.steps):
        optimizer.zero_grad()
        _loss(model, digits, seed, step).backward()
        optimizer.step()
        schedule.step()
    return model.requires_grad_(False)


def _optimizer(
    model: nn.Module, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Adam whose rate falls to 0 as a cosine."""
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def _loss(model: nn.Module, digits: Digits, seed: int, step: int) -> Tensor:
    """Cross-entropy on a batch that the step's number draws."""
    draws = torch.Generator().manual_seed(1_000_003 * (seed + 1) + step)
    rows = torch.randint(len(digits.labels), (_BATCH,), generator=draws)
    return nn.functional.cross_entropy(model(digits.images[rows]), digits.labels[rows])


def _fresh(model: nn.Module, law: Gaussian, margin: float, effort: Effort) -> Gaussian:
    """The law that an adversary finds against the trained network from the beginning."""
    adversary = GaussianAdversary(law, _KL_BUDGET)
    adversary.strengthen(model, called(margin), 2 * effort.ascents, 0.08, _TRAINING_TILT)
    return _frozen(adversary.law())


def _frozen(law: Gaussian) -> Gaussian:
    return Gaussian(law.mean.detach(), law.covariance.detach())


def _confirm(
    networks: dict[str, nn.Sequential],
    laws: dict[str, Gaussian],
    margin: float,
    effort: Effort,
    seed: int,
) -> tuple[Confirmation, ...]:
    """The networks under the laws, as :data:`CASES` has them; samplers do not share numbers."""
    found: list[Confirmation] = []
    with progress("confirming", len(CASES)) as advance:
        for place, (law, name) in enumerate(CASES):
            own = 1000 * (seed + 500) + place
            problem = CatastropheProbability(networks[name], laws[law], called(margin))
            other = TiltedImportanceSampling(effort.importance, own, _OTHER_INFLATION)
            subset = SubsetSimulation(effort.subset, own)
            estimates = [Found.by(one, problem) for one in (Tilt(), other, subset)]
            found.append(Confirmation(law, name, *estimates))
            advance(1)
    return tuple(found)


def _in_double(digits: Digits) -> Digits:
    return replace(digits, images=digits.images.double(), test_images=digits.test_images.double())
