"""Log probabilities of orthants."""

import math

import pytest
import torch
from scipy import stats
from tests.battery import gaussian

from outsample.catastrophe.tilt.orthant import log_orthant


@pytest.mark.parametrize("sigmas", [-3.0, 0.5, 9.0, 30.0])
def test_one_threshold_in_closed_form(sigmas: float) -> None:
    mean, covariance = torch.tensor([1.0]).double(), torch.tensor([[4.0]]).double()
    value, trust, _ = log_orthant(mean, covariance, mean + 2 * sigmas)
    assert float(value) == pytest.approx(stats.norm.logsf(sigmas), rel=1e-12)
    assert trust == "ok"


def test_several_thresholds_against_quadrature() -> None:
    law = gaussian(3)
    thresholds = law.mean + torch.tensor([0.5, 1.0, -0.3]).double()
    value, _, _ = log_orthant(law.mean, law.covariance, thresholds)
    exact = stats.multivariate_normal.cdf(
        -(thresholds - law.mean), cov=law.covariance, abseps=1e-8, releps=1e-8, maxpts=2_000_000
    )
    assert float(value) == pytest.approx(math.log(exact), abs=2e-3)


def test_equal_and_opposite_quantities() -> None:
    one, zero = torch.ones(2, 2).double(), torch.zeros(2).double()
    limits = torch.tensor([2.0, 2.0]).double()
    assert float(log_orthant(zero, one, limits)[0]) == pytest.approx(stats.norm.logsf(2), abs=1e-4)
    opposite = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double()
    between = float(log_orthant(zero, opposite, torch.tensor([1.0, -2.0]).double())[0])
    assert between == pytest.approx(math.log(stats.norm.cdf(2) - stats.norm.cdf(1)), abs=1e-3)


def test_thresholds_that_hold_anyway_are_left_out() -> None:
    law = gaussian(3)
    deviation = law.covariance.diagonal().sqrt()
    hard = law.mean + deviation * torch.tensor([2.0, -40.0, -40.0]).double()
    value, trust, _ = log_orthant(law.mean, law.covariance, hard)
    assert float(value) == pytest.approx(stats.norm.logsf(2), rel=1e-12)
    assert trust == "ok"
    easy = law.mean - 20 * deviation
    assert float(log_orthant(law.mean, law.covariance, easy)[0]) == pytest.approx(0, abs=1e-12)
