"""The first affine map: a Gaussian input in, exact mean and covariance out."""

from typing import Literal, overload

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.distributions import Gaussian
from outsample.errors import UnsupportedProblem
from outsample.networks import NetworkMean
from outsample.networks.graph import Affine
from outsample.problem import Problem
from outsample.tower import CumulantTower


@overload
def network_of(
    problem: Problem, towers: Literal[False] = False
) -> tuple[NetworkMean, Gaussian]: ...
@overload
def network_of(
    problem: Problem, towers: Literal[True]
) -> tuple[NetworkMean, Gaussian | CumulantTower]: ...
def network_of(
    problem: Problem, towers: bool = False
) -> tuple[NetworkMean, Gaussian | CumulantTower]:
    """The problem and its input, typed, once ``accepts`` has let it in."""
    if isinstance(problem, NetworkMean):
        inputs = problem.inputs
        if isinstance(inputs, Gaussian) or (towers and isinstance(inputs, CumulantTower)):
            return problem, inputs
    raise UnsupportedProblem(refuse_unless_network(problem, towers) or "")


def refuse_unless_network(problem: Problem, towers: bool = False) -> str | None:
    """The reason why propagation through layers cannot take ``problem``, or None."""
    if not isinstance(problem, NetworkMean):
        return "propagation needs the layers of a network; wrap it in NetworkMean"
    if isinstance(problem.inputs, Gaussian) or (
        towers and isinstance(problem.inputs, CumulantTower)
    ):
        return None
    return (
        f"its input is {type(problem.inputs).__name__}, propagation starts from a Gaussian; use "
        "Gaussian(mean, covariance), CumulantTower with Cumulants, or MonteCarlo for this input"
    )


def width_of(problem: NetworkMean) -> int:
    """The widest layer, input included: the n of cost and error statements."""
    widths = [step.weight.shape[0] for step in problem.graph().affine]
    return max(problem.inputs.shape[0], *widths, 1)


def affine_mean(step: Affine, mean: Float[Tensor, " n"]) -> Float[Tensor, " out"]:
    """Mean after an affine map, shape (out,)."""
    if step.bias is None:
        return torch.mv(step.weight, mean)
    return torch.addmv(step.bias, step.weight, mean)


def pushed_covariance(
    weight: Float[Tensor, "out n"], scale: Float[Tensor, "*structure"]
) -> Float[Tensor, "out out"]:
    """W C Wᵀ for C a scalar, the variances (n,), or a matrix (n, n)."""
    if scale.dim() == 2:
        return weight @ scale @ weight.T
    return (weight * scale) @ weight.T


def pushed_variance(
    weight: Float[Tensor, "out n"], scale: Float[Tensor, "*structure"]
) -> Float[Tensor, " out"]:
    """Diagonal of W C Wᵀ for C a scalar, the variances (n,), or a matrix (n, n)."""
    if scale.dim() == 2:
        return (weight @ scale * weight).sum(1)
    if scale.dim() == 1:
        return torch.mv(weight.square(), scale)
    return weight.square().sum(1) * scale


def dense(scale: Float[Tensor, "*structure"], n: int) -> Float[Tensor, "n n"]:
    """The covariance matrix that a scalar, the variances (n,) or a matrix (n, n) stand for."""
    return scale if scale.dim() == 2 else torch.diag(scale.expand(n))
