"""Tensors learned during training: exact where they must be, close where they may be."""

import math

import pytest
import torch
from tests.readout.helpers import F64
from torch import Tensor, nn

import outsample as ou
from outsample.networks import Elementwise
from outsample.networks.activations import from_name
from outsample.readout import ConditionedReadout, HermiteExplainer, HermiteTensors, TwoLayer
from outsample.readout.coefficients import hermite_coefficients
from outsample.readout.recurrence import Recurrence
from outsample.readout.stream import HermiteStream
from outsample.readout.symmetric import norm_squared, sum_of_powers
from outsample.readout.wide_limit import WideLimit, with_identities


def module(
    n: int, m: int, activation: nn.Module, start: bool = False, bias: bool = False
) -> nn.Sequential:
    """A network with a fixed random hidden layer."""
    g = torch.Generator().manual_seed(0)
    hidden = nn.Linear(n, m, bias=False, dtype=F64)
    last = nn.Linear(m, 1, bias=bias, dtype=F64)
    hidden.weight = nn.Parameter(
        torch.randn(m, n, generator=g, dtype=F64) / math.sqrt(n), requires_grad=False
    )
    first = torch.randn(1, m, generator=g, dtype=F64) / math.sqrt(m)
    last.weight = nn.Parameter(first if start else torch.zeros(1, m, dtype=F64))
    if bias:
        last.bias = nn.Parameter(torch.zeros(1, dtype=F64))
    return nn.Sequential(hidden, activation, last)


def train(
    net: nn.Sequential,
    optimizer: torch.optim.Optimizer,
    steps: int,
    seed: int = 1,
    clip: float | None = None,
    halves: bool = False,
    law: "ou.Gaussian | None" = None,
) -> None:
    """Regression on a ridge; with ``halves`` gradients are gathered over two passes a step."""
    g = torch.Generator().manual_seed(seed)
    n = net[0].weight.shape[1]
    for _ in range(steps):
        optimizer.zero_grad()
        for _ in range(2 if halves else 1):
            x = torch.randn(32, n, generator=g, dtype=F64)
            x = x if law is None else law.from_normal(x)
            loss = (net(x)[:, 0] - torch.tanh(3 * (x[:, 0].abs() - 1))).square().mean()
            loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_([net[2].weight], clip)
        optimizer.step()


def errors(found: HermiteTensors, exact: HermiteTensors) -> dict[int, float]:
    """Relative Frobenius errors by degree."""
    pairs = zip(found.tensors_by_degree, exact.tensors_by_degree, strict=False)
    n = exact.inputs
    return {
        d: float((norm_squared(a - b, n, d) / norm_squared(b, n, d)).sqrt())
        for d, (a, b) in enumerate(pairs)
        if b.shape[1]
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 0.01},
        {"lr": 0.005, "momentum": 0.9},
        {"lr": 0.005, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
        {"lr": 0.005, "momentum": 0.7, "dampening": 0.3, "weight_decay": 0.1},
        {"lr": 0.01, "weight_decay": 0.2},
    ],
    ids=str,
)
@pytest.mark.parametrize("extra", ["plain", "clip", "halves", "schedule"])
def test_polynomial_activations_are_followed_exactly(settings: dict, extra: str) -> None:
    """Up to degree 4 the hybrid form leaves nothing to the wide limit."""
    net = module(5, 30, Elementwise(lambda x: x * x + 0.3 * x, name="poly"), start=True, bias=True)
    optimizer = torch.optim.SGD(net[2].parameters(), **settings)
    stream = HermiteExplainer().watch(net, optimizer)
    for part in range(3):
        if extra == "schedule":
            optimizer.param_groups[0]["lr"] *= 0.5
        train(net, optimizer, 40, part, 0.2 if extra == "clip" else None, extra == "halves")
    exact = HermiteTensors.of(TwoLayer.from_module(net))
    found = stream.explanation()
    assert max(errors(found, exact).values()) < 1e-9
    assert found.audit(TwoLayer.from_module(net)) is None
    assert stream.steps == 120
    assert stream.examples == 120 * 32 * (2 if extra == "halves" else 1)


