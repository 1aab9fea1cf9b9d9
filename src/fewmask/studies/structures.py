"""A table with a column for each structure: Dice, and the surface distance in voxels, as SIFA's papers print them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewmask.files import read_json
from fewmask.metrics.interval import resampled_sums
from fewmask.studies.cells import Cell
from fewmask.studies.per_case import PerCase, SeedCases, per_case
from fewmask.studies.results import Figure, figure_of, finished_cells, score_lines
from fewmask.studies.table import Row, Study

DICE, DISTANCE = "dice", "masd_voxels"
"""Columns of scores.csv. The papers' ASD is the mean of the two directed average distances, in voxels."""


@dataclass(frozen=True)
class Measured:
    """One measure of a row: a figure for each structure, and their mean."""

    structures: tuple[Figure, ...]
    mean: Figure


@dataclass(frozen=True)
class StructureRow:
    """One row over its finished seeds. `missed` counts structures of a case that were not found at all, all seeds.

    `by_case` is each case's Dice, its mean over the structures.
    """

    row: Row
    structures: tuple[str, ...]
    cases: int
    patients: int
    missed: int
    dice: Measured
    distance: Measured
    by_case: PerCase


@dataclass(frozen=True)
class _Scores:
    """One seed: cases, their patients, and (cases, structures) values, NaN where a structure is not scored."""

    cases: tuple[str, ...]
    patients: tuple[str, ...]
    dice: NDArray[np.float64]
    distance: NDArray[np.float64]
    missed: int


def structure_results(study: Study, cells: Sequence[Cell]) -> tuple[StructureRow, ...]:
    """The rows of which a seed is finished, in the table's order."""
    by_row = ((row, finished_cells(row, cells)) for row in study.rows)
    return tuple(_row(study, row, own) for row, own in by_row if own)


def _row(study: Study, row: Row, cells: Sequence[Cell]) -> StructureRow:
    structures = structures_of(study, tuple(read_json(cells[0].run / "material.json")["classes"]))
    seeds = tuple(sorted({cell.seed for cell in cells}))
    scores = [
        _scores([cell.folder / "scores.csv" for cell in cells if cell.seed == seed], structures)
        for seed in seeds
    ]
    patients = scores[0].patients
    return StructureRow(
        row,
        structures,
        len(scores[0].cases),
        len(set(patients)),
        sum(score.missed for score in scores),
        _measured(seeds, [score.dice for score in scores], patients),
        _measured(seeds, [score.distance for score in scores], patients),
        per_case(seeds, [SeedCases(score.cases, score.patients, _means(score.dice.T)) for score in scores]),
    )


def structures_of(study: Study, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The foreground classes, in the paper's order where they are the paper's."""
    return study.structures if set(study.structures) == set(classes[1:]) else classes[1:]


def _scores(files: Sequence[Path], structures: tuple[str, ...]) -> _Scores:
    """The scores of one seed, its folds together."""
    lines = score_lines(files)
    patients = {line["case"]: line["patient"] for line in lines}
    cases = tuple(sorted(patients))
    places = {case: place for place, case in enumerate(cases)}
    values = np.full((2, len(cases), len(structures)), np.nan)
    for line in lines:
        if line["class"] in structures:
            place = places[line["case"]], structures.index(line["class"])
            values[0][place], values[1][place] = (float(line[name] or "nan") for name in (DICE, DISTANCE))
    missed = sum(line["status"] == "missed" for line in lines)
    return _Scores(cases, tuple(patients[case] for case in cases), values[0], values[1], missed)


def _measured(
    seeds: tuple[int, ...], values: Sequence[NDArray[np.float64]], patients: Sequence[str]
) -> Measured:
    """The figures of one measure from (cases, structures) values of each seed."""
    means = np.stack([_means(value) for value in values])
    draws = [drawn_means(value, patients) for value in values] if len(set(patients)) > 1 else None
    figures = tuple(
        figure_of(
            seeds, tuple(means[:, place].tolist()), None if draws is None else np.stack(draws)[:, :, place]
        )
        for place in range(means.shape[1])
    )
    overall = tuple(np.nanmean(means, axis=1).tolist())
    return Measured(figures, figure_of(seeds, overall, None if draws is None else np.nanmean(draws, axis=2)))


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each column over the rows that have a value, NaN where none has: a structure's over its cases."""
    scored = np.isfinite(values)
    sums, counts = np.where(scored, values, 0.0).sum(axis=0), scored.sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def drawn_means(values: NDArray[np.float64], patients: Sequence[str]) -> NDArray[np.float64]:
    """The structures' means in each draw of patients, (draws, structures); NaN where none of the drawn has one."""
    owner = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)[1]
    scored = np.isfinite(values)
    both = np.concatenate([np.where(scored, values, 0.0), scored.astype(np.float64)], axis=1)
    totals = np.zeros((owner.max() + 1, both.shape[1]))
    np.add.at(totals, owner, both)
    sums, counts = np.split(resampled_sums(totals), 2, axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
