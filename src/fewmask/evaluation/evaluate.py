"""Score a folder of predicted masks against the truth: the only verb that opens a target's masks."""

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewmask.config import to_mapping
from fewmask.console import Progress, silent
from fewmask.data import raster
from fewmask.data.case import Case, Cohort
from fewmask.data.geometry import Raster
from fewmask.errors import InputFault
from fewmask.evaluation.summary import (
    CaseScores,
    ClassSummary,
    Summary,
    summarise_class,
    summarise_overall,
)
from fewmask.evaluation.truth import binary_values, pair, with_classes
from fewmask.files import replaced, write_json
from fewmask.metrics.score import METRICS, ClassScore, score_case

COLUMNS = ("case", "patient", "class", *METRICS, "voxels_truth", "voxels_predicted", "status", "unit")

AFFINE_TOLERANCE = 1e-3
"""NIfTI files store their geometry in 32 bits, so equal ones may differ by rounding."""


def evaluate(
    predictions: Path,
    truth: Path,
    out: Path,
    *,
    nsd_tolerance: float = 2.0,
    progress: Progress = silent,
) -> Summary:
    """Score every case that has a mask, and write `scores.csv` and `summary.json` into `out`.

    `truth` is a dataset folder, its labelsTs or labelsTr, or any folder of masks. `nsd_tolerance` is in the
    unit of the distances (mm, or px for pictures). One case is in memory at a time. Nothing is written on a
    fault.
    Raises InputFault for a missing prediction, another size or geometry, or a value that is no class.
    """
    if not (math.isfinite(nsd_tolerance) and nsd_tolerance >= 0):
        raise InputFault(f"nsd_tolerance={nsd_tolerance}: must be 0 or more, in mm or px; the default is 2")
    pairing = pair(predictions, truth)
    cohort = with_classes(replace(pairing.cohort, cases=pairing.cases))
    if len(cohort.classes) < 2:
        raise InputFault(f"{truth}: its dataset.json names no foreground class; add one under labels")
    rows: list[CaseScores] = []
    remapped = 0
    with progress("scoring", len(pairing.cases)) as done:
        for case, path in zip(pairing.cases, pairing.predictions, strict=True):
            scored, was_remapped = _score(case, path, cohort, nsd_tolerance)
            rows.append(scored)
            remapped += was_remapped
            done()
    remarks = list(dict.fromkeys((*cohort.remarks, *pairing.remarks)))
    if remapped:
        remarks.append(f"{remapped} predictions were 0/255 or 0/1 other than the truth and were remapped")
    summary = _summarise(rows, cohort, nsd_tolerance, pairing.unmatched, tuple(remarks))
    _write_scores(out / "scores.csv", rows, cohort)
    write_json(out / "summary.json", _json(summary, rows))
    return summary


def _score(case: Case, path: Path, cohort: Cohort, nsd_tolerance: float) -> tuple[CaseScores, bool]:
    """The scores of one case, and whether its prediction was written as 0/255 where the truth is 0/1."""
    assert case.mask is not None  # `pair` keeps only cases with a mask
    truth, predicted = _alike(raster.read_label_values(case.mask), raster.read_label_values(path))
    _check_geometry(truth, predicted, path)
    truth_classes = raster.classes_of(truth.array[0], cohort, str(case.mask))
    remapped = binary_values(predicted.array[0], cohort)
    values = predicted.array[0] if remapped is None else remapped
    predicted_classes = _predicted_classes(values, cohort, path)
    scores = score_case(
        truth_classes, predicted_classes, len(cohort.classes), truth.spacing, nsd_tolerance=nsd_tolerance
    )
    row = CaseScores(case.name, case.patient, truth.unit, path.resolve(), case.mask.resolve(), tuple(scores))
    return row, remapped is not None


def _alike(truth: Raster, predicted: Raster) -> tuple[Raster, Raster]:
    """Both as pictures where one is a picture and the other a flat NIfTI file of it."""
    if truth.dimensions == predicted.dimensions:
        return truth, predicted
    return _as_picture(truth), _as_picture(predicted)


def _as_picture(image: Raster) -> Raster:
    """A flat volume (x, y, 1) as (rows, columns); anything else as it is."""
    if image.dimensions != 3 or image.shape[2] != 1:
        return image
    return Raster(image.array[..., 0].transpose(0, 2, 1), image.spacing[1::-1], image.unit)


def _check_geometry(truth: Raster, predicted: Raster, path: Path) -> None:
    """Refuse a prediction on another grid: its scores would be about the grid, not the structure."""
    if truth.array.shape != predicted.array.shape:
        sizes = ["x".join(str(side) for side in image.array.shape[1:]) for image in (predicted, truth)]
        raise InputFault(f"{path}: size {sizes[0]}, but its truth has {sizes[1]}; segment the original image")
    if truth.affine is None or predicted.affine is None:
        return
    apart = float(np.abs(np.asarray(truth.affine) - np.asarray(predicted.affine)).max())
    if not apart <= AFFINE_TOLERANCE:
        raise InputFault(
            f"{path}: its position or spacing differs from the truth's (affine by {apart:.3g}); "
            "resample it to the truth's grid"
        )


def _predicted_classes(values: NDArray[Any], cohort: Cohort, path: Path) -> NDArray[np.uint8]:
    found = set(np.unique(values).tolist())
    unknown = sorted(found - {*cohort.label_values, cohort.ignored_value})
    if unknown and found <= set(range(len(cohort.classes))):
        # `segment` writes class numbers, whatever values the truth's files use for the classes.
        return values.astype(np.uint8)
    if unknown:
        known = ", ".join(str(value) for value in cohort.label_values)
        raise InputFault(
            f"{path}: value {unknown[0]} is no class of the truth ({known}); write the truth's values"
        )
    return raster.classes_of(values, cohort, str(path))


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
    )


def _write_scores(path: Path, rows: Sequence[CaseScores], cohort: Cohort) -> None:
    """One line a case and class; None is an empty cell, and numbers keep all their digits."""
    with replaced(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            for name, score in zip(cohort.classes[1:], row.scores, strict=True):
                metrics = [getattr(score, metric) for metric in METRICS]
                sizes = (score.voxels_truth, score.voxels_predicted)
                writer.writerow((row.case, row.patient, name, *metrics, *sizes, score.status, row.unit))


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
