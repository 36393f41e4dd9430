"""Families of halfspaces: their laws, and that a seed is a problem."""

import math

import pytest
import torch

import outsample as ou
from outsample.comparison.learned_halfspaces import LearnedHalfspaces
from outsample.comparison.random_halfspaces import RandomHalfspaces
from outsample.comparison.trained import TrainedProblem
from outsample.problem import Family
from outsample.products.halfspaces import HalfspaceIntersection
from outsample.products.halfspaces.learned import DirectionExplainer

SMALL = LearnedHalfspaces(count=5, dimension=12, steps=30)


def test_isotropic_normals() -> None:
    problem = RandomHalfspaces(50, 400, offset_scale=0.7).problem(0)
    v, b = problem.normals, problem.offsets
    assert v.dtype == b.dtype == torch.float64
    torch.testing.assert_close(v.norm(dim=1), torch.ones(400, dtype=torch.float64))
    assert v.mean(0).norm().item() == pytest.approx(1 / 20, rel=0.35)
    assert b.std().item() == pytest.approx(0.7, rel=0.1)
    assert not bool(RandomHalfspaces(50, 40).problem(0).offsets.any())


def test_a_common_direction() -> None:
    """|mean of v₁| is m / √(1 + m²), as |v|² concentrates at (1 + m²) n."""
    v = RandomHalfspaces(400, 300, common=1.0).problem(1).normals
    assert v[:, 0].mean().item() == pytest.approx(1 / math.sqrt(2), rel=0.01)
    along = RandomHalfspaces(400, 300, along=0.5).problem(1).normals
    assert abs(along[:, 0].mean().item()) < 0.1
    assert along[:, 0].std().item() == pytest.approx(0.4, rel=0.15)


def test_a_spectrum() -> None:
    v = RandomHalfspaces(64, 4000, spectrum=1.0).problem(2).normals
    variances = v.square().mean(0)
    slope = math.log(variances[31] / variances[3]) / math.log(32 / 4)
    assert slope == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize("family", [RandomHalfspaces(6, 4, 0.3, 0.2, 0.1, 0.5), SMALL])
def test_a_seed_is_a_problem(family: RandomHalfspaces | LearnedHalfspaces) -> None:
    before = torch.get_rng_state()
    one, again, other = (family.problem(seed) for seed in (4, 4, 5))
    assert torch.equal(one.normals, again.normals)
    assert torch.equal(one.offsets, again.offsets)
    assert not torch.equal(one.normals, other.normals)
    assert not torch.equal(one.offsets, other.offsets)
    assert torch.equal(before, torch.get_rng_state())


def test_single_precision_is_the_same_problem() -> None:
    wide, narrow = (
        RandomHalfspaces(6, 4, 0.3, dtype=d).problem(1)  # type: ignore[arg-type]
        for d in ("float64", "float32")
    )
    assert narrow.normals.dtype == torch.float32
    torch.testing.assert_close(narrow.normals, wide.normals.float())


def test_names() -> None:
    family = RandomHalfspaces(20, 8, common=0.5)
    assert family.name == "RandomHalfspaces(dimension=20, count=8, common=0.5)"
    assert SMALL.name == "LearnedHalfspaces(count=5, dimension=12, steps=30)"


def test_training_turns_normals_towards_the_teachers() -> None:
    """Three directions hold most of every learned normal, and less of normals that are random."""

    def share(family: Family) -> float:
        problem = family.problem(0)
        assert isinstance(problem, HalfspaceIntersection)
        values = torch.linalg.svdvals(problem.normals).square()
        return float(values[:3].sum() / values.sum())

    learned = LearnedHalfspaces(count=12, dimension=30, steps=300)
    noisier = LearnedHalfspaces(count=12, dimension=30, steps=300, label_noise=0.45)
    assert share(RandomHalfspaces(30, 12)) < 0.6 < share(learned)
    assert share(noisier) < share(learned)


def test_a_shared_run_has_contexts_of_its_own() -> None:
    shared = SMALL.with_network(3)
    one, other = shared.problem(0), shared.problem(1)
    assert torch.equal(one.normals, other.normals)
    assert not torch.equal(one.offsets, other.offsets)
    assert torch.equal(one.normals, SMALL.problem(3).normals)
    assert torch.equal(one.offsets, SMALL.problem(0).offsets)
    assert isinstance(one, TrainedProblem)
    assert one.training.size == 60
    assert one.training.flops > 0 < one.training.seconds
    explainer = DirectionExplainer()
    torch.testing.assert_close(
        explainer.explain(one).directions, explainer.explain(other).directions
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dimension": 0}, "dimension = 0"),
        ({"count": True}, "count = True"),
        ({"offset_scale": -1.0}, "offset_scale = -1.0"),
        ({"common": math.nan}, "common = nan"),
        ({"along": math.inf}, "along = inf"),
        ({"spectrum": -0.5}, "spectrum = -0.5"),
        ({"dtype": "float16"}, "dtype = 'float16'"),
    ],
)
def test_bad_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ou.InputError, match=message):
        RandomHalfspaces(**{"dimension": 3, "count": 2, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "count = 0"),
        ({"teacher_directions": 50}, "teacher_directions = 50 in 40 dimensions"),
        ({"steps": 0}, "steps = 0"),
        ({"rate": 0.0}, "rate = 0.0"),
        ({"offset_scale": math.inf}, "offset_scale = inf"),
        ({"label_noise": 0.5}, "label_noise = 0.5"),
        ({"network": -1}, "network = -1"),
    ],
)
def test_bad_settings_of_learned(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ou.InputError, match=message):
        LearnedHalfspaces(**settings)  # type: ignore[arg-type]
