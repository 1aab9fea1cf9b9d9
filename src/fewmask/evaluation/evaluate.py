"""Score a folder of predicted masks against the truth: the only verb that opens a target's masks."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.config import to_mapping
from fewmask.console import Progress, silent
from fewmask.data import raster
from fewmask.data.case import Case, Cohort
from fewmask.data.geometry import Raster, laid_on, on_one_grid, size_text
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
from fewmask.evaluation.truth import (
    binary_values,
    class_numbers,
    class_values,
    holds_class_numbers,
    pair,
    with_classes,
)
from fewmask.files import write_csv, write_json
from fewmask.metrics.confusion import confusion_matrix
from fewmask.metrics.score import METRICS, ClassScore, score_case

_LATER = ("masd", "masd_voxels")
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
    cohort = with_classes(replace(pairing.cohort, cases=pairing.cases))
    if len(cohort.classes) < 2:
        raise InputFault(f"{truth}: its dataset.json names no foreground class; add one under labels")
    rows: list[CaseScores] = []
    numbered = holds_class_numbers(predictions)
    remapped = 0
    with progress("scoring", len(pairing.cases)) as done:
        for case, path in zip(pairing.cases, pairing.predictions, strict=True):
            scored, was_remapped = _score(case, path, cohort, numbered, nsd_tolerance)
            rows.append(scored)
            remapped += was_remapped
            done()
    remarks = list(dict.fromkeys((*cohort.remarks, *pairing.remarks)))
    if remapped:
        remarks.append(f"{remapped} predictions were 0/255 or 0/1 other than the truth and were remapped")
    summary = _summarise(rows, cohort, nsd_tolerance, pairing.unmatched, tuple(remarks))
    _write_scores(out / "scores.csv", rows, cohort)
    write_confusions(out, cohort.classes, rows)
    write_json(out / "summary.json", _json(summary, rows))
    return summary


def _score(
    case: Case, path: Path, cohort: Cohort, numbered: bool, nsd_tolerance: float
) -> tuple[CaseScores, bool]:
    """The scores of one case, and whether its prediction was written as 0/255 where the truth is 0/1."""
    assert case.mask is not None  # `pair` keeps only cases with a mask
    truth, predicted = raster.read_label_values(case.mask), raster.read_label_values(path)
    truth, predicted = laid_on(truth, predicted), laid_on(predicted, truth)
    _check_geometry(truth, predicted, path)
    truth_classes = raster.classes_of(truth.array[0], cohort, str(case.mask))
    values = predicted.array[0]
    remapped = None if numbered else binary_values(values, cohort)
    if numbered:
        predicted_classes = class_numbers(values, cohort, path)
    else:
        predicted_classes = class_values(values if remapped is None else remapped, cohort, path)
    scores = score_case(
        truth_classes, predicted_classes, len(cohort.classes), truth.spacing, nsd_tolerance=nsd_tolerance
    )
    row = CaseScores(
        case=case.name,
        patient=case.patient,
        unit=truth.unit,
        prediction=path.resolve(),
        truth=case.mask.resolve(),
        scores=tuple(scores),
        confusion=confusion_matrix(truth_classes, predicted_classes, len(cohort.classes)),
    )
    return row, remapped is not None


def _check_geometry(truth: Raster, predicted: Raster, path: Path) -> None:
    """Refuse a prediction on another grid: its scores would be about the grid, not the structure."""
    if truth.shape != predicted.shape:
        sizes = [size_text(image.shape) for image in (predicted, truth)]
        raise InputFault(f"{path}: size {sizes[0]}, but its truth has {sizes[1]}; segment the original image")
    if not on_one_grid(truth, predicted):
        raise InputFault(
            f"{path}: its position or spacing differs from the truth's (affines differ); "
            "resample it to the truth's grid"
        )


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
