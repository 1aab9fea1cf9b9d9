"""Score every slice by itself: how masks are judged that are made slice by slice, such as pseudo-masks.

The rule for empty masks is the one of `fewmask.metrics.score`, slice by slice: a missed slice and a false alarm have
Dice 0 and the slice's diagonal as distance, and a slice that is empty in both masks is in no mean.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewmask.config import to_mapping
from fewmask.console import Progress, silent
from fewmask.data.case import Case, Cohort
from fewmask.evaluation.summary import INTERVAL, Statistic, StatusCounts, statistic
from fewmask.evaluation.truth import HeldAgainst, held_against, holds_class_numbers, pair, remapped_remark
from fewmask.files import write_csv, write_json
from fewmask.metrics.score import Status, score_case

SCORES, SUMMARY = "slice_scores.csv", "slice_summary.json"

COLUMNS = ("case", "patient", "class", "slice", "dice", "hd95_px", "hd95_mm", "status")


@dataclass(frozen=True)
class SliceScore:
    """One class in one slice; `number` counts along the file's last axis from 0, as slices.csv does.

    `dice` in [0, 1]. `hd95_px` counts pixels as squares of side 1; `hd95_mm` is None where no spacing is known. All
    three are None where the class is in neither mask.
    """

    case: str
    patient: str
    structure: str
    number: int
    dice: float | None
    hd95_px: float | None
    hd95_mm: float | None
    status: Status


@dataclass(frozen=True)
class StructureSlices:
    """One class over the `slices`, of so many `patients`, that show it in the true mask, the predicted one, or both.

    Means, standard deviations and `counts` are over slices, intervals over patients.
    """

    slices: int
    patients: int
    dice: Statistic
    hd95_px: Statistic
    hd95_mm: Statistic
    counts: StatusCounts


@dataclass(frozen=True)
class SliceSummary:
    """What `slice_scores` found, by class; `slices` counts all there are, also those that show nothing."""

    cases: int
    patients: int
    patients_known: bool
    slices: int
    classes: Mapping[str, StructureSlices]
    unmatched_predictions: int
    remarks: tuple[str, ...]
    interval: str = INTERVAL


def slice_scores(predictions: Path, truth: Path, out: Path, *, progress: Progress = silent) -> SliceSummary:
    """Score every slice of every case that has a mask, and write slice_scores.csv and slice_summary.json into `out`.

    Both folders are as `evaluate` takes them. Volumes are cut across the last axis of their files; a picture is its
    own slice 0. Each class is scored alone. One case is in memory at a time. Nothing is written on a fault.
    Raises InputFault as `evaluate` does.
    """
    pairing = pair(predictions, truth)
    numbered = holds_class_numbers(predictions)
    rows: list[SliceScore] = []
    remapped = 0
    with progress("scoring slices", len(pairing.cases)) as done:
        for case, path in zip(pairing.cases, pairing.predictions, strict=True):
            held = held_against(case, path, pairing.cohort, numbered)
            rows += _scores(case, held, pairing.cohort)
            remapped += held.remapped
            done()
    names = pairing.cohort.classes[1:]
    summary = SliceSummary(
        cases=len(pairing.cases),
        patients=len({case.patient for case in pairing.cases}),
        patients_known=pairing.cohort.patients_known,
        slices=len(rows) // len(names),
        classes={name: _summarised([row for row in rows if row.structure == name]) for name in names},
        unmatched_predictions=pairing.unmatched,
        remarks=(*pairing.remarks, *remapped_remark(remapped)),
    )
    write_csv(out / SCORES, COLUMNS, [tuple(vars(row).values()) for row in rows])
    write_json(out / SUMMARY, to_mapping(summary))
    return summary


def _scores(case: Case, held: HeldAgainst, cohort: Cohort) -> Iterator[SliceScore]:
    """The scores of one case, slice by slice and in each class by class."""
    known = held.unit == "mm"
    spacing = held.spacing[:2] if known else (1.0, 1.0)
    for number, (true, predicted) in enumerate(zip(_cut(held.true), _cut(held.predicted), strict=True)):
        scores = score_case(true, predicted, len(cohort.classes), spacing)
        for name, score in zip(cohort.classes[1:], scores, strict=True):
            in_mm = score.hd95 if known else None
            yield SliceScore(
                case.name, case.patient, name, number, score.dice, score.hd95_voxels, in_mm, score.status
            )


def _cut(classes: NDArray[np.uint8]) -> Sequence[NDArray[np.uint8]]:
    """The slices (rows, columns) of a volume along its last axis; a picture is one."""
    return (
        [classes] if classes.ndim == 2 else [np.ascontiguousarray(one) for one in np.moveaxis(classes, -1, 0)]
    )


def _summarised(rows: Sequence[SliceScore]) -> StructureSlices:
    patients = [row.patient for row in rows]
    found = [row.status for row in rows]
    counted = [row.patient for row in rows if row.status != "absent"]
    return StructureSlices(
        slices=len(counted),
        patients=len(set(counted)),
        dice=statistic([row.dice for row in rows], patients),
        hd95_px=statistic([row.hd95_px for row in rows], patients),
        hd95_mm=statistic([row.hd95_mm for row in rows], patients),
        counts=StatusCounts(*(found.count(status) for status in ("ok", "missed", "false_alarm", "absent"))),
    )
