"""The demo's figure: input, logits, answers, and error against time, one row for each input."""

import io
from typing import TYPE_CHECKING

import numpy as np
import torch

from outsample.cli.study import CHOSEN, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _FAINT, _TRUTH = "#1f2933", "#9aa5b1", "#7b8794"
_DEDUCED, _SAMPLED = "#c8102e", "#2b6cb0"
_SIDE = 8
_DRAWS = 3
#: Methods shown in the last panel, and where their labels go: alignment, offset from the point.
_LABELS = {
    "mean propagation": ("left", (8, 4)),
    "cumulants, order 2, basic": ("right", (-8, 3)),
    CHOSEN: ("right", (12, -17)),
}


def draw(studies: dict[str, Study]) -> bytes:
    """The figure as a PNG; ``studies`` by title."""
    # A figure of one's own, not pyplot's, so that no global state is touched.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(13, 3.2 * len(studies)), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    rows = figure.subfigures(len(studies), 1, squeeze=False)[:, 0]
    for row, (title, found) in zip(rows, studies.items(), strict=True):
        row.suptitle(f"Input: {title}", x=0.008, ha="left", fontsize=12, weight="bold", color=_INK)
        axes = row.subplots(1, 4, width_ratios=(0.75, 1.2, 1.2, 1.45))
        _inputs(axes[0], found)
        _logits(axes[1], found)
        _answers(axes[2], found)
        _cost(axes[3], found)
    figure.legend(
        handles=[
            Line2D([], [], color=_TRUTH, marker="o", label="truth"),
            Line2D([], [], color=_DEDUCED, marker="o", label="deduced, without samples"),
            Line2D([], [], color=_SAMPLED, label="moment-matched antithetic sampling"),
            Line2D([], [], color=_FAINT, linestyle="--", label="plain sampling"),
        ],
        loc="upper right", ncols=4, frameon=False, fontsize=9.5, labelcolor=_INK,
    )  # fmt: skip
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _inputs(axes: "Axes", found: Study) -> None:
    """The mean image, large, and a few draws below it."""
    law = found.problem.inputs
    draws = law.sample(_DRAWS, torch.Generator().manual_seed(0))
    width = _DRAWS * _SIDE + _DRAWS - 1
    large = _SIDE * (width // _SIDE)
    canvas = np.full((large + 1 + _SIDE, width), np.nan)
    left = (width - large) // 2
    mean = law.mean.reshape(_SIDE, _SIDE).numpy()
    canvas[:large, left : left + large] = np.kron(mean, np.ones((large // _SIDE,) * 2))
    for i, image in enumerate(draws):
        place = slice(i * (_SIDE + 1), i * (_SIDE + 1) + _SIDE)
        canvas[large + 1 :, place] = image.reshape(_SIDE, _SIDE).numpy()
    axes.imshow(canvas, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    axes.set_title("mean, and three draws", fontsize=10, color=_INK)


def _logits(axes: "Axes", found: Study) -> None:
    """Mean logits with standard deviations, true and deduced."""
    for answer, shift, colour in ((found.truth, -0.17, _TRUTH), (found.chosen, 0.17, _DEDUCED)):
        mean, deviation = answer["mean"].numpy(), answer["covariance"].diagonal().sqrt().numpy()
        axes.errorbar(
            np.arange(len(mean)) + shift, mean, deviation,
            fmt="o", markersize=4.5, linewidth=2, color=colour,
        )  # fmt: skip
    _finish(axes, "logits: mean ± standard deviation", "digit")


def _answers(axes: "Axes", found: Study) -> None:
    """Probability of each argmax, true and deduced."""
    lowest = 1e-4
    for answer, shift, colour in ((found.truth, -0.17, _TRUTH), (found.chosen, 0.17, _DEDUCED)):
        p = answer["probabilities"].numpy()
        place = np.arange(len(p)) + shift
        shown = p > lowest
        axes.vlines(place[shown], lowest, p[shown], color=colour, linewidth=2, alpha=0.35)
        axes.plot(place[shown], p[shown], "o", markersize=5, color=colour)
    axes.set_yscale("log")
    axes.set_xlim(-0.6, len(found.truth["mean"]) - 0.4)
    axes.set_ylim(lowest, 2)
    axes.set_yticks([1e-4, 1e-3, 1e-2, 1e-1, 1], ["0.01 %", "0.1 %", "1 %", "10 %", "100 %"])
    _finish(axes, "probability of each answer", "digit")


def _cost(axes: "Axes", found: Study) -> None:
    """Error of the mean logits against time: sampling as lines, deduction as points."""
    lines = {name: found.lines[name] for name in _LABELS}
    floor = found.truth_vn_error  # what cannot be told from zero
    needed = [line.sampling_seconds or 0 for line in lines.values()]
    times = [*needed, *(x.seconds for x in (*lines.values(), *found.sampling))]
    errors = [max(x.vn_error, floor) for x in (*lines.values(), *found.sampling)]
    x = np.array([min(t for t in times if t) / 3, max(times) * 5])
    axes.plot(x, found.plain_cost / x, color=_FAINT, linewidth=1.5, linestyle="--")
    axes.plot(x, found.matched_cost / x, color=_SAMPLED, linewidth=1.5)
    axes.plot(
        [p.seconds for p in found.sampling], [p.vn_error for p in found.sampling],
        "o", markersize=5, color=_SAMPLED,
    )  # fmt: skip
    for name, line in lines.items():
        chosen = name == CHOSEN
        place = line.seconds, max(line.vn_error, floor)
        axes.plot(
            *place, "D", markersize=8 if chosen else 5.5, color=_DEDUCED,
            fillstyle="full" if chosen else "none", markeredgewidth=1.5,
        )  # fmt: skip
        align, offset = _LABELS[name]
        axes.annotate(
            name, place, offset, textcoords="offset points", ha=align, fontsize=8.5,
            color=_DEDUCED, weight="bold" if chosen else "normal",
        )  # fmt: skip
        if chosen and line.sampling_seconds is not None:
            _gain(axes, place, line.sampling_seconds)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*x)
    axes.set_ylim(min(errors) / 8, max(errors) * 4)
    axes.set_ylabel("squared error / variance", fontsize=9, color=_INK)
    _finish(axes, "error of the mean logits", "seconds")


def _gain(axes: "Axes", place: tuple[float, float], needed: float) -> None:
    """How many times longer sampling takes for the same error, as an arrow to its line."""
    style = {"arrowstyle": "->", "color": _SAMPLED, "linewidth": 1.2, "shrinkA": 7, "shrinkB": 0}
    axes.annotate("", (needed, place[1]), place, arrowprops=style)
    axes.annotate(
        f"{needed / place[0]:.2g}× longer", (needed, place[1]), (6, 3), textcoords="offset points",
        fontsize=10, weight="bold", color=_SAMPLED,
    )  # fmt: skip


def _finish(axes: "Axes", title: str, label: str) -> None:
    axes.set_title(title, fontsize=10, color=_INK)
    axes.set_xlabel(label, fontsize=9, color=_INK)
    if label == "digit":
        axes.set_xticks(range(10))
    axes.tick_params(labelsize=8.5, colors=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
