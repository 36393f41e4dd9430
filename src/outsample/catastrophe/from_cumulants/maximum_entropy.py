"""The law of largest entropy with four given moments, on an interval."""

import torch
from jaxtyping import Float64
from torch import Tensor

from outsample.catastrophe.from_cumulants.tail import Standardised, Tail, undefined

#: The interval, in standard deviations, and the distance of its points.
_LOWER, _UPPER, _STEP = -12.0, 14.0, 0.005
_ROUNDS, _HALVINGS = 200, 40
#: Largest error of a moment, and round-off of the objective.
_TOLERANCE, _ROUND_OFF = 1e-9, 1e-14


def maximum_entropy(law: Standardised) -> Tail:
    """P(x > z) of exp(θ · He_1..4(x)) φ(x) on [-12, 14], θ by Newton's method; no gradient.

    The tail follows the interval's end where the fourth moment is above the normal one: the law
    then puts a little mass there.
    """
    with torch.no_grad():
        return _tail(law)


def _tail(law: Standardised) -> Tail:
    z, l3, l4 = law
    if float(z) >= _UPPER:
        return undefined(z, f"the threshold lies beyond the grid's end at {_UPPER:.0f}")
    if float(l4) + 2 <= float(l3) ** 2:
        return undefined(z, "no law has these four cumulants: κ_4 + 2 σ⁴ < κ_3² / σ²")
    x = torch.arange(_LOWER, _UPPER + _STEP / 2, _STEP, dtype=z.dtype, device=z.device)
    # Hermite polynomials, so that moments and their covariance are well scaled near the normal.
    basis = torch.stack([x, x**2 - 1, x**3 - 3 * x, x**4 - 6 * x**2 + 3])
    target = torch.stack([0 * z, 0 * z, l3, l4])
    base = -x * x / 2
    theta = torch.zeros(4, dtype=z.dtype, device=z.device)
    objective = _objective(theta, basis, base, target)
    for _ in range(_ROUNDS):
        p = (base + theta @ basis).softmax(0)
        mean = basis @ p
        miss = mean - target
        if float(miss.abs().max()) < _TOLERANCE:
            return Tail(_beyond(z, x, p))
        centred = basis - mean[:, None]
        step, failed = torch.linalg.solve_ex((centred * p) @ centred.T, miss)
        length, new = _shortened(theta, step, miss, objective, basis, base, target)
        if int(failed) or length == 0:
            break
        theta, objective = theta - length * step, new
    return undefined(z, "the moments were not met on the grid")


def _shortened(
    theta: Tensor,
    step: Tensor,
    miss: Tensor,
    objective: Tensor,
    basis: Tensor,
    base: Tensor,
    target: Tensor,
) -> tuple[float, Float64[Tensor, ""]]:
    """Length of Newton's step that lowers the objective, and its value there; 0 if none does."""
    slope = float(miss @ step)
    round_off = _ROUND_OFF * (1 + float(objective.abs()))
    length = 1.0
    for _ in range(_HALVINGS):
        new = _objective(theta - length * step, basis, base, target)
        if float(new - objective) <= round_off - 1e-4 * length * slope:
            return length, new
        length /= 2
    return 0.0, objective


def _objective(theta: Tensor, basis: Tensor, base: Tensor, target: Tensor) -> Float64[Tensor, ""]:
    """Log of the normalising sum minus θ · target, convex in θ."""
    return torch.logsumexp(base + theta @ basis, 0) - theta @ target


def _beyond(z: Tensor, x: Tensor, p: Tensor) -> Float64[Tensor, ""]:
    """Log of the mass above z, the cell that holds it cut."""
    share = ((x + _STEP / 2 - z) / _STEP).clamp(0, 1)
    return torch.logsumexp(p.log() + share.log(), 0)
