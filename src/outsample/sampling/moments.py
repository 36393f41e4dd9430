"""Mean and second moments of a stream of numbers, gathered batch by batch in float64."""

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Bool, Float64
from torch import Tensor


@dataclass
class Moments:
    """Weighted mean and centred second moments of rows of numbers.

    Batches are merged by the update of Chan, Golub and LeVeque (The American Statistician 37,
    1983): each is centred at its own mean first, so that no digits cancel.
    """

    #: Number of rows, and the sum of their weights.
    count: int
    weight: float
    mean: Float64[Tensor, " outputs"]
    #: Σ w (x - mean)(x - mean)ᵀ, or its diagonal alone, of shape (outputs,).
    square: Float64[Tensor, "outputs outputs"] | Float64[Tensor, " outputs"]

    @classmethod
    def empty(cls, outputs: int, matrix: bool, device: torch.device) -> Self:
        """Moments of no rows; ``matrix`` says whether products of two outputs are kept."""
        zero = torch.zeros(outputs, dtype=torch.float64, device=device)
        return cls(0, 0.0, zero, torch.diag(zero) if matrix else zero)

    def add(self, rows: Float64[Tensor, "rows outputs"], weight: float = 1.0) -> None:
        """Take in rows that have the same weight each."""
        mean = rows.mean(0)
        centred = rows - mean
        matrix = self.square.dim() == 2
        square = centred.T @ centred if matrix else centred.square().sum(0)
        count = rows.shape[0]
        self.merge(Moments(count, weight * count, mean, weight * square))

    def merge(self, other: "Moments") -> None:
        """Take in what was gathered elsewhere."""
        weight = self.weight + other.weight
        step = other.mean - self.mean
        spread = torch.outer(step, step) if self.square.dim() == 2 else step.square()
        self.square = self.square + other.square + spread * (self.weight * other.weight / weight)
        self.mean = self.mean + step * (other.weight / weight)
        self.weight = weight
        self.count += other.count

    @property
    def spread(self) -> Float64[Tensor, " outputs"]:
        """Σ w (x - mean)² of each output."""
        return self.square.diagonal() if self.square.dim() == 2 else self.square

    @property
    def constant(self) -> Bool[Tensor, " outputs"]:
        """Which outputs had one value in all rows, to round-off."""
        slack = 4 * torch.finfo(torch.float64).eps * self.mean
        return self.spread <= self.weight * slack.square()

    @property
    def standard_error(self) -> Float64[Tensor, " outputs"]:
        """Standard error of the mean of independent rows whose variances are as 1/weight.

        NaN for fewer than two rows.
        """
        if self.count < 2:
            return torch.full_like(self.mean, torch.nan)
        return (self.spread / (self.weight * (self.count - 1))).sqrt()
