"""Expectation propagation: right where it says so, doubtful where it says so, differentiable."""

# The truncated moments belong to the estimate of halfspaces, which the signature does not tell.
# pyright: reportAttributeAccessIssue=false

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import log_ndtr
from tests.products.halfspaces import oracles

import outsample as ou
from outsample.distributions import Sphere
from outsample.products.halfspaces import sites
from outsample.products.halfspaces.expectation_propagation import propagate

Array = NDArray[np.float64]
F64 = torch.float64
INF = math.inf
WORDS = [None, "D2", "D3"]


def log_p(problem: ou.HalfspaceIntersection, corrections: str | None = "D3") -> float:
    found = ou.ExpectationPropagation(corrections).estimate(problem).log_value  # type: ignore[arg-type]
    assert found is not None
    return float(found)


def wedge(r: float) -> Array:
    return np.array([[1.0, 0.0], [r, math.sqrt(1 - r * r)]])


class TestTruth:
    @pytest.mark.parametrize("b", [-40.0, -5.0, 0.0, 0.3, 8.0, 40.0, 1e3, 1e6])
    @pytest.mark.parametrize("corrections", WORDS)
    def test_one_halfspace_is_exact(self, b: float, corrections: str | None) -> None:
        problem = ou.HalfspaceIntersection(np.array([[0.6, 0.8]]), np.array([b]))
        assert log_p(problem, corrections) == pytest.approx(
            float(log_ndtr(-b)), rel=1e-13, abs=3e-14
        )

    @pytest.mark.parametrize("b", [-3.0, 0.0, 2.0, 37.0, 40.0, 500.0])
    def test_independent_halfspaces_are_exact(self, b: float) -> None:
        turn = np.linalg.qr(np.random.default_rng(0).standard_normal((7, 7)))[0]
        offsets = b + np.arange(5) / 10
        problem = ou.HalfspaceIntersection(turn[:5], offsets)
        found = ou.ExpectationPropagation().estimate(problem)
        assert float(found.log_value) == pytest.approx(float(log_ndtr(-offsets).sum()), rel=1e-11)
        assert found.trust == "ok"

    @pytest.mark.parametrize("r", [-0.6, -0.3, -0.1, 0.1, 0.3, 0.6])
    def test_two_halfspaces_to_the_order_that_is_left_out(self, r: float) -> None:
        """D2 leaves out its own square, D3 (which has it) what is of third order."""
        truth = math.log(0.25 + math.asin(r) / (2 * math.pi))
        problem = ou.HalfspaceIntersection(wedge(r))
        plain, second, third = (abs(log_p(problem, c) - truth) for c in WORDS)
        assert plain < 0.02 * abs(r) ** 3
        assert second < 1.1 * plain**2 + 2e-4 * r**6
        assert third < 2e-4 * abs(r) ** 9 + 1e-3 * abs(r) ** 12 + 1e-13

    @pytest.mark.parametrize(("b", "r"), [(5.0, 0.3), (20.0, 0.3), (40.0, -0.2), (60.0, 0.1)])
    def test_two_halfspaces_far_out(self, b: float, r: float) -> None:
        with mpmath.workdps(50):
            own = mpmath.sqrt(1 - mpmath.mpf(r) ** 2)

            def density(t: mpmath.mpf) -> mpmath.mpf:
                rest = mpmath.erfc((b - r * t) / own / mpmath.sqrt(2)) / 2
                return mpmath.npdf(t) * rest

            cuts = [b + 20 * (mpmath.mpf(i) / 30) ** 3 for i in range(31)]
            truth = mpmath.log(mpmath.quad(density, cuts))
        found = ou.ExpectationPropagation().estimate(
            ou.HalfspaceIntersection(wedge(r), np.full(2, b))
        )
        assert float(found.log_value) == pytest.approx(float(truth), abs=2e-4)
        if b > 30:
            assert float(found.value) == 0.0
        assert found.trust == "ok"

    @pytest.mark.parametrize("seed", range(3))
    def test_the_textbook_without_corrections(self, seed: int) -> None:
        problem = oracles.halfspaces(5, 12, seed, 0.7)
        v = problem.normals.numpy()
        size = np.linalg.norm(v, axis=1)
        gram = v @ v.T / np.outer(size, size)
        truth, _, _ = oracles.textbook_propagation(gram, problem.offsets.numpy() / size)
        assert log_p(problem, None) == pytest.approx(truth, abs=1e-9)

    def test_corrections_add_up(self) -> None:
        problem = oracles.halfspaces(6, 12, 3, 0.4)
        for word, terms in (("D2", ("D2",)), ("D3", ("D2", "D3"))):
            figures = ou.ExpectationPropagation(word).estimate(problem).diagnostics  # type: ignore[arg-type]
            added = sum(figures[t] for t in terms)
            assert log_p(problem, word) - log_p(problem, None) == pytest.approx(added, abs=1e-12)

    @pytest.mark.parametrize("seed", range(4))
    def test_against_quasi_monte_carlo(self, seed: int) -> None:
        problem = oracles.halfspaces(8, 20, seed, 0.5)
        truth, error = problem.sampled_truth(100_000, seed)
        found = ou.ExpectationPropagation().estimate(problem)
        assert abs(float(found.value - truth)) < 5 * float(error) + 1e-4 * float(truth)

    def test_in_the_plane(self) -> None:
        """What is said to be right is; two dimensions make many factors strongly correlated."""
        both = [ou.ExpectationPropagation("D2"), ou.ExpectationPropagation("D3")]
        errors = oracles.trusted_in_the_plane(both, range(30), 6, 1.0)
        assert len(errors) >= 5
        assert max(errors) < 2e-2

    def test_boxes_of_independent_entries(self) -> None:
        limits = [(-1.0, 1.0), (0.2, 0.3), (-INF, 4.0), (9.0, 9.1), (-INF, INF)]
        lower, upper = (np.array(side) for side in zip(*limits, strict=True))
        law = ou.Gaussian(np.zeros(5), np.full(5, 4.0))
        problem = ou.HalfspaceIntersection.from_limits(lower, upper, law)
        truth = sum(oracles.truncated_moments(a / 2, b / 2)[0] for a, b in limits[:4])
        assert log_p(problem) == pytest.approx(truth, rel=1e-12)

    def test_a_box_of_a_correlated_law(self) -> None:
        lower, upper = np.array([-1.0, -0.5, -INF, 0.0]), np.array([1.0, 2.0, 0.4, 1.5])
        cov = np.full((4, 4), 0.3) + 0.7 * np.eye(4)
        problem = ou.HalfspaceIntersection.from_limits(lower, upper, ou.Gaussian(np.zeros(4), cov))
        truth = oracles.equicorrelated(lower, 0.3, upper)
        assert log_p(problem) == pytest.approx(math.log(truth), abs=1e-5)

    def test_on_the_sphere(self) -> None:
        v = np.random.default_rng(1).standard_normal((4, 9))
        on_sphere = ou.HalfspaceIntersection(v, None, Sphere(9, F64))
        assert log_p(on_sphere) == log_p(ou.HalfspaceIntersection(v))