def test_other_gaussians() -> None:
    g = torch.Generator().manual_seed(3)
    factor = torch.randn(4, 4, generator=g, dtype=F64)
    law = ou.Gaussian(torch.zeros(4, dtype=F64), factor @ factor.T)
    net = module(4, 20, Elementwise("square"))
    optimizer = torch.optim.SGD([net[2].weight], lr=1e-3)
    stream = HermiteExplainer().watch(net, optimizer, law)
    train(net, optimizer, 30, law=law)
    exact = HermiteTensors.of(TwoLayer.from_module(net, law))
    assert max(errors(stream.explanation(), exact).values()) < 1e-8


def test_a_resumed_stream_is_the_same() -> None:
    found: list[dict[str, Tensor]] = []
    state: dict = {}
    for stop in (False, True):
        net = module(5, 40, nn.ReLU(), start=True)
        optimizer = torch.optim.SGD([net[2].weight], lr=0.01, momentum=0.9, weight_decay=0.01)
        stream = HermiteExplainer().watch(net, optimizer)
        train(net, optimizer, 37, seed=1)
        if stop:
            state = stream.state_dict()
            stream.close()
            stream = HermiteExplainer().watch(net, optimizer)
            stream.load_state_dict(state)
        train(net, optimizer, 41, seed=2)
        found.append(stream.explanation().tensors())
        assert stream.steps == 78
    for name in ("degree_0", "degree_1", "degree_2", "degree_4", "variance"):
        torch.testing.assert_close(found[1][name], found[0][name], atol=1e-11, rtol=1e-9)
    with pytest.raises(ou.InputError, match="another size"):
        other = module(5, 40, nn.ReLU())
        optimizer = torch.optim.SGD([other[2].weight], lr=0.01)
        HermiteExplainer(degree=2).watch(other, optimizer).load_state_dict(state)


@pytest.mark.parametrize(("form", "limit"), [("wide", 0.6), ("hybrid", 0.08)])
def test_relu_networks_are_followed_closely(form, limit: float) -> None:
    net = module(8, 1024, nn.ReLU())
    optimizer = torch.optim.SGD([net[2].weight], lr=1e-3)
    stream = HermiteExplainer().watch(net, optimizer, form=form)
    train(net, optimizer, 400)
    exact = HermiteTensors.of(TwoLayer.from_module(net))
    assert errors(stream.explanation(), exact)[2] < limit
    report = stream.report()
    assert report["audit"] is not None
    assert report["predicted_errors"][2] == pytest.approx(math.sqrt(36 / 1024))
    assert report["time_ratio"] > 0


def test_streamed_advice_serves_where_its_error_is_allowed() -> None:
    net = module(8, 1024, nn.ReLU())
    optimizer = torch.optim.SGD([net[2].weight], lr=1e-3)
    stream = HermiteExplainer().watch(net, optimizer)
    train(net, optimizer, 400)
    problem = TwoLayer.from_module(net, output="relu")
    exact = ConditionedReadout().estimate(problem).value
    advice = stream.explanation()
    found = ConditionedReadout(mismatch=10.0).estimate(problem, advice)
    assert found.diagnostics["advice"] == "used"
    assert float(found.value) == pytest.approx(float(exact), rel=0.2)


@pytest.mark.parametrize(
    ("name", "degree"),
    [*(("relu", d) for d in range(5)), ("tanh", 1), ("tanh", 3), ("sigmoid", 0), ("sigmoid", 3)],
)
def test_the_wide_limit_is_that_of_a_wide_layer(name: str, degree: int) -> None:
    n, m, tau = 3, 400_000 if name == "relu" else 20_000, 0.7
    activation = from_name(name)
    g = torch.Generator().manual_seed(0)
    weight = tau * torch.randn(m, n, generator=g, dtype=F64)
    weight = torch.cat((weight, -weight))
    lengths = weight.norm(dim=1)
    e = hermite_coefficients(activation, torch.zeros_like(lengths), lengths, 4)[degree]
    z = torch.tensor([0.8, -1.1, 0.4], dtype=F64)
    seen = activation(weight @ z) * e / len(weight)
    exact = sum_of_powers(weight / lengths[:, None], seen[None], degree)[0]
    limit = WideLimit.of(activation, n, tau, [degree], exact=False)
    radius = z.norm()
    coefficients = limit.at(radius[None])[:, 0]
    found = torch.zeros_like(exact)
    for (_, k), c in zip(limit.parts, coefficients, strict=True):
        order = degree - 2 * k
        power = sum_of_powers((z / radius)[None], torch.ones(1, 1, dtype=F64), order)[0]
        found += c * with_identities(power, n, order, k)
    torch.testing.assert_close(
        found, exact, atol=(2e-3 if name == "relu" else 1e-2) * float(e.abs().max()) + 1e-12, rtol=0
    )


