"""Hermite expansions of functions that are analytic between breakpoints, by quadrature."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.errors import InputError, NumericalError, warn
from outsample.networks.activations.assembled import Assembled
from outsample.networks.activations.base import Expansion, standard_deviation
from outsample.networks.activations.gaussian import HermiteSeries
from outsample.networks.activations.kinks import warn_at_kinks
from outsample.networks.activations.nodes import Function, Nodes, tanh_sinh, trapezoid

#: Relative accuracy at which a neuron is done, and beyond which there is a warning at the end.
_TOLERANCE, _TOLERATED = 1e-12, 1e-10

#: Standard deviations covered; the wide window is for functions that grow exponentially.
_WIDTH, _WIDE = 9.5, 37.5

#: Below this σ the function's Taylor polynomial is expanded, if the two agree to rounding.
_SMALL = 1e-4


def expand(
    function: Function,
    name: str,
    mean: Float[Tensor, " n"],
    variance: Float[Tensor, " n"],
    breakpoints: Sequence[float] = (),
    centre: float | None = None,
) -> Expansion:
    """Expand ``function`` at N(mean, variance), in float64 whatever the dtype of the arguments.

    Away from breakpoints the trapezoidal rule in g converges exponentially.  Neurons with a
    breakpoint in reach get a tanh-sinh rule on every piece; so do those with σ so large that the
    function bends within a small fraction of it, with ``centre``, where it bends, as one more
    breakpoint.  Where σ is so small that differences of values have lost their digits, the
    Taylor polynomial about the mean is expanded instead.

    Raises:
        InputError: the function does not return a tensor of the shape it is given.
        NumericalError: the function returns a value that is not finite.

    Warns:
        NumericalWarning: the quadrature does not converge (with the estimated relative error),
            or a gradient is recorded at zero variance with the mean at a breakpoint.
    """
    scale = standard_deviation(variance)
    mu, sigma = mean.double(), scale.double()
    checked = _checked(function, name)
    kinks, bends = (
        torch.tensor(sorted({*points}), dtype=torch.float64, device=mu.device)[:, None]
        for points in (breakpoints, (*breakpoints, *(() if centre is None else (centre,))))
    )
    kinked = ((kinks - mu).abs() < _WIDTH * sigma).any(0)
    warn_at_kinks(name, mean, variance, kinked)

    parts: list[tuple[Tensor, Expansion]] = []
    index = torch.arange(len(mu), device=mu.device)
    smooth = _settle_small(checked, mu, sigma, index[~kinked], parts)
    rules = [partial(trapezoid, checked, intervals=k, width=_WIDTH) for k in (128, 256, 512)]
    rest = torch.cat((index[kinked], _settle(rules, mu, sigma, smooth, parts)))
    if len(bends):
        sizes = ((96, _WIDTH), (192, _WIDTH), (512, _WIDTH), (512, _WIDE))
        rules = [partial(tanh_sinh, checked, points=bends, half=k, width=w) for k, w in sizes]
    else:
        sizes = ((2048, _WIDTH), (8192, _WIDE))
        rules = [partial(trapezoid, checked, intervals=k, width=w) for k, w in sizes]
    _settle(rules, mu, sigma, rest, parts, name)
    return Assembled(parts, scale)


def _settle(
    rules: Sequence[Callable[..., Nodes]],
    mu: Tensor,
    sigma: Tensor,
    index: Tensor,
    parts: list[tuple[Tensor, Expansion]],
    name: str = "",
) -> Tensor:
    """Try rules in turn, moving neurons that converge to ``parts``; return those left over.

    With a ``name`` the last rule is final: all neurons are moved, with a warning if need be.
    """
    for i, rule in enumerate(rules):
        if len(index) == 0:
            break
        nodes = rule(mu=mu[index], sigma=sigma[index])
        error = nodes.error()
        done = error <= _TOLERANCE
        if name and i == len(rules) - 1:
            done = torch.ones_like(done)
            poor = ~(error <= _TOLERATED)
            if bool(poor.any()):
                warn(
                    f"the quadrature for '{name}' has not converged for {int(poor.sum())} "
                    f"neuron(s): estimated relative error {float(error[poor].max()):.1e}, wanted "
                    f"{_TOLERATED:.0e}; declare its kinks and sharp bends as breakpoints, or "
                    "rescale its argument"
                )
        if bool(done.all()):
            parts.append((index, nodes))
        elif bool(done.any()):
            parts.append((index[done], nodes.select(done)))
        index = index[~done]
    return index


def _settle_small(
    function: Function,
    mu: Tensor,
    sigma: Tensor,
    index: Tensor,
    parts: list[tuple[Tensor, Expansion]],
) -> Tensor:
    """Move neurons to ``parts`` whose σ is so small that the Taylor polynomial is as good.

    Both are compared over the whole window: where they agree to the rounding of the function's
    values the polynomial is kept, which has lost no digits and is differentiable at σ = 0.
    """
    small = index[sigma[index] < _SMALL]
    if len(small) == 0:
        return index
    with torch.no_grad():
        x, s = mu[small], sigma[small]
        g = torch.linspace(-_WIDTH, _WIDTH, 33, dtype=torch.float64, device=mu.device)[:, None]
        a = _taylor(function, x, s)
        change = function(x + s * g) - a[0]
        polynomial = g * (a[1] + g * (a[2] + g * (a[3] + g * a[4])))
        rounding = a[0].abs() + (a[1] / s * x).abs() + change.abs().amax(0)
        bound = 16 * torch.finfo(torch.float64).eps * rounding
        agree = ((change - polynomial).abs() <= bound).all(0)
    kept = small[agree]
    if len(kept):
        a = _taylor(function, mu[kept], sigma[kept])
        series = (a[0] + a[2] + 3 * a[4], a[1] + 3 * a[3], a[2] + 6 * a[4], a[3], a[4])
        parts.append((kept, HermiteSeries(torch.stack(series), sigma[kept])))
    return torch.cat((index[sigma[index] >= _SMALL], small[~agree]))


def _taylor(function: Function, x: Tensor, sigma: Tensor) -> Tensor:
    """Coefficients up to degree 4 of φ(x + σg) in g, shape (5, n), in the arguments' graph."""
    recording = torch.is_grad_enabled() and (x.requires_grad or sigma.requires_grad)
    with torch.inference_mode(False), torch.enable_grad():
        x = x if recording and x.requires_grad else x.detach().clone().requires_grad_()
        derivatives = [function(x)]
        for _ in range(4):
            last = derivatives[-1]
            if last.requires_grad:
                (last,) = torch.autograd.grad(
                    last.sum(), x, create_graph=True, materialize_grads=True
                )
                derivatives.append(last)
            else:
                derivatives.append(torch.zeros_like(last))
        if not recording:
            derivatives = [d.detach() for d in derivatives]
    return torch.stack([d * sigma**j / math.factorial(j) for j, d in enumerate(derivatives)])


def _checked(function: Function, name: str) -> Function:
    """The function in float64, refusing results of the wrong shape and non-finite ones."""

    def checked(x: Tensor) -> Tensor:
        y = function(x)
        if not isinstance(y, Tensor) or y.shape != x.shape:  # type: ignore[redundant-expr]
            what = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise InputError(
                f"activation '{name}' returned {what} for a tensor of shape {tuple(x.shape)}; "
                "expected a tensor of the same shape: the function applied to every entry"
            )
        y = y.double()
        if not math.isfinite(float(y.detach().sum())):  # cheap; finite values may overflow it
            finite = torch.isfinite(y)
            if bool(finite.all()):
                return y
            at = float(x.detach()[~finite][0])
            raise NumericalError(
                f"activation '{name}' returned {float(y.detach()[~finite][0])} at {at!r}, which "
                "lies in the range of its Gaussian argument; expected a finite value"
            )
        return y

    return checked