class TestInvariance:
    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from(WORDS))
    def test_order_scale_rotation_and_law(self, seed: int, k: int, word: str | None) -> None:
        rng = np.random.default_rng(seed)
        n = 8
        v, b = rng.standard_normal((k, n)), 0.5 * rng.standard_normal(k)
        whole = log_p(ou.HalfspaceIntersection(v, b), word)

        def same(other: float) -> None:
            assert other == pytest.approx(whole, abs=1e-7)

        order = rng.permutation(k)
        same(log_p(ou.HalfspaceIntersection(v[order], b[order]), word))
        factors = 10.0 ** rng.uniform(-100, 100, k)
        same(log_p(ou.HalfspaceIntersection(v * factors[:, None], b * factors), word))
        turn = np.linalg.qr(rng.standard_normal((n, n)))[0]
        same(log_p(ou.HalfspaceIntersection(v @ turn, b), word))
        # x = m + F z
        root, mean = np.eye(n) + 0.3 * rng.standard_normal((n, n)), rng.standard_normal(n)
        u = v @ np.linalg.inv(root)
        law = ou.Gaussian(mean, root @ root.T)
        same(log_p(ou.HalfspaceIntersection(u, b + u @ mean, law), word))
        # Conditions that say nothing, or the same again.
        more = np.vstack([v, 2 * v, np.zeros((1, n)), v[:1]])
        limits = np.r_[b, 2 * b - 0.1, -1.0, -INF]
        same(log_p(ou.HalfspaceIntersection(more, limits), word))

    @pytest.mark.parametrize("seed", range(3))
    def test_five_times_the_same(self, seed: int) -> None:
        problem = oracles.halfspaces(4, 6, seed, 0.5)
        lengths = np.random.default_rng(seed).uniform(0.1, 9, 20)
        v, b = (np.tile(t, (5,) + (1,) * (t.ndim - 1)) for t in (problem.normals, problem.offsets))
        again = ou.HalfspaceIntersection(v * lengths[:, None], b * lengths)
        assert log_p(again) == pytest.approx(log_p(problem), abs=1e-9)

    def test_single_precision(self) -> None:
        problem = oracles.halfspaces(5, 9, 0, 0.5)
        single = ou.HalfspaceIntersection(problem.normals.float(), problem.offsets.float())
        found = ou.ExpectationPropagation().estimate(single)
        assert found.value.dtype == found.log_value.dtype == torch.float32
        assert float(found.log_value) == pytest.approx(log_p(problem), abs=1e-5)
        assert found.truncated_mean is not None
        assert found.truncated_mean.dtype == torch.float32

    def test_threads_do_not_change_the_answer(self) -> None:
        problem = oracles.halfspaces(8, 20, 1)
        one, threads = log_p(problem), torch.get_num_threads()
        try:
            torch.set_num_threads(2)
            assert log_p(problem) == pytest.approx(one, abs=1e-12)
        finally:
            torch.set_num_threads(threads)