def test_the_recurrence_is_that_of_the_optimiser() -> None:
    g = torch.Generator().manual_seed(0)
    gradients = torch.randn(20, generator=g, dtype=F64)
    settings = {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.05, "nesterov": True}
    for maximize in (False, True):
        p = nn.Parameter(torch.tensor([0.7], dtype=F64))
        optimizer = torch.optim.SGD([p], **settings, maximize=maximize)
        recurrence = Recurrence()
        for value in gradients:
            p.grad = value.reshape(1).clone()
            optimizer.step()
            recurrence.step(optimizer.param_groups[0])
        row = recurrence.coefficients[0]
        found = row[0] * 0.7 + row[2:] @ gradients
        assert float(found) == pytest.approx(float(p.detach()), rel=1e-12)


def test_what_it_refuses() -> None:
    net = module(4, 20, nn.ReLU())
    explainer = HermiteExplainer()
    adam = torch.optim.Adam([net[2].weight])
    with pytest.raises(ou.UnsupportedProblem, match=r"expected torch\.optim\.SGD"):
        explainer.watch(net, adam)
    both = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ou.UnsupportedProblem, match="hidden layer"):
        explainer.watch(net, both)
    with pytest.raises(ou.InputError, match="does not move the readout"):
        explainer.watch(net, torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1))
    biased = nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 1)).double()
    sgd = torch.optim.SGD(biased[2].parameters(), lr=0.1)
    with pytest.raises(ou.UnsupportedProblem, match="no biases"):
        explainer.watch(biased, sgd)
    sgd = torch.optim.SGD([net[2].weight], lr=0.1)
    with pytest.raises(ou.InputError, match="form = 'tall'"):
        explainer.watch(net, sgd, form="tall")
    with pytest.raises(ou.InputError, match="degree = 6"):
        HermiteExplainer(degree=6).watch(net, sgd)
    for arguments in ({"degree": 1}, {"directions": 4}):
        with pytest.raises(ou.InputError, match=next(iter(arguments))):
            HermiteExplainer(**arguments)
    with pytest.raises(ou.UnsupportedProblem, match="no TwoLayer"):
        explainer.explain(ou.NetworkMean(net, ou.Gaussian.standard(4, F64)))


def test_gradients_that_were_not_seen_are_noticed() -> None:
    net = module(4, 20, nn.ReLU(), start=True)
    optimizer = torch.optim.SGD([net[2].weight], lr=0.1)
    stream = HermiteExplainer().watch(net, optimizer)
    assert isinstance(stream, HermiteStream)
    net(torch.ones(3, 4, dtype=F64)).sum().backward()
    net[2].weight.grad += 1.0
    with pytest.raises(ou.InputError, match="is not that of the examples"):
        optimizer.step()


def test_the_end_is_exact_whatever_the_training() -> None:
    net = module(6, 50, nn.GELU(), start=True)
    train(net, torch.optim.Adam([net[2].weight], lr=0.01), 50)
    problem = TwoLayer.from_module(net)
    advice = HermiteExplainer().explain(problem)
    assert advice.audit(problem) is None
    g = torch.Generator().manual_seed(8)
    y = torch.randn(6, generator=g, dtype=F64)
    y = y / y.norm()
    e = hermite_coefficients(
        problem.activation, torch.zeros(50, dtype=F64), problem.weight.norm(dim=1), 4
    )
    u = problem.weight / problem.weight.norm(dim=1, keepdim=True)
    full = advice.full(0).full[4]
    for _ in range(4):
        full = full @ y
    exact = float((problem.readout * e[4] * (u @ y) ** 4).sum())
    assert float(full) == pytest.approx(exact, rel=1e-10)
