"""What scoring found: figures, tables, Markdown, JSON."""

import dataclasses
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from outsample.comparison.statistics import Interval, pooled_error

if TYPE_CHECKING:
    from whestbench.budget import RoundConfig

_WIDTH = 110

_ERROR_COLUMNS = ("estimator", "final MSE", "95 %", "all layers", "÷ cov.")
_COST_COLUMNS = ("estimator", "FLOPs", "seconds", "sampling ÷")
_METERED_COLUMNS = (
    "entry", "final MSE", "FLOPs", "mult.", "adjusted", "residual s", "failed",
)  # fmt: skip
_LEGEND = (
    "Mean squared errors of the last layer's means (95 %: over networks like these) and of all "
    "layers'; ÷ cov.: over the final MSE of covariance propagation; sampling ÷: what plain "
    "sampling has at the same FLOPs (a sample at the benchmark's price), over the final MSE."
)


@dataclass(frozen=True)
class Rules:
    """The rules of a round, and its sampling reference on these networks."""

    #: The round, by its data set's tag.
    round: str
    #: FLOPs for one network.
    budget: int
    #: FLOPs that a second of un-metered work is charged, and the most of it that is allowed.
    flops_per_residual_second: float
    residual_limit: float | None
    seconds_limit: float
    #: The benchmark's price of one sample, and the adjusted score of sampling that spends the
    #: budget: the variance over the number of samples.
    sample_flops: int
    sampling_score: float

    @classmethod
    def of(cls, settings: "RoundConfig", variance: float) -> "Rules":
        """The rules in WhestBench's own form, and the mean variance of the networks."""
        from whestbench.budget import mc_at_bm, mc_flops_per_sample_for_round

        return cls(
            settings.tag,
            settings.flop_budget,
            settings.lambda_flops_per_second,
            settings.residual_wall_time_limit_s,
            settings.wall_time_limit_s,
            mc_flops_per_sample_for_round(settings),
            mc_at_bm(variance, settings),
        )


@dataclass(frozen=True)
class Raw:
    """One of our estimators: errors, and cost by our own ledger, network by network."""

    method: str
    #: Mean squared error over the last layer, and over all layers if the estimator tells them.
    final: tuple[float, ...] = ()
    all_layers: tuple[float, ...] | None = None
    #: By outsample's meter, the same for every network.
    flops: int | None = None
    seconds: tuple[float, ...] = ()
    #: Why there are no figures.
    error: str | None = None


