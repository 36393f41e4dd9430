"""Writes the figures of catastrophe.json into the theory page, between its comments.

python benchmarks/catastrophe_report.py
"""

import json
import math
import re
from pathlib import Path
from typing import Any

RESULTS = Path("benchmarks/results/catastrophe.json")
PAGE = Path("docs/theory/catastrophes.md")
DEFAULT = "order 3 elliptical (default)"
NAMES = {
    DEFAULT: "`Tilt()`",
    "order 3 augmented": '`Tilt(variant="augmented")`',
    "order 3 elliptical, not refined": "`Tilt(refinements=0)`",
    "order 3 basic": '`Tilt(variant="basic")`',
    "order 4 basic": "`Tilt(order=4)`",
    "order 2": "`Tilt(order=2)`",
}


def table(part: dict[str, Any]) -> str:
    """Methods and what they are off by."""
    lines = [
        "| method | median factor | within 15 % | within 40 % | worst, trusted | doubted |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, x in part["summary"].items():
        cells = [f"{x['median_factor']:.3f}"]
        cells += [percent(x["within_15_percent"]), percent(x["within_40_percent"])]
        cells += [f"{x['worst_unflagged_factor']:.2f}", percent(x["flagged"])]
        lines.append(f"| {NAMES[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def percent(part: float) -> str:
    return f"{100 * part:.0f} %"


def errors(part: dict[str, Any], good: bool = True) -> list[float]:
    return [abs(r[DEFAULT]["error"]) for r in part["rows"] if r["good"] or not good]


def judged(part: dict[str, Any]) -> str:
    """A table, and how many events it is about."""
    without, everything = part["without_good_truth"], errors(part, good=False)
    return (
        f"{table(part)}\n\n{len(errors(part))} events; {without} more have no good truth: "
        f"judged by those too, `Tilt()` is\nwithin 15 % in {share(everything, 1.15)} of all "
        f"{len(everything)}."
    )


def share(values: list[float], factor: float) -> str:
    return percent(sum(v <= math.log(factor) for v in values) / len(values))


def accuracy(part: dict[str, Any]) -> str:
    everything = errors(part, good=False)
    ok = [abs(r[DEFAULT]["error"]) for r in part["rows"] if r[DEFAULT]["trust"] == "ok"]
    return (
        f"{table(part)}\n\nThat is {len(errors(part))} events; "
        f"{part['without_good_truth']} more, most of them behind four layers, have no truth "
        "that is good\nenough to judge by (one draw with more than 2 % of the weight, or an error "
        "above 5 %). Judged by\nthose all the same, `Tilt()` is within 15 % in "
        f"{share(everything, 1.15)} of all {len(everything)} and within 40 % in\n"
        f"{share(everything, 1.4)}; the largest factor among trusted ones is then "
        f"{math.exp(max(ok)):.2f}."
    )


def digits(part: dict[str, Any]) -> str:
    logs = [row["log_p"] for row in part["rows"]]
    found = errors(part)
    return (
        "One digit taken for another by a margin, by 64-64-64-10 and 64-64-64-64-10 classifiers on "
        "the\nGaussian of the true class (`argmax(margin=m) == k`, nine thresholds at once), "
        f"{len(found)} events from\n{math.exp(max(logs)):.0e} to {math.exp(min(logs)):.0e}: median "
        f"factor {part['summary'][DEFAULT]['median_factor']:.3f}, {share(found, 1.1)} within 10 %, "
        f"worst {math.exp(max(found)):.2f}."
    )


def equal_time(part: dict[str, Any]) -> str:
    lines = [
        "At the time that `Tilt()` takes, on random networks of width 64 (median factors; for",
        "plain sampling its relative standard error):",
        "",
        "| p | `Tilt()` | tilted sampling | subset simulation | cross-entropy | plain sampling |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for level, x in part["by_level"].items():
        factors = [
            x[f"{name}, median factor"]
            for name in (
                "Tilt",
                "tilted importance sampling",
                "subset simulation",
                "cross-entropy",
            )
        ]
        plain = x["plain sampling, median relative error"]
        lines.append(f"| {level} | {' | '.join(f'{f:.2f}' for f in factors)} | {plain:.2g} |")
    return "\n".join(lines)


def residual(part: dict[str, Any]) -> str:
    rows = ", ".join(f"{error:.2f} {name}" for name, error in part["rms"].items())
    return f"Root mean square errors of $\\log P$ over {len(part['rows'])} events: {rows}."


PARTS = {
    "accuracy": accuracy,
    "others": judged,
    "conjunctions": judged,
    "wide": judged,
    "digits": digits,
    "equal_time": equal_time,
    "residual": residual,
}


def main() -> None:
    results, page = json.loads(RESULTS.read_text()), PAGE.read_text()
    for name, write in PARTS.items():
        pattern = rf"<!-- {name} -->.*?<!-- /{name} -->"
        if name in results:
            text = f"<!-- {name} -->\n{write(results[name])}\n<!-- /{name} -->"
            page = re.sub(pattern, lambda _, t=text: t, page, flags=re.DOTALL)
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
