"""Hermite tensors: against derivatives, storage, size, audit."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from tests.readout.helpers import F64, gauss_hermite, network, random_symmetric

import outsample as ou
from outsample.networks.activations.gaussian import hermite
from outsample.readout import HermiteTensors, TwoLayer
from outsample.readout.hermite_tensors import second_from_tensors
from outsample.readout.kernels import second_order
from outsample.readout.symmetric import (
    apply_to_rows,
    entries,
    norm_squared,
    pack,
    powers,
    sum_of_powers,
    transform,
    unpack,
)


@pytest.mark.parametrize("degree", range(6))
def test_packing(degree: int) -> None:
    full = random_symmetric(np.random.default_rng(degree), 3, degree)
    packed = pack(full)
    assert packed.shape == (entries(3, degree),)
    torch.testing.assert_close(unpack(packed, 3, degree), full)
    assert float(norm_squared(packed, 3, degree)) == pytest.approx(float(full.square().sum()))
    y = torch.tensor([[0.3, -1.0, 0.7]], dtype=F64)
    contracted = full
    for _ in range(degree):
        contracted = contracted @ y[0]
    assert float(apply_to_rows(packed[None], y, degree)) == pytest.approx(float(contracted))


@pytest.mark.parametrize("degree", range(1, 7))
def test_sums_of_powers(degree: int) -> None:
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(7, 3, generator=g, dtype=F64)
    weights = torch.randn(2, 7, generator=g, dtype=F64)
    found = sum_of_powers(rows, weights, degree)
    torch.testing.assert_close(found, weights @ powers(rows, degree))
    letters = "abcdef"[:degree]
    terms = ",".join(f"j{c}" for c in letters)
    full = torch.einsum(f"kj,{terms}->k{letters}", weights, *[rows] * degree)
    torch.testing.assert_close(unpack(found[0], 3, degree), full[0])


def test_transform() -> None:
    full = random_symmetric(np.random.default_rng(5), 4, 3)
    basis = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    expected = torch.einsum("abc,ai,bj,ck->ijk", full, basis, basis, basis)
    torch.testing.assert_close(transform(full, basis), expected)


@pytest.mark.parametrize("name", ["gelu", "tanh", "erf", "square"])
@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_tensors_are_the_hermite_coefficients(name: str, bias: float) -> None:
    problem = network(2, 6, name, bias, readout_bias=0.7)
    advice = HermiteTensors.of(problem)
    z, weights = gauss_hermite(2, 80)
    f = problem(z)
    for d, packed in enumerate(advice.tensors_by_degree):
        for index, place in enumerate(
            p for p in product(range(2), repeat=d) if list(p) == sorted(p)
        ):
            ones = sum(place)
            basis = hermite(d - ones, z[:, 0]) * hermite(ones, z[:, 1])
            exact = float(weights @ (f * basis))
            found = float(packed[0, index]) if packed.shape[1] else 0.0
            assert found == pytest.approx(exact, abs=2e-7)


def test_relu_tensors_against_the_radius_and_the_angle() -> None:
    """E[f He_d] for a bias-free ReLU network in the plane, by polar coordinates."""
    problem = network(2, 6)
    advice = HermiteTensors.of(problem)
    count = 400_000
    theta = (torch.arange(count, dtype=F64) + 0.5) * (2 * math.pi / count)
    ring = torch.stack((theta.cos(), theta.sin()), 1)
    f = problem(ring)
    # E over the radius: |z| f(θ) times He_2 and He_4 of |z| cos θ, with E|z|^k of a Rayleigh law.
    radial = {k: 2 ** (k / 2) * math.gamma(1 + k / 2) for k in (1, 3, 5)}
    c = ring[:, 0]
    second = (f * (c**2 * radial[3] - radial[1])).mean()
    fourth = (f * (c**4 * radial[5] - 6 * c**2 * radial[3] + 3 * radial[1])).mean()
    assert float(advice.tensors_by_degree[2][0, 0]) == pytest.approx(float(second), abs=1e-9)
    assert float(advice.tensors_by_degree[4][0, 0]) == pytest.approx(float(fourth), abs=1e-9)
    assert advice.tensors_by_degree[3].shape == (1, 0)


def test_any_gaussian_is_a_standard_one() -> None:
    g = torch.Generator().manual_seed(0)
    factor = torch.randn(4, 4, generator=g, dtype=F64)
    law = ou.Gaussian(torch.randn(4, generator=g, dtype=F64), factor @ factor.T)
    problem = network(4, 9, "gelu", bias=0.3, inputs=law)
    root = law.square_root()
    again = TwoLayer(
        problem.weight @ root,
        problem.readout,
        "gelu",
        bias=problem.bias + problem.weight @ law.mean,
    )
    one, two = HermiteTensors.of(problem).tensors(), HermiteTensors.of(again).tensors()
    for name in one:
        if name != "directions":
            torch.testing.assert_close(one[name], two[name])


def test_size_is_that_of_the_parameters() -> None:
    problem = network(16, 1024)
    advice = HermiteTensors.of(problem)
    assert advice.degree == 4
    assert advice.size <= problem.parameters
    assert advice.size == sum(entries(16, d) for d in (0, 1, 2, 4)) + 1 + 2 * 16 + 2 + 2
    # A narrow layer does not get more advice than four of its own lengths.
    narrow = network(16, 30)
    small = HermiteTensors.of(narrow, degree=6)
    assert small.degree == 2
    assert small.size <= 4 * narrow.parameters


def test_it_travels(tmp_path) -> None:
    advice = HermiteTensors.of(network(4, 30, readouts=2))
    torch.save(advice.tensors(), tmp_path / "advice.pt")
    again = HermiteTensors.from_tensors(torch.load(tmp_path / "advice.pt", weights_only=True))
    assert again.signature() == advice.signature()
    for name, tensor in advice.tensors().items():
        assert torch.equal(again.tensors()[name], tensor)
    with pytest.raises(ou.InputError, match="'variance' is missing"):
        HermiteTensors.from_tensors({k: v for k, v in advice.tensors().items() if k != "variance"})


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("bias", [0.0, 0.4])
def test_audit(name: str, bias: float) -> None:
    problem = network(5, 60, name, bias, readouts=2)
    advice = HermiteTensors.of(problem)
    assert advice.audit(problem) is None
    parts = advice.tensors()
    for key, tensor in parts.items():
        if not key.startswith("degree_") or not bool((tensor.abs() > 1e-12).any()):
            continue
        wrong = tensor.clone()
        wrong.view(-1)[0] += 1e-4 * float(tensor.abs().max())
        complaint = HermiteTensors.from_tensors(parts | {key: wrong}).audit(problem)
        assert complaint is not None
        assert f"degree {key[-1]}" in complaint
    short = HermiteTensors.from_tensors(parts | {"variance": 0.5 * parts["variance"]})
    assert "variance" in str(short.audit(problem))
    assert "2 readouts of 5 inputs" in str(advice.audit(network(5, 60, name, bias)))
    assert advice.audit(network(5, 60, name, bias, readouts=2, seed=1)) is not None


def test_doors() -> None:
    advice = HermiteTensors.of(network(4, 30))
    parts = advice.tensors()
    wrong = {
        "has shape": {"degree_2": torch.zeros(1, 9)},
        "not finite": {"variance": torch.tensor([torch.inf], dtype=F64)},
        "negative": {"variance": torch.tensor([-1.0], dtype=F64)},
        "not orthonormal": {"directions": 2 * parts["directions"]},
        "corrections has shape": {"corrections": torch.zeros(1, 3, dtype=F64)},
    }
    for message, change in wrong.items():
        with pytest.raises(ou.InputError, match=message):
            HermiteTensors.from_tensors(parts | change)
    for degree in (1, 9, 2.5, True):
        with pytest.raises(ou.InputError, match="degree"):
            HermiteTensors.of(network(4, 30), degree)


def test_variance_from_tensors_tends_to_the_exact_one() -> None:
    problem = network(3, 200, "gelu")
    advice = HermiteTensors.of(problem, 8)
    found = second_from_tensors(list(advice.tensors_by_degree), 3)
    exact = second_order(problem.whitened())
    assert float(found.variance) == pytest.approx(float(exact.variance), rel=1e-3)
    assert float(found.variance) <= float(exact.variance)
    torch.testing.assert_close(found.steepness, exact.steepness, atol=2e-3, rtol=0)
    assert float(advice.remainder()) == pytest.approx(
        1 - float(found.variance / exact.variance), abs=1e-12
    )
