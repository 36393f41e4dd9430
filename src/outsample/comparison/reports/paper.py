"""One Markdown table for a paper: families and estimators, errors, ratios with verdicts."""

import re
from collections.abc import Sequence

from outsample.comparison import tables
from outsample.comparison.reports.data import values_of
from outsample.comparison.result import Comparison
from outsample.comparison.scores import Budget, Ratio, Score
from outsample.comparison.statistics import Verdict
from outsample.errors import InputError

#: Signs that tell verdicts apart without colour, here, in figures and on the page.
SIGNS: dict[Verdict, str] = {"beats": "▲", "matches": "=", "loses to": "▼", "inconclusive": "?"}
_BUDGETS: dict[Budget, str] = {"flops": "FLOPs", "seconds": "seconds"}
#: What a reader needs to know of code and machine, where it is known.
_PROVENANCE = (
    "outsample",
    "code",
    "torch",
    "processor",
    "BLAS",
    "threads",
    "dtype",
    "seed",
    "seeds",
)
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~])")


def markdown_table(comparisons: Sequence[Comparison]) -> str:
    """Return a study as one Markdown table, with a legend and a line of provenance below it.

    One row for each family and estimator, and for each opponent two columns: the ratio of squared
    errors at equal FLOPs and at equal seconds, with its verdict's sign and 95 % interval.

    Raises:
        InputError: if there is nothing to show.
    """
    if not comparisons:
        raise InputError("comparisons is empty; expected at least one family with results")
    opponents = list(
        dict.fromkeys(r.opponent for c in comparisons for s in c.scores() for r in s.ratios)
    )
    columns: list[tuple[str, Budget]] = [
        (opponent, budget) for opponent in opponents for budget in _BUDGETS
    ]
    head = ["family", "estimator", "problems", "vn error", "FLOPs", "time"]
    head += [f"{escape(opponent)}, equal {_BUDGETS[budget]}" for opponent, budget in columns]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for comparison in comparisons:
        for score in comparison.scores():
            ratios = {(r.opponent, r.budget): r for r in score.ratios}
            cells = [escape(comparison.family), escape(score.method), *_figures(score)]
            cells += [_ratio(ratios.get(column)) for column in columns]
            lines.append(f"| {' | '.join(cells)} |")
    signs = ", ".join(f"{sign} {verdict}" for verdict, sign in SIGNS.items())
    lines += [
        "",
        f"Ratios: squared error of the opponent over that of the estimator at equal cost, with "
        f"95 % intervals; above 1 the estimator is better ({signs}). vn error: squared error over "
        f"Var M; < marks an upper limit where the truth's own noise hides the error.",
        "",
        f"Provenance: {'; '.join(_provenance(comparisons)) or 'not recorded'}.",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, in one cell of a table."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split())).replace("&", "&amp;")


def _figures(score: Score) -> list[str]:
    failed = f", failed {score.failures}" if score.failures else ""
    if not score.problems:
        return [f"0{failed}", "failed" if score.failures else "", "", ""]
    error = f"< {score.high:.2g}"
    if score.resolved:
        error = tables.interval(score.vn_error, score.low, score.high)
    cost = [tables.si(score.flops), tables.duration(score.seconds)]
    return [f"{score.problems}{failed}", error, *cost]


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return ""
    if ratio.bound != "none":
        value = f"{'≥' if ratio.bound == 'lower' else '≤'} {tables.figure(ratio.value)}"
    else:
        limits = f"[{tables.figure(ratio.low)}, {tables.figure(ratio.high)}]"
        value = f"{tables.figure(ratio.value)} {limits}"
    return f"{SIGNS[ratio.verdict]} {value}"


def _provenance(comparisons: Sequence[Comparison]) -> list[str]:
    """Entries with their values; all values where they differ."""
    said: list[str] = []
    for key in _PROVENANCE:
        values: dict[str, None] = {}
        for comparison in comparisons:
            if comparison.provenance.get(key) is not None:
                values |= dict.fromkeys(values_of(key, comparison.provenance[key]))
        if values:
            differs = " (differs between rows)" if len(values) > 1 else ""
            said.append(f"{key} {escape(' / '.join(values))}{differs}")
    return said