class TestNothingToEstimate:
    def test_no_condition(self) -> None:
        for v, b in (
            (np.zeros((0, 3)), None),
            (np.zeros((2, 3)), None),
            (np.eye(3), -np.full(3, INF)),
        ):
            found = ou.ExpectationPropagation().estimate(ou.HalfspaceIntersection(v, b))
            assert (float(found.value), float(found.log_value), found.trust) == (1.0, 0.0, "ok")
            torch.testing.assert_close(found.truncated_mean, torch.zeros(3, dtype=F64))
            torch.testing.assert_close(found.truncated_covariance, torch.eye(3, dtype=F64))

    @pytest.mark.parametrize("case", ["zero", "opposite", "fan", "simplex", "interval"])
    def test_empty_sets(self, case: str) -> None:
        root = 3**0.5 / 2
        v, b = {
            "zero": (np.zeros((1, 2)), np.ones(1)),
            "opposite": (np.array([[1.0, 0], [-2, 0]]), np.array([0.5, 1.0])),
            "fan": (np.array([[1.0, 0], [-0.5, root], [-0.5, -root]]), np.full(3, 0.2)),
            "simplex": (np.vstack([np.eye(5), -np.ones((1, 5))]), np.r_[np.ones(5), -4.9]),
            "interval": (
                np.array([[1.0, 0], [-1, 0], [1, 1], [0, -1]]),
                np.array([0.0, -1, 3, -1.5]),
            ),
        }[case]
        found = ou.ExpectationPropagation().estimate(ou.HalfspaceIntersection(v, b))
        assert (float(found.value), float(found.log_value)) == (0.0, -INF)
        assert (found.sign, found.trust, found.diagnostics["empty"]) == (0, "ok", True)
        assert found.truncated_mean is None
        assert found.truncated_covariance is None

    def test_certain_answers_have_derivatives(self) -> None:
        for b in ([-INF, -INF], [-1.0, -1.0], [1.0, -1.0]):
            v = torch.zeros(2, 3, dtype=F64, requires_grad=True)
            limits = torch.tensor(b, dtype=F64, requires_grad=True)
            found = ou.ExpectationPropagation().estimate(ou.HalfspaceIntersection(v, limits))
            found.value.backward()
            assert v.grad is not None
            assert limits.grad is not None
            assert bool((v.grad == 0).all())
            assert bool((limits.grad == 0).all())


