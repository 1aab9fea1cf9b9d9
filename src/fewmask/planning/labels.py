"""What the tables beside images say: tags of slices and outcomes of patients, counted over the training part."""

from collections.abc import Sequence
from dataclasses import dataclass

from fewmask.data.case import Case, Cohort
from fewmask.data.outcomes import outcome_rule, outcomes_of
from fewmask.data.slice_tags import shown_anywhere, tag_cells
from fewmask.errors import InputFault

LEAST = 5
"""A column of two values is taken for an outcome where each is there so often."""


@dataclass(frozen=True)
class TagsSeen:
    """A column of tags: the tagged slices, those of them that show the object, and the patients with a tag."""

    column: str
    columns: tuple[str, ...]
    slices: int
    positive: int
    patients: int

    @property
    def share(self) -> float:
        """The share of tagged slices that show the object, in [0, 1]."""
        return self.positive / max(1, self.slices)


@dataclass(frozen=True)
class OutcomeSeen:
    """An outcome as it was asked for, its rule, the training cases where it is known, those that have it, and the
    patients who have it."""

    asked: str
    column: str
    rule: str
    cases: int
    positive: int
    patients: int


def tags_in(cohort: Cohort) -> TagsSeen | None:
    """The tags of slices.csv over the training part; None without any. Of several columns the first by name.

    Raises InputFault for a tag that is neither 0 nor 1.
    """
    train = [case for case in cohort.part("train") if case.slice_tags]
    columns = sorted({column for case in train for row in case.slice_tags.values() for column in row})
    if not columns:
        return None
    column = columns[0]
    cells = [(case, cell) for case in train for cell in tag_cells(case, column) if cell.strip()]
    positive = sum(_shows(case, column, cell) for case, cell in cells)
    patients = len({case.patient for case, _ in cells})
    return TagsSeen(column, tuple(columns), len(cells), positive, patients)


def _shows(case: Case, column: str, cell: str) -> bool:
    """Whether a cell says that the object is there, by the rule that reads tags."""
    alone = Case(case.name, case.images, slice_tags={0: {column: cell}})
    return shown_anywhere(alone, column) == 1.0


def outcomes_in(cases: Sequence[Case]) -> tuple[OutcomeSeen, ...]:
    """The columns of cases.csv that hold two values, each in `LEAST` cases or more."""
    columns = sorted({column for case in cases for column in case.columns})
    found: list[OutcomeSeen] = []
    for column in columns:
        try:
            seen = outcome_seen(column, cases)
        except InputFault:  # Not a column of two values: no outcome by itself.
            continue
        if LEAST <= seen.positive <= seen.cases - LEAST:
            found.append(seen)
    return tuple(found)


def outcome_seen(expression: str, cases: Sequence[Case]) -> OutcomeSeen:
    """An outcome as `--outcome` names it. Raises InputFault as `outcome_rule` does."""
    rule = outcome_rule(expression, cases)
    known = outcomes_of(rule, cases)
    with_it = {case.patient for case in cases if known.get(case.name) == 1.0}
    return OutcomeSeen(expression, rule.column, str(rule), len(known), int(sum(known.values())), len(with_it))
