"""The tables and figures of benchmarks/cumulants.py, from its results; a few seconds.

python benchmarks/cumulants_report.py
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours that the colour-blind and a grey printer tell apart (Okabe and Ito), one an order.
COLOURS = {1: "#000000", 2: "#0072B2", 3: "#D55E00", 4: "#009E73"}
MARKERS = {"basic": "o", "augmented": "D", "elliptical": "^"}
DASHES = {"basic": "--", "augmented": ":", "elliptical": "-."}
LINES: dict[str, Any] = {
    "plain Monte Carlo": "-", "antithetic": (0, (6, 2)), "moment-matched": (0, (6, 2, 1, 2)),
    "scrambled Sobol": (0, (1, 1.5)),
}  # fmt: skip
GREY = "0.45"
VN = "squared error / Var M  (vn error)"
Row = dict[str, Any]


def verdict(held: bool) -> str:
    return "held" if held else "SHORT"


def show(results: dict[str, Any]) -> None:
    """Print what was found beside the targets."""
    if "ratios" in results:
        print("\nsampling's time to the same error, over ours (ReLU, 4 hidden layers)")
        for t in results["ratios"]["targets"]:
            high = "∞" if t["high"] is None else f"{t['high']:.3g}"
            found = f"{'≥ ' * (t['bound'] == 'lower')}{t['value']:.3g}"
            print(
                f"  width {t['width']:3}  {t['method']:30} {t['opponent']:15} {found:>8} "
                f"[{t['low']:.3g}, {high}]  target {t['target']:g}: "
                f"{verdict(t['value'] >= t['target'])}"
            )
    if "times" in results:
        print("\nmilliseconds of an estimate: 1 thread, 2 threads, target, × as fast as published")
        for t in results["times"]["rows"]:
            best = min(t["seconds"].values())
            aim = "        –" if t["target"] is None else f"{t['target'] * 1e3:7.0f}: "
            aim += "     " if t["target"] is None else verdict(best <= t["target"]).ljust(5)
            print(
                f"  {t['method']:30} {t['width']:3} × {t['depth']:<2}  "
                f"{t['seconds']['1'] * 1e3:8.2f} {t['seconds']['2'] * 1e3:8.2f} {aim} "
                f"{t['reference'] / best:6.1f} ×"
            )
    if "law" in results:
        print(f"\nexponent of the vn error in the width, {results['law']['depth']} hidden layers")
        for order, fit in results["law"]["fits"].items():
            held = fit["exponent"] <= fit["target"]
            print(
                f"  order {order} basic  {fit['exponent']:.2f} [{fit['low']:.2f}, "
                f"{fit['high']:.2f}]  target {fit['target']}: {verdict(held)}"
            )
    if "grid" in results:
        print("\nvn error, milliseconds, moment-matched sampling's time to that error over ours")
        for row in results["grid"]["rows"]:
            for e in row["estimators"]:
                place = f"  {row['activation']:5} {row['width']:3} × {row['depth']:<2}"
                if e["error"] is not None:
                    print(f"{place}  {e['method']:30} failed: {e['error'][:60]} …")
                    continue
                gain = f"{needed_by_sampling(row, e['shown']) / e['seconds']:9.3g}"
                print(
                    f"{place}  {e['method']:30} {'  ' if e['resolved'] else '≤ '}{e['shown']:8.2e} "
                    f"{e['seconds'] * 1e3:9.2f} {gain if row['depth'] > 1 else '    exact'}"
                )


def draw(results: dict[str, Any], output: Path) -> None:
    """Draw what the results allow, as OUTPUT_NAME.png beside ``output``."""
    figures: dict[str, Figure] = {}
    if "law" in results:
        figures["law"] = law(results["law"])
    if "ratios" in results:
        figures["cost"] = cost(results["ratios"]["rows"])
    if "grid" in results:
        # One hidden layer is exact, which would take a logarithmic axis a long way down.
        rows = [row for row in results["grid"]["rows"] if row["depth"] > 1]
        figures |= {"depth": depth(rows), "gain": gain(rows)}
    for name, figure in figures.items():
        path = output.with_name(f"{output.stem}_{name}.png")
        figure.savefig(path, dpi=160)
        print(f"wrote {path}")


def style(method: str) -> dict[str, Any]:
    """Colour by order, marker and filling by variant."""
    _, order, variant, *_ = method.split()
    colour = COLOURS[int(order)]
    face = colour if variant == "basic" else "white"
    return {"color": colour, "marker": MARKERS[variant], "markerfacecolor": face}


def tidy(panel: Axes, **labels: Any) -> None:
    panel.set(xscale="log", yscale="log", **labels)
    panel.grid(True, which="major", color="0.9", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def ticks(panel: Axes, places: list[int]) -> None:
    panel.set_xticks(places, [str(place) for place in places], minor=False)
    panel.set_xticks([], minor=True)


def legend(figure: Figure, panels: list[Axes], columns: int) -> None:
    """One legend below, each label once."""
    entries: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(
        list(entries.values()), list(entries), loc="outside lower center", ncols=columns,
        frameon=False, fontsize=8.5,
    )  # fmt: skip


def methods(rows: list[Row]) -> list[str]:
    names = {e["method"] for row in rows for e in row["estimators"] if e["error"] is None}
    return sorted(names, key=lambda name: (name.split()[1], list(MARKERS).index(name.split()[2])))


def entries(rows: list[Row], name: str) -> Iterator[tuple[Row, Row]]:
    """Every row together with what one estimator did there."""
    for row in rows:
        for entry in row["estimators"]:
            if entry["method"] == name and entry["error"] is None:
                yield row, entry


def curve(panel: Axes, x: list[float], y: list[float], found: list[Row], name: str) -> None:
    """One estimator, with an arrow where its error is only known to be smaller."""
    panel.plot(x, y, label=name, linewidth=1.1, **style(name))
    for at, value, entry in zip(x, y, found, strict=True):
        if not entry["resolved"]:
            better = 0.55 * value if value == entry["shown"] else value / 0.55
            panel.annotate(
                "", (at, better), (at, value), zorder=2,
                arrowprops={"arrowstyle": "-|>", "color": COLOURS[int(name.split()[1])]},
            )  # fmt: skip


def select(rows: list[Row], **wanted: Any) -> list[Row]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def error_of_sampling(sampler: Row, samples: np.ndarray) -> np.ndarray:
    return np.interp(np.log(samples), np.log(sampler["samples"]), sampler["constants"]) / samples


def cost(rows: list[Row]) -> Figure:
    """Error against FLOPs and against seconds: estimators as points, sampling as lines."""
    figure = Figure(figsize=(9.6, 3.6 * len(rows) + 1.0), layout="constrained")
    panels = figure.subplots(len(rows), 2, sharey="row", squeeze=False)
    for row, pair in zip(rows, panels, strict=True):
        found = [e for name in methods([row]) for _, e in entries([row], name)]
        errors = [e["shown"] for e in found]
        for panel, budget in zip(pair, ("flops", "seconds"), strict=True):
            costs = [e[budget] for e in found]
            for entry in found:
                interval(panel, entry[budget], entry)
                curve(panel, [entry[budget]], [entry["shown"]], [entry], entry["method"])
            for sampler in row["samplers"]:
                each = sampler[f"{budget}_per_sample"]
                samples = np.geomspace(max(min(costs) / 3 / each, 1), 30 / min(errors), 200)
                panel.plot(
                    samples * each, error_of_sampling(sampler, samples), color=GREY, zorder=1,
                    linewidth=1.2, linestyle=LINES[sampler["name"]], label=sampler["name"],
                )  # fmt: skip
            tidy(panel, xlabel=f"{budget.replace('flops', 'FLOPs')} of one estimate")
            panel.set_xlim(min(costs) / 3, 30 * max(costs))
            panel.set_ylim(min(errors) / 5, 5 * max(errors))
            panel.set_title(
                f"ReLU, width {row['width']}, {row['depth']} hidden layers", fontsize=10
            )
        pair[0].set_ylabel(VN)
    legend(figure, list(panels.flat), 4)
    return figure


def interval(panel: Axes, x: float, entry: Row) -> None:
    if entry["resolved"] and entry["high"] is not None:
        panel.plot(
            [x, x], [entry["low"], entry["high"]], linewidth=1, zorder=2,
            color=COLOURS[int(entry["method"].split()[1])],
        )  # fmt: skip


def law(found: dict[str, Any]) -> Figure:
    """Error against width, with the fitted powers."""
    figure = Figure(figsize=(6.2, 5.2), layout="constrained")
    panel = figure.subplots()
    points: list[Row] = []
    for order, fit in found["fits"].items():
        points, colour = fit["points"], COLOURS[int(order)]
        x, y, bars = ([p[key] for p in points] for key in ("width", "vn_error", "deviation"))
        panel.errorbar(x, y, yerr=bars, fmt="o", color=colour, capsize=3, elinewidth=1.2)
        line = np.array([x[0] / 1.15, x[-1] * 1.15])
        panel.plot(
            line, np.exp(fit["intercept"]) * line ** fit["exponent"], color=colour, linewidth=1.2,
            label=f"order {order} basic: $n^{{{fit['exponent']:.2f}}}$   "
            f"[{fit['low']:.2f}, {fit['high']:.2f}]",
        )  # fmt: skip
    widths = [p["width"] for p in points]
    panel.plot(
        widths, [p["floor"] for p in points], color=GREY, linestyle=(0, (1, 1.5)), linewidth=1.2,
        label="noise of the truth",
    )  # fmt: skip
    tidy(panel, xlabel="width n", ylabel=VN)
    ticks(panel, widths)
    panel.set_title(f"ReLU, {found['depth']} hidden layers", fontsize=10)
    legend(figure, [panel], 2)
    return figure


def depth(rows: list[Row]) -> Figure:
    """Error and time against depth, beside the time of moment-matched sampling to that error."""
    widths = [w for w in (64, 256) if len(select(rows, activation="relu", width=w)) > 1]
    figure = Figure(figsize=(9.6, 3.9 * len(widths) + 1.0), layout="constrained")
    panels = figure.subplots(len(widths), 2, squeeze=False)
    for width, (errors, seconds) in zip(widths, panels, strict=True):
        chosen = select(rows, activation="relu", width=width)
        depths = [row["depth"] for row in chosen]
        for name in methods(chosen):
            pairs = list(entries(chosen, name))
            x = [row["depth"] for row, _ in pairs]
            found = [entry for _, entry in pairs]
            curve(errors, x, [e["shown"] for e in found], found, name)
            seconds.plot(x, [e["seconds"] for _, e in pairs], linewidth=1.1, **style(name))
            if name != "order 1 basic":
                needed = [needed_by_sampling(row, entry["shown"]) for row, entry in pairs]
                seconds.plot(
                    x, needed, color=COLOURS[int(name.split()[1])], linewidth=1.1, alpha=0.55,
                    linestyle=DASHES[name.split()[2]],
                )  # fmt: skip
        for kind, line in DASHES.items():
            label = f"moment-matched sampling to the error of {kind} (same colour)"
            seconds.plot([], [], color=GREY, linestyle=line, label=label)
        for panel, label in ((errors, VN), (seconds, "seconds of one estimate")):
            tidy(panel, xlabel="hidden layers L", ylabel=label)
            ticks(panel, depths)
            panel.set_title(f"ReLU, width {width}", fontsize=10)
        # What errs by more than a standard deviation of the output is off the panel.
        errors.set_ylim(top=1)
        seconds.set_ylim(
            bottom=min(e["seconds"] for name in methods(chosen) for _, e in entries(chosen, name))
            / 3
        )
    legend(figure, list(panels.flat), 3)
    return figure


def needed_by_sampling(row: Row, error: float, name: str = "moment-matched") -> float:
    """Seconds that a sampler takes to come down to an error."""
    (sampler,) = (s for s in row["samplers"] if s["name"] == name)
    return sampler["constants"][-1] / error * sampler["seconds_per_sample"]


def gain(rows: list[Row]) -> Figure:
    """Moment-matched sampling's time over ours, by width and by depth, for every activation."""
    activations = list(dict.fromkeys(row["activation"] for row in rows))
    views: tuple[tuple[str, Callable[[list[Row]], list[Row]]], ...] = (
        ("width", lambda own: select(own, depth=4)),
        ("depth", lambda own: select(own, width=64)),
    )
    figure = Figure(figsize=(3.5 * len(activations) + 0.4, 7.6), layout="constrained")
    panels = figure.subplots(2, len(activations), sharey="row", sharex="row", squeeze=False)
    for (axis, view), line in zip(views, panels, strict=True):
        for activation, panel in zip(activations, line, strict=True):
            chosen = view(select(rows, activation=activation))
            for name in methods(chosen):
                pairs = list(entries(chosen, name))
                gains = [needed_by_sampling(r, e["shown"]) / e["seconds"] for r, e in pairs]
                x = [row[axis] for row, _ in pairs]
                curve(panel, x, gains, [entry for _, entry in pairs], name)
            panel.axhline(1, color=GREY, linewidth=1)
            fixed = "4 hidden layers" if axis == "width" else "width 64"
            tidy(panel, xlabel="width n" if axis == "width" else "hidden layers L")
            ticks(panel, sorted({row[axis] for row in view(rows)}))
            panel.set_title(f"{activation}, {fixed}", fontsize=10)
        line[0].set_ylim(bottom=1e-3)
        line[0].set_ylabel("moment-matched sampling's time\nto the same error, over ours")
    legend(figure, list(panels.flat), 4)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/cumulants.json"))
    options = parser.parse_args()
    results = json.loads(options.results.read_text())
    show(results)
    draw(results, options.results)


if __name__ == "__main__":
    main()
