import copy
import math
import pickle
import re

import pytest
import torch
from tests.battery import gaussian, mlp
from torch import nn

import outsample as ou
from outsample import CatastropheProbability, argmax, hidden, output
from outsample.catastrophe.detectors.detector import Detector
from outsample.networks import Affine
from outsample.networks.activations import Carried

NET = mlp(5, 8, 7, 6, 3, seed=1)
LAW = gaussian(5)
DETECTORS: list[Detector] = [
    output[0] > 1,
    2 * output[0] - output[2] <= 0.5,
    argmax(margin=0.2) == 2,
    ~(argmax() == 2) | (hidden[-1][1] <= 0.5),
    (output[0] > 0) & (hidden[0][2] > 0.5) & (hidden[1][3] - 2 * hidden[2][1] <= 1),
    hidden[0][0] + hidden[1][0] + hidden[2][0] > 1,
    (hidden[2][2] > 1) & ~(hidden[0][7] > 0.5),
]


def inputs(rows: int = 500, law: ou.Gaussian = LAW) -> torch.Tensor:
    return law.sample(rows, torch.Generator().manual_seed(5))


def layers(net: nn.Sequential, x: torch.Tensor) -> list[torch.Tensor]:
    """Values after every activation, and last the output."""
    found: list[torch.Tensor] = []
    for layer in net:
        x = layer(x)
        if not isinstance(layer, nn.Linear):
            found.append(x)
    return [*found, x]


def test_a_threshold_and_an_argmax_are_what_they_say() -> None:
    x = inputs()
    y = NET(x)
    assert torch.equal(CatastropheProbability(NET, LAW, output[0] > 1)(x), (y[:, 0] > 1).double())
    margin = y[:, 2:] - y[:, :2]
    assert torch.equal(
        CatastropheProbability(NET, LAW, argmax(margin=0.2) == 2)(x),
        (margin > 0.2).all(1).double(),
    )


def test_hidden_units_are_those_after_the_activation() -> None:
    x = inputs()
    one, two, three, y = layers(NET, x)
    detector = (output[0] > 0) & (hidden[0][2] > 0.5) | (hidden[1][3] - 2 * hidden[2][1] >= 1)
    expected = (y[:, 0] > 0) & (one[:, 2] > 0.5) | (two[:, 3] - 2 * three[:, 1] >= 1)
    assert torch.equal(CatastropheProbability(NET, LAW, detector)(x), expected.double())
    assert 0 < expected.double().mean() < 1


@pytest.mark.parametrize("detector", DETECTORS, ids=repr)
def test_score_indicator_and_events_agree(detector: Detector) -> None:
    problem, x = CatastropheProbability(NET, LAW, detector), inputs()
    score = problem.score(x)
    assert torch.equal(problem(x), (score > 0).double())
    assert 0 < problem(x).mean() < 1
    margins = [event.graph(x) - event.thresholds for event in problem.events()]
    assert all(isinstance(event.graph.steps[-1], Affine) for event in problem.events())
    rebuilt = torch.stack([m.amin(1) for m in margins]).amax(0)
    # Single hidden units are asked about before their activation: by another amount.
    assert torch.equal(rebuilt > 0, score > 0)


def test_thresholds_on_single_units_are_on_their_pre_activations() -> None:
    net, x = mlp(5, 8, 3, activation=nn.Tanh, seed=2), inputs()
    for detector, inverse in ((hidden[0][3] > 0.5, math.atanh(0.5)), (hidden[0][3] < 0.0, 0.0)):
        (event,) = CatastropheProbability(net, LAW, detector & (output[0] > -9)).events()
        sign = -1 if inverse == 0 else 1
        before = sign * net[0](x)[:, 3] - inverse
        torch.testing.assert_close(event(x)[:, 0], before, atol=1e-12, rtol=0)
    # A ReLU's is as good as its output only where that is positive.
    (event,) = CatastropheProbability(NET, LAW, hidden[1][3] > -1).events()
    torch.testing.assert_close(event(x)[:, 0], layers(NET, x)[1][:, 3] + 1, atol=1e-12, rtol=0)


