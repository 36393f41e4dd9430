import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from outsample.sampling.moments import Moments

CPU = torch.device("cpu")


def gather(rows: torch.Tensor, sizes: list[int], matrix: bool) -> Moments:
    moments = Moments.empty(rows.shape[1], matrix, CPU)
    for part in rows.split(sizes):
        moments.add(part)
    return moments


@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    offset=st.sampled_from([0.0, 1.0, 1e6]),
    seed=st.integers(0, 2**20),
)
def test_batches_merge_to_the_moments_of_all_rows(
    sizes: list[int], offset: float, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    rows = torch.randn(sum(sizes), 3, generator=g, dtype=torch.float64) + offset
    moments = gather(rows, sizes, matrix=True)
    centred = rows - rows.mean(0)
    assert moments.count == moments.weight == len(rows)
    torch.testing.assert_close(moments.mean, rows.mean(0), rtol=1e-14, atol=1e-14)
    # The offset is rounded into the rows themselves; nothing more may be lost.
    torch.testing.assert_close(
        moments.square, centred.T @ centred, rtol=1e-9, atol=1e-12 * (1 + offset)
    )
    diagonal = gather(rows, sizes, matrix=False)
    torch.testing.assert_close(diagonal.square, moments.spread, rtol=1e-9, atol=1e-12)


def test_no_digits_cancel_far_from_zero() -> None:
    rows = torch.tensor([[1e9 + k % 2] for k in range(1000)], dtype=torch.float64)
    moments = gather(rows, [10] * 100, matrix=False)
    assert moments.square.item() == pytest.approx(250.0, rel=1e-12)


def test_standard_error_of_equal_rows() -> None:
    rows = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = gather(rows, [20, 30], matrix=True).standard_error
    expected = rows.numpy().std(axis=0, ddof=1) / np.sqrt(50)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_standard_error_of_weighted_rows_is_unbiased() -> None:
    """Rows with variance σ²/w: the squared standard error averages to σ²/Σw."""
    weights = [1.0, 4.0, 2.0, 9.0]
    draws = np.random.default_rng(0).standard_normal((20_000, 4)) / np.sqrt(weights)
    squares = np.empty(len(draws))
    for i, rows in enumerate(draws):
        mean = np.average(rows, weights=weights)
        squares[i] = (weights * (rows - mean) ** 2).sum() / (sum(weights) * 3)
    assert squares.mean() == pytest.approx(1 / 16, rel=0.03)
    moments = Moments.empty(1, False, CPU)
    for row, weight in zip(draws[0], weights, strict=True):
        moments.add(torch.tensor([[row]], dtype=torch.float64), weight)
    assert moments.standard_error.item() ** 2 == pytest.approx(squares[0], rel=1e-12)


def test_rows_of_one_weight_count_as_often() -> None:
    rows = torch.randn(5, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weighted, repeated = Moments.empty(2, True, CPU), Moments.empty(2, True, CPU)
    weighted.add(rows[:3], weight=2.0)
    weighted.add(rows[3:], weight=1.0)
    repeated.add(torch.cat([rows, rows[:3]]))
    assert (weighted.count, weighted.weight) == (5, 8.0)
    torch.testing.assert_close(weighted.mean, repeated.mean)
    torch.testing.assert_close(weighted.square, repeated.square)


def test_merging_moments_is_taking_in_their_rows() -> None:
    rows = torch.randn(30, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    left, right = gather(rows[:11], [11], True), gather(rows[11:], [19], True)
    left.merge(right)
    whole = gather(rows, [30], True)
    assert left.count == whole.count
    torch.testing.assert_close(left.mean, whole.mean)
    torch.testing.assert_close(left.square, whole.square)


def test_one_row_has_no_standard_error() -> None:
    moments = gather(torch.ones(1, 2, dtype=torch.float64), [1], matrix=False)
    assert bool(moments.standard_error.isnan().all())


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -1e150, 1e-300])
def test_constants_are_recognised_despite_round_off(value: float) -> None:
    rows = torch.full((999, 1), value, dtype=torch.float64)
    assert bool(gather(rows, [333] * 3, matrix=False).constant)


def test_a_single_different_row_is_no_constant() -> None:
    rows = torch.ones(999, 1, dtype=torch.float64)
    rows[500] += 1e-9
    assert not bool(gather(rows, [333] * 3, matrix=False).constant)
