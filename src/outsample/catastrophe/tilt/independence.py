"""Which quantities cannot depend on each other, because no input reaches both."""

import torch
from jaxtyping import Bool
from torch import Tensor

from outsample.distributions import Gaussian
from outsample.networks.graph import Affine, Graph


def independent_groups(graph: Graph, inputs: Gaussian) -> list[list[int]]:
    """Outputs of ``graph`` in groups that are independent of each other.

    Only what the zeros of the weights and of the covariance prove: two outputs are in one group
    if a chain of weights that are not exactly zero, and of correlated inputs, joins them.
    """
    reached = _inputs_of_outputs(graph, inputs.shape[0])
    if inputs.scale.dim() == 2:
        reached = (reached.double() @ _components(inputs.scale.detach() != 0).double()) > 0
    shared = _components((reached.double() @ reached.double().T) > 0)
    groups: dict[int, list[int]] = {}
    for place, row in enumerate(shared):
        groups.setdefault(int(row.nonzero()[0]), []).append(place)
    return [*groups.values()]


def _inputs_of_outputs(graph: Graph, n: int) -> Bool[Tensor, "d n"]:
    reached = torch.eye(n, dtype=torch.float64)
    for step in graph.steps:
        if isinstance(step, Affine):
            weight = (step.weight.detach() != 0).double().cpu()
            reached = ((weight @ reached) > 0).double()
    return reached > 0


def _components(linked: Bool[Tensor, "k k"]) -> Bool[Tensor, "k k"]:
    """Which of k things are joined by chains of links; everything is joined to itself."""
    joined = linked.cpu() | torch.eye(len(linked), dtype=torch.bool)
    while True:
        further = (joined.double() @ joined.double()) > 0
        if bool((further == joined).all()):
            return joined
        joined = further