def test_margins_are_all_thresholds_once() -> None:
    a, b, c = output[0] > 1, output[1] > -3, hidden[0][0] + hidden[0][1] > 0.5
    problem, x = CatastropheProbability(NET, LAW, (a & b) | (a & c)), inputs()
    event, conjunctions = problem.margins()
    excess = event(x)
    assert excess.shape == (500, 3)
    assert conjunctions == ((0, 1), (0, 2))
    expected = torch.stack([excess[:, places].amin(1) for places in ([0, 1], [0, 2])], 1)
    torch.testing.assert_close(problem.scores(x), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(problem.score(x), expected.amax(1), atol=1e-12, rtol=0)


def test_early_units_are_carried_and_late_ones_read_directly() -> None:
    early = CatastropheProbability(NET, LAW, hidden[0][0] + output[0] > 1).events()[0].graph
    late = CatastropheProbability(NET, LAW, hidden[2][0] + output[0] > 1).events()[0].graph
    assert [type(step) is Carried for step in early.steps[1::2]] == [False, True, True]
    assert not any(isinstance(step, Carried) for step in late.steps)


@pytest.mark.parametrize("detector", [hidden[0][1] + output[0] > 0.4, hidden[1][2] > 0.2])
def test_networks_that_end_in_activations_or_have_two_in_a_row(detector: Detector) -> None:
    net = nn.Sequential(*mlp(5, 6, seed=3), nn.ReLU(), nn.Tanh(), *mlp(6, 4, seed=4), nn.GELU())
    problem, x = CatastropheProbability(net, LAW, detector), inputs()
    (event,) = problem.events()
    assert torch.equal(event(x)[:, 0] > 0, problem.score(x) > 0)
    assert 0 < problem(x).mean() < 1


def test_a_value_that_is_met_exactly_counts_where_the_threshold_includes_it() -> None:
    # A ReLU is 0 half of the time.
    law = ou.Gaussian.standard(5, torch.float64)
    net = mlp(5, 8, 3, bias=0.0)
    x = inputs(2000, law)
    zero = layers(net, x)[0][:, 0] == 0
    assert 0.4 < zero.double().mean() < 0.6
    for detector, expected in (
        (hidden[0][0] <= 0, zero),
        (hidden[0][0] < 0, torch.zeros_like(zero)),
        (hidden[0][0] >= 0, torch.ones_like(zero)),
        (hidden[0][0] > 0, ~zero),
        (~(hidden[0][0] > 0), zero),
    ):
        problem = CatastropheProbability(net, law, detector)
        assert torch.equal(problem(x), expected.double()), detector
        (event,) = problem.events()
        assert torch.equal((event(x)[:, 0] > 0), expected), detector


def test_certain_and_impossible_detectors() -> None:
    a = output[0] > 1
    for detector, value in ((a | ~a, 1.0), (a & ~a, 0.0), (output[0] < math.inf, 1.0)):
        problem = CatastropheProbability(NET, LAW, detector)
        assert problem.exact() == value
        assert torch.equal(problem(inputs()), torch.full((500,), value).double())
        assert len(problem.events()) == value
        assert ou.estimate(problem).value == value


def test_parameters_are_read_live_and_carry_gradients() -> None:
    net = mlp(5, 8, 3)
    problem, x = CatastropheProbability(net, LAW, hidden[0][0] - output[1] > 0), inputs()
    (event,) = problem.events()
    event.graph(x).sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())
    before = problem.score(x)
    with torch.no_grad():
        net[2].bias[1] += 1
    torch.testing.assert_close(problem.score(x), before - 1)


def test_a_detector_network_stands_behind_the_network() -> None:
    judge = mlp(3, 4, 1, seed=7)
    problem = CatastropheProbability(nn.Sequential(NET, nn.ReLU(), judge), LAW, output[0] > 0)
    x = inputs()
    assert torch.equal(problem(x), (judge(NET(x).relu())[:, 0] > 0).double())


@pytest.mark.parametrize("sigmas", [0.0, 3.0, 8.0, 30.0])
def test_linear_networks_have_a_closed_form(sigmas: float) -> None:
    net = nn.Sequential(*mlp(5, 4, 2)[::2])
    weight = net[1].weight @ net[0].weight
    with torch.no_grad():
        mean = net(LAW.mean[None])[0, 1]
        deviation = (weight[1] @ LAW.covariance @ weight[1]).sqrt()
    problem = CatastropheProbability(net, LAW, output[1] > float(mean + sigmas * deviation))
    exact = problem.exact()
    assert exact is not None
    assert exact.log().item() == pytest.approx(
        math.log(math.erfc(sigmas / math.sqrt(2)) / 2), rel=1e-12
    )


def test_unions_and_mixtures_of_linear_networks() -> None:
    net = nn.Linear(2, 2, bias=False, dtype=torch.float64)
    with torch.no_grad():
        net.weight.copy_(torch.eye(2))
    net.requires_grad_(False)
    standard = ou.Gaussian.standard(2, torch.float64)
    a, b = output[0] > 0, output[1] > 0
    assert CatastropheProbability(net, standard, a & b).exact() == pytest.approx(0.25)
    assert CatastropheProbability(net, standard, a | b).exact() == pytest.approx(0.75)
    assert CatastropheProbability(net, standard, a & ~b | b & ~a).exact() == pytest.approx(0.5)
    far = ou.Gaussian(torch.full((2,), 50.0).double())
    both = ou.GaussianMixture(torch.tensor([0.75, 0.25]).double(), [standard, far])
    exact = CatastropheProbability(net, both, a & b).exact()
    assert exact == pytest.approx(0.75 * 0.25 + 0.25)