class TestTrust:
    def test_small_corrections_are_trusted(self) -> None:
        for word in WORDS:
            found = ou.ExpectationPropagation(word).estimate(oracles.halfspaces(4, 40, 0))  # type: ignore[arg-type]
            assert (found.trust, found.reasons) == ("ok", ())

    @pytest.mark.parametrize(
        ("r", "words"), [(0.3, WORDS), (0.82, [None, "D2"]), (0.95, [])], ids=str
    )
    def test_correlations_that_remain(self, r: float, words: list[str | None]) -> None:
        problem = ou.HalfspaceIntersection(wedge(r))
        for word in WORDS:
            found = ou.ExpectationPropagation(word).estimate(problem)  # type: ignore[arg-type]
            left = found.diagnostics["largest_correlation"]
            assert (found.trust == "ok") is (left <= (0.45 if word == "D3" else 0.6))
            assert (found.trust == "ok") is (word in words)
            assert all("stay correlated" in reason for reason in found.reasons)
            assert found.diagnostics["degree"] == (4 if word == "D2" and left > 0.6 else 8)

    @pytest.mark.parametrize("k", [5, 20, 50])
    @pytest.mark.parametrize("r", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95])
    @pytest.mark.parametrize("word", ["D2", "D3"])
    def test_equal_correlations(self, k: int, r: float, word: str) -> None:
        """Many small correlations add up: what is trusted is within 4 %."""
        law = ou.Gaussian(np.zeros(k), np.full((k, k), r) + (1 - r) * np.eye(k))
        problem = ou.HalfspaceIntersection.from_limits(np.zeros(k), None, law)
        found = ou.ExpectationPropagation(word).estimate(problem)  # type: ignore[arg-type]
        if found.trust == "ok":
            truth = oracles.equicorrelated(np.zeros(k), r)
            assert float(found.value) == pytest.approx(truth, rel=0.04)
        assert (found.trust == "ok") or r > 0.6

    def test_large_corrections(self) -> None:
        law = ou.Gaussian(np.zeros(50), np.full((50, 50), 0.95) + 0.05 * np.eye(50))
        problem = ou.HalfspaceIntersection.from_limits(np.zeros(50), None, law)
        for word in ("D2", "D3"):
            found = ou.ExpectationPropagation(word).estimate(problem)  # type: ignore[arg-type]
            assert found.trust == "unreliable"
            assert any("too large for a series" in reason for reason in found.reasons)
        assert any("left out" in reason for reason in found.reasons)
        assert ou.ExpectationPropagation(None).estimate(problem).trust == "low_confidence"

    def test_normals_nearly_alike_but_not_merged(self) -> None:
        v = np.array([[1.0, 0, 0], [1.0, 0.01, 0], [0, 0, 1]])
        found = ou.ExpectationPropagation().estimate(ou.HalfspaceIntersection(v))
        assert found.trust == "low_confidence"
        assert "nearly the same" in found.reasons[0]
        assert found.diagnostics["merged"] == 0

    @pytest.mark.parametrize("angle", [1e-4, 1e-6, 1e-9, 1e-11])
    def test_slim_wedges_are_not_silently_empty(self, angle: float) -> None:
        v = np.array([[1.0, 0.0], [-math.cos(angle), math.sin(angle)]])
        found = ou.ExpectationPropagation().estimate(ou.HalfspaceIntersection(v))
        assert float(found.value) > 0
        assert found.trust != "ok"

    def test_probabilities_do_not_pass_one(self) -> None:
        t = np.linspace(0, 2 * np.pi, 101)[:-1]
        v = np.column_stack([np.cos(t), np.sin(t)])
        found = ou.ExpectationPropagation("D2").estimate(
            ou.HalfspaceIntersection(v, np.full(100, -3.0))
        )
        assert float(found.value) == 1.0
        assert found.trust != "ok"
        assert any("cut to 0" in reason for reason in found.reasons)

    def test_what_does_not_converge_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A wedge of 22 sides far from the centre; half a plane bounds its mass."""
        monkeypatch.setattr(sites, "SWEEPS", 0)
        rng = np.random.default_rng(29)
        t = rng.uniform(-1.2, 1.2, 22)
        v = np.column_stack([np.cos(t), np.sin(t)])
        offsets = 5 + rng.standard_normal(22)
        found = ou.ExpectationPropagation().estimate(ou.HalfspaceIntersection(v, offsets))
        assert found.trust == "unreliable"
        assert any("no more than an upper bound" in reason for reason in found.reasons)
        assert (
            oracles.in_the_plane(v, offsets)
            < float(found.value)
            < math.erfc(offsets.max() / 2**0.5)
        )

    @pytest.mark.parametrize("seed", [29, 35, 42, 45, 57])
    def test_wedges_far_out(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        t = rng.uniform(-1.2, 1.2, 22)
        v = np.column_stack([np.cos(t), np.sin(t)])
        offsets = 5 + rng.standard_normal(22)
        found = ou.ExpectationPropagation().estimate(ou.HalfspaceIntersection(v, offsets))
        truth = oracles.in_the_plane(v, offsets)
        assert float(found.log_value) == pytest.approx(math.log(truth), abs=0.15)
        assert found.trust == "low_confidence"

    def test_no_numbers_but_an_estimate(self) -> None:
        """No fixed point at all: contradictory conditions, past the guard against them."""
        gram = np.array([[1.0, -1.0], [-1.0, 1.0]])
        found = propagate(gram, np.full((1, 2), 0.5), np.full((1, 2), INF), "D3")
        assert not found.sites.change[0] < 1e-6


class TestTruncatedMoments:
    def test_one_condition(self) -> None:
        """Mean and variance along the normal; nothing changes across."""
        v, mean = np.array([[0.6, 0.8, 0.0]]), np.array([1.0, -1.0, 2.0])
        problem = ou.HalfspaceIntersection(v, np.array([1.3]), ou.Gaussian(mean, 4.0))
        found = ou.ExpectationPropagation().estimate(problem)
        _, shift, variance = oracles.truncated_moments((1.3 + 0.2) / 2, INF)
        np.testing.assert_allclose(found.truncated_mean, mean + 2 * shift * v[0], rtol=1e-10)
        expected = 4 * (np.eye(3) - (1 - variance) * np.outer(v, v))
        np.testing.assert_allclose(found.truncated_covariance, expected, atol=1e-10)

    def test_a_box(self) -> None:
        limits = [(-1.0, 0.5), (20.0, INF), (0.1, 0.2)]
        lower, upper = (np.array(side) for side in zip(*limits, strict=True))
        law = ou.Gaussian.standard(3, F64)
        found = ou.ExpectationPropagation().estimate(
            ou.HalfspaceIntersection.from_limits(lower, upper, law)
        )
        truth = [oracles.truncated_moments(*limit) for limit in limits]
        np.testing.assert_allclose(found.truncated_mean, [m for _, m, _ in truth], rtol=1e-9)
        np.testing.assert_allclose(
            np.diag(found.truncated_covariance), [v for _, _, v in truth], rtol=1e-6
        )

    @pytest.mark.parametrize("estimator", [ou.ExpectationPropagation(), ou.CommonDirection()])
    @pytest.mark.parametrize("on_sphere", [False, True])
    def test_against_draws(self, estimator: ou.Estimator, on_sphere: bool) -> None:
        rng = np.random.default_rng(5)
        v = rng.standard_normal((3, 5))
        root, mean = rng.standard_normal((5, 5)) / 2, rng.standard_normal(5)
        law = Sphere(5, F64) if on_sphere else ou.Gaussian(mean, root @ root.T)
        b = None if on_sphere else v @ mean + 0.3
        problem = ou.HalfspaceIntersection(v, b, law)
        x = problem.inputs.sample(400_000, torch.Generator().manual_seed(0))
        x = x[problem(x) > 0]
        found = estimator.estimate(problem)
        assert isinstance(found, ou.HalfspaceEstimate)
        error = 5 * x.std(0).max() / len(x) ** 0.5
        torch.testing.assert_close(found.truncated_mean, x.mean(0), atol=float(error), rtol=3e-3)
        torch.testing.assert_close(
            found.truncated_covariance, x.T.cov(), atol=float(4 * error), rtol=2e-2
        )

    def test_they_are_the_derivatives(self) -> None:
        """d log p / dm = Σ⁻¹ (E[x | in] - m), which plain propagation keeps."""
        rng = np.random.default_rng(6)
        v, b = rng.standard_normal((4, 3)), 0.3 * rng.standard_normal(4)
        mean = torch.tensor(rng.standard_normal(3), requires_grad=True)
        root = rng.standard_normal((3, 3))
        law = ou.Gaussian(mean, torch.from_numpy(root @ root.T))
        found = ou.ExpectationPropagation(None).estimate(ou.HalfspaceIntersection(v, b - 1, law))
        slope = torch.autograd.grad(found.log_value, mean)[0]
        assert found.truncated_mean is not None
        expected = torch.linalg.solve(law.covariance, found.truncated_mean - mean.detach())
        torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-8)


def test_settings_are_checked() -> None:
    for word in ("D4", "d2", "", 2):
        with pytest.raises(ou.InputError, match="corrections"):
            ou.ExpectationPropagation(word)  # type: ignore[arg-type]


def test_cost_counts_the_sweeps() -> None:
    easy, hard = oracles.halfspaces(6, 60, 0), oracles.halfspaces(6, 4, 0, 0.1)
    costs = [ou.ExpectationPropagation().estimate(p).cost.flops for p in (easy, hard)]
    assert costs[0] < costs[1]
    plain = ou.ExpectationPropagation(None).estimate(easy).cost.flops
    assert plain < costs[0]
