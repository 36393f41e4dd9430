"""The family of rare events, and a comparison on it."""

import math

import pytest
import torch

import outsample as ou
from outsample.comparison.random_catastrophe import RandomCatastrophe


def test_equal_seeds_give_equal_problems() -> None:
    family = RandomCatastrophe(width=8, depth=2, bias_scale=0.1)
    one, again, other = (family.problem(seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.tensors(), again.tensors(), strict=True))
    assert not torch.equal(one.tensors()[0], other.tensors()[0])
    assert one.dtype == torch.float64


def test_further_out_is_rarer() -> None:
    logs = [
        float(ou.Tilt().estimate(RandomCatastrophe(16, 2, sd).problem(0)).log_value)
        for sd in (1.0, 4.0, 7.0)
    ]
    assert logs == sorted(logs, reverse=True)
    assert logs[2] < math.log(1e-5)


def test_the_default_estimator_and_the_truth_of_comparisons() -> None:
    problem = RandomCatastrophe(16, 2, 4.0).problem(0)
    estimate = ou.estimate(problem)
    assert isinstance(estimate.estimator, ou.Tilt)
    truth = problem.sampled_truth(20_000, seed=1)
    assert truth is not None
    value, error = truth
    assert float(error) < 0.1 * float(value)
    assert float(estimate.value) == pytest.approx(float(value), rel=0.3)


def test_tilt_against_sampling_at_equal_cost() -> None:
    found = ou.compare(
        ou.families.RandomCatastrophe(width=16, depth=2, deviations=5.0),
        [ou.Tilt(), ou.FromCumulants()],
        instances=3,
    )
    assert "Tilt" in str(found)


@pytest.mark.parametrize(
    "settings", [{"width": 0}, {"depth": 0}, {"deviations": math.nan}, {"bias_scale": -1.0}]
)
def test_bad_settings(settings: dict[str, float]) -> None:
    with pytest.raises(ou.InputError, match=next(iter(settings))):
        RandomCatastrophe(**{"width": 4, "depth": 1, **settings})  # type: ignore[arg-type]