def test_constant_outputs_are_decided_exactly() -> None:
    net = nn.Linear(2, 1, dtype=torch.float64)
    with torch.no_grad():
        net.weight.zero_()
        net.bias.fill_(1.0)
    law = ou.Gaussian.standard(2, torch.float64)
    for detector, value in (
        (output[0] > 0.5, 1.0),
        (output[0] > 1, 0.0),
        (output[0] >= 1, 1.0),
        (output[0] < 1, 0.0),
        (output[0] <= 1, 1.0),
    ):
        problem = CatastropheProbability(net, law, detector)
        assert problem.exact() == value, detector
        assert problem(torch.zeros(1, 2).double()) == value, detector


def test_plain_sampling_takes_the_problem_as_it_is() -> None:
    net = nn.Sequential(*mlp(5, 4, 2)[::2])
    problem = CatastropheProbability(net, LAW, output[0] > 0.5)
    estimate, exact = ou.MonteCarlo(samples=50_000).estimate(problem), problem.exact()
    assert exact is not None
    assert abs(estimate.value - exact) < 4 * estimate.standard_error
    p = estimate.value
    torch.testing.assert_close(
        estimate.standard_error, (p * (1 - p) / 50_000).sqrt(), rtol=1e-3, atol=0
    )
    assert problem.variance_given(p) == p * (1 - p)
    never = CatastropheProbability(net, LAW, output[0] > 1e6)
    silent = ou.MonteCarlo(samples=1000).estimate(never)
    assert silent.trust == "low_confidence"
    assert "rarer than about 0.003" in silent.reasons[0]


def test_equal_structures_cost_the_same_and_differ_by_their_tensors() -> None:
    one, other = (CatastropheProbability(NET, LAW, output[0] > t) for t in (1.0, 2.0))
    assert one.signature() == other.signature()
    assert not torch.equal(one.tensors()[-1], other.tensors()[-1])
    assert one.signature() != CatastropheProbability(NET, LAW, hidden[0][0] > 1).signature()
    sure = ou.MonteCarlo(samples=10).estimate(one).provenance.input_hash
    assert sure != ou.MonteCarlo(samples=10).estimate(other).provenance.input_hash


def test_the_input_takes_the_networks_dtype() -> None:
    problem = CatastropheProbability(mlp(5, 3, dtype=torch.float32), LAW, output[0] >= 0.1)
    assert problem.dtype == problem(inputs().float()).dtype == torch.float32
    assert problem.events()[0].thresholds.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((NET, LAW, False), ou.InputError, "detector is False"),
        ((NET, LAW, output[0]), ou.InputError, "expected one such as"),
        ((NET, LAW, output[3] > 1), ou.InputError, "output[3]: the network has 3 outputs"),
        ((NET, LAW, hidden[3][0] > 1), ou.InputError, "3 activation steps"),
        ((NET, LAW, hidden[0][8] > 1), ou.InputError, "8 units in that layer"),
        ((lambda x: x, LAW, output[0] > 1), ou.InputError, "network is function"),
        ((NET, ou.Sphere(5), output[0] > 1), ou.InputError, "inputs is Sphere"),
        ((NET, gaussian(4), output[0] > 1), ou.InputError, "inputs have shape (4,)"),
        ((nn.Conv1d(1, 1, 1), LAW, output[0] > 1), ou.UnsupportedProblem, "Conv1d"),
        ((nn.Sequential(NET, nn.Dropout()), LAW, output[0] > 1), ou.InputError, "training mode"),
        (
            (mlp(5, 3, dtype=torch.float32), LAW, output[0] > 1e300),
            ou.InputError,
            "beyond the range of torch.float32",
        ),
    ],
)
def test_bad_arguments_are_refused(arguments: tuple, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        CatastropheProbability(*arguments)


def test_inputs_of_another_shape_are_refused() -> None:
    problem = CatastropheProbability(NET, LAW, output[0] > 1)
    for shape in ((5,), (2, 4)):
        with pytest.raises(ou.InputError, match=r"expected \(batch, 5\)"):
            problem(torch.zeros(shape).double())


def test_values_that_are_not_finite_are_refused() -> None:
    net = torch.nn.Linear(5, 3, dtype=torch.float64)
    torch.nn.init.constant_(net.weight, 1e308)
    problem = CatastropheProbability(net, LAW, output[0] > 1)
    x = torch.zeros(3, 5).double()
    x[1] = 1.0
    with pytest.raises(ou.NumericalError, match="1 of 3 inputs"):
        problem(x)


def test_copies_say_the_same() -> None:
    detector = (output[0] > 1) & ~(argmax() == 2) | (hidden[0][1] - output[1] <= 0)
    problem, x = CatastropheProbability(NET, LAW, detector), inputs()
    for copied in (pickle.loads(pickle.dumps(problem)), copy.deepcopy(problem)):
        assert torch.equal(copied.score(x), problem.score(x))
        assert repr(copied) == repr(problem)
