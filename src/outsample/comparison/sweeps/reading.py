"""From the rows of a store back to comparisons."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from outsample.comparison.cells import Cell, Truth
from outsample.comparison.result import Comparison

if TYPE_CHECKING:
    from outsample.comparison.sweeps.store import Store
    from outsample.comparison.sweeps.study import Study

_Row = dict[str, Any]


def comparisons(store: "Store", study: "Study | None" = None) -> list[Comparison]:
    """One comparison for each family and thread count; see :meth:`Store.comparisons`."""
    documents = store.studies() if study is None else [study.to_dict()]
    order = dict.fromkeys(m["name"] for d in documents for m in d["methods"])
    kept = None if study is None else {task.key for task in study.tasks()}
    pairs = store.families()
    if study is not None:
        names = [family.name for family in study.families]
        pairs = [(name, study.threads) for name in names if (name, study.threads) in pairs]
    several = {family for family, _ in pairs if len([p for p in pairs if p[0] == family]) > 1}
    return [
        _comparison(store, family, threads, order, kept, family in several)
        for family, threads in pairs
    ]


def _comparison(
    store: "Store", family: str, threads: int, order: Iterable[str], kept: set[str] | None,
    several: bool,
) -> Comparison:  # fmt: skip
    rows = store.select("cells", "family = ? AND threads = ?", [family, threads])
    truths = store.select("truths", "family = ?", [family])
    if kept is not None:
        rows = [row for row in rows if row["key"] in kept]
        truths = [row for row in truths if row["key"] in kept]
    # Of a task that was run again, the last run counts.
    last = {row["key"]: row["finished"] for row in rows}
    rows = [row for row in rows if row["finished"] == last[row["key"]]]
    rows = list({_slot(row): row for row in rows}.values())
    best: dict[int, _Row] = {}
    for row in truths:
        held = best.get(row["problem"])
        if held is None or _worth(row) >= _worth(held):
            best[row["problem"]] = row
    used = [*rows, *best.values()]
    methods = {row["method"] for row in rows if row["role"] == "method"}
    parameters = json.loads(used[0]["parameters"]) if used else {}
    facts = _merged([json.loads(r) for r in store.records({row["provenance"] for row in used})])
    facts |= {
        "seeds": sorted(best),
        "truth_samples": _one(sorted({row["samples"] for row in best.values()})),
    }
    return Comparison(
        family=f"{family}, {threads} threads" if several else family,
        methods=tuple(m for m in order if m in methods)
        + tuple(sorted(m for m in methods if m not in set(order))),
        opponents=tuple(dict.fromkeys(r["method"] for r in rows if r["role"] == "opponent")),
        cells=tuple(_cell(row) for row in sorted(rows, key=lambda row: row["problem"])),
        truths=tuple(_truth(best[problem]) for problem in sorted(best)),
        provenance=facts | {"threads": threads},
        kind=used[0]["kind"] if used else "",
        parameters=parameters | ({"threads": threads} if several else {}),
    )


def _slot(row: _Row) -> tuple[Any, ...]:
    """What a cell is about; samplers of one name differ in size and batch."""
    request = row["request"] if row["role"] == "opponent" else None
    return row["problem"], row["role"], row["method"], request


def _worth(row: _Row) -> tuple[bool, float]:
    """An exact truth (no samples) is best, then the one with most; a failure is worth least."""
    return row["error"] is None, math.inf if row["samples"] == 0 else row["samples"]


def _merged(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One value for each name, or the list of values where rows differ."""
    found: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record.items():
            values = found.setdefault(name, [])
            if value not in values:
                values.append(value)
    return {name: _one(values) for name, values in found.items()}


def _one(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _cell(row: _Row) -> Cell:
    squared = row["squared_error"]
    return Cell(
        problem=row["problem"],
        method=row["method"],
        request=json.loads(row["request"]),
        value=tuple(row["value"]),
        spread=tuple(row["spread"]),
        squared_error=None if squared is None else tuple(squared),
        seconds=math.nan if row["seconds"] is None else row["seconds"],
        flops=row["flops"],
        samples=row["samples"],
        trust=row["trust"],
        reasons=tuple(row["reasons"]),
        explanation_seconds=row["explanation_seconds"],
        explanation_size=row["explanation_size"],
        error=row["error"],
    )


def _truth(row: _Row) -> Truth:
    flops = row["evaluation_flops"]
    return Truth(
        problem=row["problem"],
        first=tuple(row["first"]),
        second=tuple(row["second"]),
        squared_error=tuple(row["squared_error"]),
        variance=tuple(row["variance"]),
        evaluation_flops=math.nan if flops is None else flops,
        samples=row["samples"],
        sampler=json.loads(row["sampler"]),
        error=row["error"],
    )
