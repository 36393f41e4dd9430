"""``outsample catastrophe``: probabilities too small to sample, and training them away."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from outsample.cli.doctor import environment
from outsample.cli.output import (
    Format,
    FormatOption,
    JsonOption,
    Output,
    finite,
    make_folder,
    note,
    number,
    one_thread,
    probability,
    require_figure,
    seconds,
    session,
)
from outsample.errors import InputError

if TYPE_CHECKING:
    from outsample.catastrophe import TailEstimate

app = typer.Typer(
    help="Probabilities of catastrophes, down to those that no sample shows.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.command("demo")
def demo(
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write the figure (catastrophe.png), a page with figure and tables "
            "(catastrophe.html) and all figures (catastrophe.json) there.",
            show_default=False,
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Margin, in logits, of the catastrophe that is trained away. Default: the first "
            "whole one whose probability is below one in a million.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the split, of the network and of sampling.")
    ] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Some seconds: few margins, little sampling.")
    ] = False,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate how often a 3 is called an 8 down to 1e-10, train that away, confirm both.

    A small classifier of digits is trained; the inputs are the Gaussian of the 3s. The probability
    that the 8 beats every other class by a margin is deduced from the weights for rising margins,
    and set beside importance sampling and beside plain sampling, which soon sees nothing. Then the
    network is trained, without sampling a catastrophe, until it is far rarer, and two independent
    samplers look again. Everything runs on one thread; it takes about a minute.

    [bold]Examples[/bold]

    outsample catastrophe demo

    outsample catastrophe demo --output out/catastrophe

    outsample catastrophe demo --margin 6 --seed 1 --json
    """
    with session("catastrophe demo", form, as_json) as out:
        if margin is not None and not margin < float("inf"):
            raise InputError(f"margin = {margin}; expected a finite number of at least 0")
        if output is not None:
            make_folder(output)
            require_figure(output / "catastrophe.png")
        from outsample.cli.catastrophe_report import Report
        from outsample.cli.catastrophe_study import FULL, QUICK, study

        with one_thread():
            found = study(seed, margin, QUICK if quick else FULL, note)
            machine = environment()
        report = Report(found)
        out.document |= {
            "seed": seed,
            "quick": quick,
            **report.document(),
            "environment": machine,
        }
        for line in report.lead():
            out.text(line)
        for table in report.tables():
            out.text("")
            out.table(table.columns, table.rows, table.title)
            for line in table.remarks:
                out.text(line)
        if output is not None:
            from outsample.cli.catastrophe_figure import draw

            note("drawing …")
            command = f"outsample catastrophe demo --seed {seed}{' --quick' * quick}"
            footer = f"{command}; times are the processor's, on one thread"
            figure = draw(found)
            _write(output, figure, report.page(figure, footer), out)


def _write(folder: Path, figure: bytes, page: str, out: Output) -> None:
    """The figure, the page and the document."""
    import json

    from outsample.files import write_atomically

    write_atomically(folder / "catastrophe.png", figure)
    write_atomically(folder / "catastrophe.html", page)
    write_atomically(folder / "catastrophe.json", json.dumps(finite(out.document), indent=1) + "\n")
    names = ("png", "html", "json")
    written = ", ".join(str(folder / f"catastrophe.{ending}") for ending in names)
    if out.format is Format.JSON:
        note(f"wrote {written}")
    else:
        out.text(f"\nWrote {written}.")


@app.command("estimate")
def estimate(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL.npz",
            show_default=False,
            help="weight_0, bias_0, weight_1, …, activation, input_mean, input_cov.",
        ),
    ],
    detector: Annotated[
        str,
        typer.Option(
            show_default=False,
            help="What must not happen: output[0] > 3, (hidden[0][5] > 1) & (output[1] < 0), "
            "argmax(margin=2) == 7.",
        ),
    ],
    order: Annotated[int, typer.Option(help="Of the propagation: 2, 3 or 4.")] = 3,
    samples: Annotated[
        int, typer.Option(min=0, help="Of the samplers that check it; 0 for none.")
    ] = 20_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the samplers.")] = 0,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate the probability that a detector behind the network in MODEL.npz goes off.

    Without samples, by a Gaussian tilt; then by importance sampling from that tilt, to compare.

    [bold]Examples[/bold]

    outsample catastrophe estimate model.npz --detector "output[0] > 3"

    outsample catastrophe estimate model.npz --detector "argmax(margin=2) == 1" --json
    """
    with session("catastrophe estimate", form, as_json) as out:
        from outsample.catastrophe import (
            CatastropheProbability,
            TailEstimate,
            Tilt,
            TiltedImportanceSampling,
        )
        from outsample.cli.detector import parse_detector
        from outsample.networks.files import load_network

        event, method = parse_detector(detector), Tilt(order=order)  # pyright: ignore[reportArgumentType]
        network, inputs = load_network(model)
        problem = CatastropheProbability(network.requires_grad_(False), inputs, event)
        found: dict[str, TailEstimate] = {"tilt": method.estimate(problem)}
        if samples:
            sampler = TiltedImportanceSampling(samples, seed)
            found["importance sampling"] = sampler.estimate(problem)
        out.document |= {
            "model": str(model),
            "problem": problem.describe(),
            "detector": repr(event),
            "estimates": {name: one.to_dict() for name, one in found.items()},
        }
        out.text(f"{model}: {problem.describe()}")
        out.table(
            ("method", "probability", "log10", "relative error", "trust", "time"),
            [(name, *_cells(one)) for name, one in found.items()],
        )
        for name, one in found.items():
            if one.reasons:
                out.text(f"{name}: {'; '.join(one.reasons)}")


def _cells(found: "TailEstimate") -> tuple[str, ...]:
    import math

    log10 = float(found.log_value) / math.log(10) if found.log_value is not None else -math.inf
    error = None if found.relative_error is None else float(found.relative_error)
    return (
        probability(log10),
        f"{log10:.2f}",
        number(error, 2),
        found.trust.replace("_", " "),
        seconds(found.cost.seconds),
    )
