"""From the scores of cases to means with intervals over patients, and the tables that show them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewmask.metrics.confusion import Confusion
from fewmask.metrics.interval import CONFIDENCE, DRAWS, bootstrap_interval
from fewmask.metrics.pooled import PooledRatio, pooled_ratios
from fewmask.metrics.score import METRICS, ClassScore

INTERVAL = f"{100 * CONFIDENCE:g} % bootstrap over patients, {DRAWS} draws"


@dataclass(frozen=True)
class CaseScores:
    """The scores of one case, one for each foreground class in the cohort's order; distances in `unit`.

    `confusion` counts the pixels of all classes, the background first, on the truth's own grid.
    """

    case: str
    patient: str
    unit: str
    prediction: Path
    truth: Path
    scores: tuple[ClassScore, ...]
    confusion: Confusion


@dataclass(frozen=True)
class Statistic:
    """A mean over `n` cases, their spread, and the mean's interval; None where nothing can be said."""

    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    n: int


UNMEASURED = Statistic(None, None, None, None, 0)
"""What older evaluations say of a metric that came later."""


@dataclass(frozen=True)
class MetricStatistics:
    """One statistic a metric; the metrics are defined in `fewmask.metrics`."""

    dice: Statistic
    iou: Statistic
    hd95: Statistic
    hd95_pooled: Statistic
    assd: Statistic
    nsd: Statistic
    sensitivity: Statistic
    precision: Statistic
    masd: Statistic = UNMEASURED
    masd_voxels: Statistic = UNMEASURED
    hd95_voxels: Statistic = UNMEASURED


@dataclass(frozen=True)
class StatusCounts:
    """How many cases fell under each row of the empty rule (`fewmask.metrics.score`)."""

    ok: int
    missed: int
    false_alarm: int
    absent: int


@dataclass(frozen=True)
class ClassSummary:
    """One class over all cases; `label` is its value in the mask files (None for all classes together)."""

    name: str
    label: int | None
    metrics: MetricStatistics
    counts: StatusCounts


@dataclass(frozen=True)
class PooledStatistic:
    """A ratio pooled over the pixels of all cases, and its interval; None where nothing can be said.

    `left_out` names the classes that a mean over classes leaves out (`fewmask.metrics.confusion`).
    """

    value: float | None
    low: float | None
    high: float | None
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Pooled:
    """The figures of MSL's Table 1, all classes and the background among them. A large case counts for more."""

    pixel_accuracy: PooledStatistic
    mean_class_accuracy: PooledStatistic
    mean_iou: PooledStatistic


@dataclass(frozen=True)
class Summary:
    """What `evaluate` found. `overall` is the mean over the foreground classes of a case, then over cases.

    `pooled` stands beside the means over cases; None in summaries that were written before it was known.
    `unit` is "mm" or "px". `unmatched_predictions` were left out because they have no mask.
    """

    cases: int
    patients: int
    patients_known: bool
    classes: tuple[ClassSummary, ...]
    overall: ClassSummary
    unit: str
    nsd_tolerance: float
    unmatched_predictions: int
    remarks: tuple[str, ...]
    pooled: Pooled | None = None
    interval: str = INTERVAL


def statistic(values: Sequence[float | None], patients: Sequence[str]) -> Statistic:
    """The mean of the values that are not None, with its interval over patients. std has n - 1 below."""
    kept = [(value, patient) for value, patient in zip(values, patients, strict=True) if value is not None]
    if not kept:
        return UNMEASURED
    numbers = [value for value, _ in kept]
    interval = bootstrap_interval(numbers, [patient for _, patient in kept])
    return Statistic(
        mean=float(np.mean(numbers)),
        std=float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        n=len(numbers),
    )


def summarise_class(name: str, index: int, label: int, cases: Sequence[CaseScores]) -> ClassSummary:
    """One foreground class (`index` counts from 0) over all cases."""
    column = [[case.scores[index]] for case in cases]
    return ClassSummary(name, label, _metrics(column, cases), _counts(column))


def summarise_overall(cases: Sequence[CaseScores]) -> ClassSummary:
    """All foreground classes: each case is the mean of its classes, absent ones left out."""
    rows = [list(case.scores) for case in cases]
    return ClassSummary("overall", None, _metrics(rows, cases), _counts(rows))


