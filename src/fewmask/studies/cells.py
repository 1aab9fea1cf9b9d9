"""A cell of a table: one row, one fold, one seed; trained, segmented and scored, each once."""

import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fewmask.errors import InputFault
from fewmask.evaluation.evaluate import evaluate
from fewmask.evaluation.segment import segment
from fewmask.files import write_json
from fewmask.recipe import Recipe
from fewmask.studies.folds import fold_folders
from fewmask.studies.joint_scores import score_parts
from fewmask.studies.order import Order, attended_of, chosen_rows, require_changes, require_folders
from fewmask.studies.row_recipes import RowRecipes
from fewmask.studies.table import Row, Study
from fewmask.studies.tagged_scores import score_tagged
from fewmask.training.run import deciding, held, short_hash
from fewmask.training.train import train

DONE = "cell.json"
"""Written last into a cell's folder: it is scored."""

BEGUN = ".begun.json"
"""Written first: which recipe, and which networks to start from, the folder was begun with."""

_PATIENCE = 60.0
"""Seconds to wait for the worker of a killed study, which writes a checkpoint and ends."""


Scored = Literal["nothing", "test", "both", "parts"]
"""What a cell's run is scored on: the test part; that and the held-out patients, its pseudo-masks included; or the
training, the held-out and the test part, for its masks and for its prognosis."""


@dataclass(frozen=True)
class Cell:
    """Where a cell's masks and scores go (`folder`), the run that holds its networks, and what it is scored on.

    `recipe` is None where the run is another cell's; `scored` says on what. `needs` is the run that
    must be finished before. `key` is a hash of the recipe and of `start`, which is the key of the cell that it needs.
    A `stale` cell was made with another recipe than the order's, which does not ask for it: it is not done.
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
    key: str = ""
    start: str | None = None
    stale: bool = False

    @property
    def name(self) -> str:
        """How the cell is called in logs and files."""
        return f"{self.row}, fold {self.fold}, seed {self.seed}"

    @property
    def file_name(self) -> str:
        """The same as part of a file's name."""
        return f"{self.row}_fold{self.fold}_seed{self.seed}"

    @property
    def out(self) -> Path:
        """The study's folder."""
        return self.folder.parents[3]

    @property
    def log(self) -> Path:
        """What the training said."""
        return self.out / "logs" / f"{self.file_name}.txt"

    def done(self) -> bool:
        """Whether it is scored, with the recipe that is asked for."""
        return not self.stale and (self.folder / DONE).exists()


def cells_of(order: Order) -> tuple[Cell, ...]:
    """All cells of a study, each after those that it needs. Raises InputFault where the order cannot be met."""
    if order.source == order.target and not order.study.one_cohort:
        raise InputFault(f"{order.source}: a study needs two folders; divide this one by patient first")
    order = replace(order, out=order.out.resolve())
    rows = chosen_rows(order)
    require_changes(order)
    targets = fold_folders(order.target, order.folds, order.out / "folds", by_site=order.by_site)
    require_folders(order, rows, targets)
    recipes = RowRecipes(order, attended_of(order))
    bare = [
        _cell(order, row, fold, seed, targets[fold], recipes)
        for seed in range(order.seeds)
        for fold in range(len(targets))
        for row in rows
        if fold == 0 or row.scored_on != "source"
    ]
    keys: dict[Path, str] = {}
    return tuple(_with_key(cell, keys) for cell in bare)


def cells_on_disk(order: Order) -> tuple[Cell, ...]:
    """The cells of an order, and of all rows and seeds that were begun in its folder before."""
    begun = list(order.out.glob("cells/*/fold-*/seed-*"))
    seeds = [int(folder.name.removeprefix("seed-")) + 1 for folder in begun]
    rows = {folder.parents[1].name for folder in begun} & {row.name for row in order.study.rows}
    wanted = None if order.rows is None else tuple(sorted({*order.rows, *rows}))
    return cells_of(replace(order, rows=wanted, seeds=max(order.seeds, *seeds, 1)))


def asked_for(order: Order, cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Those of `cells_on_disk` that the order asks for, with what they start from."""
    rows = {row.name for row in chosen_rows(order)}
    return tuple(cell for cell in cells if cell.row in rows and cell.seed < order.seeds)


def _cell(order: Order, row: Row, fold: int, seed: int, target: Path, recipes: RowRecipes) -> Cell:
    def place(name: str, of_fold: int) -> Path:
        return order.out / "cells" / name / f"fold-{of_fold}" / f"seed-{seed}"

    def home(name: str) -> Path:
        # Networks that never see the target are the same in every fold.
        return place(name, 0 if order.study.row(name).reads == "source" else fold)

    start = None if row.start_from is None else home(row.start_from)
    folder, images = place(row.name, fold), order.source if row.scored_on == "source" else target
    if row.recipe is not None and home(row.name) == folder:
        recipe = recipes.of(row, seed, target, start)
        scored = _scored(order.study, row)
        return Cell(row.name, fold, seed, folder, folder, recipe, start, images, order.device, scored)
    run = start if row.recipe is None and start is not None else home(row.name)
    return Cell(row.name, fold, seed, folder, run, None, run, images, order.device)


def _with_key(cell: Cell, keys: dict[Path, str]) -> Cell:
    """The cell with the hashes of what decides it; `keys` are those of the cells before it, by folder."""
    start = None if cell.needs is None else keys[cell.needs]
    own = None if cell.recipe is None else own_of(cell.recipe)
    keys[cell.folder] = short_hash({"recipe": own, "start": start})
    return replace(cell, key=keys[cell.folder], start=start)


def own_of(recipe: Recipe) -> dict[str, Any]:
    """What decides a cell beside the networks that it starts from: of those, the row, fold and seed alone."""
    start = None if recipe.start_from is None else "/".join(recipe.start_from.parts[-3:])
    return deciding(recipe) | {"start_from": start}


def _scored(study: Study, row: Row) -> Scored:
    if row.scored_on == "nothing":
        return "nothing"
    if study.outcome is not None:
        return "parts"
    return "both" if study.tagged else "test"


def run_cell(cell: Cell) -> float:
    """Train, segment and score a cell that is not done; returns the seconds that this took.

    What the training says goes into the cell's log. Raises as `train`, `segment` and `evaluate` do.
    """
    began = time.monotonic()
    with held(cell.folder / ".cell.lock", _PATIENCE):
        if cell.done():
            return 0.0
        decided = {"recipe": cell.key, "start": cell.start}
        write_json(cell.folder / BEGUN, decided)
        cell.log.parent.mkdir(parents=True, exist_ok=True)
        with cell.log.open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
            if cell.recipe is not None:
                train(cell.recipe, cell.run, device=cell.device, cache=cell.out / "cache")
            _score(cell)
        seconds = time.monotonic() - began
        place = {"row": cell.row, "fold": cell.fold, "seed": cell.seed}
        write_json(cell.folder / DONE, {**place, "seconds": seconds, **decided})
        (cell.folder / BEGUN).unlink()
    return seconds


def _score(cell: Cell) -> None:
    if cell.scored == "test":
        predictions = cell.folder / "predictions"
        segment(cell.run, cell.images, predictions, device=cell.device)
        evaluate(predictions, cell.images, cell.folder)
    if cell.scored == "both":
        score_tagged(cell.run, cell.images, cell.folder, cell.device)
    if cell.scored == "parts":
        score_parts(cell.run, cell.images, cell.folder, cell.device)
