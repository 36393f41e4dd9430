"""Problems: functions of a random input whose expectation is wanted, and families of them."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.errors import UnsupportedProblem


class Distribution(ABC):
    """Law of a random input x with values of shape ``shape``."""

    #: Shape of one draw, without the batch dimension.
    shape: tuple[int, ...]
    #: Number of independent standard normals that :meth:`from_normal` turns into one draw.
    latent_size: int

    @property
    @abstractmethod
    def mean(self) -> Float[Tensor, "*shape"]:
        """Mean of x, of shape ``shape``."""

    @property
    @abstractmethod
    def covariance(self) -> Float[Tensor, "n n"]:
        """Covariance matrix of x flattened to n entries."""

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the draws."""
        return self.mean.dtype

    @property
    def device(self) -> torch.device:
        """Device the draws live on."""
        return self.mean.device

    @abstractmethod
    def to(self, dtype: torch.dtype, device: torch.device) -> "Distribution":
        """Return the same law with its parameters cast to ``dtype`` on ``device``."""

    @abstractmethod
    def tensors(self) -> list[Tensor]:
        """Return the tensors that define this law, in a fixed order."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "n *shape"]:
        """Draw ``n`` independent inputs with an explicit generator."""

    def from_normal(self, z: Float[Tensor, "n latent"]) -> Float[Tensor, "n *shape"]:
        """Map independent standard normals to draws of this law.

        Antithetic, moment-matched and quasi-Monte Carlo sampling shape the normals first.

        Raises:
            UnsupportedProblem: if this law is not built from normals.
        """
        raise UnsupportedProblem(
            f"{type(self).__name__} has no map from standard normals, which antithetic, "
            "moment-matched and quasi-Monte Carlo sampling need; use plain MonteCarlo"
        )


class Problem(ABC):
    """One function M(c, ·) of a random input; its expectation E_x[M(c, x)] is wanted."""

    #: Law of the input x.
    inputs: Distribution
    #: Shape of one output.
    output_shape: tuple[int, ...]

    @abstractmethod
    def __call__(self, x: Float[Tensor, "batch *inputs"]) -> Float[Tensor, "batch *outputs"]:
        """Evaluate the function on a batch of inputs."""

    def exact(self) -> Tensor | None:
        """Return the expectation where it is known in closed form or by enumeration."""
        return None

    def has_exact(self) -> bool:
        """Whether :meth:`exact` knows the expectation; override it where that is costly to try."""
        return self.exact() is not None

    def sampled_truth(self, samples: int, seed: int) -> tuple[Tensor, Tensor] | None:
        """An unbiased value and its standard error by a better sampler than plain Monte Carlo.

        Comparisons take their truths from it where there is no exact value.  None if the problem
        has no sampler of its own.

        Args:
            samples: evaluations it may spend.
            seed: different seeds give independent values.
        """
        del samples, seed
        return None

    def variance_given(self, mean: Tensor) -> Tensor | None:
        """Var M(x) where it is known or follows from the ``mean`` (p (1 - p) of an event)."""
        del mean
        return None

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of inputs and outputs."""
        return self.inputs.dtype

    @property
    def device(self) -> torch.device:
        """Device of inputs and outputs."""
        return self.inputs.device

    @abstractmethod
    def signature(self) -> Hashable:
        """Structure, shapes and dtype: problems with equal signatures cost the same."""

    @abstractmethod
    def tensors(self) -> list[Tensor]:
        """Return every tensor that defines the problem, in a fixed order, read live.

        Provenance hashes them, and their version counters tell whether they changed since.
        """

    def describe(self) -> str:
        """One line for tables and error messages."""
        return type(self).__name__


class Family(ABC):
    """A distribution over problems: the random context c of the matching sampling principle."""

    @property
    def name(self) -> str:
        """Name for tables, figures and stored results; equal names mean equal families.

        That of a dataclass has the settings that differ from their defaults, such as
        ``RandomMLP(width=8, depth=2)``; another class defines its own.
        """
        if not dataclasses.is_dataclass(self):
            raise NotImplementedError(f"{type(self).__name__} is no dataclass and defines no name")
        shown = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def parameters(self) -> dict[str, Any]:
        """The settings of a dataclass family that are plain numbers, strings or None."""
        if not dataclasses.is_dataclass(self):
            return {}
        settings = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain = (bool, int, float, str, type(None))
        return {name: value for name, value in settings.items() if isinstance(value, plain)}

    @abstractmethod
    def problem(self, seed: int) -> Problem:
        """Return the problem drawn with ``seed``; equal seeds give equal problems."""
