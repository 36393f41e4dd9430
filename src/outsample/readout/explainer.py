"""The explainer of two-layer networks: Hermite tensors, when training ends or while it runs."""

from dataclasses import dataclass

import torch
from torch import nn

from outsample.distributions import Gaussian
from outsample.errors import InputError, UnsupportedProblem
from outsample.estimator import Explainer
from outsample.problem import Problem
from outsample.readout.hermite_tensors import HermiteTensors
from outsample.readout.problem import TwoLayer
from outsample.readout.stream import Form, HermiteStream


@dataclass(frozen=True)
class HermiteExplainer(Explainer):
    """Explains a two-layer network by its Hermite tensors.

    :meth:`explain` builds them from the parameters when training has ended: exact, in 2 m n^degree
    operations, less than training took as soon as it saw n^{degree-1} examples.  :meth:`watch`
    learns them from the examples while training runs, without ever reading the m numbers of the
    readout; that is approximate, and of use only where these cannot be read.

    Args:
        degree: highest degree of the tensors, 2 to 8 (2 to 4 for :meth:`watch`).
        directions: how many directions of least linearity, 0 to 3.

    Raises:
        InputError: for settings out of range.

    Source: the Alignment Research Center's "Competing with sampling" (2025), problem 2 (train
    and explain); the three forms in the documentation, theory/readout.

    Example:
        >>> import torch
        >>> problem = TwoLayer(torch.eye(4), torch.ones(4))
        >>> HermiteExplainer().explain(problem).degree
        4
    """

    degree: int = 4
    directions: int = 2

    def __post_init__(self) -> None:
        for name, low, high in (("degree", 2, 8), ("directions", 0, 3)):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise InputError(f"HermiteExplainer: {name} = {value!r}; expected {low} to {high}")

    def explain(self, problem: Problem) -> HermiteTensors:
        """Hermite tensors of ``problem`` as it stands; its output function does not matter.

        Raises:
            UnsupportedProblem: for problems other than two-layer networks.
        """
        if not isinstance(problem, TwoLayer):
            raise UnsupportedProblem(
                f"HermiteExplainer: {problem.describe()} is no TwoLayer; TwoLayer.from_module "
                "reads one from a module"
            )
        return HermiteTensors.of(problem, self.degree, self.directions)

    def watch(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        inputs: Gaussian | None = None,
        form: Form = "hybrid",
    ) -> HermiteStream:
        """Learn the tensors while ``optimizer`` trains the readout of ``module``.

        Hooks are put on the module's forward pass and on the optimiser's step; the training loop
        stays as it is.

        Args:
            module: ``Sequential(Linear, activation, Linear)`` without hidden biases, with one
                output.
            optimizer: ``torch.optim.SGD`` over the last layer's parameters only.
            inputs: law of x that the explanation is for; standard normal unless given.
            form: ``"wide"``, the limit of a wide random hidden layer; or ``"hybrid"``, in which
                the part of the activation of degree up to 4 is exact, at twice the cost.

        Raises:
            UnsupportedProblem: for another module or optimiser.
        """
        if self.degree > 4:
            raise InputError(f"HermiteExplainer.watch: degree = {self.degree}; expected 2 to 4")
        if form not in ("wide", "hybrid"):
            raise InputError(
                f"HermiteExplainer.watch: form = {form!r}; expected 'wide' or 'hybrid'"
            )
        return HermiteStream(module, optimizer, inputs, self.degree, form)
