import math

import pytest
import torch
from tests.battery import gaussian, mlp
from torch import nn

import outsample as ou
from outsample import hidden, output

LAW = gaussian(5, seed=3)
NET = mlp(5, 12, 10, 2, seed=6)
EVENT = output[0] - output[1] > 9


def diagonal(*weights: float) -> nn.Linear:
    layer = nn.Linear(len(weights), len(weights), bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor(weights)))
    return layer.requires_grad_(False)


def test_excitation_and_inhibition_of_a_network_that_is_known() -> None:
    """f = h0 - h1 with h = tanh of independent normals: each on its own, within k deviations."""
    last = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        last.weight.copy_(torch.tensor([[2.0, -1.0]]))
    net = nn.Sequential(diagonal(1.0, 1.0), nn.Tanh(), last)
    law = ou.Gaussian.standard(2, torch.float64)
    anomaly = ou.anomaly_detector(net, law, output[0] > 2.5, deviations=1.5)
    x = law.sample(20_000, torch.Generator().manual_seed(1))
    h = torch.tanh(x)
    deviation = float(torch.tanh(law.sample(10**6, torch.Generator().manual_seed(2))).std())
    expected = (h.abs() > 1.5 * deviation).any(1).double()
    found = ou.CatastropheProbability(net, law, anomaly)(x)
    assert float((found != expected).double().mean()) < 0.01
    assert 0.05 < float(found.mean()) < 0.5


def test_values_that_an_activation_never_takes_are_left_out() -> None:
    """Mean - 5 deviations is below 0 for ReLUs; 30 deviations are beyond 1 for tanh."""
    anomaly = ou.anomaly_detector(NET, LAW, EVENT)
    problem = ou.CatastropheProbability(NET, LAW, anomaly)
    assert len(problem.conjunctions) == 4  # two parts of two layers, from above only
    net = mlp(5, 12, 1, seed=6, activation=nn.Tanh)
    with pytest.raises(ou.InputError, match="moves"):
        ou.anomaly_detector(net, LAW, output[0] > 3, deviations=30.0)


def test_rarer_the_more_deviations_are_usual() -> None:
    x = LAW.sample(200_000, torch.Generator().manual_seed(4))
    shares: list[float] = []
    for deviations in (2.0, 4.0):
        anomaly = ou.anomaly_detector(NET, LAW, EVENT, deviations=deviations)
        problem = ou.CatastropheProbability(NET, LAW, anomaly)
        shares.append(float(problem(x).mean()))
        estimate = ou.Tilt(order=3).estimate(problem)
        assert float(estimate.value.detach()) == pytest.approx(shares[-1], rel=0.5)
    assert 0.2 > shares[0] > 4 * shares[1] > 0


def test_layers_are_chosen() -> None:
    chosen = ou.anomaly_detector(NET, LAW, EVENT, layers=[-1], deviations=2.5)
    again = ou.anomaly_detector(NET, LAW, EVENT, layers=[1], deviations=2.5)
    assert repr(chosen) == repr(again)
    assert "hidden[0]" not in repr(chosen) and "hidden[1]" in repr(chosen)


def test_conjunctions_are_driven_by_what_pulls() -> None:
    """A threshold that holds of itself once the other does is no driver."""
    alone = ou.anomaly_detector(NET, LAW, output[0] > 9, layers=[0])
    both = ou.anomaly_detector(
        NET, LAW, (output[0] > 9) & (output[0] + output[1] > -50), layers=[0]
    )
    law = ou.CatastropheProbability(NET, LAW, alone | both)
    x = LAW.sample(100_000, torch.Generator().manual_seed(8)) * 3
    one = ou.CatastropheProbability(NET, LAW, alone)(x)
    assert torch.equal(law(x), one) and 0 < float(one.mean()) < 1


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"deviations": 0.0}, "deviations"),
        ({"order": 5}, "order"),
        ({"layers": [2]}, "layer 2"),
        ({"layers": []}, "layers"),
        ({"detector": output[0] > math.inf}, "certain or impossible"),
        ({"detector": (output[0] > -90) & (output[1] > -90)}, "likely"),
        ({"model": nn.Linear(5, 2, dtype=torch.float64)}, "no hidden layers"),
        ({"detector": hidden[7][0] > 1}, "hidden"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, object], match: str) -> None:
    options = {"model": NET, "inputs": LAW, "detector": EVENT, **changes}
    with pytest.raises(ou.InputError, match=match):
        ou.anomaly_detector(**options)
