"""A small network trained on scikit-learn's digits, and random inputs to ask it about."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from outsample.distributions import Gaussian
from outsample.networks import NetworkMean
from outsample.problem import Problem
from outsample.sampling.progress import progress

#: Neurons: 8 × 8 pixels, three hidden layers, ten classes.
WIDTHS = (64, 256, 256, 256, 10)
_TEST_SHARE = 0.25
_BATCH = 64


@dataclass(frozen=True)
class Digits:
    """Handwritten digits of 8 × 8 pixels from 0 to 1, split at random."""

    images: Float[Tensor, "train 64"]
    labels: Int[Tensor, " train"]
    test_images: Float[Tensor, "test 64"]
    test_labels: Int[Tensor, " test"]


def load_digits(seed: int = 0) -> Digits:
    """The 1797 digits that scikit-learn brings along, a quarter of them for testing."""
    from sklearn import datasets

    pixels, names = datasets.load_digits(return_X_y=True)
    images, labels = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(names)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    test, train = order.tensor_split([int(_TEST_SHARE * len(order))])
    return Digits(images[train], labels[train], images[test], labels[test])


def train_network(
    digits: Digits, seed: int = 0, epochs: int = 40, widths: Sequence[int] = WIDTHS
) -> nn.Sequential:
    """A ReLU network, trained by AdamW on cross-entropy; takes seconds.

    Equal seeds give equal networks on one machine.  Its parameters have the images' dtype and
    want no gradients.
    """
    generator = torch.Generator().manual_seed(seed)
    dtype = digits.images.dtype
    layers: list[nn.Module] = []
    for taken, given in pairwise(widths):
        # Made on "meta", because nn.Linear would initialise itself from the global generator.
        linear = nn.Linear(taken, given, device="meta")
        weight = torch.randn(given, taken, generator=generator, dtype=dtype) * math.sqrt(2 / taken)
        bias = torch.zeros(given, dtype=dtype)
        linear.weight, linear.bias = nn.Parameter(weight), nn.Parameter(bias)
        layers += [linear, nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    with progress("training", epochs) as advance:
        for _ in range(epochs):
            for rows in torch.randperm(len(digits.labels), generator=generator).split(_BATCH):
                optimizer.zero_grad()
                logits = network(digits.images[rows])
                nn.functional.cross_entropy(logits, digits.labels[rows]).backward()
                optimizer.step()
            advance(1)
    return network.requires_grad_(False)


def accuracy(network: nn.Module, digits: Digits) -> float:
    """Share of the test images that the network names rightly."""
    return float((network(digits.test_images).argmax(1) == digits.test_labels).double().mean())


def of_class(digits: Digits, label: int) -> Gaussian:
    """The Gaussian fitted, with shrinkage, to the training images of one class."""
    return Gaussian.fit(digits.images[digits.labels == label])


def around_hardest_image(
    network: nn.Module, digits: Digits, deviation: float
) -> tuple[Gaussian, int]:
    """Independent noise on every pixel of one test image, and the image's label.

    The image is the one that the network names rightly by the smallest margin.
    """
    logits = network(digits.test_images)
    two = logits.topk(2, dim=1)
    margin = two.values[:, 0] - two.values[:, 1]
    wrong = two.indices[:, 0] != digits.test_labels
    chosen = int(margin.masked_fill(wrong, torch.inf).argmin())
    image = digits.test_images[chosen]
    return Gaussian(image, deviation**2), int(digits.test_labels[chosen])


class Decision(Problem):
    """A classifier's logits, and a one-hot vote for the largest of them.

    The mean of the votes is the probability of each argmax: sampled together with the logits,
    one run gives the mean logits, their covariance and these probabilities.
    """

    def __init__(self, classifier: NetworkMean) -> None:
        self.classifier = classifier
        self.inputs = classifier.inputs
        (self.classes,) = classifier.output_shape
        self.output_shape = (2 * self.classes,)

    def __call__(self, x: Float[Tensor, "batch n"]) -> Float[Tensor, "batch outputs"]:
        """Logits, then votes."""
        logits = self.classifier(x)
        votes = torch.zeros_like(logits).scatter_(1, logits.argmax(1, keepdim=True), 1.0)
        return torch.cat([logits, votes], 1)

    def signature(self) -> Hashable:
        """That of the classifier, marked as voting."""
        return "Decision", self.classifier.signature()

    def tensors(self) -> list[Tensor]:
        """Those of the classifier."""
        return self.classifier.tensors()

    def describe(self) -> str:
        """The classifier in one line."""
        return f"Decision of {self.classifier.describe()}"
