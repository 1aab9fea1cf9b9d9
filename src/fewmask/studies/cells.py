"""A cell of a table: one row, one fold, one seed; trained, segmented and scored, each once."""

import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fewmask.config import parse_assignment
from fewmask.data.layouts import read_cohort
from fewmask.errors import InputFault
from fewmask.evaluation.evaluate import evaluate
from fewmask.evaluation.segment import segment
from fewmask.files import write_json
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Cohorts, Recipe, override, takes
from fewmask.studies.folds import fold_folders
from fewmask.studies.joint_scores import score_parts
from fewmask.studies.table import Row, Study
from fewmask.studies.tagged_scores import score_tagged
from fewmask.training.run import Run
from fewmask.training.train import train

DONE = "cell.json"
"""Written last into a cell's folder: it is scored."""


_OWN = ("seed", "name", "cohorts", "source", "target", "masks", "start_from", "outcome")
"""Keys of a recipe that a study gives to each row itself."""


Scored = Literal["nothing", "test", "both", "parts"]
"""What a cell's run is scored on: the test part; that and the held-out patients, its pseudo-masks included; or the
training, the held-out and the test part, for its masks and for its prognosis."""


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


@dataclass(frozen=True)
class Cell:
    """Where a cell's masks and scores go (`folder`), the run that holds its networks, and what it is scored on.

    `recipe` is None where the run is another cell's; `scored` says on what. `needs` is the run that
    must be finished before.
    """

    row: str
    fold: int
    seed: int
    folder: Path
    run: Path
    recipe: Recipe | None
    needs: Path | None
    images: Path
    device: str
    scored: Scored = "test"

    @property
    def name(self) -> str:
        """How the cell is called in logs and files."""
        return f"{self.row}, fold {self.fold}, seed {self.seed}"

    @property
    def out(self) -> Path:
        """The study's folder."""
        return self.folder.parents[3]

    @property
    def log(self) -> Path:
        """What the training said."""
        return self.out / "logs" / f"{self.row}_fold{self.fold}_seed{self.seed}.txt"

    def done(self) -> bool:
        """Whether it is scored."""
        return (self.folder / DONE).exists()


def cells_of(order: Order) -> tuple[Cell, ...]:
    """All cells of a study, each after those that it needs. Raises InputFault where the order cannot be met."""
    if order.source == order.target and not order.study.one_cohort:
        raise InputFault(f"{order.source}: a study needs two folders; divide this one by patient first")
    rows = _chosen(order)
    _require_known(order)
    targets = fold_folders(order.target, order.folds, order.out / "folds", by_site=order.by_site)
    _require_scorable(order, rows, targets)
    attended = attended_of(order)
    return tuple(
        _cell(order, row, fold, seed, targets[fold], attended)
        for seed in range(order.seeds)
        for fold in range(len(targets))
        for row in rows
        if fold == 0 or row.scored_on != "source"
    )


def cells_on_disk(order: Order) -> tuple[Cell, ...]:
    """The cells of an order, and of all rows and seeds that were begun in its folder before."""
    begun = list(order.out.glob("cells/*/fold-*/seed-*"))
    seeds = [int(folder.name.removeprefix("seed-")) + 1 for folder in begun]
    rows = {folder.parents[1].name for folder in begun} & {row.name for row in order.study.rows}
    wanted = None if order.rows is None else tuple(sorted({*order.rows, *rows}))
    return cells_of(replace(order, rows=wanted, seeds=max(order.seeds, *seeds, 1)))


