"""``outsample compare``: estimators and sampling at equal cost, on random networks or a study."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from outsample.cli.estimators import parse
from outsample.cli.output import (
    FAILED,
    INTERRUPTED,
    Format,
    FormatOption,
    JsonOption,
    Output,
    require_figure,
    require_folder,
    run_again,
    session,
)
from outsample.errors import InputError

if TYPE_CHECKING:
    from outsample.comparison import Comparison


def compare(
    context: typer.Context,
    study: Annotated[
        Path | None,
        typer.Argument(help="A study file (.toml, .yaml); needs -o.", show_default=False),
    ] = None,
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
        Path | None,
        typer.Option(
            "--output", "-o", show_default=False,
            help="Write all figures as JSON; of a study: the store of results (.duckdb).",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes of a study.", show_default="one a core")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Run a study on this Dask cluster (tcp://…).", show_default=False),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder of truths that studies share.", show_default="~/.cache/outsample/truths"
        ),
    ] = None,
    retry: Annotated[bool, typer.Option(help="Run failed cells of a study again.")] = False,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Compare estimators with each other and with sampling at equal cost.

    Without a study file: on random networks, with the options below.  With one: every cell that
    is not in the store yet is run, by all cores; whatever ends the command, running it again
    goes on where it was.

    [bold]Examples[/bold]

    outsample compare --width 64 --depth 2

    outsample compare --estimators cumulants:order=1,cumulants:order=2 --instances 20

    outsample compare --activation gelu --plot gelu.png --output gelu.json

    outsample compare examples/studies/smoke.toml -o smoke.duckdb
    """
    with session("compare", form, as_json) as out:
        given = [
            name
            for name in context.params
            if str(context.get_parameter_source(name)).endswith("COMMANDLINE")
        ]
        if study is not None:
            _refuse(given, _SINGLE, "belongs in the study file")
            if output is None:
                raise InputError("a study needs a store for its results: -o RESULTS.duckdb")
            _run_study(out, study, output, workers, scheduler, cache, retry)
            return
        _refuse(given, _STUDY, "is for study files")
        _run_single(out, (width, depth, activation), estimators, instances, seed, plot, output)


_SINGLE = ("width", "depth", "activation", "estimators", "instances", "seed", "plot")
_STUDY = ("workers", "scheduler", "cache", "retry")


def _refuse(given: Sequence[str], names: Sequence[str], why: str) -> None:
    for name in names:
        if name in given:
            raise InputError(f"--{name} {why}")


def _run_study(
    out: Output, path: Path, results: Path, workers: int | None, scheduler: str | None,
    cache: Path | None, retry: bool,
) -> None:  # fmt: skip
    require_folder(results)
    from outsample.comparison.sweeps import Store, Study, sweep
    from outsample.comparison.sweeps.pools import cluster_pool

    study = Study.read(path)
    if scheduler is not None and workers is None:
        with cluster_pool(scheduler):
            pass  # it answers; no store is made for nothing
    with Store(results) as store:
        outcome = sweep(
            study, store, workers=workers, scheduler=scheduler, cache=cache, retry=retry
        )
        found = store.comparisons(study)
    out.document |= {
        "study": study.name,
        "store": str(results),
        "computed": outcome.computed,
        "stored": outcome.stored,
        "cached": outcome.cached,
        "failed": outcome.failed,
        "comparisons": [c.to_dict() for c in found] if out.format is Format.JSON else [],
    }
    for comparison in found:
        _show(out, comparison)
    out.text(
        f"{outcome.computed} tasks run (an estimate, a truth, or all samplers on one problem); "
        f"{outcome.stored} were in {results}, {outcome.cached} truths in the cache.\n"
        f"A page to look at: outsample report {results} -o {results.with_suffix('.html')}"
    )
    errors = _errors(found)
    if errors:
        shown = "\n".join(f"error: {who}: {error}" for error, who in errors.items())
        out.end_with(FAILED, f"{shown}\nRecorded in {results}; --retry runs failed cells again.")


def _run_single(
    out: Output, network: tuple[int, int, str], estimators: str, instances: int, seed: int,
    plot: Path | None, output: Path | None,
) -> None:  # fmt: skip
    require_folder(output)
    require_figure(plot)
    from outsample.comparison import compare as run
    from outsample.comparison import families

    width, depth, activation = network
    family = families.RandomMLP(width=width, depth=depth, activation=activation)
    found = run(family, [parse(e) for e in estimators.split(",")], instances, seed=seed)
    out.document |= found.to_dict()
    _show(out, found)
    if plot is not None:
        found.plot(plot)
    if output is not None:
        from outsample.files import write_atomically

        write_atomically(output, found.to_json(indent=2) + "\n")
    errors = _errors([found])
    if found.interrupted:
        done = f"interrupted: these are the {len(found.truths)} networks that were finished"
        out.end_with(INTERRUPTED, f"{done}. {run_again()}")
    elif errors:
        out.end_with(FAILED, "\n".join(f"error: {who}: {e}" for e, who in errors.items()))


def _show(out: Output, found: "Comparison") -> None:
    out.text(found.to_markdown()) if out.format is Format.PLAIN else out.show(found)


def _errors(found: Sequence["Comparison"]) -> dict[str, str]:
    """Every error of an estimator or a truth once, with whose it is."""
    errors = {
        c.error: c.method
        for comparison in found
        for c in comparison.cells
        if c.error and c.method in comparison.methods
    }
    return errors | {t.error: "truth" for c in found for t in c.truths if t.error}
