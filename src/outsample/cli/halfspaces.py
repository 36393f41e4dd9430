"""``outsample halfspaces``: the probability of an intersection of stored halfspaces."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from outsample.cli.output import FormatOption, JsonOption, session
from outsample.cli.products import ExactOption, SeedOption, report

if TYPE_CHECKING:
    from torch import Tensor

    from outsample.distributions import Gaussian
    from outsample.estimator import Estimator
    from outsample.products.halfspaces.expectation_propagation import Corrections

#: Largest array that is read: 100 MB of entries.
_MOST_ELEMENTS = 1 << 24
_ESTIMATORS = ("projection", "ep", "common-direction", "genz", "monte-carlo")


def halfspaces(
    normals: Annotated[
        Path,
        typer.Argument(
            metavar="V.npy", show_default=False, help="Normals, one a row: k rows of n numbers."
        ),
    ],
    offsets: Annotated[
        Path | None,
        typer.Option(metavar="B.npy", show_default=False, help="Offsets, k numbers; else zeros."),
    ] = None,
    mean: Annotated[
        Path | None,
        typer.Option(metavar="M.npy", show_default=False, help="Mean of x, n numbers; else zeros."),
    ] = None,
    covariance: Annotated[
        Path | None,
        typer.Option(
            metavar="C.npy",
            show_default=False,
            help="Covariance of x, n by n, or n variances; else the identity.",
        ),
    ] = None,
    estimator: Annotated[
        str, typer.Option(help=f"One of {', '.join(_ESTIMATORS)}.", metavar="NAME")
    ] = "ep",
    degree: Annotated[int, typer.Option(help="Of projection; the cost is k^(degree + 1).")] = 2,
    corrections: Annotated[
        str, typer.Option(help="Of ep and common-direction: D3, D2 or none.")
    ] = "D3",
    samples: Annotated[int, typer.Option(help="Of monte-carlo; points of genz.", min=1)] = 20_000,
    exact: ExactOption = False,
    seed: SeedOption = 0,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate P(v · x >= b for every row v of V) of a Gaussian x.

    [bold]Examples[/bold]

    outsample halfspaces V.npy

    outsample halfspaces V.npy --offsets b.npy --estimator projection --degree 3

    outsample halfspaces V.npy --covariance C.npy --estimator genz --json | jq .estimate.value
    """
    with session("halfspaces", form, as_json) as output:
        from outsample.products.halfspaces import HalfspaceIntersection

        output.document["normals"] = str(normals)
        chosen = _estimator(estimator, degree, corrections, samples, seed)
        v = _read(normals)
        b = None if offsets is None else _read(offsets).to(v)
        law = _law(v, mean, covariance)
        report(output, HalfspaceIntersection(v, b, law), chosen, exact, seed)


def _estimator(name: str, degree: int, corrections: str, samples: int, seed: int) -> "Estimator":
    from outsample.errors import InputError
    from outsample.products import Projection
    from outsample.products.halfspaces import CommonDirection, ExpectationPropagation, Genz
    from outsample.sampling import MonteCarlo

    kept = cast("Corrections", None if corrections == "none" else corrections)
    match name:
        case "projection":
            return Projection(degree=degree)
        case "ep":
            return ExpectationPropagation(kept)
        case "common-direction":
            return CommonDirection(corrections=kept)
        case "genz":
            return Genz(samples, seed)
        case "monte-carlo":
            return MonteCarlo(samples, seed)
        case _:
            raise InputError(f"--estimator {name!r}; expected one of {', '.join(_ESTIMATORS)}")


def _law(normals: "Tensor", mean: Path | None, covariance: Path | None) -> "Gaussian | None":
    if mean is None and covariance is None:
        return None
    from outsample.distributions import Gaussian

    m = normals.new_zeros(normals.shape[-1]) if mean is None else _read(mean).to(normals)
    c = normals.new_ones(()) if covariance is None else _read(covariance).to(normals)
    return Gaussian(m, c)


def _read(path: Path) -> "Tensor":
    """The numbers of a .npy file, in float64 unless they are float32."""
    import torch

    from outsample.errors import FormatError
    from outsample.files import read_npy

    array = read_npy(path, max_elements=_MOST_ELEMENTS)
    if array.dtype.kind not in "fiub":
        raise FormatError(f"{str(path)!r}: dtype {array.dtype}; expected real numbers")
    return torch.from_numpy(array if array.dtype.name == "float32" else array.astype("float64"))
