"""Score a folder of predicted masks against the truth: the only verb that opens a target's masks."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.config import to_mapping
from fewmask.console import Progress, silent
from fewmask.data.case import Case, Cohort
from fewmask.errors import InputFault
from fewmask.evaluation.confusion_files import write_confusions
from fewmask.evaluation.summary import (
    CaseScores,
    ClassSummary,
    Summary,
    summarise_class,
    summarise_overall,
    summarise_pooled,
)
from fewmask.evaluation.truth import held_against, holds_class_numbers, pair, remapped_remark
from fewmask.files import write_csv, write_json
from fewmask.metrics.agreement import dice_by_class
from fewmask.metrics.confusion import confusion_matrix
from fewmask.metrics.score import METRICS, ClassScore, score_case
from fewmask.shapes import IGNORED

_LATER = ("masd", "masd_voxels", "hd95_voxels")
"""Metrics whose columns stand last: scripts may count on the places of those that were there before."""

_FIRST = tuple(metric for metric in METRICS if metric not in _LATER)

COLUMNS = ("case", "patient", "class", *_FIRST, "voxels_truth", "voxels_predicted", "status", "unit", *_LATER)


def evaluate(
    predictions: Path,
    truth: Path,
    out: Path,
    *,
    nsd_tolerance: float = 2.0,
    progress: Progress = silent,
) -> Summary:
    """Score every case that has a mask, and write scores.csv, confusion.csv and summary.json into `out`.

    `truth` is a dataset folder, its labelsTs or labelsTr, or any folder of masks. `nsd_tolerance` is in the
    unit of the distances (mm, or px for pictures). Predictions hold class numbers 0..K-1 where `segment` left its
    list beside them, else the truth's own values. One case is in memory at a time. Nothing is written on a fault.
    Raises InputFault for a missing prediction, another size or geometry, or a value that is no class.
    """
    if not (math.isfinite(nsd_tolerance) and nsd_tolerance >= 0):
        raise InputFault(f"nsd_tolerance={nsd_tolerance}: must be 0 or more, in mm or px; the default is 2")
    pairing = pair(predictions, truth)
    cohort = pairing.cohort
    rows: list[CaseScores] = []
    numbered = holds_class_numbers(predictions)
    remapped = 0
    with progress("scoring", len(pairing.cases)) as done:
        for case, path in zip(pairing.cases, pairing.predictions, strict=True):
            scored, was_remapped = _score(case, path, cohort, numbered, nsd_tolerance)
            rows.append(scored)
            remapped += was_remapped
            done()
    remarks = (*pairing.remarks, *remapped_remark(remapped))
    summary = _summarise(rows, cohort, nsd_tolerance, pairing.unmatched, remarks)
    _write_scores(out / "scores.csv", rows, cohort)
    write_confusions(out, cohort.classes, rows)
    write_json(out / "summary.json", _json(summary, rows))
    return summary


def mean_dice(predictions: Path, truth: Path) -> float | None:
    """The mean Dice over a case's foreground classes, then over cases, in [0, 1], as in `evaluate`; nothing is written.

    Much quicker than that, for no distance is measured. None where nothing is there and nothing is drawn.
    """
    pairing = pair(predictions, truth)
    numbered = holds_class_numbers(predictions)
    by_case: list[float] = []
    for case, path in zip(pairing.cases, pairing.predictions, strict=True):
        held = held_against(case, path, pairing.cohort, numbered)
        drawn = np.where(held.true == IGNORED, 0, held.predicted).astype(np.uint8)
        dice = dice_by_class(held.true, drawn, len(pairing.cohort.classes))
        if np.isfinite(dice).any():
            by_case.append(float(np.nanmean(dice)))
    return float(np.mean(by_case)) if by_case else None


def _score(
    case: Case, path: Path, cohort: Cohort, numbered: bool, nsd_tolerance: float
) -> tuple[CaseScores, bool]:
    """The scores of one case, and whether its prediction was written as 0/255 where the truth is 0/1."""
    assert case.mask is not None  # `pair` keeps only cases with a mask
    held = held_against(case, path, cohort, numbered)
    count = len(cohort.classes)
    scores = score_case(held.true, held.predicted, count, held.spacing, nsd_tolerance=nsd_tolerance)
    row = CaseScores(
        case=case.name,
        patient=case.patient,
        unit=held.unit,
        prediction=path.resolve(),
        truth=case.mask.resolve(),
        scores=tuple(scores),
        confusion=confusion_matrix(held.true, held.predicted, count),
    )
    return row, held.remapped


def _summarise(
    rows: Sequence[CaseScores], cohort: Cohort, nsd_tolerance: float, unmatched: int, remarks: tuple[str, ...]
) -> Summary:
    units = sorted({row.unit for row in rows})
    if len(units) > 1:
        raise InputFault(
            f"{cohort.root}: some cases are in {units[0]}, some in {units[1]}; evaluate them apart"
        )
    classes = tuple(
        summarise_class(name, index, label, rows)
        for index, (name, label) in enumerate(zip(cohort.classes[1:], cohort.label_values[1:], strict=True))
    )
    return Summary(
        cases=len(rows),
        patients=len({row.patient for row in rows}),
        patients_known=cohort.patients_known,
        classes=classes,
        overall=summarise_overall(rows),
        unit=units[0],
        nsd_tolerance=nsd_tolerance,
        unmatched_predictions=unmatched,
        remarks=remarks,
        pooled=summarise_pooled(rows, cohort.classes),
    )


def _write_scores(path: Path, rows: Sequence[CaseScores], cohort: Cohort) -> None:
    """One line a case and class."""
    lines: list[tuple[object, ...]] = []
    for row in rows:
        for name, score in zip(cohort.classes[1:], row.scores, strict=True):
            first, later = ([getattr(score, metric) for metric in group] for group in (_FIRST, _LATER))
            sizes = (score.voxels_truth, score.voxels_predicted)
            lines.append((row.case, row.patient, name, *first, *sizes, score.status, row.unit, *later))
    write_csv(path, COLUMNS, lines)


def _json(summary: Summary, rows: Sequence[CaseScores]) -> dict[str, Any]:
    """nnU-Net's three keys, by its names, then ours."""
    labels = [str(entry.label) for entry in summary.classes]
    per_case = [[_nnunet(score) for score in row.scores] for row in rows]
    means = [_column_means([case[index] for case in per_case]) for index in range(len(labels))]
    ours = to_mapping(summary)
    ours["classes"] = {entry.name: _json_class(entry) for entry in summary.classes}
    ours["overall"] = _json_class(summary.overall)
    return {
        "foreground_mean": _column_means(means),
        "mean": dict(zip(labels, means, strict=True)),
        "metric_per_case": [
            {
                "metrics": dict(zip(labels, metrics, strict=True)),
                "prediction_file": str(row.prediction),
                "reference_file": str(row.truth),
            }
            for row, metrics in zip(rows, per_case, strict=True)
        ],
        **ours,
    }


def _json_class(entry: ClassSummary) -> dict[str, Any]:
    return {"label": entry.label, **to_mapping(entry.metrics), "counts": to_mapping(entry.counts)}


def _nnunet(score: ClassScore) -> dict[str, float | None]:
    overlap = score.overlap
    return {
        "Dice": score.dice,
        "IoU": score.iou,
        "FN": overlap.false_negative,
        "FP": overlap.false_positive,
        "TN": overlap.true_negative,
        "TP": overlap.true_positive,
        "n_pred": overlap.voxels_predicted,
        "n_ref": overlap.voxels_truth,
    }


def _column_means(entries: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """The mean of each key over the entries that have a value, as nnU-Net's nanmean."""
    means: dict[str, float | None] = {}
    for key in entries[0]:
        kept = [value for entry in entries if (value := entry[key]) is not None]
        means[key] = float(np.mean(kept)) if kept else None
    return means
