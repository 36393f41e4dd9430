import math

import numpy as np
import pytest

from outsample.comparison.cells import Cell, Truth
from outsample.comparison.scores import PLAIN, Pool, Ratio, Sampling

PROBLEMS = 12


def truths(noise: float = 0.0) -> list[Truth]:
    """Problem p has Var M = 1 + p and expectation 0, and costs 50 FLOPs."""
    return [
        Truth(
            problem=p,
            first=(noise,),
            second=(-noise,),
            squared_error=(noise**2,),
            variance=(1.0 + p,),
            evaluation_flops=50.0,
            samples=0 if noise == 0 else 100,
        )
        for p in range(PROBLEMS)
    ]


def cells(vn_error: float, flops: int = 5000, seconds: float = 2.0, **more) -> list[Cell]:
    """An estimator whose squared error is ``vn_error`` times the variance on every problem."""
    return [
        Cell(
            problem=p,
            method="G",
            request={},
            value=(math.sqrt(vn_error * (1.0 + p)),),
            spread=(0.0,),
            flops=flops,
            seconds=seconds,
            **more,
        )
        for p in range(PROBLEMS)
    ]


def sampler(
    name: str, constant: float, samples: int, seconds: float = 1e-2, flops: int = 60, **settings
) -> list[Cell]:
    """A sampler with error constant ``constant``, of given cost a sample."""
    return [
        Cell(
            problem=p,
            method=name,
            request={"settings": settings},
            value=(math.sqrt(2 * constant * (1.0 + p) / samples),),
            spread=(0.0,),
            squared_error=(constant * (1.0 + p) / samples,),
            samples=samples,
            flops=flops * samples,
            seconds=seconds * samples,
        )
        for p in range(PROBLEMS)
    ]


def ratios(pool: Pool, opponents: list[Sampling]) -> dict[tuple[str, str], Ratio]:
    return {(r.opponent, r.budget): r for r in pool.score("G", opponents).ratios}


def measured(pool: Pool, name: str) -> Sampling:
    found = pool.sampling(name)
    assert found is not None
    return found


def test_against_plain_monte_carlo() -> None:
    pool = Pool(cells(0.001) + sampler(PLAIN, 1.0, 1000), truths())
    plain = pool.analytic(measured(pool, PLAIN))
    score = pool.score("G", [plain])
    assert score.vn_error == pytest.approx(0.001)
    assert score.problems == PROBLEMS
    assert score.resolved
    # 5000 FLOPs are 100 evaluations of 50; 2 s are 200 samples of 0.01 s.
    assert score.samples_at_flops == pytest.approx(100)
    assert score.samples_at_seconds == pytest.approx(200)
    found = ratios(pool, [plain])
    assert found[PLAIN, "flops"].value == pytest.approx(10)  # 1/100 over 0.001
    assert found[PLAIN, "seconds"].value == pytest.approx(5)
    assert {r.verdict for r in found.values()} == {"beats"}


def test_against_a_measured_sampler() -> None:
    pool = Pool(cells(0.001) + sampler("better", 0.2, 1000, seconds=2e-2), truths())
    better = measured(pool, "better")
    assert better.constants == pytest.approx((0.2,))
    assert better.constants_from_truth == pytest.approx((0.4,))
    found = ratios(pool, [pool.analytic(None), better])
    # It can afford 5000/60 and 2/0.02 samples.
    assert found["better", "flops"].value == pytest.approx(0.2 / (5000 / 60) / 0.001)
    assert found["better", "seconds"].value == pytest.approx(0.2 / 100 / 0.001)
    # The formula alone knows no seconds.
    assert (PLAIN, "seconds") not in found


def test_verdicts_at_both_ends() -> None:
    opponents = sampler(PLAIN, 1.0, 1000)
    for vn_error, verdict in ((1.0, "loses to"), (1e-9, "beats")):
        pool = Pool(cells(vn_error) + opponents, truths())
        found = ratios(pool, [pool.analytic(measured(pool, PLAIN))])
        assert {r.verdict for r in found.values()} == {verdict}


def test_an_error_below_the_noise_of_the_truth() -> None:
    # Noise 0.1 in T: squared errors are known to about 0.01.
    pool = Pool(cells(1e-6), truths(noise=0.1))
    weights = np.array([1.0 + p for p in range(PROBLEMS)])
    assert pool.noise == pytest.approx(0.1**2 / 2 / weights.mean())
    assert pool.floor == pytest.approx(0.1**2 / math.sqrt(PROBLEMS) / weights.mean())
    score = pool.score("G", [pool.analytic(None)])
    assert not score.resolved
    assert score.low == 0
    ratio = score.ratios[0]
    assert ratio.bound == "lower"
    assert ratio.value == ratio.low == pytest.approx(0.01 / score.high)


