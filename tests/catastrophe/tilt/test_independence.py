"""Groups of quantities that no common input reaches."""

import torch
from torch import nn

import outsample as ou
from outsample.catastrophe.tilt.independence import independent_groups


def _blocks(count: int, width: int) -> nn.Sequential:
    """``count`` networks side by side, each with inputs and an output of its own."""
    generator = torch.Generator().manual_seed(0)
    layers: list[nn.Module] = []
    for taken, given in ((width, width), (width, 1)):
        blocks = [
            torch.randn(given, taken, generator=generator, dtype=torch.float64) / taken**0.5
            for _ in range(count)
        ]
        linear = nn.Linear(count * taken, count * given, dtype=torch.float64).requires_grad_(False)
        linear.weight.copy_(torch.block_diag(*blocks))
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _groups(net: nn.Module, inputs: ou.Gaussian) -> list[list[int]]:
    return independent_groups(ou.NetworkMean(net, inputs).graph(), inputs)


def test_networks_side_by_side() -> None:
    net = _blocks(3, 4)
    assert _groups(net, ou.Gaussian.standard(12)) == [[0], [1], [2]]


def test_one_weight_joins_two_groups() -> None:
    net = _blocks(3, 4)
    net[0].weight[0, 11] = 1e-9
    assert _groups(net, ou.Gaussian.standard(12)) == [[0, 2], [1]]


def test_correlated_inputs_join_groups_through_others() -> None:
    net = _blocks(3, 4)
    covariance = torch.eye(12).double()
    covariance[0, 4] = covariance[4, 0] = 0.1
    law = ou.Gaussian(torch.zeros(12).double(), covariance)
    assert _groups(net, law) == [[0, 1], [2]]
    covariance[5, 8] = covariance[8, 5] = 0.1
    law = ou.Gaussian(torch.zeros(12).double(), covariance)
    # 0 and 8 are joined only through 4 and 5, which one network reads together.
    assert _groups(net, law) == [[0, 1, 2]]
