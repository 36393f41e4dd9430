"""The tasks that catastrophe_training.py trains on, and how it confirms probabilities."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

import outsample as ou
from outsample.distributions import Gaussian


@dataclass(frozen=True)
class Task:
    """A pre-trained model, what it is trained for, and what must not happen."""

    model: nn.Sequential
    #: From a model and a step's number to the loss of that step's batch.
    loss: Callable[[nn.Module, int], Tensor]
    #: Loss on data that no step draws.
    held_out: Callable[[nn.Module], float]
    detector: ou.Detector
    reference: Gaussian


def generator(*names: object) -> torch.Generator:
    """A stream for one purpose; hash() of strings changes from run to run, so not that."""
    text = "catastrophe benchmark " + " ".join(map(str, names))
    number = 0
    for byte in text.encode():
        number = (number * 1_000_003 + byte) % (2**61 - 1)
    return torch.Generator().manual_seed(number)


def mlp(widths: list[int], draws: torch.Generator) -> nn.Sequential:
    """A ReLU network with He's initialisation, in float64."""
    layers: list[nn.Module] = []
    for taken, given in pairwise(widths):
        linear = nn.Linear(taken, given, dtype=torch.float64, device="meta").to_empty(device="cpu")
        with torch.no_grad():
            normal = torch.randn(given, taken, generator=draws, dtype=torch.float64)
            linear.weight.copy_(normal * math.sqrt(2 / taken))
            linear.bias.zero_()
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def train(task: Task, model: nn.Module, steps: range, rate: float, decay: bool = False) -> None:
    """Adam on the task's loss alone; ``decay`` brings its rate down to 0 as a cosine."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(steps)) if decay else None
    for step in steps:
        optimizer.zero_grad()
        task.loss(model, step).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()


def teacher_task(seed: int, steps: int = 1500, log_p: float = math.log(1e-9)) -> Task:
    """Learn a random 16-48-48-2 network; its second output must not be too large."""
    teacher = mlp([16, 48, 48, 2], generator("teacher", seed)).requires_grad_(False)
    student = mlp([16, 48, 48, 2], generator("student", seed))
    law = Gaussian.standard(16, torch.float64)
    test = law.sample(50_000, generator("held out", seed))
    answers = teacher(test)
    spread = answers.var(0).sum()

    def loss(model: nn.Module, step: int) -> Tensor:
        x = law.sample(1024, generator("batch", seed, step))
        return (model(x) - teacher(x)).square().sum(1).mean() / spread

    def held_out(model: nn.Module) -> float:
        with torch.no_grad():
            return float((model(test) - answers).square().sum(1).mean() / spread)

    task = Task(student, loss, held_out, ou.output[1] > 0, law)
    train(task, student, range(-steps, 0), 2e-3)
    task.model.requires_grad_(True)
    threshold = threshold_at(student, law, lambda t: ou.output[1] > t, log_p)
    return Task(student, loss, held_out, ou.output[1] > threshold, law)


def digits_task(
    seed: int, seen: int = 3, read: int = 8, steps: int = 600, log_p: float = math.log(1e-7)
) -> Task:
    """Read handwritten digits; an 8 must not beat a 3 by a margin on what is a 3."""
    from sklearn import datasets

    pixels, names = datasets.load_digits(return_X_y=True)
    images, labels = torch.tensor(pixels, dtype=torch.float64) / 16, torch.tensor(names)
    order = torch.randperm(len(labels), generator=generator("split", seed))
    test, rows = order.tensor_split([len(order) // 4])
    model = mlp([64, 64, 64, 10], generator("digits", seed))
    chosen = images[rows][labels[rows] == seen]
    cov = torch.from_numpy(chosen.numpy()).T.cov() + 0.01 * torch.eye(64, dtype=torch.float64)
    law = Gaussian(chosen.mean(0), (cov + cov.T) / 2)

    def loss(network: nn.Module, step: int) -> Tensor:
        drawn = torch.randint(len(rows), (128,), generator=generator("images", seed, step))
        batch = rows[drawn]
        noise = torch.randn(128, 64, generator=generator("noise", seed, step), dtype=torch.float64)
        return nn.functional.cross_entropy(network(images[batch] + 0.1 * noise), labels[batch])

    def held_out(network: nn.Module) -> float:
        with torch.no_grad():
            return float(nn.functional.cross_entropy(network(images[test]), labels[test]))

    beats = ou.output[read] - ou.output[seen]
    task = Task(model, loss, held_out, beats > 0, law)
    train(task, model, range(-steps, 0), 2e-3)
    margin = threshold_at(model, law, lambda m: beats > m, log_p)
    return Task(model, loss, held_out, beats > margin, law)


def threshold_at(
    model: nn.Module, law: Gaussian, event: Callable[[float], ou.Detector], log_p: float
) -> float:
    """The threshold at which the event has the given log probability, to two digits."""
    low, high = 0.0, 1.0

    def log_at(threshold: float) -> float:
        problem = ou.CatastropheProbability(model, law, event(threshold))
        with torch.no_grad():
            return float(ou.Tilt(order=2).estimate(problem).log_value)

    while log_at(high) > log_p:
        low, high = high, 2 * high
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if log_at(middle) > log_p else (low, middle)
    return round(high, 2)


@dataclass(frozen=True)
class Confirmed:
    """A probability by importance sampling from two laws, and by subset simulation."""

    log_p: float
    relative_error: float
    #: Standard errors between the two proposals' values.
    gap: float
    largest_share: float
    log_subset: float


def confirmed(
    model: nn.Module, law: Gaussian, detector: ou.Detector, name: str, samples: int = 60_000
) -> Confirmed:
    """Importance sampling from N(mu*, 1.1 S) and N(mu*, 1.3 S) about each of the tilt's modes."""
    problem = ou.CatastropheProbability(model, law, detector)
    with torch.no_grad():
        tilt = ou.Tilt(order=3, starts=3).estimate(problem)
        modes = getattr(tilt, "modes", ())
        base = torch.distributions.MultivariateNormal(law.mean, law.covariance)
        total, found = math.log(sum(math.exp(m.log_value - modes[0].log_value) for m in modes)), []
        for widening in (1.1, 1.3):
            draws = generator("confirm", name, widening)
            shares = [math.exp(m.log_value - modes[0].log_value - total) for m in modes]
            shares = [(s + 0.1 / len(shares)) / 1.1 for s in shares]
            laws = [
                torch.distributions.MultivariateNormal(
                    m.inputs.mean, widening * m.inputs.covariance
                )
                for m in modes
            ]
            counts = [round(samples * share) for share in shares]
            x = torch.cat(
                [
                    one.mean
                    + torch.randn(n, len(one.mean), generator=draws).double() @ one.scale_tril.T
                    for one, n in zip(laws, counts, strict=True)
                ]
            )
            density = torch.stack(
                [one.log_prob(x) + math.log(s) for one, s in zip(laws, shares, strict=True)]
            ).logsumexp(0)
            logs = torch.where(problem(x) > 0, base.log_prob(x) - density, -torch.inf)
            top = logs.max()
            weights = (logs - top).exp()
            mean = weights.mean()
            error = float(weights.std() / mean / math.sqrt(len(x)))
            share = float(weights.max() / weights.sum())
            found.append((float(top + mean.log()), error, share))
    (one, error1, share1), (other, error2, share2) = found
    weight1, weight2 = error1**-2, error2**-2
    log_p = (weight1 * one + weight2 * other) / (weight1 + weight2)
    subset = ou.SubsetSimulation(samples=10_000, seed=len(name)).estimate(problem)
    return Confirmed(
        log_p,
        (weight1 + weight2) ** -0.5,
        abs(one - other) / math.hypot(error1, error2),
        max(share1, share2),
        float(subset.log_value),
    )


def copied(model: nn.Sequential) -> nn.Sequential:
    """The same model with parameters of its own."""
    return copy.deepcopy(model)
