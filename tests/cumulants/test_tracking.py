import torch
from tests.battery import gaussian
from tests.cumulants.test_mean_propagation import turned
from torch import Tensor

from outsample.cumulants.laws import LowRank, Plain, Sparse, ThirdCumulants
from outsample.cumulants.tracking import ActivationStep
from outsample.networks.activations import polynomial
from outsample.networks.graph import Affine


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def symmetric(tensor: Tensor) -> Tensor:
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    return torch.stack([tensor.permute(order) for order in orders]).mean(0)


def test_laws_are_their_matrices() -> None:
    weight, x = random(4, 6), random(6, 3, seed=1)
    core = random(2, 2, seed=2)
    core = core @ core.T
    basis, noise = turned(6, 2), random(6, seed=3).square()
    pairs, values = torch.tensor([[0, 1], [2, 5], [1, 4]]), random(3, seed=4)
    sparse = torch.diag(noise)
    for (i, j), value in zip(pairs.tolist(), values, strict=True):
        sparse[i, j] = sparse[j, i] = value
    matrix = gaussian(6).covariance
    for law, expected in (
        (LowRank(basis, core, noise), basis @ core @ basis.T + torch.diag(noise)),
        (Sparse(pairs, values, noise), sparse),
        (Plain(matrix), matrix),
        (Plain(noise), torch.diag(noise)),
        (Plain(noise[0]), noise[0] * torch.eye(6, dtype=torch.float64)),
    ):
        torch.testing.assert_close(law.apply(x), expected @ x)
        torch.testing.assert_close(law.variance(weight), (weight @ expected @ weight.T).diagonal())
        assert law.third(weight) is None


def cumulant_tensor(law: LowRank, weight: Tensor) -> Tensor:
    """All entries of the third cumulants after W."""
    assert law.third_core is not None and law.third_noise is not None
    q, n = law.third_core.shape[0], weight.shape[1]
    basis = law.basis[:, :q]
    tensor = torch.einsum("abc,ia,jb,kc->ijk", law.third_core, basis, basis, basis)
    i = torch.arange(n)
    tensor[i, i, i] += law.third_noise
    return torch.einsum("ijk,ai,bj,ck->abc", tensor, weight, weight, weight)


def skewed() -> LowRank:
    core = random(3, 3, seed=2)
    return LowRank(
        turned(6, 3),
        core @ core.T + torch.eye(3, dtype=torch.float64),
        random(6, seed=3).square(),
        symmetric(random(2, 2, 2, seed=5)),
        random(6, seed=6),
    )


