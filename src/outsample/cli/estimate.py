"""``outsample estimate``: the mean output of a stored network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from outsample.cli.estimators import Name, build
from outsample.cli.output import FormatOption, JsonOption, Output, number, seconds, session

if TYPE_CHECKING:
    from outsample.estimator import Estimate


def estimate(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL.npz",
            show_default=False,
            help="weight_0, bias_0, weight_1, …, activation, input_mean, input_cov.",
        ),
    ],
    estimator: Annotated[Name, typer.Option(help="How to estimate.")] = Name.CUMULANTS,
    order: Annotated[
        int | None, typer.Option(help="Of cumulants: 1 to 4. Default: 2.", show_default=False)
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            help="Of cumulants: basic, augmented (the default) or elliptical.", show_default=False
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Of samplers: how many to draw.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of samplers. Default: 0.", show_default=False)
    ] = None,
    output_index: Annotated[
        int | None,
        typer.Option(help="Only this output, counted from 0.", show_default=False),
    ] = None,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate the mean output of the network in MODEL.npz.

    [bold]Examples[/bold]

    outsample estimate model.npz

    outsample estimate model.npz --estimator moment-matched --samples 100000 --seed 1

    outsample estimate model.npz --order 1 --output-index 3 --json | jq .estimate.value
    """
    given = {"order": order, "variant": variant, "samples": samples, "seed": seed}
    with session("estimate", form, as_json) as output:
        import torch

        from outsample.networks import NetworkMean
        from outsample.networks.files import load_network

        method = build(estimator, {k: v for k, v in given.items() if v is not None})
        problem = NetworkMean(*load_network(model), output=output_index)
        with torch.no_grad():
            found = method.estimate(problem)
        output.document |= {
            "model": str(model),
            "problem": problem.describe(),
            "output_index": output_index,
            "estimate": found.to_dict(),
        }
        output.text(f"{model}: {problem.describe()}")
        _show(output, found, output_index or 0)


def _show(output: Output, found: "Estimate", first: int) -> None:
    columns = ["output", "mean"]
    cells = [found.value.reshape(-1).tolist()]
    if found.standard_error is not None:
        columns.append("standard error")
        cells.append(found.standard_error.reshape(-1).tolist())
    if found.covariance is not None:
        columns.append("standard deviation")
        cells.append(found.covariance.diagonal().clamp_min(0).sqrt().tolist())
    digits = [6, *[3] * (len(cells) - 1)]
    rows = [
        [str(first + i), *(number(v, d) for v, d in zip(values, digits, strict=True))]
        for i, values in enumerate(zip(*cells, strict=True))
    ]
    output.table(columns, rows)
    output.text(
        f"{found.estimator!r}: {seconds(found.cost.seconds)}, "
        f"{number(found.cost.flops)} floating-point operations"
    )
    if found.expected_error is not None:
        output.text(f"expected vn error, on random networks: {number(found.expected_error)}")
    if found.trust != "ok":
        output.text(f"trust: {found.trust.replace('_', ' ')}: {'; '.join(found.reasons)}")