@dataclass(frozen=True)
class Metered:
    """A baseline or a submission under the benchmark's own meter, network by network."""

    method: str
    #: ``"baseline"`` or ``"submission"``.
    kind: str
    final: tuple[float, ...]
    all_layers: tuple[float, ...]
    #: final-layer MSE × max(0.1, compute / budget); the multiplier is 1 where it failed.
    adjusted: tuple[float, ...]
    multiplier: float
    #: By flopscope, which counts only what runs on flopscope.numpy.
    flops: float
    seconds: tuple[float, ...]
    #: Seconds outside flopscope.
    residual: tuple[float, ...]
    failures: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """Scores on one data set."""

    dataset: str
    width: int
    depth: int
    networks: tuple[str, ...]
    seeds: tuple[int, ...]
    #: Inputs behind every truth.
    samples: int
    #: Of the last layer's activations, network by network.
    variances: tuple[float, ...]
    raw: tuple[Raw, ...]
    metered: tuple[Metered, ...]
    rules: Rules
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: Whether entries are missing because the scoring was ended early.
    interrupted: bool = False

    @property
    def noise(self) -> float:
        """What the truth's own noise adds to every final-layer MSE."""
        return float(np.mean(self.variances)) / self.samples

    def interval(self, final: Sequence[float]) -> Interval:
        """95 % interval, over networks like these, of a mean final-layer MSE."""
        variances = np.array(self.variances)
        floor = math.sqrt(2) * variances / self.samples
        found = pooled_error(np.array(final), variances, floor).interval
        scale = float(variances.mean())
        return Interval(found.low * scale, found.high * scale, found.level)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know to read the figures rightly."""
        rules = self.rules
        gate = (
            f"at most {rules.residual_limit:g} s of it"
            if rules.residual_limit is not None
            else f"it is charged at {rules.flops_per_residual_second:.3g} FLOPs a second"
        )
        early = ("Interrupted: these are the entries that were finished.",)
        return (
            *(early if self.interrupted else ()),
            _LEGEND,
            f"Truths are averages over {self.samples:.3g} inputs: their noise adds {self.noise:.2g}"
            " to every final MSE.",
            "Estimators of outsample run on PyTorch, which flopscope does not meter: its figure "
            "would be next to nothing. They get the raw error, with FLOPs and seconds by "
            "outsample's own ledger, and no adjusted score; entered as they are, all their time "
            f"would be residual time ({gate} in round {rules.round}).",
            "Adjusted scores are for what flopscope meters: the bundled baselines and submissions.",
            f"Rules of round {rules.round}: {rules.budget:.4g} FLOPs for a network, multiplier "
            f"max(0.1, compute / budget). Sampling that spends the budget scores "
            f"{rules.sampling_score:.3g} ({rules.sample_flops:.4g} FLOPs a sample).",
            *(
                f"{r.method} takes up to {max(r.seconds):.2g} s of un-metered time: entered as it "
                f"is, it would fail at the gate of {rules.residual_limit:g} s."
                for r in self.raw
                if r.seconds and rules.residual_limit and max(r.seconds) > rules.residual_limit
            ),
            *(f"{r.method} has no figures: {r.error}" for r in self.raw if r.error),
            *(f"{m.method} failed on {', '.join(m.failures)}" for m in self.metered if m.failures),
        )

    def tables(self) -> Iterator[tuple[str, Sequence[str], Sequence[Sequence[str]]]]:
        """Titles, columns and cells of what is shown."""
        yield "Mean squared errors", _ERROR_COLUMNS, self._error_rows()
        if self.raw:
            yield "Costs by outsample's ledger", _COST_COLUMNS, self._cost_rows()
        if self.metered:
            yield "Adjusted scores, metered by flopscope", _METERED_COLUMNS, self._metered_rows()

    def _error_rows(self) -> list[tuple[str, ...]]:
        finals = {m.method: m.final for m in self.metered}
        base = float(np.mean(finals.get("covariance propagation", 0.0)))
        rows: list[tuple[str, ...]] = []
        for entry in (*self.metered, *self.raw):
            if not entry.final:
                rows.append((entry.method, *("–",) * (len(_ERROR_COLUMNS) - 1)))
                continue
            final, interval = float(np.mean(entry.final)), self.interval(entry.final)
            layers = f"{np.mean(entry.all_layers):.3e}" if entry.all_layers else "–"
            limits = f"{interval.low:.1e}–{interval.high:.1e}"
            ratio = f"{final / base:.3g}" if base > 0 else "–"
            rows.append((entry.method, f"{final:.3e}", limits, layers, ratio))
        return rows

    def _cost_rows(self) -> list[tuple[str, ...]]:
        sampling = float(np.mean(self.variances)) * self.rules.sample_flops
        return [
            (
                entry.method,
                f"{entry.flops:.3g}",
                f"{np.mean(entry.seconds):.3g}",
                f"{sampling / entry.flops / np.mean(entry.final):.3g}",
            )
            for entry in self.raw
            if entry.final and entry.flops
        ]

    def _metered_rows(self) -> list[tuple[str, ...]]:
        return [
            (
                m.method,
                f"{np.mean(m.final):.3e}",
                f"{m.flops:.3g}",
                f"{m.multiplier:.3g}",
                f"{np.mean(m.adjusted):.3e}",
                f"{max(m.residual):.3g}",
                str(len(m.failures)),
            )
            for m in self.metered
        ]

    def to_markdown(self) -> str:
        """Both tables and the notes."""
        lines = [f"# {self._title}", ""]
        for title, columns, rows in self.tables():
            lines += [f"## {title}", "", *_markdown(columns, rows), ""]
        lines += ["## Notes", "", *(f"- {_plain(note)}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain numbers, strings, lists and dictionaries."""
        plain = dataclasses.replace(self, provenance=dict(self.provenance))
        document: dict[str, Any] = {"schema_version": 1, **dataclasses.asdict(plain)}
        for entry in (*document["raw"], *document["metered"]):
            if entry["final"]:
                entry["final_mse"] = float(np.mean(entry["final"]))
                entry["final_interval"] = dataclasses.asdict(self.interval(entry["final"]))
                layers = entry["all_layers"]
                entry["all_layers_mse"] = float(np.mean(layers)) if layers else None
            if entry.get("adjusted"):
                entry["adjusted_score"] = float(np.mean(entry["adjusted"]))
        return document | {"truth_noise": self.noise, "notes": list(self.notes)}

    def to_json(self, indent: int | None = None) -> str:
        """The same as a JSON document; what is not a finite number is null."""
        return json.dumps(_finite(self.to_dict()), indent=indent, allow_nan=False)

    def __rich__(self) -> RenderableType:
        shown = [_table(*parts) for parts in self.tables()]
        return Group(self._title, "", *shown, *(escape(note) for note in self.notes))

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=_WIDTH, color_system=None).print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def __repr__(self) -> str:
        entries = len(self.raw) + len(self.metered)
        return f"Scores({self._title}, {entries} entries)"

    @property
    def _title(self) -> str:
        return f"WhestBench {self.width} × {self.depth}, {len(self.networks)} networks"


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(
            column, justify="right" if place else "left", no_wrap=place > 0, overflow="fold"
        )
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return ["| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines]


def _plain(text: str) -> str:
    """Text that Markdown takes as it is, on one line."""
    return text.replace("|", "\\|").replace("\n", " ")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
