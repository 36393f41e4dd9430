import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import outsample as ou
from outsample.comparison.families import WEIGHT_SCALES, Fixed, RandomMLP, derive_seed


def weights(family: RandomMLP, seed: int = 0) -> list[torch.Tensor]:
    return [step.weight.detach() for step in family.problem(seed).graph().affine]


def test_depth_counts_hidden_layers() -> None:
    problem = RandomMLP(width=5, depth=3, outputs=2, input_size=4).problem(0)
    assert problem.describe() == "NetworkMean 4-5-relu-5-relu-5-relu-2"
    assert problem.output_shape == (2,)
    assert problem.inputs.shape == (4,)
    assert torch.equal(problem.inputs.covariance, torch.eye(4))


def test_without_readout_the_network_ends_in_its_activation() -> None:
    problem = RandomMLP(width=5, depth=2, activation="tanh", readout=False).problem(0)
    assert problem.describe() == "NetworkMean 5-5-tanh-5-tanh"
    assert problem.output_shape == (5,)


@pytest.mark.parametrize("name", WEIGHT_SCALES)
def test_every_activation_of_the_table_works(name: str) -> None:
    problem = RandomMLP(width=6, depth=1, activation=name).problem(1)
    assert name in problem.describe()
    assert torch.isfinite(ou.Cumulants(1).estimate(problem).value).all()


@pytest.mark.parametrize(("activation", "scale"), [("relu", math.sqrt(2)), ("tanh", 1.0)])
def test_size_of_the_weights(activation: str, scale: float) -> None:
    first, second, readout = weights(RandomMLP(200, 2, activation, input_size=50, outputs=100))
    # The relative error of a variance from n normals is sqrt(2/n), here at most 1.4 %.
    assert first.var().item() == pytest.approx(scale**2 / 50, rel=0.07)
    assert second.var().item() == pytest.approx(scale**2 / 200, rel=0.07)
    assert readout.var().item() == pytest.approx(1 / 200, rel=0.07)


def test_scales_given() -> None:
    family = RandomMLP(width=100, depth=2, weight_scale=0.5, bias_scale=2.0)
    affine = family.problem(0).graph().affine
    assert affine[0].weight.var().item() == pytest.approx(0.25 / 100, rel=0.1)
    biases = torch.cat([step.bias for step in affine if step.bias is not None])
    assert len(biases) == 201
    assert biases.std().item() == pytest.approx(2.0, rel=0.3)
    assert all(step.bias is None for step in RandomMLP(4, 2).problem(0).graph().affine)


@given(st.integers(0, 2**40), st.integers(1, 4), st.integers(1, 3))
def test_equal_seeds_give_equal_networks(seed: int, width: int, depth: int) -> None:
    family = RandomMLP(width, depth)
    once, again = weights(family, seed), weights(family, seed)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert not torch.equal(once[0], weights(family, seed + 1)[0])


def test_one_seed_is_one_network_in_both_dtypes() -> None:
    single, double = (weights(RandomMLP(6, 2, dtype=d)) for d in ("float32", "float64"))
    assert double[0].dtype == torch.float64
    for a, b in zip(single, double, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-7, atol=0)


def test_global_generators_are_untouched() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    RandomMLP(4, 2, bias_scale=1.0).problem(0)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert np.array_equal(before[2], np.random.get_state()[1])


def test_weights_are_not_the_numbers_that_a_sampler_draws() -> None:
    drawn = torch.randn(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first = weights(RandomMLP(6, 1, weight_scale=math.sqrt(6), dtype="float64"))[0]
    assert not torch.isclose(first.flatten()[:, None], drawn).any()


def test_names_say_what_differs_from_the_defaults() -> None:
    assert RandomMLP(8, 2).name == "RandomMLP(width=8, depth=2)"
    family = RandomMLP(8, 2, "gelu", bias_scale=0.1, dtype="float64")
    assert family.name == (
        "RandomMLP(width=8, depth=2, activation='gelu', bias_scale=0.1, dtype='float64')"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "width = 0"),
        ({"depth": 0}, "depth = 0"),
        ({"depth": 1.5}, "depth = 1.5"),
        ({"outputs": -1}, "outputs = -1"),
        ({"input_size": 0}, "input_size = 0"),
        ({"activation": "rleu"}, "activation = 'rleu'.*relu"),
        ({"dtype": "float16"}, "dtype = 'float16'.*float32"),
        ({"weight_scale": -1.0}, "weight_scale = -1.0"),
        ({"bias_scale": math.nan}, "bias_scale = nan"),
        ({"bias_scale": math.inf}, "bias_scale = inf"),
        ({"readout": False, "outputs": 3}, "outputs = 3 with readout=False"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(ou.InputError, match=message):
        RandomMLP(**{"width": 4, "depth": 1} | settings)


def test_fixed_family_of_one() -> None:
    problem = ou.NetworkMean(nn.Linear(3, 2), ou.Gaussian.standard(3))
    family = Fixed(problem)
    assert family.problem(0) is family.problem(7) is problem
    assert family.size == 1
    assert "NetworkMean 3-2" in family.name
    assert Fixed(problem, name="mine").name == "mine"


def test_the_name_of_a_fixed_family_follows_its_contents() -> None:
    net = nn.Linear(3, 2)
    family = Fixed(ou.NetworkMean(net, ou.Gaussian.standard(3)))
    same = Fixed(ou.NetworkMean(net, ou.Gaussian.standard(3)))
    before = family.name
    assert same.name == before
    with torch.no_grad():
        net.weight.add_(1)
    assert family.name != before


def test_fixed_family_of_several() -> None:
    problems = [ou.NetworkMean(nn.Linear(3, n), ou.Gaussian.standard(3)) for n in (1, 2)]
    family = Fixed(problems)
    assert [family.problem(i) for i in (0, 1, 2)] == [*problems, problems[0]]
    assert family.size == 2
    assert family.name.startswith("Fixed(2 × NetworkMean 3-1, ")


@pytest.mark.parametrize("given", [[], [3], nn.Linear(2, 2)])
def test_fixed_refuses_what_is_no_problem(given: object) -> None:
    with pytest.raises(ou.InputError, match="expected a Problem"):
        Fixed(given)  # type: ignore[arg-type]


def test_seeds_derived_from_different_things_differ() -> None:
    seeds = {derive_seed(kind, i, j) for kind in "ab" for i in range(50) for j in range(50)}
    assert len(seeds) == 5000
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert derive_seed("a", 1) == derive_seed("a", 1)
