"""The picture of ROC curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fewmask.files import replaced
from fewmask.metrics.classification import RocCurve

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Okabe and Ito's, which the colour-blind can tell apart."""

_STYLES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class NamedCurve:
    """A curve, and what its line in the legend says."""

    label: str
    curve: RocCurve


def square_axes(title: str, across: str, up: str, end: float = 1.0) -> tuple[Figure, Axes]:
    """A figure of one square from 0 to `end` on both axes, with its diagonal as a thin line."""
    figure = Figure(figsize=(4.8, 4.8), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, end), ylim=(0, end), xlabel=across, ylabel=up, aspect="equal")
    axes.set_title(title, fontsize=10, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def save_figure(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write a figure as a PNG file; without the library's name and version, equal figures make equal files."""
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=dpi, metadata={"Software": None})


def write_roc(path: Path, curves: Sequence[NamedCurve], title: str) -> None:
    """Draw the curves on one pair of axes, with chance as a thin diagonal, as a PNG file."""
    figure, axes = square_axes(title, "1 - specificity", "sensitivity")
    for place, named in enumerate(curves):
        axes.plot(
            named.curve.false_positive_rate,
            named.curve.sensitivity,
            color=_COLOURS[place % len(_COLOURS)],
            linestyle=_STYLES[place % len(_STYLES)],
            linewidth=1.8,
            label=named.label,
            clip_on=False,
        )
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    save_figure(figure, path)
