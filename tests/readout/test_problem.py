"""The problem: doors, whitening, modules, exact means."""

import numpy as np
import pytest
import torch
from tests.readout.helpers import F64, network
from torch import nn

import outsample as ou
from outsample.readout import Sigmoid, Threshold, TwoLayer


def test_it_evaluates_what_it_says() -> None:
    problem = network(4, 6, "tanh", bias=0.5, readouts=3, readout_bias=torch.arange(3.0).double())
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(1), dtype=F64)
    expected = torch.tanh(x @ problem.weight.T + problem.bias) @ problem.readout.T
    torch.testing.assert_close(problem(x), expected + torch.arange(3.0).double())
    assert problem.output_shape == (3,)


def test_whitening_keeps_the_function() -> None:
    g = torch.Generator().manual_seed(2)
    factor = torch.randn(4, 4, generator=g, dtype=F64)
    law = ou.Gaussian(torch.randn(4, generator=g, dtype=F64), factor @ factor.T)
    problem = network(4, 6, "gelu", bias=0.5, inputs=law)
    z = torch.randn(9, 4, generator=g, dtype=F64)
    torch.testing.assert_close(problem.whitened().sums(z)[:, 0], problem(law.from_normal(z)))
    assert not problem.whitened().centred
    assert network(4, 6).whitened().centred


def test_exact_mean_against_network_mean() -> None:
    net = nn.Sequential(nn.Linear(5, 20), nn.Tanh(), nn.Linear(20, 2)).double()
    law = ou.Gaussian(np.linspace(-1, 1, 5), np.linspace(0.5, 2, 5))
    problem = TwoLayer.from_module(net, law)
    expected = ou.NetworkMean(net, law).exact()
    torch.testing.assert_close(problem.exact(), expected.detach(), atol=1e-10, rtol=0)
    assert problem.with_output("relu").exact() is None
    x = torch.zeros(1, 5, dtype=F64)
    torch.testing.assert_close(problem(x), net(x).detach())


def test_from_module_refuses_other_chains() -> None:
    for net in (
        nn.Sequential(nn.Linear(3, 4)),
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)),
    ):
        with pytest.raises(ou.UnsupportedProblem, match="expected a linear map, an activation"):
            TwoLayer.from_module(net)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.ones(0, 3)}, "weight has shape"),
        ({"weight": torch.ones(3)}, "weight has shape"),
        ({"weight": torch.full((2, 3), torch.nan)}, "non-finite"),
        ({"weight": torch.ones(2, 3, dtype=torch.int64)}, "floating point"),
        ({"readout": torch.ones(3)}, "readout has shape"),
        ({"readout": torch.ones(0, 2)}, "readout has shape"),
        ({"bias": torch.ones(3)}, "bias has shape"),
        ({"readout_bias": torch.ones(2)}, "readout_bias has shape"),
        ({"inputs": ou.Gaussian.standard(4)}, "inputs has 4 entries"),
        ({"inputs": ou.Sphere(3)}, "expected a Gaussian"),
        ({"activation": "swoosh"}, "activation 'swoosh' is not known"),
        ({"activation": 3}, "activation is 3"),
        ({"output": "swoosh"}, "output = 'swoosh'"),
        ({"output": 3}, "output = 3"),
        ({"output": lambda f: f.sum()}, "output returned"),
        ({"output": lambda f: f - f.mean()}, "depends on other entries"),
    ],
)
def test_doors(change: dict, message: str) -> None:
    arguments = {"weight": torch.ones(2, 3), "readout": torch.ones(2)} | change
    weight, readout = arguments.pop("weight"), arguments.pop("readout")
    with pytest.raises(ou.InputError, match=message):
        TwoLayer(weight, readout, **arguments)


def test_signatures_tell_costs_apart() -> None:
    one, same = network(4, 6), network(4, 6, seed=1)
    assert one.signature() == same.signature()
    others = [network(4, 7), network(4, 6, "tanh"), network(4, 6, bias=1.0), one.tail(1.0)]
    assert len({one.signature(), *(p.signature() for p in others)}) == 5


def test_tails_and_variances() -> None:
    problem = network(4, 6).tail(0.7)
    assert problem.output == Threshold(0.7)
    assert float(problem.variance_given(torch.tensor(0.25))) == 0.25 * 0.75
    assert problem.with_output(Sigmoid()).variance_given(torch.tensor(0.25)) is None


def test_sampling_takes_it() -> None:
    problem = network(4, 30, output="relu")
    found = ou.MonteCarlo(samples=20_000, seed=0).estimate(problem)
    z = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(5), dtype=F64)
    assert float(found.value) == pytest.approx(float(problem(z).mean()), abs=0.03)