def asked_for(order: Order, cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Those of `cells_on_disk` that the order asks for, with what they start from."""
    rows = {row.name for row in _chosen(order)}
    return tuple(cell for cell in cells if cell.row in rows and cell.seed < order.seeds)


def _chosen(order: Order) -> tuple[Row, ...]:
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


def _require_scorable(order: Order, rows: Sequence[Row], targets: Sequence[Path]) -> None:
    """Refuse folders whose test cases have no masks, or other classes, before hours of training and not after."""
    source = read_cohort(order.source)
    scored = [read_cohort(folder) for folder in targets]
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


def attended_of(order: Order) -> tuple[str, ...]:
    """The assignment of the classes that may be re-drawn, where the source has those that the paper names."""
    if any(change.startswith("attended=") for change in order.changes):
        return ()
    classes = read_cohort(order.source).classes
    if not order.study.attended or not set(order.study.attended) <= set(classes):
        return ()
    return (f"attended=[{','.join(order.study.attended)}]",)


def _require_known(order: Order) -> None:
    """Refuse a change that no row of the study takes, and one of what the study itself sets."""
    for change in order.changes:
        path, _ = parse_assignment(change)
        if path[0] in _OWN:
            raise InputFault(f"--set {change}: a study sets this itself; see its --help")
    recipes = [row.recipe(order.small) for row in order.study.rows if row.recipe is not None]
    for change in order.changes:
        if not any(takes(recipe, change) for recipe in recipes):
            override(recipes[-1], (change,), KINDS)


def _cell(order: Order, row: Row, fold: int, seed: int, target: Path, attended: tuple[str, ...]) -> Cell:
    def place(name: str, of_fold: int) -> Path:
        return (order.out / "cells" / name / f"fold-{of_fold}" / f"seed-{seed}").resolve()

    def home(name: str) -> Path:
        # Networks that never see the target are the same in every fold.
        return place(name, 0 if order.study.row(name).reads == "source" else fold)

    start = None if row.start_from is None else home(row.start_from)
    folder, images = place(row.name, fold), order.source if row.scored_on == "source" else target
    if row.recipe is not None and home(row.name) == folder:
        recipe = _recipe(order, row, seed, target, attended, start)
        scored = _scored(order.study, row)
        return Cell(row.name, fold, seed, folder, folder, recipe, start, images, order.device, scored)
    run = start if row.recipe is None and start is not None else home(row.name)
    return Cell(row.name, fold, seed, folder, run, None, run, images, order.device)


def _scored(study: Study, row: Row) -> Scored:
    if row.scored_on == "nothing":
        return "nothing"
    if study.outcome is not None:
        return "parts"
    return "both" if study.tagged else "test"


def _recipe(
    order: Order, row: Row, seed: int, target: Path, attended: tuple[str, ...], start: Path | None
) -> Recipe:
    assert row.recipe is not None
    recipe = row.recipe(order.small)
    changes = (f"seed={seed}", f"size={_size(order)}", *(attended if row.tied else ()))
    asked = [change for change in order.changes if takes(recipe, change) and not _touches(change, row.fixed)]
    recipe = override(recipe, (*changes, *asked), KINDS)
    if order.precision is not None:
        recipe = override(recipe, (f"precision={order.precision}",), KINDS)
    if row.candidates:
        last = replace(recipe.stages[-1], keep_candidates=True)
        recipe = replace(recipe, stages=(*recipe.stages[:-1], last))
    cohorts = {
        "source": Cohorts(masks=order.source),
        "target": Cohorts(masks=target),
        "pair": Cohorts(source=order.source, target=target),
        "tags": Cohorts(tags=target),
    }[row.reads]
    outcome = order.outcome if recipe.learns_outcome else None
    return replace(recipe, cohorts=cohorts, start_from=start, outcome=outcome)


def _size(order: Order) -> int:
    """One size for all rows, that of the largest: a method and its floor see the same images."""
    return max(row.recipe(order.small).size for row in order.study.rows if row.recipe is not None)


def _touches(change: str, keys: Sequence[str]) -> bool:
    return any(part in keys for part in parse_assignment(change)[0])


def run_cell(cell: Cell) -> float:
    """Train, segment and score a cell that is not done; returns the seconds that this took.

    What the training says goes into the cell's log. Raises as `train`, `segment` and `evaluate` do.
    """
    began = time.monotonic()
    if cell.done():
        if cell.recipe is not None:
            Run(cell.run).require_same(cell.recipe)
        return 0.0
    cell.log.parent.mkdir(parents=True, exist_ok=True)
    with cell.log.open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        if cell.recipe is not None:
            train(cell.recipe, cell.run, device=cell.device, cache=cell.out / "cache")
        if cell.scored == "test":
            predictions = cell.folder / "predictions"
            segment(cell.run, cell.images, predictions, device=cell.device)
            evaluate(predictions, cell.images, cell.folder)
        if cell.scored == "both":
            score_tagged(cell.run, cell.images, cell.folder, cell.device)
        if cell.scored == "parts":
            score_parts(cell.run, cell.images, cell.folder, cell.device)
    seconds = time.monotonic() - began
    write_json(
        cell.folder / DONE, {"row": cell.row, "fold": cell.fold, "seed": cell.seed, "seconds": seconds}
    )
    return seconds
