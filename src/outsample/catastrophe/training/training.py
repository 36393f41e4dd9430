"""Training that makes catastrophes improbable, without sampling one."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from outsample.catastrophe.detectors import Detector
from outsample.catastrophe.estimate import TailEstimator
from outsample.catastrophe.problem import CatastropheProbability
from outsample.catastrophe.samplers import SubsetSimulation
from outsample.catastrophe.tilt import Tilt
from outsample.catastrophe.training.adversary import Adversary
from outsample.catastrophe.training.loop import MechanisticTraining
from outsample.catastrophe.training.pool import Attacker
from outsample.catastrophe.training.settings import TrainingSettings
from outsample.errors import InputError

_OWNER = "mechanistic_training"


def mechanistic_training(
    model: nn.Module,
    task: Callable[[int], Tensor],
    detector: Detector,
    adversary: Adversary,
    *,
    anomaly: Detector | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    weight: float = 0.02,
    floor: float | None = None,
    fall: float = 1e4,
    tilt: Tilt | None = None,
    adversary_rate: float = 0.05,
    ascents: int = 1,
    warm_up: int = 30,
    laws: int = 3,
    renew_every: int = 20,
    check: TailEstimator | None = None,
    check_every: int = 25,
    factor: float = 3.0,
    steps: int | None = None,
) -> MechanisticTraining:
    """Train a model on a task while a catastrophe is made improbable, without sampling one.

    Each step of the iterator lets the adversary ascend log p, the log probability of the detector
    under one of its laws, within its budget; then the model descends

        task + weight · relu(log p + offset - floor).

    log p comes from :class:`~outsample.Tilt`, from where the last step's tilt is, and is
    differentiated at fixed tilts.  Every ``check_every`` steps the tilt is sought anew and the
    estimate set beside an independent one: if they part by more than ``factor``, the loop stops
    with a step that says so; what they part by else, averaged with earlier checks, is the offset.

    Args:
        model: a chain of layers, see :class:`~outsample.NetworkMean`.
        task: from the number of steps done to the loss of the task, a scalar tensor.  A task that
            draws its batch by that number can be resumed.
        detector: what must not happen.
        adversary: law of the inputs: a :class:`~outsample.GaussianAdversary` or a
            :class:`~outsample.GeneratorAdversary`.
        anomaly: another detector; log p is then that of either, E[max(C, A)] =
            P(C) + P(A and not C), and both terms are reported.
            See :func:`~outsample.anomaly_detector`.
        optimizer: of the model's parameters; Adam with rate 1e-3 unless given.
        weight: of a nat of log p in units of the task's loss.
        floor: log p below which nothing is lowered: without it the task pays for a depth that
            means nothing.  By default the log p that the adversary reaches at first, over
            ``fall``.
        fall: factor by which the probability is to fall, unless ``floor`` is given.
        tilt: how to estimate log p; ``Tilt(order=3)`` unless given.  ``Tilt(order=2)`` takes
            half the time.
        adversary_rate: rate of the adversary's Adam, in standard deviations of the inputs.
        ascents: of the adversary in each step.
        warm_up: ascents of a law that starts, before the first step and after a renewal.
        laws: how many laws the adversary has.  They take turns, so that what one found out stays
            repaired while the model repairs what another finds; the ``adversary`` given always
            has the one that was the strongest at its last turn.
        renew_every: every so many steps one of the laws, in turn, starts (anew) from where the
            adversary started, and finds what is the strongest now; 0 for a single law throughout.
        check: an estimator of another kind; SubsetSimulation(20 000) unless given.  One with a
            seed draws anew at each check.
        check_every: steps from check to check; 0 for none.
        factor: by which estimate and check may differ.
        steps: after which the iterator ends; without end unless given.

    Returns:
        An iterator of :class:`TrainingStep` with ``state_dict`` and ``load_state_dict``.

    Raises:
        InputError: for settings out of range, by name, a detector that is certain or impossible,
            and what CatastropheProbability refuses.

    Source: the Alignment Research Center's "Competing with sampling" (2025) proposes the
    objective; for the estimate see :class:`~outsample.Tilt`.

    Example:
        >>> import torch, outsample as ou
        >>> model = torch.nn.Linear(4, 1, dtype=torch.float64)
        >>> task = lambda step: (model.weight - 1).square().sum()
        >>> adversary = ou.GaussianAdversary(ou.Gaussian.standard(4), kl_budget=0.5)
        >>> loop = mechanistic_training(model, task, ou.output[0] > 8, adversary, steps=3)
        >>> len([*loop])
        3
    """
    if not isinstance(adversary, Adversary):
        raise InputError(
            f"{_OWNER}: adversary is {type(adversary).__name__}; expected a GaussianAdversary or a "
            "GeneratorAdversary"
        )
    if not callable(task):
        raise InputError(
            f"{_OWNER}: task is {task!r}; expected a function from a step to the task's loss"
        )
    if tilt is not None and not isinstance(tilt, Tilt):
        raise InputError(f"{_OWNER}: tilt is {tilt!r}; expected a Tilt")
    for event in (detector,) if anomaly is None else (detector, anomaly):
        bound = CatastropheProbability(model, adversary.reference, event)
        if not bound.conjunctions or not all(bound.conjunctions):
            raise InputError(f"{_OWNER}: {event!r} is certain or impossible; nothing to train")
    settings = TrainingSettings(
        weight,
        floor,
        fall,
        adversary_rate,
        ascents,
        warm_up,
        laws,
        renew_every,
        check or SubsetSimulation(samples=20_000),
        check_every,
        factor,
        steps,
    )
    if optimizer is None:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    attackers = [
        Attacker(adversary, adversary_rate, detector, anomaly, tilt or Tilt()) for _ in range(laws)
    ]
    return MechanisticTraining(model, task, adversary, attackers, optimizer, settings)
