"""Figures for papers: error against cost for each family, and heat maps of the ratios."""

import io
import math
import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from outsample.comparison import figure as comparison_figure
from outsample.comparison import tables
from outsample.comparison.reports.axes import FAMILY, settings_of, varying
from outsample.comparison.reports.paper import SIGNS
from outsample.comparison.result import Comparison
from outsample.comparison.scores import Budget, Ratio
from outsample.errors import InputError
from outsample.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BUDGETS: dict[Budget, str] = {"flops": "at equal FLOPs", "seconds": "at equal seconds"}
#: Colours of a heat map end at this power of ten.
_REACH = 3.0
#: From orange (sampling is better) over white to blue; told apart by the colour-blind.
_COLOURS = ("#b35806", "#f1a340", "#f7f7f7", "#74aed4", "#08519c")
_LONGEST_NAME = 80


def write_figures(comparisons: Sequence[Comparison], folder: str | Path) -> list[Path]:
    """Draw every family's error against cost, and every estimator's ratios over two settings.

    ``error-….png`` has vn error against FLOPs and seconds, one file for each family;
    ``ratio-….png`` has heat maps against every opponent at equal FLOPs and at equal seconds, one
    file for each estimator, kind of family and setting of what is not on the axes.  Families whose
    problems could not be evaluated are left out.

    Args:
        comparisons: what was found, one for each family with its settings.
        folder: an existing folder; files of the same names are replaced.

    Returns:
        What was written.

    Raises:
        ImportError: if Matplotlib is not installed; the message says how to get it.
        InputError: if ``comparisons`` is empty, or ``folder`` does not exist or cannot be
            written to.
    """
    if not comparisons:
        raise InputError("comparisons is empty; expected at least one family with results")
    target, written = Path(folder), list[Path]()

    def save(name: str, drawn: "Figure") -> None:
        path = target / f"{_file_name(name, [p.stem for p in written])}.png"
        image = io.BytesIO()
        drawn.savefig(image, format="png", dpi=200)
        write_atomically(path, image.getvalue())
        written.append(path)

    for comparison in comparisons:
        if comparison.samplings:
            save(f"error-{comparison.family}", comparison_figure.draw(comparison))
    for kind, keys in varying(comparisons).items():
        if not keys:
            continue
        across, down, *others = [*keys, None] if len(keys) == 1 else keys
        families = [c for c in comparisons if c.kind == kind]
        facets: dict[str, list[Comparison]] = {}
        for c in families:
            name = ", ".join(f"{key}={settings_of(c).get(str(key))}" for key in others)
            facets.setdefault(name, []).append(c)
        methods = dict.fromkeys(m for c in families for m in c.methods)
        for (facet, members), method in product(facets.items(), methods):
            drawn = _heat_maps(members, method, str(across), down, f"{kind} {facet}".strip())
            if drawn is not None:
                save("-".join(filter(None, ("ratio", kind, facet, method))), drawn)
    return written


