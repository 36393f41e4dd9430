"""``outsample cnf``: the fraction of assignments that satisfy a formula, from a DIMACS file."""

import math
from pathlib import Path
from typing import Annotated

import typer

from outsample.cli.output import FormatOption, JsonOption, number, session
from outsample.cli.products import ExactOption, SeedOption, report


def cnf(
    formula: Annotated[
        Path,
        typer.Argument(metavar="FILE.cnf", show_default=False, help="A formula in DIMACS format."),
    ],
    degree: Annotated[
        int, typer.Option(help="Of the functions kept; the cost is m n^(degree - 1).")
    ] = 2,
    conditioned: Annotated[
        int,
        typer.Option(help="Variables set to all their values, at 2^conditioned times the cost."),
    ] = 6,
    basis: Annotated[
        str, typer.Option(help="messages (of belief propagation) or uniform.")
    ] = "messages",
    budget: Annotated[
        float | None,
        typer.Option(
            help="Evaluations of the formula that the estimate may cost; picks degree and "
            "conditioned instead.",
            show_default=False,
            min=1,
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(help="Sample so many assignments instead.", show_default=False, min=1),
    ] = None,
    marginals: Annotated[
        bool, typer.Option("--marginals", help="Also P(x = 1 | satisfied) of every variable.")
    ] = False,
    exact: ExactOption = False,
    seed: SeedOption = 0,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate the fraction of assignments that satisfy a CNF formula, and the number of models.

    Lines "c p weight LITERAL WEIGHT 0" of the file give variables other chances than 1/2.

    [bold]Examples[/bold]

    outsample cnf formula.cnf

    outsample cnf formula.cnf --degree 3 --conditioned 8 --exact

    outsample cnf formula.cnf --budget 1e5 --marginals --json | jq .marginals
    """
    with session("cnf", form, as_json) as output:
        from outsample.errors import InputError
        from outsample.products.cnf import SatisfyingEstimate, SatisfyingFraction
        from outsample.products.projection import Projection
        from outsample.sampling import MonteCarlo

        if samples is not None and (budget is not None or marginals):
            raise InputError("--samples: sampling takes no --budget and has no --marginals")
        output.document["formula"] = str(formula)
        problem = SatisfyingFraction.read(formula)
        if samples is not None:
            estimator = MonteCarlo(samples, seed)
        elif budget is not None:
            estimator = Projection.at(budget**-0.5, problem)
        else:
            estimator = Projection(degree, basis, conditioned)  # pyright: ignore[reportArgumentType]
        found = report(output, problem, estimator, exact, seed)
        if isinstance(found, SatisfyingEstimate) and found.log2_models is not None:
            output.text(f"log2 of the number of models: {number(found.log2_models, 10)}")
        if marginals and not float(found.value) and found.log_value == -math.inf:
            output.document["marginals"] = None
            output.text("no marginals: the estimate is 0, and there is nothing to condition on")
        elif marginals and isinstance(found, SatisfyingEstimate):
            chances = found.marginals.tolist()
            output.document["marginals"] = chances
            output.table(
                ["variable", "P(x = 1 | satisfied)"],
                [[str(j), number(p, 6)] for j, p in enumerate(chances, 1)],
            )
