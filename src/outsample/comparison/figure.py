"""A comparison as a figure: error against cost, with sampling as lines."""

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from outsample.comparison.scores import Budget, Sampling, Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from outsample.comparison.result import Comparison

# Colours that the colour-blind and a grey printer tell apart (Okabe and Ito), besides markers.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_LINES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (6, 2, 1, 2)), (0, (1, 1.5)))
_GREY = "0.35"
_Limits = tuple[float, float]
_LABELS: dict[Budget, str] = {
    "flops": "FLOPs of one estimate",
    "seconds": "seconds of one estimate",
}


def draw(comparison: "Comparison") -> "Figure":
    """Draw vn error against FLOPs and against seconds.

    Raises:
        ImportError: if Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "figures need Matplotlib, which is not installed: pip install 'outsample[plot]'"
        ) from error
    figure = Figure(figsize=(9.6, 4.8), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, 2, sharey=True))
    scores = [score for score in comparison.scores() if score.problems]
    limits = _limits(scores, comparison.floor)
    for panel, budget in zip(panels, _LABELS, strict=True):
        _panel(panel, budget, scores, comparison.samplings, limits)
        if comparison.floor > limits[0]:
            panel.axhspan(limits[0], comparison.floor, color="0.9", zorder=0)
            panel.annotate(
                "noise of the truth",
                (0.01, comparison.floor),
                xycoords=("axes fraction", "data"),
                xytext=(2, -3),
                textcoords="offset points",
                va="top",
                fontsize=8,
                color=_GREY,
            )
    panels[0].set_ylabel("squared error / Var M  (vn error)")
    figure.suptitle(f"{comparison.family}, {len(comparison.truths)} problems", fontsize=11)
    entries = list(zip(*panels[0].get_legend_handles_labels(), strict=True))
    lines = sum(s.flops_per_sample > 0 for s in comparison.samplings)
    _legend(figure, "outside lower left", "estimators, with 95 % intervals", entries[lines:])
    _legend(figure, "outside lower right", "sampling, error from N evaluations", entries[:lines])
    return figure


def _legend(
    figure: "Figure",
    place: Literal["outside lower left", "outside lower right"],
    title: str,
    entries: list[tuple[Any, str]],
) -> None:
    figure.legend(
        [handle for handle, _ in entries],
        [label for _, label in entries],
        loc=place,  # pyright: ignore[reportArgumentType]
        title=title,
        ncols=2,
        alignment="left",
        frameon=False,
        fontsize=8.5,
        title_fontsize=8.5,
    )


def _panel(
    panel: "Axes",
    budget: Budget,
    scores: list[Score],
    samplings: tuple[Sampling, ...],
    limits: _Limits,
) -> None:
    costs = [cost for score in scores if (cost := _cost(score, budget)) > 0]
    lines = [s for s in samplings if s.cost_per_sample(budget) > 0]
    for i, score in enumerate(scores):
        _point(panel, score, _cost(score, budget), i, limits)
    left = min(costs + [s.cost_per_sample(budget) for s in lines], default=1.0) / 2
    right = max(costs, default=1.0) * 8
    for i, sampling in enumerate(lines):
        cost = np.geomspace(left, right, 200)
        samples = cost / sampling.cost_per_sample(budget)
        keep = samples >= 1
        error = [sampling.constant(n) / n for n in samples[keep]]
        panel.plot(
            cost[keep],
            error,
            color=_GREY,
            linestyle=_LINES[i % len(_LINES)],
            linewidth=1.2,
            zorder=1,
            label=f"{sampling.name}: {_rule(sampling)}",
        )
    panel.set(xscale="log", yscale="log", xlabel=_LABELS[budget], xlim=(left, right))
    panel.set_ylim(*limits)
    panel.grid(True, which="major", color="0.9", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def _point(panel: "Axes", score: Score, cost: float, place: int, limits: _Limits) -> None:
    """One estimator with its interval; an upper limit with an arrow where that is all there is."""
    bottom, top = limits
    # An upper limit stands where the error itself cannot be told from the truth's noise.
    value = max(score.vn_error if score.resolved else score.high, bottom)
    below = value - max(score.low, bottom) if score.resolved else 0.6 * value
    panel.errorbar(
        [cost],
        [value],
        yerr=[[below], [max(min(score.high, top) - value, 0.0)]],
        uplims=not score.resolved,
        fmt=_MARKERS[place % len(_MARKERS)],
        color=_COLOURS[place % len(_COLOURS)],
        markersize=9,
        markeredgecolor="white",
        capsize=3,
        elinewidth=1.4,
        zorder=3,
        label=score.method,
    )


def _rule(sampling: Sampling) -> str:
    where = f" at N = {sampling.samples[-1]}" if len(sampling.samples) > 1 else ""
    return f"{sampling.constants[-1]:.2g}/N{where}"


def _cost(score: Score, budget: Budget) -> float:
    return score.flops if budget == "flops" else score.seconds


def _limits(scores: list[Score], floor: float) -> _Limits:
    shown = [v for s in scores for v in (s.vn_error, s.low, s.high) if 0 < v < math.inf]
    if floor > min(shown, default=0.0) / 100:
        shown.append(floor)
    return min(shown, default=1e-3) / 3, max([*shown, 0.3]) * 3
