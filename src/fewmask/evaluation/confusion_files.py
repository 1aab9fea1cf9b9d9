"""Which class was taken for which, as files: summed over all cases, and case by case for those who pool further."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewmask.errors import InputFault
from fewmask.evaluation.summary import CaseScores
from fewmask.files import write_csv
from fewmask.metrics.confusion import Confusion

CONFUSION, CONFUSION_CASES = "confusion.csv", "confusion_cases.csv"

CORNER = "truth"
"""The heading of the column that names the true classes."""

CASE_COLUMNS = ("case", "patient", "truth", "predicted", "pixels")


@dataclass(frozen=True)
class NamedConfusion:
    """Counts of pixels (voxels) and the classes' names, background first."""

    classes: tuple[str, ...]
    counts: Confusion


def write_confusions(folder: Path, classes: Sequence[str], cases: Sequence[CaseScores]) -> None:
    """Write `confusion.csv`, the sum over the cases, and `confusion_cases.csv`, a row a case and pair of classes.

    Pairs of classes that a case has no pixel of have no row.
    """
    pooled = np.sum([case.confusion for case in cases], axis=0)
    counts = zip(classes, pooled.tolist(), strict=True)
    write_csv(folder / CONFUSION, (CORNER, *classes), ((name, *row) for name, row in counts))
    pairs = (
        (case.case, case.patient, classes[true], classes[predicted], int(case.confusion[true, predicted]))
        for case in cases
        for true, predicted in np.argwhere(case.confusion)
    )
    write_csv(folder / CONFUSION_CASES, CASE_COLUMNS, pairs)


def read_confusion(folder: Path) -> NamedConfusion | None:
    """The pooled counts that `evaluate` left in a folder; None where it left none.

    Raises InputFault where the file is damaged.
    """
    path = folder / CONFUSION
    if not path.exists():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = list(csv.reader(file)) or [[]]
    classes = tuple(head[1:])
    try:
        counts = np.array([[int(cell) for cell in row[1:]] for row in rows], dtype=np.int64)
    except ValueError:
        counts = np.empty(0, dtype=np.int64)
    named = tuple(row[0] for row in rows if row)
    if not classes or named != classes or counts.shape != (len(classes), len(classes)) or counts.min() < 0:
        raise InputFault(f"{path}: no square table of counts; run `fewmask evaluate` again")
    return NamedConfusion(classes, counts)
