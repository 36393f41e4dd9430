import pytest
import torch
from tests.battery import gaussian, mlp
from tests.cumulants.brute_force import pushed, random, random_symmetric, sliced
from torch import Tensor

import outsample as ou
from outsample.cumulants import subspace
from outsample.cumulants.hubs import Birth3, Hubs
from outsample.cumulants.subspace import Subspace, compressed, leading_subspace, projected
from outsample.cumulants.symmetric import Dense, Traced

N, K = 5, 3


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def birth(seed: int) -> Birth3:
    new = Birth3(random(N, 2 * N, seed=seed), ((0, 1, 1, random(N, seed=seed)), (0, 0, 2, 0.5)), N)
    return new.through(random(N, N, seed=seed + 50) / N**0.5)


def old(count: int) -> Hubs:
    """A cumulant with births of several layers, and what the augmented variant adds to one."""
    metric = torch.eye(N, dtype=torch.float64)
    traced = [Traced(Dense(random(N, seed=70 + k)), metric) for k in range(2 * count)]
    return Hubs([birth(seed) for seed in range(count)], traced)


@pytest.fixture
def part() -> tuple[Subspace, Tensor]:
    basis, core = random(N, K, seed=1), random_symmetric(3, K, seed=2)
    return Subspace(basis, core), pushed(core, basis)


@pytest.mark.parametrize("multiplicities", [(1, 1, 1), (2, 1), (1, 2), (3,)])
def test_slices_are_those_of_the_dense_tensor(
    part: tuple[Subspace, Tensor], multiplicities: tuple[int, ...]
) -> None:
    close(part[0].slice(multiplicities), sliced(part[1], multiplicities))


def test_it_maps_and_contracts_like_the_dense_tensor(part: tuple[Subspace, Tensor]) -> None:
    weight, matrix, vector = random(4, N, seed=3), random(N, N, seed=4), random(N, seed=5)
    close(part[0].through(weight).dense(), pushed(part[1], weight))
    close(part[0].against(matrix), Dense(part[1]).against(matrix))
    close(part[0].against(vector), Dense(part[1]).against(vector))


def test_projection_of_a_birth() -> None:
    basis = random(N, K, seed=6)
    close(projected(birth(0), basis), pushed(birth(0).dense(), basis.T))


def test_the_leading_subspace_is_that_of_the_largest_eigenvalues() -> None:
    values = torch.tensor([9.0, 8.0, *[0.01] * 18], dtype=torch.float64)
    vectors = torch.linalg.qr(random(20, 20, seed=8))[0]
    covariance = vectors @ torch.diag(values) @ vectors.T
    for guess in (None, random(20, 16, seed=9)):
        found = leading_subspace(covariance, guess)
        close(found.T @ found, torch.eye(found.shape[1], dtype=torch.float64))
        close(found @ (found.T @ vectors[:, :2]), vectors[:, :2], 1e-3)


def test_nothing_is_lost_where_the_subspace_is_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subspace, "WINDOW", 1)
    cumulant, slope = old(3), random(N, seed=10)
    covariance = torch.eye(N, dtype=torch.float64)
    kept, moved = compressed(cumulant, slope, covariance, 1e-6)
    assert moved is not None
    assert kept.dropped < 1e-12
    assert len(kept.births) == 1
    close(kept.scaled(slope).dense() + moved.dense(), cumulant.scaled(slope).dense())


def test_a_loss_above_the_tolerance_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subspace, "WINDOW", 1)
    monkeypatch.setattr(subspace, "_FEWEST", 2)
    cumulant, slope = old(3), random(N, seed=10)
    covariance = torch.diag(torch.arange(1.0, N + 1, dtype=torch.float64))
    kept, moved = compressed(cumulant, slope, covariance, 1e-6)
    assert moved is None
    assert kept is cumulant
    kept, moved = compressed(cumulant, slope, covariance, 0.999)
    assert moved is not None
    exact = cumulant.scaled(slope).slice((2, 1))
    lost = exact - kept.scaled(slope).slice((2, 1)) - moved.slice((2, 1))
    assert kept.dropped == pytest.approx(float(lost.norm() / exact.norm()))


@pytest.mark.parametrize("variant", ["basic", "augmented"])
def test_deep_networks_lose_little(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve layers of width 64: the change is far below the method's own error."""
    monkeypatch.setattr(subspace, "WINDOW", 4)
    law = ou.Gaussian.standard(64, torch.float64)
    problem = ou.NetworkMean(mlp(*[64] * 13, 4, bias=0.0), law)
    with torch.no_grad():
        whole, less = (
            ou.Cumulants(3, variant, tolerance=t, factored=True).estimate(problem)
            for t in (0, 0.05)
        )
    assert whole.diagnostics["dropped"] == 0
    assert 0 < less.diagnostics["dropped"] <= 0.05
    assert whole.covariance is not None
    gap = (whole.value - less.value).square().sum() / whole.covariance.diagonal().sum()
    assert whole.expected_error is not None
    assert float(gap) < 0.02 * whole.expected_error


def test_gradients_pass_through_the_subspace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The subspace itself is held fixed, so exact only where it is everything."""
    monkeypatch.setattr(subspace, "WINDOW", 1)
    net, law = mlp(3, 4, 4, 4, 4, 4, 2), gaussian(3)
    problem = ou.NetworkMean(net, law)
    gradients = []
    for tolerance in (0.0, 0.5):
        value = ou.Cumulants(3, "basic", tolerance=tolerance).estimate(problem).value.sum()
        gradients.append(torch.autograd.grad(value, list(net.parameters())))
    for one, other in zip(*gradients, strict=True):
        close(other, one, 1e-9)
