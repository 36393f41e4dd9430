"""``outsample compare``: estimators and sampling on random networks, at equal cost."""

from pathlib import Path
from typing import Annotated

import typer

from outsample.cli.estimators import parse
from outsample.cli.output import (
    FAILED,
    INTERRUPTED,
    Format,
    FormatOption,
    JsonOption,
    require_figure,
    require_folder,
    run_again,
    session,
)


def compare(
    width: Annotated[int, typer.Option(help="Neurons in every hidden layer.")] = 64,
    depth: Annotated[int, typer.Option(help="Number of hidden layers.")] = 2,
    activation: Annotated[str, typer.Option(help="relu, gelu, tanh, …")] = "relu",
    estimators: Annotated[
        str,
        typer.Option(
            help="Names as for [bold]estimate[/bold], with settings: NAME:SETTING=VALUE:…,NAME,…"
        ),
    ] = "mean-propagation,cumulants:variant=basic,cumulants",
    instances: Annotated[int, typer.Option(help="Number of random networks.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the first network.")] = 0,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw error against cost (.png, .pdf, .svg).", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write all figures as JSON.", show_default=False)
    ] = None,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare estimators with each other and with sampling at equal cost, on random networks.

    [bold]Examples[/bold]

    outsample compare --width 64 --depth 2

    outsample compare --estimators cumulants:order=1,cumulants:order=2 --instances 20

    outsample compare --activation gelu --plot gelu.png --output gelu.json
    """
    with session("compare", form, as_json) as out:
        require_folder(output)
        require_figure(plot)
        from outsample.comparison import compare as run
        from outsample.comparison import families

        family = families.RandomMLP(width=width, depth=depth, activation=activation)
        found = run(family, [parse(e) for e in estimators.split(",")], instances, seed=seed)
        out.document |= found.to_dict()
        out.text(found.to_markdown()) if out.format is Format.PLAIN else out.show(found)
        if plot is not None:
            found.plot(plot)
        if output is not None:
            from outsample.files import write_atomically

            write_atomically(output, found.to_json(indent=2) + "\n")
        errors = {c.error: c.method for c in found.cells if c.error and c.method in found.methods}
        errors |= {t.error: "truth" for t in found.truths if t.error}
        if found.interrupted:
            done = f"interrupted: these are the {len(found.truths)} networks that were finished"
            out.end_with(INTERRUPTED, f"{done}. {run_again()}")
        elif errors:
            out.end_with(FAILED, "\n".join(f"error: {who}: {e}" for e, who in errors.items()))
