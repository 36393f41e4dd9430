"""Sequential importance sampling: unbiased, with a standard error that means something."""

import json
import math
import random

import numpy as np
import pytest
import torch
from tests.products.permanents import oracles

import outsample as ou
from outsample.products.permanents import Permanent, SequentialImportanceSampling

KINDS = ("uniform", "bernoulli", "uneven", "triangular")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 16])
def test_it_is_unbiased(kind: str, n: int) -> None:
    problem = Permanent(oracles.matrices(n)[kind])
    found = SequentialImportanceSampling(20_000, seed=1).estimate(problem)
    exact = problem.exact()
    assert exact is not None and found.standard_error is not None
    error = abs(float(found.value - exact))
    assert error < 4.5 * float(found.standard_error) + 1e-12 * float(exact)


def test_the_standard_error_covers_as_it_says() -> None:
    problem = Permanent(oracles.matrices(10)["bernoulli"])
    exact = problem.exact()
    assert exact is not None
    scores = []
    for seed in range(200):
        found = SequentialImportanceSampling(400, seed).estimate(problem)
        assert found.standard_error is not None
        scores.append(float((found.value - exact) / found.standard_error))
    assert abs(np.mean(scores)) < 0.3
    assert 0.8 < np.std(scores) < 1.25


def test_weights_of_a_dense_matrix_hardly_vary() -> None:
    problem = Permanent(np.random.default_rng(8).random((20, 20)))
    found = SequentialImportanceSampling(1000).estimate(problem)
    assert found.relative_error is not None and found.relative_error < 0.02
    plain = ou.MonteCarlo(1000).estimate(problem)
    assert plain.standard_error is not None
    assert plain.standard_error > 10 * found.relative_error * found.value
    assert found.trust == "ok"


def test_few_effective_weights_are_doubted() -> None:
    # Nearly a permutation matrix: most draws soon leave it.
    found = SequentialImportanceSampling(20).estimate(Permanent(np.eye(12) + 0.02))
    assert found.trust == "low_confidence"
    assert "dominate" in found.reasons[0]


def test_draws_that_all_end_without_a_matching() -> None:
    # A cycle of 2-cycles: one choice of the first row leaves the rest without freedom.
    rng = np.random.default_rng(0)
    for seed in range(200):
        support = (rng.random((12, 12)) < 0.17) * 1.0
        problem = Permanent(support)
        if problem.is_zero() is not None:
            continue
        found = SequentialImportanceSampling(1, seed).estimate(problem)
        if float(found.value) == 0:
            assert found.trust == "unreliable"
            assert "without a matching" in found.reasons[0]
            assert found.log_value is not None and float(found.log_value) == -math.inf
            return
    pytest.fail("no draw ended without a matching")


def test_permanents_that_are_exactly_zero() -> None:
    matrix = np.ones((5, 5))
    matrix[:3, :3] = 0
    found = SequentialImportanceSampling(10).estimate(Permanent(matrix))
    assert float(found.value) == 0
    assert found.trust == "ok"
    assert "perfect matching" in found.diagnostics["zero"]


def test_logarithms_go_beyond_the_range_of_numbers() -> None:
    n = 120
    found = SequentialImportanceSampling(50).estimate(Permanent(np.full((n, n), 1e-5)))
    assert float(found.log_permanent) == pytest.approx(math.lgamma(n + 1) + n * math.log(1e-5))
    assert float(found.value) == 0
    assert found.log_value is not None
    assert float(found.log_value) == pytest.approx(n * math.log(1e-5), rel=1e-12)


def test_seeds_threads_and_global_generators() -> None:
    problem = Permanent(oracles.matrices(8)["uniform"])
    before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    one, two, other = (
        SequentialImportanceSampling(500, seed).estimate(problem).value for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()


def test_dtype_follows_and_json_tells_the_story() -> None:
    matrix = torch.from_numpy(oracles.matrices(6)["uniform"]).float()
    found = SequentialImportanceSampling(100).estimate(Permanent(matrix))
    assert found.value.dtype == torch.float32
    document = json.loads(found.to_json())
    assert document["samples"] == 100
    assert document["relative_error"] == pytest.approx(found.relative_error)
    assert document["log_permanent"] == pytest.approx(float(found.log_permanent))
    assert document["cost"]["flops"] > 0
    single = SequentialImportanceSampling(1).estimate(Permanent(matrix))
    assert single.standard_error is None
    assert single.relative_error is None


def test_cost_grows_with_the_samples() -> None:
    problem = Permanent(oracles.matrices(8)["uniform"])
    few, many = (SequentialImportanceSampling(n).flops(problem) for n in (100, 200))
    more = SequentialImportanceSampling(300).flops(problem)
    assert more - many == many - few > 0


def test_settings_at_a_tolerance_cost_what_they_may() -> None:
    problem = Permanent(oracles.matrices(8)["uniform"])
    for epsilon in (1e-2, 1e-3):
        chosen = SequentialImportanceSampling.at(epsilon, problem)
        assert chosen.flops(problem) <= problem.size / epsilon**2
    assert SequentialImportanceSampling.at(1.0, problem).samples == 1


def test_refusals() -> None:
    with pytest.raises(ou.UnsupportedProblem, match="negative"):
        SequentialImportanceSampling().estimate(Permanent(oracles.matrices(4)["signed"]))
    network = ou.NetworkMean(torch.nn.Linear(2, 1), ou.Gaussian.standard(2))
    with pytest.raises(ou.UnsupportedProblem, match="permanents"):
        SequentialImportanceSampling().estimate(network)
    for settings in ({"samples": 0}, {"samples": 1.5}, {"seed": -1}, {"seed": True}):
        name, value = next(iter(settings.items()))
        with pytest.raises(ou.InputError, match=f"{name} = {value}"):
            SequentialImportanceSampling(**settings)