def test_third_cumulants_are_their_tensor() -> None:
    law, weight, x = skewed(), random(4, 6), random(4, 2, seed=7)
    third, tensor = law.third(weight), cumulant_tensor(law, weight)
    assert isinstance(third, ThirdCumulants)
    pairs = torch.einsum("iij->ij", tensor)
    torch.testing.assert_close(third.own(), torch.einsum("iii->i", tensor))
    torch.testing.assert_close(third.pairs_times(x), pairs @ x)
    torch.testing.assert_close(third.pairs_transposed_times(x), pairs.T @ x)
    factor = torch.tensor([1.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    torch.testing.assert_close(third.shrunk(factor).own(), third.own() * factor**3)


def test_a_skewed_input_of_a_cubic() -> None:
    """E[z³] = μ³ + 3μσ² + κ is exact, whatever the fourth cumulant."""
    law, weight, bias = skewed(), 0.3 * random(4, 6), random(4, seed=8)
    affine, mean = Affine(weight, bias), random(6, seed=9)
    step = ActivationStep(polynomial((0.0, 0.0, 0.0, 1.0), "cube"), law, affine, mean)
    mu, variance = weight @ mean + bias, law.variance(weight)
    own = torch.einsum("iii->i", cumulant_tensor(law, weight))
    assert float((own.abs() / variance**1.5).max()) < 1  # else it is shrunk, see below
    torch.testing.assert_close(step.mean, mu**3 + 3 * mu * variance + own)


def test_a_skewed_input_of_a_square() -> None:
    """Cov(z_i², z_j²) = 4 μ_i μ_j C_ij + 2 μ_i κ_ijj + 2 μ_j κ_iij + orders not carried."""
    law, weight, bias = skewed(), 0.3 * random(4, 6), random(4, seed=8)
    step = ActivationStep(
        polynomial((0.0, 0.0, 1.0), "square"), law, Affine(weight, bias), law.noise
    )
    mu, tensor = weight @ law.noise + bias, cumulant_tensor(law, weight)
    pairs = torch.einsum("iij->ij", tensor)
    covariance = weight @ law.apply(weight.T)
    expected = 4 * torch.outer(mu, mu) * covariance + 2 * mu * pairs + 2 * (mu * pairs).T
    expected.fill_diagonal_(0)
    x = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(step.off_diagonal(x, step.others(x)), expected)
    variances = 4 * mu**2 * covariance.diagonal() + 2 * covariance.diagonal() ** 2
    variances = variances + 4 * mu * torch.einsum("iii->i", tensor)
    torch.testing.assert_close(step.variance, variances)


def test_absurd_skewness_is_shrunk_to_one() -> None:
    law = skewed()
    assert law.third_core is not None
    absurd = LowRank(law.basis, law.core, law.noise, 1e6 * law.third_core, law.third_noise)
    affine = Affine(random(4, 6))
    cube = polynomial((0.0, 0.0, 0.0, 1.0), "cube")
    step = ActivationStep(cube, absurd, affine, law.noise)
    gaussian_step = ActivationStep(cube, LowRank(law.basis, law.core, law.noise), affine, law.noise)
    shift = (step.mean - gaussian_step.mean).abs() / step.incoming**1.5
    torch.testing.assert_close(shift, torch.ones_like(shift))


def test_third_cumulants_of_a_parabola() -> None:
    """φ(z) = a z + b z²: its third cumulants are known, and all but b³ terms are carried.

    κ(φ_i, φ_j, φ_k) = 2 a² b (C_ij C_jk + C_ji C_ik + C_ik C_kj) + 8 b³ C_ij C_jk C_ki.
    """
    a, b, covariance = 1.3, 0.4, gaussian(5).covariance
    step = ActivationStep(
        polynomial((0.0, a, b), "parabola"),
        Plain(covariance),
        Affine(torch.eye(5, dtype=torch.float64)),
        torch.zeros(5, dtype=torch.float64),
    )
    law, _ = step.low_rank(turned(5, 5), third=5)
    meeting = torch.einsum("ij,jk->ijk", covariance, covariance)
    triangle = torch.einsum("ij,jk,ki->ijk", covariance, covariance, covariance)
    expected = 2 * a * a * b * 3 * symmetric(meeting)
    i = torch.arange(5)
    expected[i, i, i] += 8 * b**3 * triangle[i, i, i]
    found = cumulant_tensor(law, torch.eye(5, dtype=torch.float64))
    torch.testing.assert_close(found, expected)


def test_the_fit_leaves_nothing_that_it_could_have() -> None:
    """Off the diagonal no other core does better, to the accuracy of its few rounds."""
    loading, noise = random(30, 2), 1 + random(30, seed=1).square()
    covariance = loading @ loading.T + torch.diag(noise)
    step = ActivationStep(
        polynomial((0.0, 1.0), "identity"),
        Plain(covariance),
        Affine(torch.eye(30, dtype=torch.float64)),
        torch.zeros(30, dtype=torch.float64),
    )
    law, excess = step.low_rank(torch.linalg.qr(loading)[0], third=0)
    found = law.apply(torch.eye(30, dtype=torch.float64))
    torch.testing.assert_close(found.diagonal(), covariance.diagonal())
    torch.testing.assert_close(found, covariance, atol=1e-3, rtol=0)
    assert not excess.any()
