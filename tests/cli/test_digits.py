"""The digits network, its random inputs, and the study made of them."""

import math

import pytest
import torch
from tests.battery import gaussian, mlp
from torch import nn

from outsample.cli import digits
from outsample.cli.figure import draw
from outsample.cli.study import CHOSEN, RIVAL, Effort, Study, study
from outsample.distributions import Gaussian
from outsample.networks import NetworkMean
from outsample.sampling import MonteCarlo


@pytest.fixture(scope="module")
def data() -> digits.Digits:
    return digits.load_digits()


@pytest.fixture(scope="module")
def network(data: digits.Digits) -> nn.Sequential:
    return digits.train_network(data, epochs=4)


def test_digits_are_split_once(data: digits.Digits) -> None:
    assert len(data.images) + len(data.test_images) == 1797
    assert data.images.min() == 0 and data.images.max() == 1
    both = torch.cat([data.images, data.test_images])
    assert len(torch.unique(both, dim=0)) == len(both)


def test_training_learns_and_leaves_global_generators_alone(data: digits.Digits) -> None:
    state = torch.random.get_rng_state()
    first, again = (digits.train_network(data, seed=3, epochs=2) for _ in range(2))
    assert torch.equal(state, torch.random.get_rng_state())
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not a.requires_grad
    other = digits.train_network(data, seed=4, epochs=1)
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_the_network_names_most_digits(network: nn.Sequential, data: digits.Digits) -> None:
    assert digits.accuracy(network, data) > 0.9


def test_the_hardest_image_is_named_rightly(network: nn.Sequential, data: digits.Digits) -> None:
    law, label = digits.around_hardest_image(network, data, 0.3)
    logits = network(data.test_images)
    margin = logits.topk(2).values.diff().abs()[:, 0]
    right = logits.argmax(1) == data.test_labels
    own = network(law.mean[None])[0]
    assert int(own.argmax()) == label
    assert float(own.topk(2).values.diff().abs()) == pytest.approx(
        float(margin[right].min()), rel=1e-4
    )
    assert law.variance.tolist() == pytest.approx([0.09] * 64)


def test_a_class_law_has_the_mean_of_its_images(data: digits.Digits) -> None:
    law = digits.of_class(data, 5)
    torch.testing.assert_close(law.mean, data.images[data.labels == 5].mean(0))


def test_decisions_are_logits_and_votes() -> None:
    decision = digits.Decision(NetworkMean(mlp(3, 8, 4), gaussian(3)))
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits, votes = decision(x).tensor_split(2, dim=1)
    assert torch.equal(logits, decision.classifier(x))
    assert torch.equal(votes.argmax(1), logits.argmax(1))
    assert torch.equal(votes.sum(1), torch.ones(50, dtype=torch.float64))
    estimate = MonteCarlo(samples=500).estimate(decision)
    assert estimate.value[4:].sum().item() == pytest.approx(1)


@pytest.fixture(scope="module")
def linear_study() -> Study:
    """A linear classifier, where the Gaussian of the logits is exact."""
    module = nn.Sequential(mlp(6, 10, seed=1)).float().requires_grad_(False)
    law = gaussian(6, dtype=torch.float32)
    return study(NetworkMean(module, law), seed=0, effort=Effort(50_000, (1024, 4096), 4))


def test_on_a_linear_classifier_only_the_argmax_has_an_error(linear_study: Study) -> None:
    line = linear_study.lines[CHOSEN]
    assert line.mean_error < 1e-5
    assert line.covariance_error is not None and line.covariance_error < 1e-2
    assert line.argmax_error is not None and line.argmax_error < 1e-2
    for p in (linear_study.truth["probabilities"], linear_study.chosen["probabilities"]):
        assert p.sum().item() == pytest.approx(1, abs=1e-6)


def test_sampling_has_the_errors_that_theory_gives() -> None:
    """One even function: moment matching and pairs leave plain sampling's error of its rest."""
    module = nn.Sequential(mlp(2, 64, 3, seed=2)).requires_grad_(False)
    found = study(NetworkMean(module, Gaussian.standard(2)), 1, Effort(200_000, (512, 2048), 40))
    small, large = found.sampling
    assert small.vn_error / large.vn_error == pytest.approx(4, rel=0.8)
    assert found.matched_cost < found.plain_cost * 10
    rival = found.lines[RIVAL]
    assert rival.argmax_error is not None
    p = found.truth["probabilities"]
    worst = float((p * (1 - p) / found.rival_samples).sqrt().max())
    assert rival.argmax_error < 6 * worst


def test_truth_says_how_good_it_is(linear_study: Study) -> None:
    p = linear_study.truth["probabilities"]
    binomial = math.sqrt(float((p * (1 - p)).max()) / linear_study.truth_samples)
    assert 0.1 * binomial < linear_study.truth_argmax_error < 2 * binomial


def test_figure_is_a_png_of_some_size() -> None:
    module = mlp(64, 16, 10, dtype=torch.float32).requires_grad_(False)
    problem = NetworkMean(module, Gaussian(torch.full((64,), 0.5), 0.01))
    image = draw({"a": study(problem, 0, Effort(4_160, (2048,), 2))})
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = (int.from_bytes(image[i : i + 4], "big") for i in (16, 20))
    assert width >= 1200 and height >= 300
