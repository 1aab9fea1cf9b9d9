"""Charts for a page: drawn by matplotlib, inlined as SVG, coloured by the page's own style sheet.

The page decides what the colours are, so a chart is readable on light and on dark paper.
"""

import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fewmask.evaluation.run_record import Choice, Curve
from fewmask.evaluation.summary import Statistic

MOST_POINTS = 240
"""Longer curves are averaged in bins: more points would show only noise, and weigh on the page."""

SERIES = ("#010001", "#010002", "#010003", "#010004", "#010005", "#010006", "#010007")
"""Stand-ins that become the page's `--series-1` and so on."""

_INK, _RULE, _PAPER = "#010101", "#010102", "#010103"
_VARIABLES = {
    _INK: "currentColor",
    _RULE: "var(--rule)",
    _PAPER: "var(--paper)",
    **{hex_code: f"var(--series-{index})" for index, hex_code in enumerate(SERIES, start=1)},
}
_LOGARITHMIC = 50.0
"""Curves whose values span more than this factor are drawn on a logarithmic axis."""


@dataclass(frozen=True)
class Chart:
    """One chart: SVG markup, safe to inline, and a caption in words."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Strip:
    """One run's row in the chart of scores: a Dice a case, and whether that case failed altogether."""

    label: str
    dice: tuple[float, ...]
    failed: tuple[bool, ...]
    mean: Statistic


def strip_chart(strips: Sequence[Strip]) -> Chart:
    """Every case as a dot, one row a run, with the mean and its interval."""
    widest = max(len(_short(strip.label)) for strip in strips)
    figure, axes = _canvas(7.6, 0.75 + 0.72 * len(strips), left=0.25 + 0.085 * widest)
    for place, strip in enumerate(strips):
        colour = SERIES[place % len(SERIES)]
        dice, failed = np.asarray(strip.dice), np.asarray(strip.failed, dtype=bool)
        height = place + _spread(dice)
        axes.scatter(
            dice[~failed], height[~failed], s=16, color=colour, alpha=0.6, linewidths=0, clip_on=False
        )
        axes.scatter(
            dice[failed], height[failed], s=26, color=colour, marker="x", linewidths=1.4, clip_on=False
        )
        _mark_mean(axes, strip.mean, place - 0.36)
    axes.set_ylim(len(strips) - 0.5, -0.6)
    axes.set_xlim(0.0, 1.0)
    axes.set_yticks(range(len(strips)), [_short(strip.label) for strip in strips], parse_math=False)
    axes.set_xlabel("Dice of a case (1 is perfect)")
    axes.grid(axis="x", color=_RULE, linewidth=0.7)
    axes.tick_params(axis="y", length=0)
    spoken = "; ".join(f"{strip.label}: {_spread_words(strip)}" for strip in strips)
    return Chart(_svg(figure, "strip", f"Dice of every case, one row a run. {spoken}."), spoken)


def _short(label: str) -> str:
    """A label that leaves room for the chart."""
    return label if len(label) <= 22 else f"{label[:21]}…"


def _mark_mean(axes: Axes, mean: Statistic, height: float) -> None:
    if mean.mean is None:
        return
    if mean.low is not None and mean.high is not None:
        axes.plot([mean.low, mean.high], [height, height], color=_INK, linewidth=2.0, solid_capstyle="butt")
    axes.plot([mean.mean], [height], marker="D", markersize=5, color=_INK, linestyle="none", clip_on=False)


def _spread(values: np.ndarray) -> np.ndarray:
    """Heights in about [-0.25, 0.25] that keep dots of like value apart; the same for the same values."""
    heights = np.zeros(len(values))
    order = np.argsort(values, kind="stable")
    lanes = np.array([0.0, 0.11, -0.11, 0.22, -0.22, 0.055, -0.055, 0.165, -0.165])
    heights[order] = lanes[np.arange(len(values)) % len(lanes)]
    return heights + 0.06


def _spread_words(strip: Strip) -> str:
    if not strip.dice:
        return "no case to score"
    low, middle, high = (float(np.percentile(strip.dice, share)) for share in (0, 50, 100))
    return f"from {low:.2f} to {high:.2f}, half of the cases above {middle:.2f}"


