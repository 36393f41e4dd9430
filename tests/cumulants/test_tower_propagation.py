import pytest
import torch
from tests.battery import gaussian, mlp

import outsample as ou

SETTINGS = [(2, "augmented"), (3, "basic"), (3, "augmented"), (4, "basic")]


def ill(width: int = 6, depth: int = 4) -> tuple[torch.nn.Module, ou.Gaussian]:
    """Too narrow for its depth: estimated variances come out negative and are set to zero."""
    return mlp(width, *[width] * depth, 2), gaussian(width)


@pytest.mark.filterwarnings("ignore::outsample.errors.NumericalWarning")
@pytest.mark.parametrize(("order", "variant"), SETTINGS)
@pytest.mark.parametrize(("width", "depth"), [(6, 4), (10, 8)])
@pytest.mark.parametrize("factored", [True, False])
def test_a_clamped_variance_leaves_the_estimate_finite(
    order: int, variant: str, width: int, depth: int, factored: bool
) -> None:
    net, law = ill(width, depth)
    estimator = ou.Cumulants(order, variant, factored if order > 2 else "auto", tower=True)
    found = estimator.estimate(ou.NetworkMean(net, law))
    assert found.covariance is not None
    assert bool(torch.isfinite(found.value).all())
    assert bool(torch.isfinite(found.covariance).all())


@pytest.mark.filterwarnings("ignore::outsample.errors.NumericalWarning")
def test_a_clamped_variance_is_no_matter_of_how_the_law_is_given() -> None:
    net, law = mlp(4, 6, 6, 6, 6, 2), gaussian(4)
    tower = ou.CumulantTower(law.mean, law.covariance)
    estimator = ou.Cumulants(2, "augmented")
    one, other = (estimator.estimate(ou.NetworkMean(net, given)) for given in (law, tower))
    torch.testing.assert_close(one.value, other.value, atol=1e-9, rtol=0)
    assert other.covariance is not None
    assert bool(torch.isfinite(other.covariance).all())


@pytest.mark.parametrize("order", [2, 3])
def test_what_a_tower_does_not_carry_is_not_in_it(order: int) -> None:
    # up to the order: of the next cumulants only traces are known
    law = gaussian(4)
    inputs = ou.CumulantTower(
        law.mean, law.covariance, torch.ones(4).double(), torch.ones(4).double()
    )
    for variant in ("basic", "augmented"):
        found = ou.Cumulants(order, variant, tower=True).estimate(
            ou.NetworkMean(mlp(4, 5, 3), inputs)
        )
        assert found.tower is not None
        assert found.tower.fourth is None
        if order == 2:
            assert found.tower.third is None
