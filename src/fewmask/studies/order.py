"""What a user asks of a study, and what is refused before hours of training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fewmask.config import parse_assignment
from fewmask.data.case import Cohort
from fewmask.data.layouts import read_cohort
from fewmask.errors import InputFault
from fewmask.methods.kinds import KINDS
from fewmask.recipe import override, takes
from fewmask.studies.table import Row, Study

OWN = ("seed", "name", "cohorts", "source", "target", "masks", "start_from", "outcome")
"""Keys of a recipe that a study gives to each row itself."""


@dataclass(frozen=True)
class Order:
    """What a user asks of a study; folders are absolute paths.

    `rows` None is all of them; `changes` are `--set`s for each row that takes them. `outcome` is what a study of one
    learns; `by_site` has a fold for each site, which it tests.
    """

    study: Study
    out: Path
    source: Path
    target: Path
    small: bool = False
    seeds: int = 1
    folds: int = 1
    rows: tuple[str, ...] | None = None
    changes: tuple[str, ...] = ()
    precision: str | None = None
    device: str = "auto"
    outcome: str | None = None
    by_site: bool = False


def chosen_rows(order: Order) -> tuple[Row, ...]:
    """The wanted rows and those that they start from."""
    if order.rows is None:
        return order.study.rows
    known = [row.name for row in order.study.rows]
    wanted = set(order.rows)
    if unknown := sorted(wanted - set(known)):
        raise InputFault(f"--rows: {unknown[0]} is no row of {order.study.name}; see --list")
    for row in reversed(order.study.rows):
        if row.name in wanted and row.start_from is not None:
            wanted.add(row.start_from)
    return tuple(row for row in order.study.rows if row.name in wanted)


def attended_of(order: Order) -> tuple[str, ...]:
    """The assignment of the classes that may be re-drawn, where the source has those that the paper names."""
    if not order.study.attended or any(change.startswith("attended=") for change in order.changes):
        return ()
    if not set(order.study.attended) <= set(read_cohort(order.source).classes):
        return ()
    return (f"attended=[{','.join(order.study.attended)}]",)


def require_folders(order: Order, rows: Sequence[Row], targets: Sequence[Path]) -> None:
    """Refuse folders whose test cases have no masks, or other classes, before hours of training and not after."""
    read: Callable[[Path], Cohort] = cache(read_cohort)
    source = read(order.source)
    scored = [read(folder) for folder in targets]
    scored += [source] if any(row.scored_on == "source" for row in rows) else []
    for cohort in scored:
        if cohort.classes != source.classes:
            raise InputFault(
                f"{cohort.root}: its classes ({', '.join(cohort.classes)}) are not those of {source.root} "
                f"({', '.join(source.classes)}); give both dataset.json the same `labels`"
            )
        if not any(case.mask for case in cohort.part("test")):
            raise InputFault(
                f"{cohort.root}: has no test case with a mask to score; add imagesTs and labelsTs or `test` rows in "
                "cases.csv, or make test parts of the target with --folds 5"
            )


def require_changes(order: Order) -> None:
    """Refuse a change that no row of the study takes, and one of what the study itself sets."""
    if not order.changes:
        return
    recipes = [row.recipe(order.small) for row in order.study.rows if row.recipe is not None]
    for change in order.changes:
        path, _ = parse_assignment(change)
        if path[0] in OWN:
            raise InputFault(f"--set {change}: a study sets this itself; see its --help")
        if not any(takes(recipe, change) for recipe in recipes):
            override(recipes[-1], (change,), KINDS)