def loss_charts(curves: Sequence[Curve]) -> list[Chart]:
    """One chart for each stage and player, a line a term."""
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        groups.setdefault((curve.stage, curve.player), []).append(curve)
    charts: list[Chart] = []
    for (stage, player), members in groups.items():
        # The legend stands above the chart, two terms a line.
        figure, axes = _canvas(4.4, 2.5, top=0.1 + 0.17 * ((len(members) + 1) // 2))
        for place, curve in enumerate(members):
            steps, values = _binned(curve)
            axes.plot(
                steps,
                values,
                color=SERIES[place % len(SERIES)],
                linewidth=1.5,
                linestyle=("-", "--", ":", "-.")[place // len(SERIES) % 4],
                label=curve.term,
            )
        _loss_axis(axes, members)
        title = player if player == stage else f"{player} ({stage})"
        ends = ", ".join(f"{curve.term} ends at {curve.values[-1]:.3g}" for curve in members)
        spoken = f"Losses of the {player} in stage {stage}: {ends}."
        charts.append(Chart(_svg(figure, f"loss-{stage}-{player}", spoken), title))
    return charts


def _loss_axis(axes: Axes, curves: Sequence[Curve]) -> None:
    values = np.concatenate([np.asarray(curve.values) for curve in curves])
    if values.min() > 0 and values.max() / values.min() > _LOGARITHMIC:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_ylabel("loss (logarithmic)")
    else:
        axes.set_ylim(bottom=min(0.0, float(values.min())))
        axes.set_ylabel("loss")
    _step_axis(axes)
    axes.legend(
        frameon=False, fontsize=8.5, labelcolor=_INK, ncols=2, loc="lower left", bbox_to_anchor=(0.0, 1.0)
    )


def _step_axis(axes: Axes) -> None:
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", " "))
    axes.grid(axis="y", color=_RULE, linewidth=0.7)


def _binned(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """The curve, averaged over as many neighbours as bring it under `MOST_POINTS`."""
    steps, values = np.asarray(curve.steps, dtype=float), np.asarray(curve.values)
    bins = min(len(steps), MOST_POINTS)
    chunks = zip(np.array_split(steps, bins), np.array_split(values, bins), strict=True)
    means = np.array([(ours.mean(), theirs.mean()) for ours, theirs in chunks])
    return means[:, 0], means[:, 1]


def validation_chart(curve: Curve, choice: Choice | None) -> Chart:
    """The score on the held-out patients over the steps, with the chosen step marked."""
    figure, axes = _canvas(4.4, 2.5)
    axes.plot(curve.steps, curve.values, color=SERIES[0], linewidth=1.5, marker="o", markersize=3)
    spoken = f"Validation {curve.term} in stage {curve.stage}, from {curve.values[0]:.3f} to {curve.values[-1]:.3f}"
    if choice is not None and choice.step in curve.steps:
        value = curve.values[curve.steps.index(choice.step)]
        axes.axvline(choice.step, color=_INK, linewidth=1.0, linestyle="--")
        axes.plot([choice.step], [value], marker="o", markersize=9, fillstyle="none", color=_INK)
        late = choice.step > (curve.steps[0] + curve.steps[-1]) / 2
        axes.annotate(
            f"chosen: step {choice.step}, {value:.3f}",
            (choice.step, 0.04),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if late else 5, 0),
            textcoords="offset points",
            ha="right" if late else "left",
            color=_INK,
            fontsize=9,
        )
        spoken += f", chosen at step {choice.step} with {value:.3f}"
    axes.set_ylabel(f"{curve.term} on held-out patients")
    axes.set_ylim(top=min(1.02, max(curve.values) + 0.05))
    _step_axis(axes)
    svg = _svg(figure, f"validation-{curve.stage}", f"{spoken}.")
    kind = "tagged" if curve.term == "F1" else "labelled"
    return Chart(svg, f"{curve.stage}: score on the held-out {kind} patients")


def _canvas(width: float, height: float, left: float = 0.62, top: float = 0.1) -> tuple[Figure, Axes]:
    """A figure with one pair of axes in the page's ink; sizes and margins are in inches."""
    figure = Figure(figsize=(width, height))
    # Fixed margins: letting matplotlib find them would draw every chart twice.
    figure.subplots_adjust(left / width, 0.5 / height, 1.0 - 0.14 / width, 1.0 - top / height)
    figure.patch.set_visible(False)
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=9.5, length=3)
    axes.xaxis.label.set(color=_INK, fontsize=9.5)
    axes.yaxis.label.set(color=_INK, fontsize=9.5)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Figure, name: str, spoken: str) -> str:
    """The figure as inline SVG with a spoken text, identifiers of its own and no date in it."""
    written = io.StringIO()
    # Text stays text, in the page's font; a fixed salt makes equal charts equal byte for byte.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "fewmask"}):
        figure.savefig(written, format="svg", metadata={"Date": None})
    drawn = written.getvalue()
    drawn = re.sub(r"\s*<metadata>.*?</metadata>", "", drawn[drawn.index("<svg") :], flags=re.DOTALL)
    prefix = re.sub(r"[^A-Za-z0-9-]", "_", name)
    drawn = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", drawn)
    drawn = re.sub("|".join(_VARIABLES), lambda match: _VARIABLES[match[0]], drawn)
    box = re.search(r'viewBox="[^"]*"', drawn)
    assert box is not None  # matplotlib writes one
    space = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head = f'<svg class="chart" role="img" aria-label="{html.escape(spoken)}" {box[0]} {space}>'
    return head + drawn[drawn.index(">") + 1 :]
