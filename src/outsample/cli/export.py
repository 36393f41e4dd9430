"""``outsample export``: the cells of a store as Parquet or CSV."""

from pathlib import Path
from typing import Annotated

import typer

from outsample.cli.output import FormatOption, JsonOption, session


def export(
    results: Annotated[Path, typer.Argument(help="A store of results (.duckdb).")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write (.parquet, .csv).")
    ],
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write every cell of a store, with its provenance, to a Parquet or CSV file.

    [bold]Examples[/bold]

    outsample export smoke.duckdb -o smoke.parquet
    """
    with session("export", form, as_json) as out:
        from outsample.comparison.sweeps import Store

        with Store(results, read_only=True) as store:
            store.export(output)
            count = store.count()
        out.document |= {"cells": count, "output": str(output)}
        out.text(f"{count} cells written to {output}")
