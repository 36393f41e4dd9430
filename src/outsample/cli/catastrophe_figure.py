"""The figure of ``outsample catastrophe demo``: probabilities over margins, before and after."""

import io
import math
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from outsample.cli.catastrophe_findings import (
    AFTER,
    BEFORE,
    CASES,
    READ,
    REFERENCE,
    SEEN,
    CatastropheStudy,
    Found,
    Point,
)
from outsample.cli.output import times

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _FAINT = "#1f2933", "#9aa5b1"
_DEDUCED, _SAMPLED, _PLAIN = "#c8102e", "#2b6cb0", "#52606d"
_SIDE = 8
#: Standard errors that error bars show.
_BARS = 2.0


def draw(found: CatastropheStudy) -> bytes:
    """The figure as a PNG."""
    # A figure of one's own, not pyplot's, so that no global state is touched.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    parts = figure.subfigures(1, 3, squeeze=False, width_ratios=(0.52, 2.1, 1.55))
    left, middle, right = parts[0]
    _images(left.subplots(2, 1), found)
    _curves(middle.subplots(), found)
    upper, lower = right.subplots(2, 1, height_ratios=(1.35, 1))
    _confirmations(upper, found)
    _training(lower, found)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _images(axes: "np.ndarray", found: CatastropheStudy) -> None:
    """The mean of the class, and of the inputs that are catastrophes."""
    _image(axes[0], found.law.mean, f"the mean {SEEN}")
    _image(axes[1], found.typical, f"mean catastrophe:\ncalled an {READ}, m = {found.margin:g}")


def _image(axes: "Axes", pixels: Tensor, title: str) -> None:
    axes.imshow(
        pixels.reshape(_SIDE, _SIDE).numpy(), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest"
    )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(_FAINT)
    axes.set_title(title, fontsize=9.5, color=_INK)


def _curves(axes: "Axes", found: CatastropheStudy) -> None:
    """Probability over margin, by three methods, before and after training."""
    for name, points in found.curves.items():
        new = name == AFTER
        margins = [point.margin for point in points]
        axes.plot(
            margins, [_shown(point.tilt) for point in points],
            "--" if new else "-", color=_DEDUCED, linewidth=1.8, zorder=2,
        )  # fmt: skip
        _bars(
            axes, margins, [_shown(p.truth) for p in points],
            [p.truth.relative_error or 0.0 for p in points], "o", _SAMPLED, new,
        )  # fmt: skip
        seen = [p for p in points if p.plain > 0]
        _bars(
            axes, [p.margin for p in seen], [p.plain for p in seen],
            [p.plain_error / p.plain for p in seen], "s", _PLAIN, new, wide=True,
        )  # fmt: skip
        place, offset = _label_place(points, new)
        axes.annotate(
            f"{name} training", place, offset, textcoords="offset points",
            fontsize=10, weight="bold", color=_INK,
        )  # fmt: skip
    shown = [_shown(p.tilt) for points in found.curves.values() for p in points]
    lowest = min(shown) / 30
    sees = 1 / found.plain_samples
    axes.axhspan(lowest, sees, color=_FAINT, alpha=0.16, linewidth=0, zorder=0)
    axes.text(
        0.99, lowest * 1.6, f"grey: unseen in {found.plain_samples:,} plain samples",
        transform=axes.get_yaxis_transform(), ha="right", va="bottom", fontsize=9, color=_PLAIN,
    )  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylim(lowest, 1)
    axes.set_xlim(left=-0.4)
    _arrow(axes, found)
    _legend(axes)
    _finish(axes, f"P(a {SEEN} is called an {READ} by a margin m)", "margin m (logits)", "")


def _bars(
    axes: "Axes",
    x: list[float],
    y: list[float],
    relative: list[float],
    marker: str,
    colour: str,
    hollow: bool,
    wide: bool = False,
) -> None:
    """Points with error bars on a log scale: y e^±error, which never reaches 0."""
    values = np.array(y)
    factors = np.exp(_BARS * np.array(relative))
    errors = np.stack([values - values / factors, values * factors - values])
    axes.errorbar(
        x, values, errors, fmt=marker, color=colour, markersize=9 if wide else 4.5,
        markerfacecolor="none" if wide else "white" if hollow else colour, capsize=2.5,
        linewidth=1.2, zorder=1 if wide else 3,
    )  # fmt: skip


def _shown(found: Found) -> float:
    return math.exp(found.log_value)


