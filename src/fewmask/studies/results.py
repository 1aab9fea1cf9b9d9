"""From scored cells to the numbers of a table: means over seeds, their spread, and intervals over patients."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewmask.errors import InputFault
from fewmask.evaluation.confusion_files import CASE_COLUMNS, CONFUSION_CASES
from fewmask.files import read_json
from fewmask.metrics.confusion import mean_class_accuracy, mean_iou, pixel_accuracy
from fewmask.metrics.interval import Interval, bootstrap_interval, percentile_interval
from fewmask.metrics.pooled import drawn_ratios, patient_totals
from fewmask.studies.cells import Cell
from fewmask.studies.per_case import PerCase, SeedCases, per_case
from fewmask.studies.table import Row, Study

RATIOS = ("pixel_accuracy", "mean_class_accuracy", "mean_iou")


@dataclass(frozen=True)
class Figure:
    """A number: its mean over the seeds, the seeds' spread, and its interval over patients.

    `std` is None for one seed. The interval is that of the mean over the seeds that were run: it says how far
    other patients would move it, not how far other seeds would. `draws`, a row a seed, are the values behind it.
    """

    mean: float
    std: float | None
    interval: Interval | None
    seeds: tuple[int, ...]
    by_seed: tuple[float, ...]
    draws: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class RowResult:
    """One row over all of its folds and finished seeds. `confusion` is the sum over folds and seeds.

    `by_case` is each case's Dice, its mean over the foreground classes.
    """

    row: Row
    seeds: tuple[int, ...]
    cases: int
    patients: int
    ratios: tuple[Figure, Figure, Figure]
    dice: Figure
    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    by_case: PerCase

    @property
    def mean_iou(self) -> Figure:
        """The ratio by which rows are ordered."""
        return self.ratios[2]


@dataclass(frozen=True)
class CellScores:
    """What `evaluate` left in one cell, a row a case."""

    cases: tuple[str, ...]
    patients: tuple[str, ...]
    confusions: NDArray[np.int64]
    dice: NDArray[np.float64]


def row_results(study: Study, cells: Sequence[Cell]) -> tuple[RowResult, ...]:
    """The results of every row of which a seed is finished, in the table's order."""
    by_row = ((row, finished_cells(row, cells)) for row in study.rows)
    return tuple(_row_result(row, own) for row, own in by_row if own)


