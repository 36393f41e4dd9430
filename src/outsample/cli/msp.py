"""``outsample msp``: the statements of the matching sampling principle, judged."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from outsample.cli.output import (
    FAILED,
    Format,
    FormatOption,
    JsonOption,
    require_folder,
    session,
)
from outsample.errors import InputError


def msp(
    family: Annotated[
        str,
        typer.Argument(help="Family of problems, NAME:SETTING=VALUE:…", show_default=False),
    ],
    estimator: Annotated[
        str,
        typer.Argument(
            help="Estimator that can be given ε, with settings that ε is not to choose.",
            show_default=False,
        ),
    ],
    epsilon: Annotated[
        str, typer.Option(help="Tolerances, each with the budget of N = 1/ε² evaluations.")
    ] = "1,1/4,1/16,1/64",
    explainer: Annotated[
        str | None,
        typer.Option(
            help="Who explains a trained network, NAME:SETTING=VALUE:…", show_default=False
        ),
    ] = None,
    instances: Annotated[int, typer.Option(help="Problems of each statement.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of the first problem.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", show_default=False,
            help="Store of results (.duckdb); the same command resumes from it.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes.", show_default="one a core")
    ] = None,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Judge an estimator by the matching sampling principle, in every variant that applies.

    For each ε the estimator gets the settings that it chooses for that ε.  Its error is set
    against that of 1/ε² samples and its cost against theirs; it must draw no random numbers; an
    explanation must be no longer than the parameters, and found in the time of training, up to
    constants.  Whether the statements hold or fail is the result: both end with exit code 0.

    [bold]Examples[/bold]

    outsample msp RandomMLP:width=16:depth=2 Cumulants

    outsample msp TrainedMLP:width=32 Cumulants:variant=basic --epsilon 1,1/32

    outsample msp RandomMLP:width=64:depth=2 Cumulants --epsilon 1/8,1/64,1/512 -o msp.duckdb
    """
    with session("msp", form, as_json) as out:
        require_folder(output)
        from outsample.comparison.principle import check_principle
        from outsample.comparison.sweeps import registry

        name, settings = registry.split_settings(estimator)
        report = check_principle(
            registry.parse_family(family),
            registry.estimator_class(name),
            settings=settings,
            explainer=None if explainer is None else registry.parse_explainer(explainer),
            epsilons=_numbers(epsilon),
            instances=instances,
            seed=seed,
            store=":memory:" if output is None else output,
            workers=workers,
        )
        out.document |= report.to_dict()
        out.text(report.to_markdown()) if out.format is Format.PLAIN else out.show(report)
        if report.errors:
            out.end_with(FAILED, "\n".join(f"error: {error}" for error in report.errors))


def _numbers(text: str) -> list[float]:
    """The numbers in a list such as ``1,1/4,0.05``."""
    try:
        return [float(Fraction(part.strip())) for part in text.split(",")]
    except (ValueError, ArithmeticError) as error:
        raise InputError(
            f"--epsilon {text!r}; expected numbers or fractions with commas, such as 1,1/4,1/16"
        ) from error
