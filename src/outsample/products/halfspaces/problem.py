"""P(v_i · x >= b_i for all i): the probability of an intersection of random halfspaces."""

from collections.abc import Hashable
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from outsample.distributions import ArrayLike, Gaussian, Sphere, as_tensor
from outsample.errors import InputError
from outsample.problem import Problem

_OWNER = "HalfspaceIntersection"


class HalfspaceIntersection(Problem):
    """Probability that a random point lies in k halfspaces at once: M(x) = 1 if v_i · x >= b_i ∀i.

    Gaussian orthant probabilities, multivariate normal distribution functions and the volume of
    polyhedral cones are of this form; see :meth:`from_limits` and :meth:`from_inequalities`.

    Args:
        normals: v_1 … v_k as rows, shape (k, n); k may be 0.
        offsets: b_1 … b_k, shape (k,); zeros unless given.  -inf drops a halfspace.
        inputs: law of x on R^n: a Gaussian (the standard one unless given) or, with zero offsets,
            a Sphere.

    Tensors keep their gradient history; the law is cast to the normals' dtype and device.

    Raises:
        InputError: for non-finite normals, offsets that are NaN or +inf, shapes that do not fit,
            mixed dtypes, or a sphere with offsets other than zero (that is another problem: the
            length of a Gaussian vector matters as soon as an offset does).

    Example:
        >>> import torch
        >>> quadrant = HalfspaceIntersection(torch.eye(2, dtype=torch.float64))
        >>> quadrant.exact()
        tensor(0.2500, dtype=torch.float64)
    """

    def __init__(
        self,
        normals: Float[Tensor, "k n"] | ArrayLike,
        offsets: Float[Tensor, " k"] | ArrayLike | None = None,
        inputs: Gaussian | Sphere | None = None,
    ) -> None:
        v = as_tensor("normals", normals, None, _OWNER)
        if v.dim() != 2 or v.shape[1] == 0:
            raise InputError(
                f"{_OWNER}: normals has shape {tuple(v.shape)}; expected (k, n), one normal a row, "
                "with n >= 1"
            )
        k, n = v.shape
        law = Gaussian.standard(n, v.dtype) if inputs is None else inputs
        if not isinstance(law, Gaussian | Sphere):
            raise InputError(
                f"{_OWNER}: inputs is {type(law).__name__}; expected a Gaussian or a Sphere"
            )
        if law.shape != (n,):
            raise InputError(
                f"{_OWNER}: inputs has {law.shape[0]} entries, the normals have {n}; expected as "
                "many"
            )
        b = v.new_zeros(k) if offsets is None else _offsets(offsets, v)
        if isinstance(law, Sphere) and bool((b.detach() != 0).any()):
            raise InputError(
                f"{_OWNER}: offsets are not zero (the first: {b[b.detach() != 0][0].item():.6g}) "
                "with inputs on a sphere; only halfspaces through the centre are supported there: "
                "drop the offsets, or use a Gaussian"
            )
        #: Normals v_i, shape (k, n), and offsets b_i, shape (k,).
        self.normals: Tensor = v
        self.offsets: Tensor = b
        self.inputs = law.to(v.dtype, v.device)
        self.output_shape = ()

    @classmethod
    def from_inequalities(
        cls,
        matrix: Float[Tensor, "k n"] | ArrayLike,
        upper: Float[Tensor, " k"] | ArrayLike,
        inputs: Gaussian | Sphere | None = None,
    ) -> Self:
        """P(A x <= c) for A = ``matrix``, shape (k, n), and c = ``upper``, shape (k,).

        An upper limit of +inf drops its inequality.

        Raises:
            InputError: as the constructor does, with A and c for the normals and offsets.
        """
        a = as_tensor("matrix", matrix, None, _OWNER)
        return cls(-a, -_limits("upper", upper, a), inputs)

    @classmethod
    def from_limits(
        cls,
        lower: Float[Tensor, " n"] | ArrayLike | None,
        upper: Float[Tensor, " n"] | ArrayLike | None,
        inputs: Gaussian,
    ) -> Self:
        """P(lower <= x <= upper) entrywise: the multivariate normal distribution function.

        Args:
            lower: shape (n,), -inf where there is no limit; None for none at all.
            upper: shape (n,), +inf where there is no limit; None for none at all.
            inputs: law of x.

        Raises:
            InputError: for limits that are NaN or of another shape.

        Example:
            >>> import torch
            >>> box = HalfspaceIntersection.from_limits(
            ...     None, torch.zeros(3), Gaussian.standard(3)
            ... )
            >>> box.exact()
            tensor(0.1250)
        """
        if not isinstance(inputs, Gaussian):
            raise InputError(
                f"{_OWNER}.from_limits: inputs is {type(inputs).__name__}; expected a Gaussian"
            )
        eye = torch.eye(inputs.shape[0], dtype=inputs.dtype, device=inputs.device)
        normals, offsets = [eye[:0]], [eye[0, :0]]
        for name, limit, sign in (("lower", lower, 1), ("upper", upper, -1)):
            if limit is None:
                continue
            given = sign * _limits(name, limit, eye)
            if bool((given.detach() == torch.inf).any()):
                raise InputError(
                    f"{_OWNER}.from_limits: {name} has an entry of {sign * torch.inf}, which no x "
                    "meets; swap the limits if that was meant the other way"
                )
            kept = given.detach() > -torch.inf
            normals.append(sign * eye[kept])
            offsets.append(given[kept])
        return cls(torch.cat(normals), torch.cat(offsets), inputs)

    def __call__(self, x: Float[Tensor, "batch n"]) -> Float[Tensor, " batch"]:
        """1 for rows of ``x`` that lie in every halfspace, else 0; shape (batch,)."""
        return (x @ self.normals.T >= self.offsets).all(dim=1).to(self.dtype)

    def has_exact(self) -> bool:
        """Whether :meth:`exact` has a closed form."""
        from outsample.products.halfspaces.closed_forms import has_closed_form

        return has_closed_form(self)

    def exact(self) -> Tensor | None:
        """Closed form where there is one: k <= 1, and k = 2 or 3 through the centre."""
        from outsample.products.halfspaces.closed_forms import closed_form

        return closed_form(self)

    def sampled_truth(self, samples: int, seed: int) -> tuple[Tensor, Tensor]:
        """The probability and its standard error by Genz's method, from at most ``samples`` points.

        It takes 1000 at least.
        """
        from outsample.products.halfspaces.genz import Genz

        found = Genz(points=max(samples, 1000), seed=seed).estimate(self)
        return found.value, torch.as_tensor(found.standard_error)

    def variance_given(self, mean: Tensor) -> Tensor:
        """Variance p (1 - p) of the event, shape ()."""
        return mean * (1 - mean)

    def signature(self) -> Hashable:
        """Numbers of halfspaces and dimensions, kind of law, dtype and device."""
        law = self.inputs.scale.dim() if isinstance(self.inputs, Gaussian) else "sphere"
        return "halfspaces", tuple(self.normals.shape), law, self.dtype, self.device

    def tensors(self) -> list[Tensor]:
        """Normals, offsets, and the tensors of the law."""
        return [self.normals, self.offsets, *self.inputs.tensors()]

    def describe(self) -> str:
        """One line for tables and error messages."""
        k, n = self.normals.shape
        return f"HalfspaceIntersection of {k} in {n} dimensions"


