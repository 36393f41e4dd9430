"""``outsample report``: stored results as a page for the browser, figures and a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from outsample.cli.output import (
    FormatOption,
    JsonOption,
    require_figure,
    require_folder,
    session,
)
from outsample.errors import InputError

if TYPE_CHECKING:
    from outsample.comparison import Comparison


def report(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS.duckdb",
            help="A store of results that [bold]outsample compare[/bold] wrote.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="REPORT.html", help="Write the page there."),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write figures for papers there."),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write one table for papers there."),
    ] = None,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report a study: plots, heat maps, verdicts with intervals, failures and provenance.

    The page is one file that needs no network: send it to anybody.

    [bold]Examples[/bold]

    outsample report results.duckdb -o report.html

    outsample report results.duckdb --png figures --markdown table.md
    """
    with session("report", form, as_json) as out:
        if output is None and png is None and markdown is None:
            raise InputError("nothing to write; expected -o REPORT.html, --png or --markdown")
        require_folder(output)
        require_folder(markdown)
        if png is not None:
            _make(png)
            require_figure(png / "error.png")
        try:
            comparisons, title = _read(results)
            written = _write(comparisons, title, output, png, markdown)
        except ImportError as error:
            raise InputError(str(error)) from error
        failures = sum(cell.error is not None for c in comparisons for cell in c.cells)
        out.document |= {
            "families": len(comparisons),
            "cells": sum(len(c.cells) for c in comparisons),
            "failed_cells": failures,
            "written": [str(path) for path in written],
        }
        failed = f", {failures} of them failed" if failures else ""
        out.text(f"{len(comparisons)} families, {out.document['cells']} cells{failed}")
        for path in written:
            out.text(f"wrote {path}")


def _read(results: Path) -> tuple[list["Comparison"], str]:
    """What the store holds, and the names of its studies."""
    from outsample.comparison.sweeps import Store

    with Store(results, read_only=True) as store:
        comparisons = [c for c in store.comparisons() if c.cells or c.truths]
        names = dict.fromkeys(str(study["name"]) for study in store.studies())
    if not comparisons:
        raise InputError(
            f"{str(results)!r} has no cells yet; run a study into it: "
            "outsample compare STUDY.toml -o RESULTS.duckdb"
        )
    return comparisons, ", ".join(names) or results.stem


def _write(
    comparisons: list["Comparison"],
    title: str,
    output: Path | None,
    png: Path | None,
    markdown: Path | None,
) -> list[Path]:
    from outsample.comparison.reports import html_page, markdown_table, write_figures
    from outsample.files import write_atomically

    written: list[Path] = []
    if output is not None:
        write_atomically(output, html_page(comparisons, title))
        written.append(output)
    if markdown is not None:
        write_atomically(markdown, markdown_table(comparisons))
        written.append(markdown)
    return written + ([] if png is None else write_figures(comparisons, png))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {str(folder)!r}: {error.strerror}") from error