def summarise_pooled(cases: Sequence[CaseScores], classes: Sequence[str]) -> Pooled:
    """The ratios of the cases' summed confusion matrices; `classes` has the background first."""
    found = pooled_ratios([case.confusion for case in cases], [case.patient for case in cases])
    ratios = (found.pixel_accuracy, found.mean_class_accuracy, found.mean_iou)
    return Pooled(*(_pooled(ratio, classes) for ratio in ratios))


def _pooled(ratio: PooledRatio, classes: Sequence[str]) -> PooledStatistic:
    return PooledStatistic(
        value=ratio.value,
        low=ratio.interval.low if ratio.interval else None,
        high=ratio.interval.high if ratio.interval else None,
        left_out=tuple(classes[index] for index in ratio.left_out),
    )


def _metrics(rows: Sequence[Sequence[ClassScore]], cases: Sequence[CaseScores]) -> MetricStatistics:
    patients = [case.patient for case in cases]
    return MetricStatistics(
        *(
            statistic([_mean(getattr(score, metric) for score in row) for row in rows], patients)
            for metric in METRICS
        )
    )


def _counts(rows: Iterable[Sequence[ClassScore]]) -> StatusCounts:
    found = [score.status for row in rows for score in row]
    return StatusCounts(*(found.count(status) for status in ("ok", "missed", "false_alarm", "absent")))


def _mean(values: Iterable[float | None]) -> float | None:
    kept = [value for value in values if value is not None]
    return float(np.mean(kept)) if kept else None


def table(summary: Summary) -> list[tuple[str, ...]]:
    """Rows of cells for a terminal or a page, the heading first. A mean is followed by its interval."""
    unit = summary.unit
    in_voxels = ("MASD (voxels)",) if unit == "mm" else ()
    heading = ("class", "n", "Dice", f"HD95 ({unit})", f"ASSD ({unit})", *in_voxels, "missed", "false alarms")
    entries = [*summary.classes, *([summary.overall] if len(summary.classes) > 1 else [])]
    return [heading, *(_row(entry, bool(in_voxels)) for entry in entries)]


def _row(entry: ClassSummary, in_voxels: bool) -> tuple[str, ...]:
    metrics, counts = entry.metrics, entry.counts
    published = (_cell(metrics.masd_voxels.mean, metrics.masd_voxels, 2),) if in_voxels else ()
    return (
        entry.name,
        str(metrics.dice.n),
        _cell(metrics.dice.mean, metrics.dice, 3),
        _cell(metrics.hd95.mean, metrics.hd95, 2),
        _cell(metrics.assd.mean, metrics.assd, 2),
        *published,
        str(counts.missed),
        str(counts.false_alarm),
    )


def _cell(value: float | None, spread: Statistic | PooledStatistic, digits: int) -> str:
    if value is None:
        return "-"
    if spread.low is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{spread.low:.{digits}f}, {spread.high:.{digits}f}]"


def pooled_words(pooled: Pooled) -> str:
    """The pooled ratios in one line."""
    parts = (
        ("pixel accuracy", pooled.pixel_accuracy),
        ("mean class accuracy", pooled.mean_class_accuracy),
        ("mean IoU", pooled.mean_iou),
    )
    absent = pooled.mean_class_accuracy.left_out
    told = f" (no true mask has {', '.join(absent)})" if absent else ""
    ratios = ", ".join(f"{name} {_cell(ratio.value, ratio, 3)}" for name, ratio in parts)
    return f"Pooled over pixels, background included: {ratios}{told}."


def format_summary(summary: Summary) -> str:
    """The table as plain text, with what a reader must know to trust it."""
    rows = table(summary)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    people = (
        f"{summary.patients} patient(s)" if summary.patients_known else "no patients given: each case is one"
    )
    lines += ["", f"{summary.cases} cases, {people}. [low, high]: {summary.interval}."]
    if summary.pooled is not None:
        lines.append(pooled_words(summary.pooled))
    lines += [f"Note: {remark}." for remark in summary.remarks]
    return "\n".join(lines)
