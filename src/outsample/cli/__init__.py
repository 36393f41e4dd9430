"""The command line: ``outsample`` and its commands, one a module."""

from importlib.metadata import version
from typing import Annotated

import typer

from outsample.cli import (
    catastrophe,
    cnf,
    compare,
    demo,
    doctor,
    estimate,
    export,
    halfspaces,
    msp,
    permanent,
    report,
    whestbench,
)

app = typer.Typer(
    name="outsample",
    help="Estimate the expected output of a network or another function from its structure, and "
    "compare with sampling.",
    epilog="Exit codes: 0 done, 1 an estimator or a check failed, 2 bad usage or input, "
    "130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("estimate")(estimate.estimate)
app.command("cnf")(cnf.cnf)
app.command("compare")(compare.compare)
app.command("doctor")(doctor.doctor)
app.command("export")(export.export)
app.command("halfspaces")(halfspaces.halfspaces)
app.command("msp")(msp.msp)
app.command("permanent")(permanent.permanent)
app.command("report")(report.report)
app.add_typer(catastrophe.app, name="catastrophe")
app.add_typer(whestbench.app, name="whestbench")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"outsample {version('outsample')}")
        raise typer.Exit


@app.callback()
def _root(  # pyright: ignore[reportUnusedFunction]
    wanted: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    del wanted


def main() -> None:
    """Entry point of the ``outsample`` command."""
    app()
