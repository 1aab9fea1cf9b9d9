"""The two pictures of a prognosis: its ROC curves, and whether its probabilities mean what they say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from fewmask.evaluation.prognosis_record import CALIBRATION, ROC, Against, Held, Level, Prognosis
from fewmask.evaluation.prognosis_words import cases_words, estimate_words
from fewmask.evaluation.roc import NamedCurve, save_figure, square_axes, write_roc
from fewmask.metrics.calibration import CalibrationBin
from fewmask.metrics.classification import roc_curve

_COLOURS, _MARKERS = ("#0072b2", "#d55e00"), ("o", "s")
"""As those of the ROC curves, which the colour-blind can tell apart."""


@dataclass(frozen=True)
class NamedCalibration:
    """The bins of one calibration curve, and what the legend calls them."""

    label: str
    bins: Sequence[CalibrationBin]


def write_figures(out: Path, prognosis: Prognosis, cases: Sequence[Held], patients: Sequence[Held]) -> None:
    """Write `roc.png` and `calibration.png` of the cases and, where patients have several, of the patients.

    The clinical baseline is drawn with the last of them. All rows have an outcome.
    """
    levels = [("each case", prognosis.per_case, cases), ("each patient", prognosis.per_patient, patients)]
    drawn = [(label, level, rows) for label, level, rows in levels if level is not None]
    curves = [curve for label, level, rows in drawn for curve in _own_curve(label, level, rows)]
    _, people, rows = drawn[-1]
    if people.baseline is not None:
        curves += _baseline_curve(people.baseline, rows)
    title = f"{prognosis.outcome}, {cases_words(drawn[0][1])}"
    write_roc(out / ROC, curves, title)
    write_calibration(
        out / CALIBRATION,
        [NamedCalibration(label, level.calibration_curve) for label, level, _ in drawn],
        title,
    )


def _own_curve(label: str, level: Level, rows: Sequence[Held]) -> list[NamedCurve]:
    curve = roc_curve([row.probability for row in rows], [row.outcome == 1.0 for row in rows])
    return [] if curve is None else [NamedCurve(f"{label}: AUC {estimate_words(level.auc, 2)}", curve)]


def _baseline_curve(held: Against, rows: Sequence[Held]) -> list[NamedCurve]:
    sign = -1.0 if held.lower_is_riskier else 1.0
    known = [(sign * row.baseline, row.outcome == 1.0) for row in rows if row.baseline is not None]
    curve = roc_curve([value for value, _ in known], [found for _, found in known])
    label = f"{held.column}: AUC {estimate_words(held.baseline, 2)}"
    return [] if curve is None else [NamedCurve(label, curve)]


def write_calibration(path: Path, curves: Sequence[NamedCalibration], title: str) -> None:
    """Draw the share with the outcome over the mean probability of each bin, with Wilson's intervals, as a PNG file."""
    reached = max(
        max(found.mean_probability, found.interval.high) for named in curves for found in named.bins
    )
    # Of a rare outcome all lies in one corner, which fills the picture.
    end = math.ceil(10 * reached) / 10
    figure, axes = square_axes(
        title, "probability that was told, mean of a bin", "share with the outcome", end
    )
    for place, named in enumerate(curves):
        _draw_bins(axes, named, place)
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    save_figure(figure, path)


def _draw_bins(axes: Axes, named: NamedCalibration, place: int) -> None:
    below = [max(0.0, found.share - found.interval.low) for found in named.bins]
    above = [max(0.0, found.interval.high - found.share) for found in named.bins]
    axes.errorbar(
        [found.mean_probability for found in named.bins],
        [found.share for found in named.bins],
        yerr=[below, above],
        color=_COLOURS[place % len(_COLOURS)],
        marker=_MARKERS[place % len(_MARKERS)],
        markersize=5,
        linewidth=1.4,
        elinewidth=1.0,
        capsize=2.5,
        label=named.label,
        clip_on=False,
    )
