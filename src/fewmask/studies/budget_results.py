"""From scored cells to a label-budget curve: how many patients each training saw, and the Dice of its test cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewmask.data.case import Cohort
from fewmask.data.duplicates import group_near_duplicates
from fewmask.data.layouts import read_cohort
from fewmask.data.split import count_patients, read_splits
from fewmask.errors import InputFault
from fewmask.metrics.budget_curve import BudgetCurve, Trained, fit_budget_curve
from fewmask.studies.budget_rows import FLOOR, Family
from fewmask.studies.cells import Cell
from fewmask.studies.results import Figure, dice_by_case, figure_of, finished_cells, score_lines
from fewmask.studies.structures import drawn_means
from fewmask.studies.table import Row, Study
from fewmask.training.run import Run


@dataclass(frozen=True)
class BudgetRow:
    """One budget over its finished seeds: the patients and images that trained, and the mean Dice of the test cases.

    With several folds the numbers are the mean fold's. `held_out` patients took no part. The floor's are all 0.
    """

    row: Row
    patients: int
    images: int
    held_out: int
    cases: int
    test_patients: int
    dice: Figure


@dataclass(frozen=True)
class BudgetResults:
    """All budgets, the floor where there is one, and the curve through the budgets where there are three."""

    family: Family
    rows: tuple[BudgetRow, ...]
    floor: BudgetRow | None
    curve: BudgetCurve | None


@dataclass(frozen=True)
class _Seed:
    """One training of a budget, its folds together; Dice (cases,), NaN where a case has nothing to find or be found."""

    patients: int
    images: int
    held_out: int
    cases: tuple[str, ...]
    owners: tuple[str, ...]
    dice: NDArray[np.float64]


def budget_results(study: Study, family: Family, cells: Sequence[Cell]) -> BudgetResults:
    """The budgets of which a seed is finished, fewest patients first.

    Raises InputFault where they were tested on different cases.
    """
    seeds = {row.name: (row, _seeds(own)) for row in study.rows if (own := finished_cells(row, cells))}
    tested = {seed.cases for _, trainings in seeds.values() for seed in trainings.values()}
    if len(tested) > 1:
        raise InputFault("budgets were tested on different cases and make no curve; choose another --out")
    rows = [_row(row, trainings) for row, trainings in seeds.values()]
    tried = sorted((row for row in rows if row.row.name != FLOOR), key=lambda row: row.patients)
    floor = next((row for row in rows if row.row.name == FLOOR), None)
    trained = [
        Trained(seed.patients, tuple(seed.dice.tolist()))
        for name, (_, trainings) in seeds.items()
        if name != FLOOR
        for seed in trainings.values()
    ]
    owners = next((seed.owners for _, trainings in seeds.values() for seed in trainings.values()), ())
    return BudgetResults(family, tuple(tried), floor, fit_budget_curve(trained, owners))


def _row(row: Row, trainings: dict[int, _Seed]) -> BudgetRow:
    seeds, first = tuple(trainings), next(iter(trainings.values()))
    by_seed = tuple(float(np.nanmean(seed.dice)) for seed in trainings.values())
    draws = None
    if len(set(first.owners)) > 1:
        columns = [drawn_means(seed.dice[:, None], seed.owners) for seed in trainings.values()]
        draws = np.stack(columns)[:, :, 0]
    is_floor = row.name == FLOOR
    return BudgetRow(
        row,
        0 if is_floor else first.patients,
        0 if is_floor else first.images,
        0 if is_floor else first.held_out,
        len(first.cases),
        len(set(first.owners)),
        figure_of(seeds, by_seed, draws),
    )


def _seeds(cells: Sequence[Cell]) -> dict[int, _Seed]:
    return {
        seed: _seed([cell for cell in cells if cell.seed == seed])
        for seed in sorted({cell.seed for cell in cells})
    }


def _seed(folds: Sequence[Cell]) -> _Seed:
    patients, images, held_out = (
        np.mean([_counts(cell) for cell in folds], axis=0).round().astype(int).tolist()
    )
    lines = score_lines([cell.folder / "scores.csv" for cell in folds])
    owner = {line["case"]: line["patient"] for line in lines}
    dice = dice_by_case(lines)
    cases = tuple(sorted(dice))
    owners = tuple(owner[case] for case in cases)
    return _Seed(patients, images, held_out, cases, owners, np.array([dice[case] for case in cases]))


def _counts(cell: Cell) -> tuple[int, int, int]:
    """Patients and images that trained, and patients who were held out, of the cohort that is counted."""
    # The cohort that is counted is the run's only one, or the target, which comes last.
    split = read_splits(Run(cell.run).splits)[-1]
    cohort, groups = _counted(cell.images)
    return (
        count_patients(cohort, split.train, split.unit, groups),
        len(split.train),
        count_patients(cohort, split.validation, split.unit, groups),
    )


@lru_cache(maxsize=16)
def _counted(folder: Path) -> tuple[Cohort, dict[str, str] | None]:
    cohort = read_cohort(folder, masks=False)
    return cohort, None if cohort.patients_known else dict(group_near_duplicates(cohort.cases))
