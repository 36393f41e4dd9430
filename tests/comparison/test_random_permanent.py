"""Random matrices: their laws, and that a seed is a matrix."""

import pytest
import torch

import outsample as ou
from outsample.comparison.random_permanent import RandomPermanent

#: Mean and standard deviation of an entry, and the values it takes if they are two.
LAWS = {
    "uniform": (0.5, 12**-0.5, None),
    "bernoulli": (0.5, 0.5, {0.0, 1.0}),
    "sign": (0.0, 1.0, {-1.0, 1.0}),
    "gaussian": (0.0, 1.0, None),
    "exponential": (1.0, 1.0, None),
}


@pytest.mark.parametrize("entries", LAWS)
def test_laws(entries: str) -> None:
    mean, deviation, values = LAWS[entries]
    matrix = RandomPermanent(200, entries).problem(3).matrix  # type: ignore[arg-type]
    assert matrix.dtype == torch.float64
    assert matrix.shape == (200, 200)
    assert matrix.mean().item() == pytest.approx(mean, abs=4 * deviation / 200)
    assert matrix.std().item() == pytest.approx(deviation, rel=0.03)
    if values is not None:
        assert set(matrix.unique().tolist()) == values
    if entries in ("uniform", "exponential"):
        assert (matrix >= 0).all()


@pytest.mark.parametrize("entries", LAWS)
def test_a_seed_is_a_matrix(entries: str) -> None:
    family = RandomPermanent(5, entries)  # type: ignore[arg-type]
    before = torch.get_rng_state()
    one, again, other = (family.problem(seed).matrix for seed in (4, 4, 5))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_names_and_settings() -> None:
    assert RandomPermanent(7).name == "RandomPermanent(size=7)"
    assert RandomPermanent(7, "sign").name == "RandomPermanent(size=7, entries='sign')"
    assert RandomPermanent(7).parameters() == {"size": 7, "entries": "uniform"}


def test_bad_settings() -> None:
    with pytest.raises(ou.InputError, match="size = 0"):
        RandomPermanent(0)
    with pytest.raises(ou.InputError, match="entries = 'cauchy'"):
        RandomPermanent(3, "cauchy")  # type: ignore[arg-type]
