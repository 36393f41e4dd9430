"""The battery that every estimator passes, for the samplers."""

import pytest
import torch
from tests.battery import EstimatorBattery, gaussian, mlp
from torch import Tensor

import outsample as ou
from outsample.estimator import Estimator
from outsample.problem import Problem


class SamplerBattery(EstimatorBattery):
    def make_problem(self, dtype: torch.dtype) -> Problem:
        return ou.NetworkMean(mlp(5, 6, 3, dtype=dtype), gaussian(5, dtype=dtype))

    def exact_value(self, problem: Problem) -> Tensor:
        exact = problem.exact()
        assert exact is not None
        return exact.detach()


class TestMonteCarlo(SamplerBattery):
    estimator: Estimator = ou.MonteCarlo(samples=40_000)
    tolerance = 0.05


class TestAntithetic(SamplerBattery):
    estimator: Estimator = ou.MonteCarlo(samples=40_000, antithetic=True)
    tolerance = 0.03


class TestMomentMatched(SamplerBattery):
    estimator: Estimator = ou.MonteCarlo(samples=40_000, moment_matched=True)
    tolerance = 0.02


class TestMomentMatchedAntithetic(SamplerBattery):
    estimator: Estimator = ou.MonteCarlo(samples=40_000, antithetic=True, moment_matched=True)
    tolerance = 0.02


class TestQuasiMonteCarlo(SamplerBattery):
    estimator: Estimator = ou.QuasiMonteCarlo(samples=2**15)
    tolerance = 0.01


def test_the_document_says_what_was_drawn() -> None:
    problem = ou.NetworkMean(mlp(5, 6, 3), gaussian(5))
    estimate = ou.MonteCarlo(samples=10**9, batch=100, seconds=1e-9).estimate(problem)
    document = estimate.to_dict()
    assert (document["samples"], document["batch"], document["terms"]) == (800, 100, 800)
    assert document["stopped"] == "seconds"
    assert document["estimator"]["settings"]["samples"] == 10**9


@pytest.mark.parametrize("estimator", [ou.MonteCarlo(), ou.QuasiMonteCarlo()], ids=repr)
def test_samplers_do_not_claim_to_be_mechanistic(estimator: Estimator) -> None:
    assert not estimator.mechanistic
