"""``outsample permanent``: the permanent of a stored matrix."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from outsample.cli.output import FormatOption, JsonOption, number, session
from outsample.cli.products import ExactOption, SeedOption, report

if TYPE_CHECKING:
    from torch import Tensor

#: Largest matrix that is read: 100 MB of entries, an hour of degree 2 at n = 3600.
_MOST_ELEMENTS = 1 << 24


def permanent(
    matrix: Annotated[
        Path,
        typer.Argument(
            metavar="A.npy", show_default=False, help="A square matrix of real numbers."
        ),
    ],
    degree: Annotated[
        int, typer.Option(help="Of the polynomials kept: 0, 1, 2, …; the cost is n^(degree + 1).")
    ] = 2,
    scaling: Annotated[
        str, typer.Option(help="Of columns: shrunk, full or none; of nonnegative matrices.")
    ] = "shrunk",
    samples: Annotated[
        int | None,
        typer.Option(
            help="Sequential importance sampling instead, of so many matchings.",
            show_default=False,
        ),
    ] = None,
    marginals: Annotated[
        bool, typer.Option("--marginals", help="Also A_ij ∂ log perm(A) / ∂A_ij, in JSON.")
    ] = False,
    exact: ExactOption = False,
    seed: SeedOption = 0,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate the average of Π A[i, x(i)] over permutations x: perm(A) / n!.

    [bold]Examples[/bold]

    outsample permanent A.npy

    outsample permanent A.npy --degree 3 --exact

    outsample permanent A.npy --samples 100000 --seed 1 --json | jq .estimate.log_permanent
    """
    with session("permanent", form, as_json) as output:
        from outsample.errors import InputError
        from outsample.products.permanents import (
            Permanent,
            PermanentEstimate,
            SampledPermanent,
            SequentialImportanceSampling,
        )
        from outsample.products.projection import Projection

        if samples is None:
            estimator = Projection(degree=degree, scaling=scaling)  # pyright: ignore[reportArgumentType]
        elif marginals:
            raise InputError("--marginals: sampling has none; leave out --samples")
        else:
            estimator = SequentialImportanceSampling(samples, seed)
        output.document["matrix"] = str(matrix)
        found = report(output, Permanent(_read(matrix)), estimator, exact, seed)
        if isinstance(found, PermanentEstimate | SampledPermanent):
            output.text(f"log |perm(A)|: {number(float(found.log_permanent), 10)}")
        if marginals and isinstance(found, PermanentEstimate):
            table = found.edge_marginals
            output.document["edge_marginals"] = table.tolist()
            error = float((table.sum(0) - 1).abs().max())
            output.document["largest_column_error"] = error
            output.text(f"edge marginals: columns sum to 1 within {number(error, 2)}")


def _read(path: Path) -> "Tensor":
    """The matrix of a .npy file, in float64 unless it is float32."""
    import torch

    from outsample.errors import FormatError
    from outsample.files import read_npy

    array = read_npy(path, max_elements=_MOST_ELEMENTS)
    if array.dtype.kind not in "fiub":
        raise FormatError(f"{str(path)!r}: dtype {array.dtype}; expected real numbers")
    return torch.from_numpy(array if array.dtype.name == "float32" else array.astype("float64"))
