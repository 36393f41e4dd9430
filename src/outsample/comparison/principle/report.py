"""What a check of the principle found: tables, Markdown, JSON."""

import dataclasses
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from outsample.comparison.principle.statements import (
    LIMIT,
    MARGIN,
    Finding,
    Statement,
    Step,
    Variant,
    worst,
)
from outsample.comparison.tables import WIDTH, figure

_STYLES = {"holds": "green", "fails": "red", "inconclusive": "yellow"}
_HEADS = ("ε", "N", "settings", "allowed × N", "error ÷ allowed", "FLOPs", "time", "finding")
_CAPTION = (
    "N = 1/ε². FLOPs and time are those of one estimate over what N evaluations take. Sampling has "
    f"error ÷ allowed = 1; an error holds if its interval ends at {MARGIN:g} or below."
)


@dataclass(frozen=True, eq=False, repr=False)
class PrincipleReport:
    """Every statement of the principle that applies to one family, judged for one estimator.

    Printing it shows the tables; in a terminal with Rich, and in notebooks, in colour.
    """

    #: Name of the family of problems.
    family: str
    #: Name of the estimator, with settings that were given.
    estimator: str
    #: Who explained, in words.
    explainer: str | None
    statements: tuple[Statement, ...]
    #: Statements that do not apply, and why not.
    missing: Mapping[Variant, str]
    #: Errors of the estimator, or of problems, each once.
    errors: tuple[str, ...]
    #: Versions, machine, threads, dtype, seeds: enough to do it again.
    provenance: Mapping[str, Any]

    @property
    def finding(self) -> Finding:
        """*Holds* if every statement does, *fails* if one fails."""
        return worst(statement.finding for statement in self.statements)

    def __getitem__(self, variant: Variant) -> Statement:
        """The statement of one variant.

        Raises:
            KeyError: if it does not apply; the message says why.
        """
        for statement in self.statements:
            if statement.variant == variant:
                return statement
        raise KeyError(f"{variant}: {self.missing.get(variant, 'no such variant')}")

    def to_dict(self) -> dict[str, Any]:
        """Statements and provenance as plain numbers, strings, lists and dictionaries.

        What is not a finite number (a limit that does not exist) is None.
        """
        document = {
            "schema_version": 1,
            "family": self.family,
            "estimator": self.estimator,
            "explainer": self.explainer,
            "finding": self.finding,
            "largest_constant": LIMIT,
            "margin": MARGIN,
            "statements": [
                {**dataclasses.asdict(s), "finding": s.finding} for s in self.statements
            ],
            "missing": dict(self.missing),
            "errors": list(self.errors),
            "provenance": dict(self.provenance),
        }
        return _finite(document)

    def to_json(self, indent: int | None = None) -> str:
        """The report as a JSON document (fields as in :meth:`to_dict`)."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def to_markdown(self) -> str:
        """The report as Markdown: a list of conditions and a table for each statement."""
        lines = [self._title(), ""]
        for statement in self.statements:
            lines += [f"## {_heading(statement)}: {statement.finding}", ""]
            lines += [f"- {_cell(name)}: {text}" for name, text in _conditions(statement)]
            lines += ["", f"| {' | '.join(_HEADS)} |", f"|{' --- |' * len(_HEADS)}"]
            for step in statement.steps:
                row = map(_cell, (*_row(step), step.finding))
                lines.append(f"| {' | '.join(row)} |")
            lines.append("")
        lines += [_CAPTION, ""]
        lines += [f"{variant}: does not apply; {why}." for variant, why in self.missing.items()]
        return "\n".join(lines) + "\n"

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = [Text(self._title(), style="bold"), ""]
        for statement in self.statements:
            style = _STYLES[statement.finding]
            parts.append(
                Text.from_markup(
                    f"[bold]{escape(_heading(statement))}[/bold]: "
                    f"[{style}]{statement.finding}[/{style}]"
                )
            )
            parts += [Text(f"  {name}: {text}") for name, text in _conditions(statement)]
            parts += [_table(statement), ""]
        parts += [Text(_CAPTION, "dim"), ""]
        parts += [Text(f"{v}: does not apply; {why}.", "dim") for v, why in self.missing.items()]
        return Group(*parts)

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=WIDTH, color_system=None).print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def __repr__(self) -> str:
        found = ", ".join(f"{s.variant}: {s.finding}" for s in self.statements)
        return f"PrincipleReport({self.estimator} on {self.family}; {found})"

    def _title(self) -> str:
        advised = "" if self.explainer is None else f", explained by {self.explainer}"
        return f"{self.estimator} on {self.family}{advised}: the principle {_SAYS[self.finding]}"


_SAYS: dict[Finding, str] = {
    "holds": "holds over these tolerances",
    "fails": "does not hold",
    "inconclusive": "cannot be judged yet",
}


def _heading(statement: Statement) -> str:
    return f"{statement.variant[0].upper()}{statement.variant[1:]}, {statement.family}"


def _conditions(statement: Statement) -> list[tuple[str, str]]:
    decide = [(c.name, f"{c.finding}: {c.reason}") for c in statement.conditions]
    beside = [(c.name, f"({c.finding}) {c.reason}") for c in statement.timings]
    return decide + beside


def _table(statement: Statement) -> Table:
    table = Table()
    for head in _HEADS:
        table.add_column(head, justify="left" if head in ("settings", "finding") else "right")
    for step in statement.steps:
        table.add_row(*map(escape, _row(step)), Text(step.finding, _STYLES[step.finding]))
    return table


def _row(step: Step) -> tuple[str, ...]:
    return (
        f"{step.epsilon:.3g}",
        str(step.samples),
        step.settings,
        f"{step.allowed:.3g}",
        f"{_figure(step.error)} [{_figure(step.low)}, {_figure(step.high)}]",
        _figure(step.flops),
        _figure(step.seconds),
    )


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else figure(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _finite(value: Any) -> Any:
    """The same with None for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}  # pyright: ignore
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]  # pyright: ignore
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
