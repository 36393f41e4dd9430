import math

import pytest
import torch
from tests.battery import gaussian, mlp
from torch import nn

import outsample as ou
from outsample.catastrophe.training.difference import difference
from outsample.catastrophe.training.second_moment import second_moment

LAW = gaussian(4, seed=1)


def rows(count: int = 300_000) -> torch.Tensor:
    return LAW.sample(count, torch.Generator().manual_seed(11))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (mlp(4, 7, 6, 2, seed=1), mlp(4, 5, 9, 2, seed=2)),
        (mlp(4, 7, 2, seed=1), mlp(4, 5, 9, 3, 2, seed=2)),
        (mlp(4, 7, 8, 9, 2, seed=1), mlp(4, 5, 2, seed=2)),
        (mlp(4, 2, seed=1), mlp(4, 6, 2, seed=2)),
        (mlp(4, 2, seed=1), mlp(4, 2, seed=2)),
        (nn.Sequential(*mlp(4, 5, 4, seed=1), nn.ReLU()), mlp(4, 5, 4, 4, seed=2)),
    ],
)
def test_difference_is_the_difference(first: nn.Sequential, second: nn.Sequential) -> None:
    graphs = [ou.NetworkMean(net, LAW).graph() for net in (first, second)]
    x = rows(50)
    joined = difference(*graphs, 4)
    torch.testing.assert_close(joined(x), first(x) - second(x))


@pytest.mark.parametrize("order", [2, 3])
def test_loss_is_the_expected_squared_difference(order: int) -> None:
    student, teacher = mlp(4, 12, 12, 2, seed=3), mlp(4, 24, 24, 2, seed=4)
    loop = ou.mechanistic_distillation(student, teacher, LAW, order=order)
    x = rows()
    with torch.no_grad():
        truth = float((student(x) - teacher(x)).square().sum(1).mean())
        spread = float(teacher(x).var(0).sum())
    step = next(loop)
    assert step.loss == pytest.approx(truth, rel={2: 0.1, 3: 0.06}[order])
    assert step.relative_loss == pytest.approx(truth / spread, rel={2: 0.15, 3: 0.08}[order])


def test_one_hidden_layer_is_exact_to_the_series() -> None:
    """E max(a, 0) max(b, 0) has a closed form; six terms of the series have all but a little."""
    first = nn.Sequential(mlp(2, 2, seed=1)[0], nn.ReLU(), nn.Linear(2, 1, bias=False))
    first = first.double()
    with torch.no_grad():
        first[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
        first[0].bias.zero_()
        first[2].weight.copy_(torch.tensor([[1.0, -1.0]]))
    graph = ou.NetworkMean(first, ou.Gaussian.standard(2, torch.float64)).graph()
    angle = math.acos(0.6)
    product = (math.sin(angle) + (math.pi - angle) * 0.6) / (2 * math.pi)
    found = float(second_moment(graph, 2).detach())
    assert found == pytest.approx(2 * (0.5 - product), abs=2e-3)


@pytest.mark.parametrize("order", [2, 3])
def test_the_loss_cannot_be_driven_below_zero(order: int) -> None:
    """In narrow networks the cumulants' own estimate of the variance is negative after a while."""
    student, teacher = mlp(3, 5, 5, 1, seed=5), mlp(3, 8, 8, 1, seed=6)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.03)
    loop = ou.mechanistic_distillation(
        student, teacher, ou.Gaussian.standard(3), order=order, optimizer=optimizer, steps=60
    )
    assert all(step.loss >= 0 for step in loop)


def test_a_linear_student_of_a_linear_teacher_learns_it() -> None:
    student, teacher = mlp(4, 1, seed=1), mlp(4, 1, seed=2)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.03)
    loop = ou.mechanistic_distillation(student, teacher, LAW, optimizer=optimizer, steps=600)
    losses = [step.loss for step in loop]
    assert len(losses) == 600
    weights = student[0].weight, teacher[0].weight
    torch.testing.assert_close(*weights, atol=0.02, rtol=0)
    # E(w·x + b)² is exact for linear networks.
    with torch.no_grad():
        w, b = mlp(4, 1, seed=1)[0].weight[0] - weights[1][0], mlp(4, 1, seed=1)[0].bias
        mean = float(w @ LAW.mean + b - teacher[0].bias)
        expected = mean**2 + float(w @ LAW.covariance @ w)
    assert losses[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("order", [2, 3])
def test_held_out_error_falls_and_the_teacher_stays(order: int) -> None:
    student, teacher = mlp(4, 16, 16, 1, seed=5), mlp(4, 16, 16, 1, seed=6)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    x = rows(50_000)
    with torch.no_grad():
        start = float((student(x) - teacher(x)).square().mean())
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
    loop = ou.mechanistic_distillation(
        student, teacher, LAW, order=order, optimizer=optimizer, steps=100
    )
    for _ in loop:
        pass
    with torch.no_grad():
        assert float((student(x) - teacher(x)).square().mean()) < 0.3 * start
    for key, value in teacher.state_dict().items():
        assert torch.equal(value, before[key])
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_resuming_equals_going_on() -> None:
    def make() -> tuple[nn.Sequential, ou.MechanisticDistillation]:
        student, teacher = mlp(4, 6, 1, seed=5), mlp(4, 9, 1, seed=6)
        return student, ou.mechanistic_distillation(student, teacher, LAW, order=2, steps=6)

    one, loop = make()
    whole = [*loop]
    _, loop = make()
    first = [next(loop) for _ in range(2)]
    other, fresh = make()
    fresh.load_state_dict(loop.state_dict())
    assert [*first, *fresh] == whole
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ou.InputError, match="lacks step"):
        fresh.load_state_dict({"student": {}, "optimizer": {}})


def test_what_does_not_fit_is_refused() -> None:
    net, wide = mlp(4, 6, 1), mlp(4, 6, 2)
    with pytest.raises(ou.InputError, match="outputs"):
        ou.mechanistic_distillation(net, wide, LAW)
    with pytest.raises(ou.UnsupportedProblem, match="have the activations"):
        ou.mechanistic_distillation(net, mlp(4, 6, 1, activation=nn.Tanh), LAW)
    for name, value in (("order", 4), ("variant", "plain"), ("steps", 0)):
        with pytest.raises(ou.InputError, match=name):
            ou.mechanistic_distillation(net, net, LAW, **{name: value})
    with pytest.raises(ou.InputError, match="expected a Gaussian"):
        ou.mechanistic_distillation(net, net, ou.Bits(4))


def test_a_loss_that_is_no_number_is_reported_before_the_student_moves() -> None:
    student, teacher = mlp(4, 6, 1, seed=1), mlp(4, 6, 1, seed=2)
    loop = ou.mechanistic_distillation(student, teacher, LAW, order=2)
    with torch.no_grad():
        student[0].weight.fill_(math.inf)
    with pytest.raises((ou.NumericalError, ou.InputError)):
        next(loop)
    assert loop.step == 0