def _offsets(given: Tensor | ArrayLike, normals: Tensor) -> Tensor:
    b = _limits("offsets", given, normals)
    if bool((b.detach() == torch.inf).any()):
        raise InputError(
            f"{_OWNER}: offsets has an entry of inf; no point meets v · x >= inf: the probability "
            "is 0 without any work"
        )
    return b


def _limits(name: str, given: Tensor | ArrayLike, rows: Tensor) -> Tensor:
    """Limits for the rows of a matrix, which may be infinite but not NaN."""
    if isinstance(given, Tensor):
        limits = given
    else:
        import numpy as np

        limits = torch.as_tensor(np.asarray(given))
        limits = limits.to(rows) if not limits.is_floating_point() else limits
    if tuple(limits.shape) != (rows.shape[0],):
        raise InputError(
            f"{_OWNER}: {name} has shape {tuple(limits.shape)}; expected ({rows.shape[0]},), one "
            "for each row"
        )
    missing = torch.isnan(limits.detach())
    if bool(missing.any()):
        place = int(missing.nonzero()[0])
        raise InputError(f"{_OWNER}: {name}[{place}] is NaN; expected numbers")
    finite = torch.where(limits.detach().isfinite(), limits.detach(), 0)
    as_tensor(name, finite, rows, _OWNER)  # dtype and device
    return limits
