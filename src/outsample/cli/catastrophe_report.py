"""What ``outsample catastrophe demo`` says: the document, the tables and the page."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from outsample.cli.catastrophe_findings import (
    AFTER,
    BEFORE,
    CASES,
    FRESH,
    READ,
    REFERENCE,
    SEEN,
    TASK_ONLY,
    TRAINED_AGAINST,
    WIDTHS,
    CatastropheStudy,
    Found,
    Point,
)
from outsample.cli.catastrophe_page import Table, page
from outsample.cli.output import probability, seconds, times

#: By how much the probability is to fall.
_WANTED = 100
#: Relative error that plain sampling's time is told for.
_ERROR = 0.1


class Report:
    """A study in words and tables."""

    def __init__(self, found: CatastropheStudy) -> None:
        self.found = found

    def document(self) -> dict[str, Any]:
        """All figures, ready for JSON; log probabilities are natural logarithms."""
        found = self.found
        return {
            "network": "-".join(map(str, WIDTHS)),
            "event": f"argmax(margin=m) == {READ} on the Gaussian of the {SEEN}s",
            "margin": found.margin,
            "test_accuracy": found.accuracy,
            "curves": {name: [asdict(p) for p in points] for name, points in found.curves.items()},
            "plain_sampling": {
                "samples": found.plain_samples,
                "seconds_per_sample": found.seconds_per_sample,
            },
            "training": {
                "seconds": found.training_seconds,
                "stopped": found.steps[-1].stopped,
                "steps": [asdict(step) for step in found.steps],
            },
            "confirmations": [asdict(one) for one in found.confirmations],
            "falls": {law: found.falls(law) for law in (REFERENCE, TRAINED_AGAINST, FRESH)},
        }

    def title(self) -> str:
        """One line."""
        return f"A {SEEN} that is called an {READ}: estimated, then trained away"

    def lead(self) -> list[str]:
        """What was found, in a few sentences."""
        found = self.found
        deepest = found.curves[BEFORE][-1]
        trained = next(p for p in found.curves[BEFORE] if p.margin == found.margin)
        samples = _ERROR**-2 * math.exp(-deepest.tilt.log_value)
        falls = found.fall(REFERENCE)
        fresh = found.fall(FRESH)
        short = "" if falls >= _WANTED else f", short of the {_WANTED} times that were wanted"
        old, new, alone = (found.accuracy[name] for name in (BEFORE, AFTER, TASK_ONLY))
        wait = _duration(samples * found.seconds_per_sample)
        stopped = found.steps[-1].stopped
        return [
            f"A {'-'.join(map(str, WIDTHS))} ReLU network, right on {old:.1%} of the test digits, "
            f"sees inputs from the Gaussian of the {SEEN}s. The probability that it calls one an "
            f"{READ} by a margin of {deepest.margin:g} is {_value(deepest.tilt)} by the "
            f"mechanistic estimate, which took {seconds(deepest.tilt.seconds)}; importance "
            f"sampling has {_value(deepest.truth)} ± {deepest.truth.relative_error or 0:.0%}. "
            f"Plain sampling would take {times(samples)} samples for {_ERROR:.0%}: {wait} on "
            "this machine.",
            f"Mechanistic training, {len(found.steps)} steps in "
            f"{seconds(found.training_seconds)}, made the margin of {found.margin:g} (probability "
            f"{_value(trained.tilt)}) {times(falls)} times rarer{short}, by the more cautious of "
            f"two independent samplers; {times(fresh)} times under an adversary that starts "
            f"afresh against the trained network. Test accuracy: {old:.1%} before, {new:.1%} "
            f"after; {alone:.1%} after the same steps on the task alone.",
            *([f"Training stopped early: {stopped}"] if stopped else []),
        ]

    def tables(self) -> list[Table]:
        """The curves before and after training, and the confirmations."""
        curves = [
            Table(
                f"P(a {SEEN} is called an {READ} by a margin), {name} training",
                ("margin", "deduced", "time", "importance sampling", "error", "ratio", "plain"),
                [_row(point) for point in points],
                [
                    "deduced: Tilt(), without samples; time: of the processor, one thread; ratio: "
                    "over importance sampling, whose "
                    f"standard error is given; plain: {self.found.plain_samples:,} samples"
                    + self._trust(points),
                ],
            )
            for name, points in self.found.curves.items()
        ]
        rows = [
            (
                law, name, _value(one.tilt), *_with_error(one.importance), *_with_error(one.subset)
            )
            for law, name in CASES
            for one in [self.found.confirmed(law, name)]
        ]  # fmt: skip
        remarks = [
            "importance sampling: with another proposal and other numbers than above; a fall "
            "counts for as much as the more cautious of the two samplers says"
        ]
        columns = (
            "inputs", "network", "deduced", "importance sampling", "error", "subset simulation",
            "error",
        )  # fmt: skip
        title = f"Margin {self.found.margin:g}, confirmed by independent estimators"
        return [*curves, Table(title, columns, rows, remarks)]

    def page(self, figure: bytes, footer: str) -> str:
        """The page, with the figure in it."""
        alternative = (
            f"Probability that a {SEEN} is called an {READ} over the margin, on a log scale, "
            "before and after training: deduced, importance-sampled and plainly sampled"
        )
        return page(self.title(), self.lead(), figure, alternative, self.tables(), footer)

    def _trust(self, points: Sequence[Point]) -> str:
        """What the estimates say against themselves."""
        doubts = {p.tilt.trust for p in points} - {"ok"}
        if not doubts:
            return ""
        worst = "unreliable" if "unreliable" in doubts else "low confidence"
        reason = next(p.tilt.reasons[0] for p in points if p.tilt.trust.replace("_", " ") == worst)
        count = sum(p.tilt.trust != "ok" for p in points)
        return f". {count} of {len(points)} estimates call themselves {worst} ({reason})"


def _row(point: Point) -> tuple[str, ...]:
    ratio = math.exp(point.tilt.log_value - point.truth.log_value) if _seen(point.truth) else None
    return (
        f"{point.margin:g}",
        _value(point.tilt),
        seconds(point.tilt.seconds),
        *_with_error(point.truth),
        "–" if ratio is None else f"{ratio:.2f}",
        f"{point.plain:.1e}" if point.plain else "0",
    )


def _seen(found: Found) -> bool:
    return math.isfinite(found.log_value)


def _value(found: Found) -> str:
    return probability(found.log10)


def _with_error(found: Found) -> tuple[str, str]:
    error = found.relative_error
    return _value(found), "–" if error is None or not _seen(found) else f"{error:.0%}"


def _duration(value: float) -> str:
    """Seconds in the unit that reads best."""
    for size, unit in ((31_557_600, "years"), (86_400, "days"), (3_600, "hours")):
        if value >= size:
            count = value / size
            return f"{count:,.2g} {unit}" if count < 100 else f"{count:,.0f} {unit}"
    return seconds(value)
