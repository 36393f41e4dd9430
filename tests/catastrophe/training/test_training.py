"""The loop: what it lowers and raises, that it resumes, stops, and refuses."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from tests.battery import mlp
from torch import Tensor, nn

import outsample as ou
from outsample.catastrophe.estimate import TailEstimator
from outsample.errors import NumericalError

LAW = ou.Gaussian.standard(4, torch.float64)
EVENT = ou.output[0] > 7
ORDER2 = ou.Tilt(order=2)


def setting(**changes: Any) -> tuple[nn.Sequential, ou.MechanisticTraining]:
    """A small student of its own first state, and a loop that trains it."""
    net = mlp(4, 10, 10, 1, seed=1)
    first = copy.deepcopy(net).requires_grad_(False)

    def task(step: int) -> Tensor:
        x = LAW.sample(64, torch.Generator().manual_seed(step))
        return (net(x) - first(x)).square().mean()

    options: dict[str, Any] = {
        "tilt": ORDER2,
        "warm_up": 8,
        "check_every": 0,
        "optimizer": torch.optim.Adam(net.parameters(), lr=3e-3),
        **changes,
    }
    adversary = options.pop("adversary", None) or ou.GaussianAdversary(LAW, 0.5)
    chosen = options.pop("task", task)
    event = options.pop("event", EVENT)
    return net, ou.mechanistic_training(net, chosen, event, adversary, **options)


@dataclass(frozen=True)
class Claims(TailEstimator):
    """A check that says what it is told to."""

    log_p: float
    error: float = 0.0
    mechanistic = False

    def _estimate(self, problem: ou.Problem, explanation: object) -> ou.TailEstimate:
        log_value = torch.tensor(self.log_p, dtype=torch.float64)
        return ou.TailEstimate(
            value=log_value.exp(),
            log_value=log_value,
            sign=torch.ones_like(log_value),
            relative_error=torch.tensor(self.error),
        )


def test_the_probability_falls_to_the_floor_and_the_task_is_kept() -> None:
    net, loop = setting(steps=40, fall=100.0, weight=0.3)
    before = copy.deepcopy(net)
    steps = [*loop]
    assert [step.step for step in steps] == [*range(1, 41)]
    # The floor is a hundredth of what the adversary reached against the model at first.
    law = ou.GaussianAdversary(LAW, 0.5)
    reached = law.strengthen(before, EVENT, steps=8, tilt=ORDER2)
    assert steps[0].floor == pytest.approx(reached[-1] - math.log(100), abs=1e-9)
    for last in steps[-5:]:
        assert last.log_probability < last.floor + 1.0
    # Under the training adversary's law, by a sampler that knows nothing of tilts.
    found = [
        float(ou.SubsetSimulation(20_000).estimate(problem).log_value)
        for problem in (
            loop.adversary.problem(before, EVENT),
            loop.adversary.problem(net, EVENT),
        )
    ]
    assert found[1] < found[0] - math.log(30)
    assert steps[-1].task_loss < 0.4  # of outputs with variance 1.4


def test_without_need_the_model_is_trained_on_the_task_alone() -> None:
    """Above the floor nothing but the task moves the model."""
    net, loop = setting(steps=5, floor=-1e-3)
    before = copy.deepcopy(net)
    for _ in loop:
        pass
    for old, new in zip(before.parameters(), net.parameters(), strict=True):
        assert torch.equal(old, new)  # its task loss is 0 with gradient 0


def test_the_budget_is_kept_and_used() -> None:
    _, loop = setting(steps=6)
    for step in loop:
        assert step.divergence <= 0.5
    assert float(loop.adversary.divergence().detach()) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("kind", [ou.GaussianAdversary, ou.GeneratorAdversary])
def test_resuming_equals_going_on(kind: Callable[..., Any], tmp_path: Any) -> None:
    made: dict[str, Any] = {"steps": 7, "renew_every": 2, "laws": 2, "warm_up": 2}
    straight, loop = setting(adversary=kind(LAW, 0.5), **made)
    whole = [*loop]
    _, loop = setting(adversary=kind(LAW, 0.5), **made)
    first = [next(loop) for _ in range(3)]
    torch.save(loop.state_dict(), tmp_path / "state.pt")
    net, fresh = setting(adversary=kind(LAW, 0.5), **made)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=False))
    assert [*first, *fresh] == whole
    for one, other in zip(straight.parameters(), net.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_task_with_state_is_resumed_too() -> None:
    class Task:
        def __init__(self) -> None:
            self.seen = 0

        def __call__(self, step: int) -> Tensor:
            self.seen += 1
            return next(nets[0].parameters()).square().sum()

        def state_dict(self) -> dict[str, int]:
            return {"seen": self.seen}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.seen = state["seen"]

    nets: list[nn.Sequential] = []
    task, other = Task(), Task()
    net, loop = setting(task=task)
    nets.append(net)
    next(loop)
    _, fresh = setting(task=other)
    fresh.load_state_dict(loop.state_dict())
    assert other.seen == 1


def test_laws_start_one_after_the_other_and_are_renewed() -> None:
    _, loop = setting(laws=2, renew_every=2, warm_up=1)
    reached: list[list[float]] = []
    for _ in range(5):
        next(loop)
        reached.append([one["reached"] for one in loop.state_dict()["attackers"]])
    assert [row[1] == -math.inf for row in reached] == [True, True, False, False, False]
    assert reached[4] != reached[3]


def test_checks_that_agree_let_training_go_on() -> None:
    _, loop = setting(steps=4, check_every=2, check=ou.SubsetSimulation(samples=5000))
    steps = [*loop]
    assert [step.check is not None for step in steps] == [False, True, False, True]
    for step in steps[1::2]:
        assert step.check is not None and step.check.agrees
        assert step.check.log_checked == pytest.approx(step.check.log_probability, abs=0.5)
    assert loop.stopped is None
    # Each check draws anew.
    checked = [step.check.log_checked for step in steps[1::2] if step.check is not None]
    assert checked[0] != checked[1]


def test_checks_that_part_stop_training_and_keep_what_was_done() -> None:
    net, loop = setting(steps=9, check_every=3, check=Claims(-40.0))
    steps = [*loop]
    assert len(steps) == 3
    assert steps[-1].check is not None and steps[-1].check.agrees is False
    assert steps[-1].stopped is not None and "part by more than a factor 3" in steps[-1].stopped
    assert next(loop, None) is None
    state = loop.state_dict()
    assert state["step"] == 3
    for name, value in net.state_dict().items():
        assert torch.equal(state["model"][name], value)


def test_what_checks_find_on_top_is_lowered_too() -> None:
    _, loop = setting(steps=2, check_every=1, check=Claims(-5.0), factor=1e9)
    offset = 0.0
    for step in loop:
        assert step.check is not None
        offset = (offset + step.check.log_checked - step.check.log_probability) / 2
        assert step.offset == offset
    # An estimate below the floor is lowered all the same if checks say that it errs low.
    made: dict[str, Any] = {"steps": 6, "check_every": 1, "floor": -3.0, "factor": 1e9}
    _, below = setting(check=Claims(-100.0), **made)
    _, above = setting(check=Claims(-1.0), **made)
    ends = [[*loop][-1].log_probability for loop in (below, above)]
    assert ends[1] < ends[0]


def test_checks_too_noisy_to_say_do_not_stop_training() -> None:
    _, loop = setting(steps=2, check_every=1, check=Claims(-40.0, error=0.8))
    checks = [step.check for step in loop]
    assert [check is not None and check.agrees for check in checks] == [None, None]
    assert loop.stopped is None


def test_numerical_trouble_is_reported_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    net, loop = setting(steps=5)
    next(loop)
    before = copy.deepcopy(net)

    def fail(*_: object) -> None:
        raise NumericalError("the cumulants diverged")

    monkeypatch.setattr(type(loop.adversary), "problem", fail)
    step = next(loop)
    assert step.stopped == "the cumulants diverged" and step.trust == "unreliable"
    assert math.isnan(step.log_probability)
    assert next(loop, None) is None
    for old, new in zip(before.parameters(), net.parameters(), strict=True):
        assert torch.equal(old, new)


def test_frozen_layers_stay() -> None:
    net, loop = setting(steps=3)
    net[0].requires_grad_(False)
    before = copy.deepcopy(net)
    for _ in loop:
        pass
    assert torch.equal(net[0].weight, before[0].weight)
    assert not torch.equal(net[2].weight, before[2].weight)


def test_anomalies_are_reported_beside_catastrophes() -> None:
    net = mlp(4, 10, 10, 1, seed=1)
    anomaly = ou.anomaly_detector(net, LAW, EVENT, deviations=4.0)
    _, loop = setting(anomaly=anomaly, warm_up=1)
    step = next(loop)
    assert step.log_anomaly is not None
    both = float(torch.logaddexp(*map(torch.tensor, (step.log_catastrophe, step.log_anomaly))))
    assert both == pytest.approx(step.log_probability, abs=1e-5)
    assert setting(warm_up=1)[1].__next__().log_anomaly is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight", 0.0),
        ("adversary_rate", math.nan),
        ("fall", 1.0),
        ("factor", 0.5),
        ("ascents", -1),
        ("warm_up", 1.5),
        ("laws", 0),
        ("renew_every", -2),
        ("check_every", True),
        ("steps", 0),
        ("floor", 1.0),
        ("floor", -math.inf),
        ("check", "subset"),
        ("tilt", 3),
        ("task", 3),
    ],
)
def test_settings_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ou.InputError, match=name):
        setting(**{name: value})


@pytest.mark.parametrize("event", [ou.output[0] > math.inf, ou.output[0] > -math.inf])
def test_certain_and_impossible_detectors_are_refused(event: ou.Detector) -> None:
    with pytest.raises(ou.InputError, match="certain or impossible"):
        setting(event=event)
    with pytest.raises(ou.InputError, match="certain or impossible"):
        setting(anomaly=event)


def test_other_adversaries_are_refused() -> None:
    with pytest.raises(ou.InputError, match="adversary is Gaussian"):
        setting(adversary=LAW)


@pytest.mark.parametrize("loss", [3.0, torch.zeros(()), torch.ones(2, requires_grad=True)])
def test_losses_that_are_no_scalars_of_the_model_are_refused(loss: Any) -> None:
    _, loop = setting(task=lambda step: loss, warm_up=0)
    with pytest.raises(ou.InputError, match=r"task\(0\)"):
        next(loop)


def test_states_that_do_not_fit_are_refused() -> None:
    _, loop = setting(laws=2)
    state = loop.state_dict()
    with pytest.raises(ou.InputError, match="lacks optimizer"):
        loop.load_state_dict({key: state[key] for key in state if key != "optimizer"})
    with pytest.raises(ou.InputError, match="2 laws, this loop 3"):
        setting(laws=3)[1].load_state_dict(state)


def test_steps_are_plain_values() -> None:
    step = next(setting(warm_up=0)[1])
    assert replace(step, step=2) != step
