"""Tilted laws: what the quadratic that tilts them does under them."""

import pytest
import torch
from tests.battery import gaussian

from outsample.catastrophe.tilt.law import TiltedLaw


def _law(seed: int = 0, n: int = 4) -> TiltedLaw:
    law = gaussian(n, seed)
    return TiltedLaw(law.mean, torch.linalg.inv(law.covariance + 0.3 * torch.eye(n).double()))


def _q(law: TiltedLaw, x: torch.Tensor) -> torch.Tensor:
    y = x - law.mean
    return y @ law.mean + 0.5 * (y @ law.curvature * y).sum(1)


def test_the_law_is_the_standard_one_tilted_by_q() -> None:
    law = _law()
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tilted = torch.distributions.MultivariateNormal(law.mean, law.covariance).log_prob(x)
    plain = torch.distributions.MultivariateNormal(
        torch.zeros(4).double(), torch.eye(4).double()
    ).log_prob(x)
    constant = tilted - plain - _q(law, x)
    torch.testing.assert_close(constant, constant[:1].expand(50))


def test_moments_of_q_against_sampling() -> None:
    law = _law()
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(400_000, 4, generator=generator, dtype=torch.float64)
    q = _q(law, law.mean + noise @ torch.linalg.cholesky(law.covariance).T)
    centred = q - q.mean()
    error = float(centred.square().std()) / 400_000**0.5
    assert abs(float(centred.square().mean()) - law.variance) < 5 * error


def test_the_divergence() -> None:
    law = _law()
    normal = torch.distributions.MultivariateNormal
    divergence = torch.distributions.kl_divergence(
        normal(law.mean, law.covariance), normal(torch.zeros(4).double(), torch.eye(4).double())
    )
    assert law.divergence == pytest.approx(float(divergence), rel=1e-12)


@pytest.mark.parametrize("amount", [0.3, -0.2])
def test_moving_tilts_by_q_again(amount: float) -> None:
    law = _law()
    moved = law.moved(amount)
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    normal = torch.distributions.MultivariateNormal
    ratio = normal(moved.mean, moved.covariance).log_prob(x)
    ratio = ratio - normal(law.mean, law.covariance).log_prob(x) - amount * _q(law, x)
    torch.testing.assert_close(ratio, ratio[:1].expand(20))


def test_mixing_ends_at_both_laws() -> None:
    one, other = _law(0), _law(1)
    torch.testing.assert_close(one.mixed(other, 0.0).mean, one.mean)
    torch.testing.assert_close(one.mixed(other, 1.0).covariance, other.covariance)
