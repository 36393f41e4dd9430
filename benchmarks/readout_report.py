"""Figure and tables of ``readout.py``, from its results alone: ``readout.png``, and Markdown."""

import json
from pathlib import Path
from typing import Any

RESULTS, FIGURE = "benchmarks/results/readout.json", "docs/images/readout.png"
_PANELS = ("sig", "relu", "t2")
_NAMES = {"sig": "sigmoid", "relu": "hinge", "t2": "P(f > mean + 2 sd)"}
_COLOURS = {"conditioned": "C0", "edgeworth": "C1", "gauss": "0.6"}


def main() -> None:
    found: dict[str, Any] = json.loads(Path(RESULTS).read_text())
    draw(found)
    for key, part in found.items():
        if key.startswith("accuracy "):
            print(table(key.removeprefix("accuracy "), part["summary"]))
            print(verdicts(key.removeprefix("accuracy "), part["summary"], found["cost"]["rows"]))


def table(name: str, summary: dict[str, Any]) -> str:
    """Worst and median N_eq of one case, as Markdown."""
    lines = [f"\n{name}\n", "| | " + " | ".join(_NAMES[o] for o in _PANELS) + " |"]
    lines.append("| --- |" + " --- |" * len(_PANELS))
    for method in _COLOURS:
        cells: list[str] = []
        for output in _PANELS:
            entry = summary.get(f"{method} {output}")
            cells.append("" if entry is None else f"{entry['worst']:.0e} / {entry['median']:.0e}")
        if any(cells):
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdicts(name: str, summary: dict[str, Any], costs: list[dict[str, Any]]) -> str:
    """Kinds whose N_eq over all networks is above the cost with advice, and those where not."""
    row = next((r for r in costs if r["case"] == name), costs[0])
    lines: list[str] = []
    for output in _PANELS:
        pooled: dict[str, float] = summary[f"conditioned {output}"]["mean_over_networks"]
        known = {kind: n for kind, n in pooled.items() if n > 0}  # an event may be impossible
        cost = row[f"conditioned {output}"]
        text = f"{_NAMES[output]}: lowest ratios of N_eq to cost"
        for unit in ("passes", "seconds_passes"):
            ratios = sorted((n / cost[unit], kind) for kind, n in known.items())
            beats = sum(ratio > 1 for ratio, _ in ratios)
            low = ", ".join(f"{kind} {ratio:.2g}" for ratio, kind in ratios[:4])
            text += f"; {unit} ({cost[unit]:.0f}): beats in {beats} of {len(ratios)}: {low}"
        lines.append(text)
    return "\n".join(lines)


def draw(found: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    cases = [c for c in ("relu 16x1024", "digits 16x1024") if f"accuracy {c}" in found]
    costs = {row["case"]: row for row in found["cost"]["rows"]}
    fig, axes = plt.subplots(
        len(cases), 3, figsize=(13, 3.8 * len(cases)), constrained_layout=True, squeeze=False
    )
    for line, case in zip(axes, cases, strict=True):
        rows = [json.loads(row) for row in found[f"accuracy {case}"]["rows"]]
        kinds = list(dict.fromkeys(row["readout"] for row in rows))
        cost = costs.get(case, costs["relu 16x1024"])
        for axis, output in zip(line, _PANELS, strict=True):
            for shift, (method, colour) in zip((-0.2, 0, 0.2), _COLOURS.items(), strict=True):
                some = [r for r in rows if r["output"] == output and r["method"] == method]
                for below, marker in ((False, "o"), (True, "^")):
                    chosen = [r for r in some if r["below_truth"] == below]
                    axis.semilogy(
                        [kinds.index(r["readout"]) + shift for r in chosen],
                        [r["n_eq"] for r in chosen],
                        marker,
                        color=colour,
                        markersize=3.5,
                        label=method if not below else None,
                    )
                axis.axhline(
                    cost[f"{method} {output}"]["passes"], color=colour, linewidth=1, alpha=0.7
                )
            axis.set_xticks(range(len(kinds)), kinds, rotation=60, fontsize=8)
            axis.set_title(f"{case}: {_NAMES[output]}", fontsize=10)
            axis.grid(alpha=0.3, axis="y")
        line[0].set_ylabel("N_eq (dots), cost in passes (lines)")
    handles, labels = axes[0][0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=9)
    fig.savefig(FIGURE, dpi=120)


if __name__ == "__main__":
    main()
