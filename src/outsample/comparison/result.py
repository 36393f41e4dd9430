"""What a comparison found: figures, table, plot, JSON."""

import dataclasses
import io
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

from outsample.comparison import tables
from outsample.comparison.cells import Cell, Truth
from outsample.comparison.scores import PLAIN, Pool, Sampling, Score
from outsample.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Estimators set beside each other, and beside sampling at equal cost.

    Printing it shows the tables; in a terminal with Rich, and in notebooks, in colour.
    """

    #: Name of the family of problems.
    family: str
    #: Names of the estimators, and of the samplers they were measured against.
    methods: tuple[str, ...]
    opponents: tuple[str, ...]
    #: What every method and every sampler did on every problem.
    cells: tuple[Cell, ...]
    #: What is known of every problem.
    truths: tuple[Truth, ...]
    #: Versions, machine, threads, dtype, seeds: enough to do it again.
    provenance: Mapping[str, Any]
    #: True if it was stopped with Ctrl-C: what had been finished is here.
    interrupted: bool = False
    #: Kind of family and its settings, such as "RandomMLP" and {"width": 64, …}.
    kind: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def scores(self) -> tuple[Score, ...]:
        """One score for each estimator, in the order given."""
        return self._scores

    @property
    def samplings(self) -> tuple[Sampling, ...]:
        """The opponents: plain Monte Carlo by its formula, then the samplers measured."""
        return self._samplings

    @property
    def noise(self) -> float:
        """The truth's own vn error; that of rounding if it is exact."""
        return self._pool.noise if self._samplings else math.nan

    @property
    def floor(self) -> float:
        """Smallest vn error that the truth resolves on these problems (one deviation)."""
        return self._pool.floor if self._samplings else math.nan

    @cached_property
    def _pool(self) -> Pool:
        return Pool(self.cells, self.truths)

    @cached_property
    def _samplings(self) -> tuple[Sampling, ...]:
        if not any(truth.error is None for truth in self.truths):
            return ()
        measured = {name: self._pool.sampling(name) for name in self.opponents}
        others = [s for name, s in measured.items() if name != PLAIN and s is not None]
        return (self._pool.analytic(measured.get(PLAIN)), *others)

    @cached_property
    def _scores(self) -> tuple[Score, ...]:
        return tuple(self._pool.score(method, self._samplings) for method in self.methods)

    @cached_property
    def missing(self) -> Mapping[str, str]:
        """Samplers that could not be run on these problems, and why."""
        shown = {sampling.name for sampling in self._samplings}
        return {
            cell.method: cell.error
            for cell in self.cells
            if cell.method in self.opponents and cell.method not in shown and cell.error
        }

    def table(self) -> Table:
        """The estimators against every opponent, as a Rich table."""
        return tables.scores(self)

    def to_markdown(self) -> str:
        """The same as a Markdown table, with one line for each estimator and opponent."""
        return tables.markdown(self)

    def to_dict(self) -> dict[str, Any]:
        """Scores, records and provenance as plain numbers, strings, lists and dictionaries.

        What is not a finite number (a limit that does not exist) is None.
        """
        document = {
            "schema_version": 1,
            "family": self.family,
            "interrupted": self.interrupted,
            "truth_noise": self.noise,
            "truth_floor": self.floor,
            "scores": [dataclasses.asdict(score) for score in self._scores],
            "sampling": [dataclasses.asdict(sampling) for sampling in self._samplings],
            "missing": dict(self.missing),
            "truths": [truth.to_dict() for truth in self.truths],
            "cells": [cell.to_dict() for cell in self.cells],
            "provenance": dict(self.provenance),
        }
        return _finite(document)

    def to_json(self, indent: int | None = None) -> str:
        """The comparison as a JSON document (fields as in :meth:`to_dict`)."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def plot(self, path: str | os.PathLike[str] | None = None) -> "Figure":
        """Draw vn error against FLOPs and against seconds, with sampling as lines.

        Args:
            path: where to write the figure as well; the ending (.png, .pdf, .svg) says how.

        Raises:
            ImportError: if Matplotlib is not installed; the message says how to get it.
            InputError: if ``path`` cannot be written.
        """
        from outsample.comparison.figure import draw

        figure = draw(self)
        if path is not None:
            image = io.BytesIO()
            ending = os.path.splitext(os.fspath(path))[1].removeprefix(".") or "png"
            figure.savefig(image, format=ending, dpi=200)
            write_atomically(path, image.getvalue())
        return figure

    def __rich__(self) -> RenderableType:
        return Group(self.table(), "", tables.samplings(self))

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=tables.WIDTH, color_system=None).print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def __repr__(self) -> str:
        return (
            f"Comparison({self.family}, {len(self.methods)} estimators, "
            f"{len(self.truths)} problems{', interrupted' if self.interrupted else ''})"
        )


def _finite(value: Any) -> Any:
    """The same with None for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}  # pyright: ignore
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]  # pyright: ignore
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value
