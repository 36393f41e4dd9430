"""A comparison as text: Rich tables and Markdown."""

import math
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from outsample.comparison.scores import Ratio, Sampling, Score

if TYPE_CHECKING:
    from outsample.comparison.result import Comparison

#: Columns of a plain printout.
WIDTH = 116

_CONSTANTS = (
    "N × vn error: by the spread of a sampler's own independent terms, and by the distance from "
    "the truth. Sobol's is interpolated in N; the others are used at every N, also below what "
    "moment matching needs, which favours sampling."
)

_STYLES = {"beats": "green", "matches": "yellow", "loses to": "red", "inconclusive": "dim"}


def scores(comparison: "Comparison") -> Table:
    """One block for each estimator, with one line for each opponent."""
    table = Table(title=_title(comparison), caption=_caption(comparison), caption_justify="left")
    table.add_column("estimator")
    table.add_column("against")
    table.add_column("at equal FLOPs", justify="left")
    table.add_column("at equal seconds", justify="left")
    for score in comparison.scores():
        left = _summary(score)
        by_opponent: dict[str, dict[str, Ratio]] = {}
        for ratio in score.ratios:
            by_opponent.setdefault(ratio.opponent, {})[ratio.budget] = ratio
        lines = [
            (name, _ratio(ratios.get("flops")), _ratio(ratios.get("seconds")))
            for name, ratios in by_opponent.items()
        ]
        for i in range(max(len(left), len(lines))):
            name, flops, seconds = lines[i] if i < len(lines) else ("", Text(), Text())
            table.add_row(left[i] if i < len(left) else "", name, flops, seconds)
        table.add_section()
    return table


def samplings(comparison: "Comparison") -> Table:
    """The samplers: error constants and cost of one sample."""
    table = Table(
        title="Sampling, measured on the same problems",
        caption="\n".join([_CONSTANTS, *_missing(comparison)]),
        caption_justify="left",
    )
    for column in ("sampler", "N", "N × vn error", "by the truth", "FLOPs", "time a sample"):
        table.add_column(column, justify="left" if column == "sampler" else "right")
    for sampling in comparison.samplings:
        for line in _sampling(sampling):
            table.add_row(*line)
    return table


def markdown(comparison: "Comparison") -> str:
    """One line for each estimator and opponent."""
    lines = [
        f"{_title(comparison)}. {_caption(comparison)}",
        "",
        "| estimator | vn error | FLOPs | time | against | at equal FLOPs | at equal seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for score in comparison.scores():
        if score.error is not None and score.problems == 0:
            lines.append(f"| {score.method} | failed: {_cell(score.error)} | | | | | |")
        opponents = dict.fromkeys(ratio.opponent for ratio in score.ratios)
        for opponent in opponents:
            shown = {r.budget: _ratio(r).plain for r in score.ratios if r.opponent == opponent}
            lines.append(
                f"| {score.method} | {interval(score.vn_error, score.low, score.high)} "
                f"| {si(score.flops)} | {duration(score.seconds)} | {opponent} "
                f"| {shown.get('flops', '')} | {shown.get('seconds', '')} |"
            )
    lines += [
        "",
        "| sampler | N | N × vn error | by the truth | FLOPs a sample | time a sample |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for sampling in comparison.samplings:
        lines += [f"| {' | '.join(line)} |" for line in _sampling(sampling)]
    return "\n".join(lines) + "\n"


def figure(value: float) -> str:
    """A ratio with two digits, or the whole number where it is large: 0.051, 35, 1234."""
    if math.isinf(value):
        return "∞"
    return f"{value:.0f}" if 99.5 <= value < 1e6 else f"{value:.2g}"


def si(value: float) -> str:
    """A count with a prefix: 53 M."""
    if not math.isfinite(value):
        return "?"
    for power, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if abs(value) >= 10**power:
            return f"{value / 10**power:.3g} {prefix}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """A time with its unit: 12 ms."""
    if not math.isfinite(seconds):
        return "?"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def interval(value: float, low: float, high: float) -> str:
    """A figure with its interval: 1.2e-05 [9.1e-06, 1.7e-05]."""
    return f"{value:.2g} [{low:.2g}, {high:.2g}]"


def _title(comparison: "Comparison") -> str:
    count = len(comparison.truths)
    stopped = ", interrupted" if comparison.interrupted else ""
    return f"{comparison.family}: {count} problem{'s' if count != 1 else ''}{stopped}"


def _caption(comparison: "Comparison") -> str:
    truth = next((t for t in comparison.truths if t.error is None), None)
    if truth is None:
        return "No problem could be evaluated."
    if truth.samples == 0:
        known = "Truth: exact, to rounding."
    else:
        known = (
            f"Truth: two halves of {truth.samples} samples (own vn error {comparison.noise:.1e}); "
            f"errors below {comparison.floor:.1e} cannot be told from its noise."
        )
    return (
        f"{known} One evaluation: {si(truth.evaluation_flops)} FLOPs. Ratios: squared error of "
        "sampling over that of the estimator at equal cost, with 95 % intervals; above 1 the "
        "estimator is better."
    )


def _summary(score: Score) -> list[str]:
    """What the left column says of an estimator, line by line."""
    lines = [f"[bold]{escape(score.method)}[/bold]"]
    if score.problems:
        lines += [
            f"vn error {escape(interval(score.vn_error, score.low, score.high))}",
            f"{si(score.flops)}FLOP = {si(score.samples_at_flops)} samples",
            f"{duration(score.seconds)} = {si(score.samples_at_seconds)} samples",
        ]
    if score.explanation_seconds is not None:
        lines.append(f"explained in {duration(score.explanation_seconds)}")
    if score.trust != "ok":
        lines.append(f"[yellow]trust: {score.trust}[/yellow]")
    if score.error is not None:
        share = f"{score.failures} of {score.failures + score.problems}"
        lines.append(f"[red]failed on {share}: {escape(score.error[:200])}[/red]")
    return lines


def _ratio(ratio: Ratio | None) -> Text:
    if ratio is None:
        return Text()
    if ratio.bound == "none":
        value = f"{figure(ratio.value)} [{figure(ratio.low)}, {figure(ratio.high)}]"
    else:
        value = f"{'≥' if ratio.bound == 'lower' else '≤'} {figure(ratio.value)}"
    return Text(f"{value} {ratio.verdict}", style=_STYLES[ratio.verdict])


def _sampling(sampling: Sampling) -> list[tuple[str, ...]]:
    return [
        (
            sampling.name if i == 0 else "",
            str(n) if n > 1 else "any",
            f"{constant:.3g}",
            "" if math.isnan(check) else f"{check:.2g}",
            si(sampling.flops_per_sample),
            duration(sampling.seconds_per_sample),
        )
        for i, (n, constant, check) in enumerate(
            zip(sampling.samples, sampling.constants, sampling.constants_from_truth, strict=True)
        )
    ]


def _missing(comparison: "Comparison") -> list[str]:
    return [f"{name}: {why}" for name, why in comparison.missing.items()]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
