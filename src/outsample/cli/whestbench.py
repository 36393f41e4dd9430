"""``outsample whestbench``: the adapter to the WhestBench benchmark."""

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
    require_folder,
    run_again,
    session,
)
from outsample.errors import InputError

app = typer.Typer(
    help="Data sets, scores and submissions of WhestBench; offline.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

#: Most seeds that a range may stand for.
_MOST_SEEDS = 100_000


@app.command("bake")
def bake(
    folder: Annotated[Path, typer.Argument(help="The data set to make; must not exist.")],
    width: Annotated[int, typer.Option(help="Neurons in every layer.")] = 256,
    depth: Annotated[int, typer.Option(help="Number of layers, a ReLU after each.")] = 8,
    seeds: Annotated[
        str, typer.Option(help="One network for each: a list, 11,22,33, or a range, 0-19.")
    ] = "0-9",
    samples: Annotated[int, typer.Option(help="Inputs behind each sampled truth.")] = 1_000_000,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a data set with WhestBench's own code: random networks and sampled truths.

    [bold]Examples[/bold]

    outsample whestbench bake anchors --width 64 --depth 4 --seeds 11,22,33 --samples 2000000

    outsample whestbench bake warmup --seeds 0-19
    """
    with session("whestbench bake", form, as_json) as out:
        numbers = _seeds(seeds)
        from outsample import whestbench
        from outsample.sampling.progress import progress

        with progress(f"sampling {len(numbers)} networks", 1.0) as advance:
            whestbench.bake(folder, width, depth, numbers, samples, advance)
        out.document |= {
            "dataset": str(folder),
            "width": width,
            "depth": depth,
            "seeds": numbers,
            "samples": samples,
        }
        out.text(f"{folder}: {len(numbers)} networks {width} × {depth}, {samples} samples")


@app.command("score")
def score(
    dataset: Annotated[Path, typer.Argument(help="Folder that `bake` or `whest` has written.")],
    estimators: Annotated[
        str,
        typer.Option(
            help="Names as for [bold]estimate[/bold], with settings: NAME:SETTING=VALUE:…,NAME,…"
        ),
    ] = "cumulants:variant=basic,cumulants,cumulants:order=3:variant=basic",
    submission: Annotated[
        list[Path] | None,
        typer.Option(help="A submission folder; may be given several times.", show_default=False),
    ] = None,
    networks: Annotated[
        int | None, typer.Option(help="How many, from the first; else all.", show_default=False)
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Which split, if there are several.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write all figures as JSON.", show_default=False)
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write the tables as Markdown.", show_default=False)
    ] = None,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score estimators by WhestBench's metric, beside its baselines and its sampling reference.

    Estimators of outsample get raw errors, with costs by outsample's own ledger: flopscope does
    not meter them.  Submission folders get adjusted scores.

    [bold]Examples[/bold]

    outsample whestbench score anchors --estimators cumulants,cumulants:order=3

    outsample whestbench score anchors --submission my-submission --report scores.md
    """
    with session("whestbench score", form, as_json) as out:
        require_folder(output)
        require_folder(report)
        chosen = [parse(e) for e in estimators.split(",") if e]
        folders = submission or []
        from outsample import whestbench
        from outsample.files import write_atomically
        from outsample.sampling.progress import progress

        data = whestbench.read(dataset, split, networks)
        entries = len(chosen) + len(folders) + len(whestbench.BASELINES)
        with progress("scoring", entries * len(data.networks)) as advance:
            found = whestbench.score(data, chosen, folders, advance=advance)
        out.document |= found.to_dict()
        out.text(found.to_markdown()) if out.format is Format.PLAIN else out.show(found)
        if output is not None:
            write_atomically(output, found.to_json(indent=2) + "\n")
        if report is not None:
            write_atomically(report, found.to_markdown())
        failed = [f"error: {r.method}: {r.error}" for r in found.raw if r.error]
        failed += [f"error: {m.method}: {f}" for m in found.metered for f in m.failures]
        if found.interrupted:
            done = len(found.raw) + len(found.metered)
            message = f"interrupted: these are the {done} of {entries} entries that were finished"
            out.end_with(INTERRUPTED, f"{message}. {run_again()}")
        elif failed:
            out.end_with(FAILED, "\n".join(failed))


@app.command("export")
def export(
    estimator: Annotated[
        str,
        typer.Option(
            help="cumulants:order=2 or 3, with :variant=basic; :variant=elliptical for order 3; "
            ":metric=diagonal for order 2 augmented and order 3 basic."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new or an empty folder.")],
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a submission folder: the estimator on flopscope.numpy, which WhestBench meters.

    [bold]Examples[/bold]

    outsample whestbench export --estimator cumulants:order=3:variant=basic -o my-submission

    whest validate --estimator my-submission/estimator.py
    """
    with session("whestbench export", form, as_json) as out:
        chosen = parse(estimator)
        from outsample import whestbench

        whestbench.export(chosen, output)
        entry = output / "estimator.py"
        out.document |= {"folder": str(output), "estimator": chosen.to_dict(), "entry": str(entry)}
        out.text(f"wrote {output}; try it with: whest validate --estimator {entry}")


def _seeds(text: str) -> list[int]:
    """The seeds that a list of numbers and ranges stands for."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise InputError(f"seeds = {text!r}; expected numbers and ranges, such as 11,22 or 0-9")
        if int(last) - int(first) >= _MOST_SEEDS:
            raise InputError(f"seeds = {text!r} are more than {_MOST_SEEDS}")
        found += range(int(first), int(last) + 1)
    return found
