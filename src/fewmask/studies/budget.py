"""How many masks, tags or target images do I need? A study whose rows differ in nothing but a budget of patients."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from fewmask.data.duplicates import group_near_duplicates
from fewmask.data.split import count_patients
from fewmask.errors import InputFault
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Cohorts, override, takes
from fewmask.studies.budget_page import budget_tables
from fewmask.studies.budget_rows import BUDGETS, FAMILIES, MASKS, Family, budget_rows
from fewmask.studies.table import Study
from fewmask.training.cohorts import divide, read_cohorts


def _study(family: Family, budgets: Sequence[int]) -> Study:
    rows = budget_rows(family, budgets)
    return Study(
        "budget",
        f"How many {family.what[1]} do I need?",
        rows,
        floor=rows[0].name,
        ceiling=rows[-1].name,
        subject=rows[-1].name,
        phantom=family.phantom,
        masks_alone=not family.floored,
        tables=partial(budget_tables, family),
    )


BUDGET = _study(MASKS, BUDGETS)
"""The study of masks with every budget: as it is listed, and as it runs on the phantom."""


def budget_study(folders: Cohorts, small: bool, changes: Sequence[str] = ()) -> Study:
    """The study that the given folders ask for: of masks, of tags, or of target images beside a source.

    Budgets of as many patients as train, or more, are left out: the row of all patients is that. Raises InputFault
    where the folders are of none or of several of the three, and where one patient trains.
    """
    given = [family for family in FAMILIES if getattr(folders, family.role) is not None]
    if len(given) != 1 or (folders.source is not None) != given[0].floored:
        raise InputFault("study budget: give --masks DIR, or --tags DIR, or --source DIR and --target DIR")
    many = _patients_to_train(given[0], folders, small, changes)
    if many < 2:
        folder = getattr(folders, given[0].role)
        raise InputFault(f"{folder}: one patient trains, which makes no curve; add patients")
    return _study(given[0], [budget for budget in BUDGETS if budget < many])


def _patients_to_train(family: Family, folders: Cohorts, small: bool, changes: Sequence[str]) -> int:
    recipe = replace(family.recipe(small), cohorts=folders)
    recipe = override(recipe, [change for change in changes if takes(recipe, change)], KINDS)
    cohorts, _ = read_cohorts(recipe)
    cohort = cohorts[family.role]
    groups = None if cohort.patients_known else group_near_duplicates(cohort.cases)
    split = divide(recipe, cohorts)[family.role]
    return count_patients(cohort, split.train, split.unit, groups)
