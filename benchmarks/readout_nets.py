"""The two-layer networks that ``readout.py`` measures, and sampled truths for them.

Hidden weights are N(0, 1/n).  The second layer is random, one unit, ridge regression on a target
or stochastic gradient descent on it (2000 steps of 64 fresh inputs from zero).  Targets: he4 (or
he3 for odd activations) of one coordinate, a ridge, xor of two signs, a random quadratic form, the
largest coordinate.  Digits: Gaussian fitted to the leading principal components of scikit-learn's
digits, targets are functions of the label.

Truths come from antithetic pairs with f and f² as control variates, whose means are known exactly.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

import outsample as ou
from outsample.comparison.seeds import derive_seed
from outsample.networks.activations import from_name
from outsample.readout.kernels import second_order
from outsample.readout.outputs import Hinge, Output, Sigmoid, Threshold
from outsample.readout.problem import TwoLayer

F64 = torch.float64
OUTPUTS = ("sig", "relu", "t2", "t4")
#: Targets: those that even activations can learn, and those for odd ones.
EVEN = ("he4", "ridge", "xor2", "quad", "max")
ODD = ("he3", "ridge3", "xor3", "lin_he3", "max")
_STEPS, _BATCH = 2000, 64


@dataclass(frozen=True)
class Case:
    """A set of networks on one hidden layer."""

    name: str
    n: int
    m: int
    activation: str = "relu"
    digits: bool = False

    def problem(self, seed: int) -> tuple[list[str], TwoLayer]:
        """Names of the readouts and the problem that has them all on one hidden layer."""
        generator = torch.Generator().manual_seed(derive_seed(f"readout {self.name}", seed))
        weight = torch.randn(self.m, self.n, generator=generator, dtype=F64) / math.sqrt(self.n)
        rows = _digit_rows if self.digits else _rows
        names, readouts = rows(self, weight, generator)
        law = digits(self.n)[2] if self.digits else None
        return names, TwoLayer(weight, torch.stack(readouts), self.activation, inputs=law)


CASES = {
    case.name: case
    for case in (
        Case("relu 16x1024", 16, 1024),
        Case("relu 32x4096", 32, 4096),
        Case("gelu 16x1024", 16, 1024, "gelu"),
        Case("erf 16x1024", 16, 1024, "erf"),
        Case("tanh 16x1024", 16, 1024, "tanh"),
        Case("digits 16x1024", 16, 1024, digits=True),
        Case("digits 32x1024", 32, 1024, digits=True),
    )
}


def outputs(mean: float, deviation: float, activation: str) -> dict[str, Output]:
    """The four output functions, placed by the readout's own mean and standard deviation.

    Odd activations have the sigmoid half a deviation away: at the mean it is 1/2 by symmetry.
    """
    aside = 0.5 * deviation if activation in ("erf", "tanh") else 0.0
    return {
        "sig": Sigmoid(3 / deviation, mean + aside),
        "relu": Hinge(mean, 1 / deviation),
        "t2": Threshold(mean + 2 * deviation),
        "t4": Threshold(mean + 4 * deviation),
    }


def _rows(case: Case, weight: Tensor, generator: torch.Generator) -> tuple[list[str], list[Tensor]]:
    activation = from_name(case.activation)
    m, n = weight.shape
    targets = ODD if case.activation in ("erf", "tanh") else EVEN
    form = torch.randn(n, n, generator=generator, dtype=F64)
    form = (form + form.T) / 2
    form /= math.sqrt(2) * form.norm()

    def labels(x: Tensor) -> Tensor:
        return torch.stack([_target(name, x, form) for name in targets], 1)

    names, rows = ["rand", "onehot"], [torch.randn(m, generator=generator, dtype=F64) / m**0.5]
    rows.append(torch.eye(m, dtype=F64)[0])
    x = torch.randn(min(4 * m, 8192), n, generator=generator, dtype=F64)
    for name, row in zip(targets, ridge(activation(x @ weight.T), labels(x)).T, strict=True):
        names.append(f"ls_{name}")
        rows.append(row)
    trained = descend(
        activation, weight, lambda: torch.randn(_BATCH, n, generator=generator, dtype=F64), labels
    )
    for name, row in zip(targets, trained.T, strict=True):
        if name not in ("he4", "he3"):  # descent learns next to nothing of these
            names.append(f"sgd_{name}")
            rows.append(row)
    return names, rows


def _target(name: str, x: Tensor, form: Tensor) -> Tensor:
    a = x[:, 0]
    match name:
        case "he4":
            return (a**4 - 6 * a**2 + 3) / math.sqrt(24)
        case "he3":
            return (a**3 - 3 * a) / math.sqrt(6)
        case "ridge":
            return torch.tanh(3 * (a.abs() - 1))
        case "ridge3":
            return torch.tanh(3 * a)
        case "xor2":
            return torch.sign(a * x[:, 1])
        case "xor3":
            return torch.sign(a * x[:, 1] * x[:, 2])
        case "lin_he3":
            return x[:, 1] + (a**3 - 3 * a) / 6
        case "quad":
            return ((x @ form) * x).sum(1)
        case _:
            return x.amax(1)


def ridge(features: Tensor, targets: Tensor) -> Tensor:
    """Ridge regression with λ = 1e-4 of the mean eigenvalue, shape (m, k)."""
    gram = features.T @ features / len(features)
    gram.diagonal().add_(1e-4 * float(gram.diagonal().mean()))
    return torch.linalg.solve(gram, features.T @ targets / len(features))


def descend(activation, weight, draw, labels, steps=_STEPS) -> Tensor:
    """Stochastic gradient descent on the squared error from zero, shape (m, k)."""
    hidden = activation(torch.cat([draw() for _ in range(32)]) @ weight.T)
    rate = 0.4 / float(torch.linalg.matrix_norm(hidden, 2)) ** 2 * len(hidden)
    v = torch.zeros(len(weight), labels(draw()).shape[1], dtype=F64)
    for _ in range(steps):
        x = draw()
        hidden, y = activation(x @ weight.T), labels(x)
        v -= rate / len(x) * (hidden.T @ (hidden @ v - y))
    return v


@lru_cache(maxsize=4)
def digits(n: int) -> tuple[Tensor, Tensor, "ou.Gaussian"]:
    """The digits' first n principal components (unit mean variance), labels and fitted law."""
    from sklearn import datasets

    pixels, names = datasets.load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=F64)
    x = x - x.mean(0)
    left, sizes, _ = torch.linalg.svd(x, full_matrices=False)
    parts = left[:, :n] * sizes[:n]
    parts = parts / parts.square().mean().sqrt()
    return parts, torch.tensor(names), ou.Gaussian.fit(parts)