def _heat_maps(
    families: Sequence[Comparison], method: str, across: str, down: str | None, title: str
) -> "Figure | None":
    """Ratios of one estimator: a column for each opponent, a row for each way to count cost."""
    ratios: dict[tuple[str, Budget], dict[int, Ratio]] = {}
    for place, family in enumerate(families):
        for score in family.scores():
            for ratio in score.ratios if score.method == method else ():
                ratios.setdefault((ratio.opponent, ratio.budget), {})[place] = ratio
    if not ratios:
        return None
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.figure import Figure

    settings = [settings_of(family) for family in families]
    xs = _values(settings, across)
    ys = _values(settings, down)
    opponents = list(dict.fromkeys(opponent for opponent, _ in ratios))
    size = (1.6 + len(opponents) * max(2.4, 0.85 * len(xs)), 1.2 + 2 * max(1.3, 0.6 * len(ys)))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(_BUDGETS), len(opponents), squeeze=False, sharex=True, sharey=True)
    places = [abs(_height(r)) for found in ratios.values() for r in found.values()]
    reach = min(max([*places, 0.5]), _REACH)
    colours = LinearSegmentedColormap.from_list("ratio", _COLOURS)
    scale = Normalize(-reach, reach)
    for (row, budget), (column, opponent) in product(enumerate(_BUDGETS), enumerate(opponents)):
        panel: Axes = panels[row, column]
        values = np.full((len(ys), len(xs)), np.nan)
        for place, ratio in ratios.get((opponent, budget), {}).items():
            spot = (_spot(settings[place], down, ys), _spot(settings[place], across, xs))
            values[spot] = _height(ratio)
            _write(panel, spot, ratio, abs(values[spot]) > 0.6 * reach)
        _grid(panel, values, colours, scale, xs, ys)
        if row == 0:
            panel.set_title(opponent, fontsize=9)
        if row == len(_BUDGETS) - 1:
            panel.set_xlabel(_label(across))
        if column == 0:
            panel.set_ylabel(f"{_BUDGETS[budget]}\n{_label(down)}".strip(), fontsize=9)
    bar = figure.colorbar(
        panels[0, 0].images[0], ax=panels.ravel().tolist(), shrink=0.8, aspect=30, pad=0.02
    )
    ticks = [t for t in (-3, -2, -1, -0.5, 0, 0.5, 1, 2, 3) if abs(t) <= reach]
    ticks = [t for t in ticks if reach < 1.2 or t == int(t)]
    bar.set_ticks(ticks, labels=[tables.figure(10.0**t) for t in ticks])
    bar.set_label("squared error of the opponent / that of the estimator", fontsize=8)
    figure.suptitle(
        f"{title}: {method}\n" + ", ".join(f"{sign} {verdict}" for verdict, sign in SIGNS.items()),
        fontsize=10,
    )
    return figure


def _grid(
    panel: "Axes",
    values: NDArray[np.float64],
    colours: Any,
    scale: Any,
    xs: list[Any],
    ys: list[Any],
) -> None:
    panel.imshow(values, cmap=colours, norm=scale, aspect="auto", origin="lower")
    panel.set_xticks(range(len(xs)), [str(x) for x in xs], fontsize=8)
    panel.set_yticks(range(len(ys)), ["" if y is None else str(y) for y in ys], fontsize=8)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    # White lines between the cells.
    panel.set_xticks(np.arange(-0.5, len(xs)), minor=True)
    panel.set_yticks(np.arange(-0.5, len(ys)), minor=True)
    panel.grid(which="minor", color="white", linewidth=2)
    panel.tick_params(which="minor", length=0)


def _write(panel: "Axes", spot: tuple[int, int], ratio: Ratio, on_dark: bool) -> None:
    bound = {"none": "", "lower": "≥ ", "upper": "≤ "}[ratio.bound]
    panel.text(
        spot[1],
        spot[0],
        f"{SIGNS[ratio.verdict]} {bound}{tables.figure(ratio.value)}",
        ha="center",
        va="center",
        fontsize=8,
        color="white" if on_dark else "black",
    )


def _height(ratio: Ratio) -> float:
    """Where a ratio stands on the scale of colours."""
    if math.isinf(ratio.value):
        return _REACH
    return min(max(math.log10(max(ratio.value, 1e-9)), -_REACH), _REACH)


def _values(settings: list[dict[str, Any]], key: str | None) -> list[Any]:
    if key is None:
        return [None]
    found = list(dict.fromkeys(s.get(key) for s in settings))
    numeric = all(isinstance(value, int | float) for value in found)
    return sorted(found) if numeric else found


def _spot(settings: dict[str, Any], key: str | None, values: list[Any]) -> int:
    return 0 if key is None else values.index(settings.get(key))


def _label(key: str | None) -> str:
    return "" if key is None or key == FAMILY else key


def _file_name(name: str, taken: Sequence[str]) -> str:
    """Letters, digits and a few signs only, and no name twice."""
    base = re.sub(r"[^\w.=+-]+", "-", name, flags=re.ASCII).strip("-.")[:_LONGEST_NAME]
    numbered = (base if i == 1 else f"{base}-{i}" for i in range(1, len(taken) + 2))
    return next(n for n in numbered if n not in taken)