def test_no_claim_below_the_noise_of_the_truth() -> None:
    # Against 10^6 samples the truth would have to be better than 1e-6.
    pool = Pool(cells(1e-9, flops=50 * 10**6), truths(noise=0.1))
    assert pool.score("G", [pool.analytic(None)]).ratios[0].verdict == "inconclusive"


def test_failures_leave_no_verdict() -> None:
    partly = cells(0.001)
    partly[3] = Cell(problem=3, method="G", request={}, error="ValueError: no")
    pool = Pool(partly, truths())
    score = pool.score("G", [pool.analytic(None)])
    assert (score.problems, score.failures, score.error) == (PROBLEMS - 1, 1, "ValueError: no")
    assert score.vn_error == pytest.approx(0.001)
    assert score.ratios[0].verdict == "inconclusive"
    assert "failed" in score.ratios[0].reason
    none = [Cell(problem=p, method="G", request={}, error="E") for p in range(3)]
    score = Pool(none, truths()).score("G", [pool.analytic(None)])
    assert (score.problems, score.failures, score.ratios) == (0, 3, ())
    assert math.isnan(score.vn_error)


def test_problems_without_a_truth_do_not_count() -> None:
    known = [*truths()[:-2], *(Truth(problem=PROBLEMS - i, error="broken") for i in (1, 2))]
    score = (pool := Pool(cells(0.001), known)).score("G", [pool.analytic(None)])
    assert score.problems == PROBLEMS - 2
    assert score.failures == 0


def test_the_lowest_trust_counts() -> None:
    mixed = cells(0.1)[:6] + cells(0.1, trust="low_confidence")[6:]
    pool = Pool(mixed, truths())
    assert pool.score("G", [pool.analytic(None)]).trust == "low_confidence"


def test_the_best_batch_size_sets_the_time_and_not_the_error() -> None:
    own = sampler("S", 0.5, 1000, seconds=3.0, batch=None)
    others = [
        c
        for batch, seconds in ((256, 2.0), (1024, 1.0), (4096, 4.0))
        for c in sampler("S", 0.9, 1000, seconds, batch=batch)[:1]
    ]
    found = measured(Pool(own + others, truths()), "S")
    assert found.batch == 1024
    assert found.seconds_per_sample == pytest.approx(1.0)
    assert found.constants == pytest.approx((0.5,))


def test_samples_in_replicates_are_balanced_within_each() -> None:
    ladder = [
        cell
        for points, constant in ((100, 0.8), (10_000, 0.2))
        for cell in sampler("Q", constant, 8 * points, replicates=8)
    ]
    found = measured(Pool(ladder, truths()), "Q")
    assert found.samples == (100, 10_000)
    assert found.constants == pytest.approx((0.8, 0.2))
    assert found.constant(100) == pytest.approx(0.8)
    assert found.constant(1000) == pytest.approx(0.5)  # half-way in log N
    assert found.constant(10_000) == pytest.approx(0.2)
    assert found.constant(3) == pytest.approx(0.8)
    assert found.constant(10**6) == pytest.approx(0.05)  # a quarter for every factor of 100


def test_a_constant_that_rises_is_not_carried_on() -> None:
    ladder = [
        cell
        for points, constant in ((100, 0.2), (10_000, 0.3))
        for cell in sampler("Q", constant, points)
    ]
    assert measured(Pool(ladder, truths()), "Q").constant(10**6) == pytest.approx(0.3)


def test_a_sampler_that_was_interrupted_counts_where_it_ran() -> None:
    pool = Pool(cells(0.001) + sampler("S", 0.5, 1000)[:4], truths())
    found = measured(pool, "S")
    assert found.problems == {0, 1, 2, 3}
    assert ratios(pool, [pool.analytic(None), found])["S", "seconds"].value > 0
    assert pool.sampling("T") is None


def test_problems_with_different_numbers_of_outputs() -> None:
    wide = Truth(
        problem=PROBLEMS, first=(0.0,) * 3, second=(0.0,) * 3, squared_error=(0.0,) * 3,
        variance=(1.0, 2.0, 3.0), evaluation_flops=50.0,
    )  # fmt: skip
    cell = Cell(
        problem=PROBLEMS, method="G", request={}, value=(1.0, 2.0, 3.0), spread=(0.0,) * 3,
        flops=5000, seconds=2.0,
    )  # fmt: skip
    pool = Pool([*cells(0.001), cell], [*truths(), wide])
    total = sum(1.0 + p for p in range(PROBLEMS))
    expected = (0.001 * total + 14 / 3) / (total + 2)
    assert pool.score("G", [pool.analytic(None)]).vn_error == pytest.approx(expected)