def _digit_rows(
    case: Case, weight: Tensor, generator: torch.Generator
) -> tuple[list[str], list[Tensor]]:
    x, label, _ = digits(case.n)
    activation = from_name(case.activation)
    columns = {
        "value": label / 4.5 - 1,
        "odd": (label % 2) * 2.0 - 1,
        "loop": torch.isin(label, torch.tensor([0, 6, 8, 9])) * 2.0 - 1,
        "is_1": (label == 1) * 2.0 - 1,
        "is_8": (label == 8) * 2.0 - 1,
    }
    y = torch.stack([c.to(F64) for c in columns.values()], 1)
    names = [f"ls_{name}" for name in columns]
    rows = list(ridge(activation(x @ weight.T), y).T)
    order = iter(torch.randint(len(x), (10**6,), generator=generator).tolist())
    chosen: list[Tensor] = []

    def draw() -> Tensor:
        index = torch.tensor([next(order) for _ in range(_BATCH)])
        chosen[:] = [index]
        return x[index]

    trained = descend(activation, weight, draw, lambda _: y[chosen[0]])
    return names + [f"sgd_{name}" for name in columns], rows + list(trained.T)


def truths(problem: TwoLayer, pairs: int, seed: int, batch: int = 1024) -> list[dict]:
    """For each readout and output function: value, standard error and variance of one sample.

    Forward passes in float32, sums in float64.
    """
    net = problem.whitened()
    k, n = len(net.readouts), net.size[0]
    e0 = net.activation.expand(net.means, net.lengths.square()).mean
    mean = net.readouts @ e0 + net.shifts
    deviation = second_order(net).variance.sqrt()
    weight, means = net.weights.float(), net.means.float()
    readouts = (net.readouts / deviation[:, None]).float().T.contiguous()
    offset = ((net.shifts - mean) / deviation).float()
    functions = list(outputs(0.0, 1.0, net.activation.name).values())
    generator = torch.Generator().manual_seed(derive_seed("readout truth", seed))
    count = len(functions)
    first = torch.zeros(count + 2, k, dtype=F64)
    second = torch.zeros(k, count + 2, count + 2, dtype=F64)
    squares = torch.zeros(count, k, dtype=F64)
    for _ in range(pairs // batch):
        z = torch.randn(batch, n, generator=generator)
        a = z @ weight.T
        both = torch.stack((net.activation(a + means), net.activation(means - a)))
        f = both.reshape(2 * batch, -1) @ readouts + offset
        values = torch.stack([*(s(f) for s in functions), f, f * f])
        squares += values[:count].square().sum(1, dtype=F64)
        averaged = values.reshape(count + 2, 2, batch, k).mean(1).to(F64)
        first += averaged.sum(1)
        second += torch.einsum("abk,cbk->kac", averaged, averaged)
    total = pairs // batch * batch
    first /= total
    rows: list[dict] = []
    for r in range(k):
        covariance = second[r] / total - torch.outer(first[:, r], first[:, r])
        controls = covariance[count:, count:]
        # For odd activations f is zero on average over every pair, and controls nothing.
        inverse = torch.linalg.pinv(controls, rtol=1e-9, hermitian=True)
        gap = first[count:, r] - torch.tensor([0.0, 1.0], dtype=F64)
        entry = {"mean": float(mean[r]), "deviation": float(deviation[r])}
        for i, name in enumerate(OUTPUTS):
            slopes = inverse @ covariance[count:, i]
            left = covariance[i, i] - slopes @ covariance[count:, i]
            variance = squares[i, r] / (2 * total) - first[i, r] ** 2
            entry[name] = {
                "value": float(first[i, r] - slopes @ gap),
                "standard_error": math.sqrt(max(float(left), 0.0) / total),
                "variance": float(variance),
            }
        # How far the known second moment is from the sampled one, in standard errors: a check.
        entry["control_z"] = float(gap[1] / (controls[1, 1] / total).sqrt())
        rows.append(entry)
    return rows
