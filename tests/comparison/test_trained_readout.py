"""The family of trained read-outs, and the principle on it."""

import pytest
import torch

import outsample as ou
from outsample.comparison.families import TrainedReadout
from outsample.comparison.trained_readout import TrainedTwoLayer
from outsample.readout import HermiteTensors, Hinge, Identity, Sigmoid

SMALL = TrainedReadout(inputs=4, width=64, steps=200)


def test_it_has_learned() -> None:
    problem = SMALL.problem(0)
    assert isinstance(problem, TrainedTwoLayer)
    x = torch.randn(4000, 4, generator=torch.Generator().manual_seed(0))
    target = torch.tanh(3 * (x[:, 0].abs() - 1))
    network = problem.with_output("identity")
    error = (network(x) - target).square().mean()
    assert float(error) < 0.7 * float(target.var())


def test_seeds() -> None:
    one, again, other = (SMALL.problem(seed) for seed in (1, 1, 2))
    assert torch.equal(one.readout, again.readout)
    assert one.output == again.output
    assert not torch.equal(one.weight, other.weight)
    fixed = SMALL.with_network(7)
    a, b = fixed.problem(1), fixed.problem(2)
    assert torch.equal(a.readout, b.readout)
    assert a.output != b.output


def test_context_and_training_are_apart() -> None:
    hinged = TrainedReadout(inputs=4, width=64, steps=200, output="relu").problem(1)
    smooth = SMALL.problem(1)
    assert isinstance(hinged.output, Hinge)
    assert isinstance(smooth.output, Sigmoid)
    assert torch.equal(hinged.readout, smooth.readout)
    training = smooth.training
    assert isinstance(training.problem, ou.TwoLayer)
    assert training.problem.output == Identity()
    assert training.size == 64 * 4 + 64 + 1
    assert training.flops == 200 * 64 * (2 * 4 * 64 + 6 * 64)
    advice = ou.HermiteExplainer().explain(training.problem)
    assert isinstance(advice, HermiteTensors)
    assert ou.ConditionedReadout().estimate(smooth, advice).diagnostics["advice"] == "used"


def test_settings() -> None:
    for arguments in (
        {"inputs": 1}, {"width": 0}, {"steps": 0}, {"batch": 0}, {"target": "tea"},
        {"output": "tea"}, {"network": -1},
    ):  # fmt: skip
        with pytest.raises(ou.InputError, match=next(iter(arguments))):
            TrainedReadout(**arguments)
    with pytest.raises(ou.InputError, match="activation"):
        TrainedReadout(activation="tea")


@pytest.mark.slow
def test_the_principle_holds() -> None:
    report = ou.check_principle(
        TrainedReadout(inputs=8, width=128, steps=300),
        ou.ConditionedReadout,
        explainer=ou.HermiteExplainer(),
        epsilons=[1, 1 / 8, 1 / 32],
        instances=8,
        workers=1,
        progress=False,
    )
    assert report["mainline"].finding == "holds"
    assert report["train and explain"].finding == "holds"