def _label_place(
    points: tuple[Point, ...], last: bool
) -> tuple[tuple[float, float], tuple[float, float]]:
    """A point and an offset from it: beside the curve's end, or above its last third."""
    point = points[-1] if last else points[(3 * len(points)) // 4]
    return (point.margin, _shown(point.tilt)), (10, -4) if last else (8, 5)


def _arrow(axes: "Axes", found: CatastropheStudy) -> None:
    """How far the probability at the trained margin fell."""
    old, new = (found.confirmed(REFERENCE, name) for name in (BEFORE, AFTER))
    top, bottom = _shown(old.importance), _shown(new.importance)
    if bottom == 0:  # no sampler saw it again
        return
    axes.annotate(
        "", (found.margin, bottom), (found.margin, top),
        arrowprops={"arrowstyle": "->", "color": _INK, "linewidth": 1.4, "shrinkB": 6},
    )  # fmt: skip
    axes.annotate(
        f"÷ {times(found.fall(REFERENCE))}", (found.margin, top**0.35 * bottom**0.65), (7, 0),
        textcoords="offset points", fontsize=10, weight="bold", color=_INK, va="center",
    )  # fmt: skip


def _legend(axes: "Axes") -> None:
    from matplotlib.lines import Line2D

    axes.legend(
        handles=[
            Line2D([], [], color=_DEDUCED, linewidth=1.8, label="deduced, without samples"),
            Line2D(
                [], [], color=_SAMPLED, marker="o", markersize=4.5, linestyle="",
                label="importance sampling, ± 2 standard errors",
            ),
            Line2D(
                [], [], color=_SAMPLED, marker="^", markersize=4.5, linestyle="",
                label="subset simulation (right), the same",
            ),
            Line2D(
                [], [], color=_PLAIN, marker="s", markersize=9, fillstyle="none", linestyle="",
                label="plain sampling",
            ),
        ],
        loc="lower left", frameon=False, fontsize=9, labelcolor=_INK,
    )  # fmt: skip


def _confirmations(axes: "Axes", found: CatastropheStudy) -> None:
    """The trained margin under three laws of the input, by the estimate and two samplers."""
    places: list[float] = []
    laws: list[str] = []
    for law, name in CASES:
        y = (places[-1] - 1 if places else 0.0) - (1.0 if law not in laws else 0.0)
        if law not in laws:
            axes.text(
                1.0, y + 0.42, law, transform=axes.get_yaxis_transform(),
                ha="right", va="bottom", fontsize=8.5, style="italic", color=_PLAIN,
            )  # fmt: skip
        places.append(y)
        laws.append(law)
        one = found.confirmed(law, name)
        axes.plot(one.tilt.log10, y, "D", color=_DEDUCED, markersize=5, zorder=3)
        for other, marker, shift in ((one.importance, "o", 0.24), (one.subset, "^", -0.24)):
            if not math.isfinite(other.log_value):
                continue
            width = _BARS * (other.relative_error or 0.0) / math.log(10)
            axes.errorbar(
                other.log10, y + shift, xerr=width, fmt=marker, color=_SAMPLED, markersize=4,
                capsize=2, linewidth=1,
            )  # fmt: skip
    axes.set_yticks(places, [name for _, name in CASES])
    axes.set_ylim(places[-1] - 0.6, 0.0)
    axes.xaxis.set_major_formatter(lambda value, _: f"$10^{{{value:.0f}}}$")
    _finish(axes, f"P at m = {found.margin:g}: two samplers confirm", "", "")


def _training(axes: "Axes", found: CatastropheStudy) -> None:
    """The probability under the adversary while both train."""
    steps = [step for step in found.steps if math.isfinite(step.log_probability)]
    axes.plot(
        [step.step for step in steps], [step.log_probability / math.log(10) for step in steps],
        color=_DEDUCED, linewidth=1.5,
    )  # fmt: skip
    floor = steps[-1].floor / math.log(10)
    axes.axhline(floor, color=_FAINT, linestyle="--", linewidth=1)
    axes.text(
        steps[-1].step, floor + 0.1, "floor", ha="right", va="bottom", fontsize=8.5, color=_PLAIN
    )
    checks = [(step.step, step.check) for step in found.steps if step.check is not None]
    for step, check in checks:
        if math.isfinite(check.log_checked):
            axes.errorbar(
                step, check.log_checked / math.log(10),
                _BARS * check.relative_error / math.log(10),
                fmt="^", color=_SAMPLED, markersize=5, capsize=2, linewidth=1,
            )  # fmt: skip
    axes.yaxis.set_major_formatter(lambda value, _: f"$10^{{{value:.0f}}}$")
    old, new = (f"{found.accuracy[name]:.1%}" for name in (BEFORE, AFTER))
    _finish(axes, "P under the adversary, while both train", "training step", "")
    axes.text(
        0.98, 0.93, f"test digits named rightly: {old} → {new}", transform=axes.transAxes,
        ha="right", va="top", fontsize=9, color=_INK,
    )  # fmt: skip


def _finish(axes: "Axes", title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10.5, color=_INK, loc="left")
    axes.set_xlabel(x, fontsize=9.5, color=_INK)
    axes.set_ylabel(y, fontsize=9.5, color=_INK)
    axes.tick_params(labelsize=8.5, colors=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
