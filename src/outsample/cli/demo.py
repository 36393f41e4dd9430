"""``outsample demo``: a network trained on digits, estimated, sampled, and compared."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outsample.cli.doctor import environment
from outsample.cli.output import (
    Format,
    FormatOption,
    JsonOption,
    Output,
    make_folder,
    note,
    number,
    one_thread,
    require_figure,
    seconds,
    session,
)

if TYPE_CHECKING:
    from torch.nn import Sequential

    from outsample.cli.digits import Digits
    from outsample.cli.study import Line, Study

_CLASS = 8
_DEVIATION = 0.2


def demo(
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write the figure (digits.png), the tables (digits.md) and all figures "
            "(digits.json) there.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the network and of sampling.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few seconds: less training, a rough truth.")
    ] = False,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a small network on handwritten digits and estimate its outputs on random inputs.

    The inputs: the Gaussian fitted to the images of one class, and noise on every pixel of one
    image. Mean logits, their covariance and the probability of each answer are deduced from the
    weights, and set beside sampling with the same time and beside the truth. Everything runs on
    one thread, so that times compare; it takes about a minute.

    [bold]Examples[/bold]

    outsample demo

    outsample demo --output demo-output

    outsample demo --quick --json
    """
    with session("demo", form, as_json) as out:
        if output is not None:
            make_folder(output)
            require_figure(output / "digits.png")
        from outsample.cli import digits as d

        with one_thread():
            note("training a network on scikit-learn's digits …")
            data = d.load_digits(seed)
            network = d.train_network(data, seed, epochs=5 if quick else 40)
            accuracy = d.accuracy(network, data)
            studies = _studies(network, data, seed, quick)
            machine = environment()
        widths = "-".join(str(w) for w in d.WIDTHS)
        heading = f"A {widths} ReLU network, right on {accuracy:.1%} of the test digits."
        out.document |= {
            "seed": seed,
            "quick": quick,
            "network": widths,
            "test_accuracy": accuracy,
            "inputs": [_to_dict(title, s) for title, s in studies.items()],
            "environment": machine,
        }
        out.text(heading)
        for title, found in studies.items():
            out.text("")
            out.table(
                _COLUMNS,
                [_row(name, line) for name, line in found.lines.items()],
                f"Input: {title}",
            )
            out.text(_caption(found))
        if output is not None:
            _write(output, heading, studies, out)


def _studies(network: "Sequential", data: "Digits", seed: int, quick: bool) -> "dict[str, Study]":
    """What is measured on every input, by the input's description."""
    from outsample.cli.digits import around_hardest_image, of_class
    from outsample.cli.study import FULL, QUICK, study
    from outsample.networks import NetworkMean

    image, label = around_hardest_image(network, data, _DEVIATION)
    inputs = {
        f"Gaussian fitted to the images of {_CLASS}": of_class(data, _CLASS),
        f"noise (sd {_DEVIATION:g}) on every pixel of one image of {label}": image,
    }
    studies: dict[str, Study] = {}
    for i, (title, law) in enumerate(inputs.items()):
        note(f"estimating and sampling: {title} …")
        effort = QUICK if quick else FULL
        studies[title] = study(NetworkMean(network, law), 2 * seed + i, effort)
    return studies


_COLUMNS = (
    "method",
    "mean error (sd)",
    "vn error",
    "covariance error",
    "argmax error",
    "time",
    "+ argmax",
    "sampling needs",
)


def _row(name: str, line: "Line") -> tuple[str, ...]:
    known = line.argmax_error is not None
    return (
        name,
        number(line.mean_error, 2),
        number(line.vn_error, 2),
        number(line.covariance_error, 2),
        number(line.argmax_error, 2),
        seconds(line.seconds),
        seconds(line.argmax_seconds) if known and line.argmax_seconds else "–",
        seconds(line.sampling_seconds),
    )


def _caption(found: "Study") -> str:
    return (
        f"Times on one thread. Sampling is moment-matched and antithetic; {found.rival_samples} "
        "samples take the same time. Last column: its time for the same vn error. "
        f"Truth: {found.truth_samples:,} samples (vn error {number(found.truth_vn_error, 1)}, "
        f"argmax ± {number(found.truth_argmax_error, 1)})."
    )


def _to_dict(title: str, found: "Study") -> dict[str, Any]:
    def plain(answer: Any) -> dict[str, Any]:
        return {key: tensor.tolist() for key, tensor in answer.items()}

    return {
        "title": title,
        "problem": found.problem.describe(),
        "truth": plain(found.truth)
        | {
            "samples": found.truth_samples,
            "vn_error": found.truth_vn_error,
            "argmax_error": found.truth_argmax_error,
        },
        "estimate": plain(found.chosen),
        "methods": [{"name": name} | vars(line) for name, line in found.lines.items()],
        "sampling": [vars(point) for point in found.sampling],
        "matched_cost": found.matched_cost,
        "plain_cost": found.plain_cost,
    }


def _write(folder: Path, heading: str, studies: "dict[str, Study]", out: Output) -> None:
    """The figure, the tables and the document."""
    import json

    from outsample.cli.figure import draw
    from outsample.files import write_atomically

    lines = [heading]
    for title, found in studies.items():
        rows = [
            _COLUMNS,
            ["---"] * len(_COLUMNS),
            *(_row(n, line) for n, line in found.lines.items()),
        ]
        lines += ["", f"**Input: {title}**", ""]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        lines += ["", _caption(found)]
    write_atomically(folder / "digits.md", "\n".join(lines) + "\n")
    write_atomically(folder / "digits.json", json.dumps(out.document, indent=1) + "\n")
    write_atomically(folder / "digits.png", draw(studies))
    written = ", ".join(str(folder / f"digits.{ending}") for ending in ("png", "md", "json"))
    if out.format is Format.JSON:
        note(f"wrote {written}")
    else:
        out.text(f"\nWrote {written}.")
