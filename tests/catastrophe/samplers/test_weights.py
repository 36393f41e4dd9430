import math

import pytest
import torch

from outsample.catastrophe.samplers.weights import WeightedMean, tilt_weights


def test_mean_and_error_are_those_of_the_plain_numbers() -> None:
    values = torch.tensor([0.5, 2.0, 0.25], dtype=torch.float64)
    found = WeightedMean.of(values.log() - 500.0, 10)
    every = torch.cat([values, torch.zeros(7).double()])
    assert found.log_value + 500 == pytest.approx(math.log(float(every.mean())))
    error = float(every.std() / math.sqrt(10) / every.mean())
    assert found.relative_error == pytest.approx(error)
    assert found.effective_samples == pytest.approx(
        float(values.sum() ** 2 / values.square().sum())
    )
    assert found.largest_share == pytest.approx(2 / 2.75)
    assert [grade for grade, _ in found.reasons()] == ["unreliable", "unreliable"]


def test_equal_weights_are_a_share_of_hits() -> None:
    found = WeightedMean.of(torch.zeros(250).double(), 1000)
    assert found.log_value == pytest.approx(math.log(0.25))
    assert found.relative_error == pytest.approx(math.sqrt(3 / 999))
    assert found.reasons() == []


def test_no_hits_say_nothing() -> None:
    found = WeightedMean.of(torch.zeros(0).double(), 1000)
    assert found.log_value == -math.inf
    assert found.relative_error == math.inf
    assert found.reasons()[0][0] == "unreliable"


def test_tilt_weights_are_ratios_of_densities() -> None:
    generator = torch.Generator().manual_seed(0)
    z, shifts = (torch.randn(k, 3, generator=generator).double() for k in (5, 2))

    def density(x: torch.Tensor) -> torch.Tensor:
        return (-x.square().sum(-1) / 2).exp()

    mixture = (density(z - shifts[0]) + density(z - shifts[1])) / 2
    torch.testing.assert_close(tilt_weights(z, shifts), (density(z) / mixture).log())