def finished_cells(row: Row, cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """A row's cells of those seeds all of whose folds are scored."""
    own = [cell for cell in cells if cell.row == row.name]
    unfinished = {cell.seed for cell in own if not cell.done()}
    return tuple(cell for cell in own if cell.seed not in unfinished)


def _row_result(row: Row, cells: Sequence[Cell]) -> RowResult:
    classes = tuple(read_json(cells[0].run / "material.json")["classes"])
    seeds = tuple(sorted({cell.seed for cell in cells}))
    pooled = [
        _together([cell_scores(cell.folder, classes) for cell in cells if cell.seed == seed])
        for seed in seeds
    ]
    totals = [patient_totals(list(scores.confusions), scores.patients) for scores in pooled]
    drawn = [drawn_ratios(total) if len(total) > 1 else None for total in totals]
    return RowResult(
        row=row,
        seeds=seeds,
        cases=len(pooled[0].cases),
        patients=len(totals[0]),
        ratios=(
            _ratio(0, seeds, totals, drawn),
            _ratio(1, seeds, totals, drawn),
            _ratio(2, seeds, totals, drawn),
        ),
        dice=_dice(seeds, pooled),
        classes=classes,
        confusion=np.sum([total.sum(axis=0) for total in totals], axis=0),
        by_case=per_case(seeds, [SeedCases(one.cases, one.patients, one.dice) for one in pooled]),
    )


def _together(parts: Sequence[CellScores]) -> CellScores:
    """The folds of one seed as one: every patient was tested once. Raises InputFault for a case in two folds."""
    names = [name for part in parts for name in part.cases]
    if len(set(names)) < len(names):
        raise InputFault(
            "a case is tested in two folds: cells of another division lie here; choose another --out"
        )
    return CellScores(
        tuple(name for part in parts for name in part.cases),
        tuple(patient for part in parts for patient in part.patients),
        np.concatenate([part.confusions for part in parts]),
        np.concatenate([part.dice for part in parts]),
    )


def _ratio(
    which: int,
    seeds: tuple[int, ...],
    totals: Sequence[NDArray[np.int64]],
    drawn: Sequence[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None],
) -> Figure:
    by_seed = tuple(_ratios_of(total.sum(axis=0))[which] for total in totals)
    present = [ratios[which] for ratios in drawn if ratios is not None]
    return figure_of(seeds, by_seed, np.stack(present) if len(present) == len(totals) else None)


def figure_of(
    seeds: tuple[int, ...], by_seed: tuple[float, ...], draws: NDArray[np.float64] | None
) -> Figure:
    """A figure from its value for each seed, and from its draws (seeds, draws) where there are patients to draw.

    The same patients are drawn for every seed, so a draw's mean is over the seeds of one set of patients.
    """
    interval = None if draws is None else _interval(draws.mean(axis=0))
    return Figure(float(np.mean(by_seed)), _spread(by_seed), interval, seeds, by_seed, draws)


def _ratios_of(confusion: NDArray[np.int64]) -> tuple[float, float, float]:
    values = (pixel_accuracy(confusion), mean_class_accuracy(confusion).mean, mean_iou(confusion).mean)
    accuracy, by_class, iou = (float("nan") if value is None else value for value in values)
    return accuracy, by_class, iou


def _interval(drawn: NDArray[np.float64]) -> Interval:
    """The interval over draws of patients; a draw in which nobody has what is measured says nothing."""
    return percentile_interval(drawn[np.isfinite(drawn)])


def _dice(seeds: tuple[int, ...], pooled: Sequence[CellScores]) -> Figure:
    by_seed = tuple(float(np.nanmean(scores.dice)) for scores in pooled)
    mean_by_case = np.mean([scores.dice for scores in pooled], axis=0)
    scored = np.isfinite(mean_by_case)
    patients = [patient for patient, is_scored in zip(pooled[0].patients, scored, strict=True) if is_scored]
    interval = bootstrap_interval(mean_by_case[scored].tolist(), patients)
    return Figure(float(np.mean(by_seed)), _spread(by_seed), interval, seeds, by_seed)


def _spread(by_seed: Sequence[float]) -> float | None:
    return float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else None


def cell_scores(folder: Path, classes: Sequence[str]) -> CellScores:
    """A cell's confusion matrices and mean foreground Dice, case by case in the order of the names.

    A case's Dice is the mean over the foreground classes that it is scored for, NaN for a case that is scored for none
    (all absent and none predicted).
    """
    confusions, patients = _confusions(folder / CONFUSION_CASES, classes)
    dice = dice_by_case(score_lines([folder / "scores.csv"]))
    names = tuple(sorted(confusions))
    return CellScores(
        names,
        tuple(patients[name] for name in names),
        np.stack([confusions[name] for name in names]),
        np.array([dice.get(name, float("nan")) for name in names]),
    )


def dice_by_case(lines: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Each case's mean Dice over the classes that it is scored for, NaN where it is scored for none."""
    scored: dict[str, list[float]] = {}
    for line in lines:
        scored.setdefault(line["case"], []).extend([float(line["dice"])] if line["dice"] else [])
    return {case: float(np.mean(dice)) if dice else float("nan") for case, dice in scored.items()}


def _confusions(file: Path, classes: Sequence[str]) -> tuple[dict[str, NDArray[np.int64]], dict[str, str]]:
    """Each case's matrix, and whose it is. A study has half a million such lines."""
    place = {name: index for index, name in enumerate(classes)}
    counts: dict[str, list[list[int]]] = {}
    patients: dict[str, str] = {}
    with file.open(newline="", encoding="utf-8") as opened:
        lines = csv.reader(opened)
        head = next(lines)
        wanted = itemgetter(*map(head.index, CASE_COLUMNS))
        for case, patient, true, predicted, pixels in map(wanted, lines):
            if case not in counts:
                counts[case], patients[case] = [[0] * len(classes) for _ in classes], patient
            counts[case][place[true]][place[predicted]] = int(pixels)
    return {case: np.array(rows, dtype=np.int64) for case, rows in counts.items()}, patients


def score_lines(files: Sequence[Path]) -> list[dict[str, str]]:
    """The lines of several tables of scores, such as those of a seed's folds."""
    lines: list[dict[str, str]] = []
    for file in files:
        with file.open(newline="", encoding="utf-8") as opened:
            table = csv.reader(opened)
            head = next(table, [])
            lines += [dict(zip(head, line, strict=True)) for line in table if line]
    return lines


@dataclass(frozen=True)
class Difference:
    """One figure less another over the seeds that both have, on the same patients, and how many seeds agree."""

    mean: float
    interval: Interval | None
    seeds: int
    larger: int


def difference(one: Figure, other: Figure) -> Difference | None:
    """`one` less `other`; None where they share no seed."""
    shared = [seed for seed in one.seeds if seed in other.seeds]
    if not shared:
        return None
    first, second = ([figure.seeds.index(seed) for seed in shared] for figure in (one, other))
    changes = np.array(one.by_seed)[first] - np.array(other.by_seed)[second]
    interval = None
    if one.draws is not None and other.draws is not None:
        interval = _interval((one.draws[first] - other.draws[second]).mean(axis=0))
    return Difference(float(changes.mean()), interval, len(shared), int((changes > 0).sum()))
