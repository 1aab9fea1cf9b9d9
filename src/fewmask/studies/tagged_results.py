"""From scored cells to the numbers of a table of masks from tags: Dice and HD95, in 2D and in 3D."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewmask.metrics.paired import signed_rank_p
from fewmask.studies.cells import Cell
from fewmask.studies.per_case import PerCase, SeedCases, per_case
from fewmask.studies.results import Figure, figure_of, finished_cells, score_lines
from fewmask.studies.structures import drawn_means
from fewmask.studies.table import Row, Study
from fewmask.studies.tagged_scores import PSEUDO_TEST, PSEUDO_VALIDATION, VALIDATION

SCORES, SLICE_SCORES = "scores.csv", "slice_scores.csv"

FEWEST = 5
"""Fewer cases than this cannot reach p < 0.05 in a signed-rank test, whatever they are."""


@dataclass(frozen=True)
class Part:
    """One set of masks: Dice in [0, 1], HD95 in pixels and in mm (None where spacing is unknown), over cases or slices.

    `by_case` is each case's Dice.
    """

    dice: Figure
    hd95_px: Figure
    hd95_mm: Figure | None
    cases: int
    patients: int
    missed: int
    false_alarms: int
    by_case: PerCase


@dataclass(frozen=True)
class TagRow:
    """One row over its finished seeds. Pseudo-masks are None for a row that makes none."""

    row: Row
    pseudo_validation: Part | None
    pseudo_test: Part | None
    validation: Part
    test: Part


@dataclass(frozen=True)
class _Scores:
    """One seed of a part: for each case that is scored its patient and (cases, 3) Dice, HD95 in px and in mm."""

    cases: tuple[str, ...]
    patients: tuple[str, ...]
    values: NDArray[np.float64]
    missed: int
    false_alarms: int


def tagged_results(study: Study, cells: Sequence[Cell]) -> tuple[TagRow, ...]:
    """The rows of which a seed is finished, in the table's order."""
    rows = [row for row in study.rows if row.scored_on != "nothing"]
    by_row = ((row, finished_cells(row, cells)) for row in rows)
    return tuple(_row(row, own) for row, own in by_row if own)


def _row(row: Row, cells: Sequence[Cell]) -> TagRow:
    makes = all((cell.folder / PSEUDO_TEST / SLICE_SCORES).exists() for cell in cells)
    return TagRow(
        row,
        _part(cells, f"{PSEUDO_VALIDATION}/{SLICE_SCORES}") if makes else None,
        _part(cells, f"{PSEUDO_TEST}/{SLICE_SCORES}") if makes else None,
        _part(cells, f"{VALIDATION}/{SCORES}"),
        _part(cells, SCORES),
    )


def _part(cells: Sequence[Cell], file: str) -> Part:
    seeds = tuple(sorted({cell.seed for cell in cells}))
    scores = [_scores([cell.folder / file for cell in cells if cell.seed == seed]) for seed in seeds]
    has_mm = all(np.isfinite(score.values[:, 2]).any() for score in scores)
    figures = [_figure(seeds, scores, column) for column in range(3 if has_mm else 2)]
    return Part(
        figures[0],
        figures[1],
        figures[2] if has_mm else None,
        len(scores[0].cases),
        len(set(scores[0].patients)),
        sum(score.missed for score in scores),
        sum(score.false_alarms for score in scores),
        per_case(seeds, [SeedCases(score.cases, score.patients, score.values[:, 0]) for score in scores]),
    )


def _scores(files: Sequence[Path]) -> _Scores:
    """The scores of one seed, its folds together. What is absent from truth and prediction is no case."""
    lines = score_lines(files)
    scored = [line for line in lines if line["status"] != "absent"]
    columns = ("hd95_voxels", "hd95") if files[0].name == SCORES else ("hd95_px", "hd95_mm")
    in_mm = [line.get("unit", "mm") == "mm" for line in scored]
    values = [
        (_number(line["dice"]), _number(line[columns[0]]), _number(line[columns[1]]) if known else np.nan)
        for line, known in zip(scored, in_mm, strict=True)
    ]
    return _Scores(
        tuple(f"{line['case']}/{line.get('slice', '')}" for line in scored),
        tuple(line["patient"] for line in scored),
        np.array(values, dtype=np.float64).reshape(-1, 3),
        sum(line["status"] == "missed" for line in scored),
        sum(line["status"] == "false_alarm" for line in scored),
    )


def _number(cell: str) -> float:
    return float(cell) if cell else float("nan")


def _figure(seeds: tuple[int, ...], scores: Sequence[_Scores], column: int) -> Figure:
    by_seed = tuple(float(np.nanmean(score.values[:, column])) for score in scores)
    enough = all(len(set(score.patients)) > 1 for score in scores)
    draws = None
    if enough:
        columns = [drawn_means(score.values[:, [column]], score.patients) for score in scores]
        draws = np.stack(columns)[:, :, 0]
    return figure_of(seeds, by_seed, draws)


def paired_p(one: Part, other: Part) -> float | None:
    """The two-sided p of no difference in Dice on the cases that both have, by Wilcoxon's signed-rank test over cases.

    None for fewer than `FEWEST` cases. The paper marks p < 0.05 and does not name its test.
    """
    first, second = one.by_case.mean(), other.by_case.mean()
    shared = sorted(first.keys() & second.keys())
    if len(shared) < FEWEST:
        return None
    return signed_rank_p(np.array([first[case] - second[case] for case in shared]))
