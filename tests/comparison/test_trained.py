"""Trained families: what depends on training, what on the context, and what training took."""

import pytest
import torch

import outsample as ou
from outsample.comparison.trained import TrainedMLP, _digits

SMALL = TrainedMLP(width=12, depth=1, steps=20)


def weights(problem: ou.NetworkMean) -> torch.Tensor:
    return torch.cat([p.flatten() for p in problem.module.parameters()])


def test_equal_seeds_give_equal_problems() -> None:
    one, two = SMALL.problem(3), TrainedMLP(width=12, depth=1, steps=20).problem(3)
    assert torch.equal(weights(one), weights(two))
    assert torch.equal(one.inputs.mean, two.inputs.mean)


def test_a_seed_stands_for_a_training_run_and_for_a_context() -> None:
    one, two = SMALL.problem(0), SMALL.problem(1)
    assert not torch.equal(weights(one), weights(two))
    assert not torch.equal(one.inputs.mean, two.inputs.mean)


def test_one_network_has_many_contexts() -> None:
    family = SMALL.with_network(7)
    problems = [family.problem(seed) for seed in range(3)]
    assert all(torch.equal(weights(p), weights(SMALL.problem(7))) for p in problems)
    assert len({tuple(p.inputs.mean.tolist()) for p in problems}) == 3
    # The context does not depend on which network it is.
    assert torch.equal(problems[1].inputs.mean, SMALL.problem(1).inputs.mean)


def test_training_reads_nothing_of_the_contexts() -> None:
    digits = _digits()
    seen = {tuple(row) for row in digits.images.tolist()}
    held_out = {tuple(row) for row in digits.held_out.tolist()}
    assert len(digits.images) + len(digits.held_out) == 1797
    assert not seen & held_out
    assert tuple(SMALL.problem(0).inputs.mean.tolist()) in held_out


def test_what_explainers_read_is_the_same_for_every_context() -> None:
    family = SMALL.with_network(0)
    one, two = family.problem(1).training, family.problem(2).training
    assert one is two
    assert isinstance(one.problem, ou.NetworkMean)
    assert one.problem.module is family.problem(1).module
    assert not torch.equal(one.problem.inputs.mean, family.problem(1).inputs.mean)


def test_a_training_run_is_measured() -> None:
    short, long = SMALL.problem(5).training, TrainedMLP(width=12, depth=1, steps=60).problem(5)
    assert short.size == 64 * 12 + 12 + 12 * 10 + 10 == weights(long).numel()
    assert long.training.flops == 3 * short.flops
    # Forward pass, and both gradients of all products but the first: at least this many.
    products = 2 * 64 * (2 * 64 * 12 + 3 * 12 * 10)
    assert 20 * products < short.flops < 20 * 2 * products
    assert 0 < short.seconds < long.training.seconds * 60


def test_training_learns_to_name_digits() -> None:
    from sklearn import datasets

    problem = TrainedMLP(width=32, depth=1).problem(0)
    names = torch.tensor(datasets.load_digits(return_X_y=True)[1])
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0))
    images = _digits().held_out
    right = problem.module(images).argmax(1) == names[order[: len(images)]]
    assert float(right.double().mean()) > 0.9


def test_training_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    TrainedMLP(width=5, depth=2, steps=3).problem(11)
    assert torch.equal(before, torch.get_rng_state())
    with torch.no_grad():  # as comparisons call it
        assert TrainedMLP(width=5, depth=2, steps=2).problem(11).training.flops > 0


def test_the_name_says_what_is_not_default() -> None:
    assert TrainedMLP().name == "TrainedMLP()"
    assert SMALL.with_network(2).name == "TrainedMLP(width=12, depth=1, steps=20, network=2)"
    assert SMALL.problem(0).describe() == "NetworkMean 64-12-relu-10"


def test_estimators_take_its_problems() -> None:
    problem = SMALL.problem(0)
    sampled = ou.MonteCarlo(samples=20_000).estimate(problem)
    found = ou.Cumulants(2).estimate(problem)
    # The first hidden layer's pre-activations are Gaussian: with one layer, means are exact.
    assert ((found.value - sampled.value).abs() < 5 * sampled.standard_error).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "width = 0"),
        ({"depth": 1.0}, r"depth = 1\.0"),
        ({"steps": -1}, "steps = -1"),
        ({"noise": 0.0}, r"noise = 0\.0"),
        ({"noise": float("inf")}, "noise = inf"),
        ({"noise": float("nan")}, "noise = nan"),
        ({"network": -1}, "network = -1"),
        ({"network": True}, "network = True"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ou.InputError, match=message):
        TrainedMLP(**settings)
