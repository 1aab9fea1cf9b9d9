"""From a study's name to its table on disk."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from fewmask.config import did_you_mean, to_mapping
from fewmask.data.phantom import write_phantom
from fewmask.errors import InputFault, RunFailed
from fewmask.evaluation.report import write_report
from fewmask.files import read_json, write_json
from fewmask.studies.cells import DONE, Cell, asked_for
from fewmask.studies.channels import channel_folder, channel_folders
from fewmask.studies.choices import choice_results
from fewmask.studies.cluster import ClusterOptions
from fewmask.studies.diagnoses import diagnosis_results
from fewmask.studies.failures import Failure, failures_of, keep_failures
from fewmask.studies.joint_page import write_joint_tables
from fewmask.studies.joint_results import joint_results
from fewmask.studies.names import STUDIES
from fewmask.studies.order import Order
from fewmask.studies.page import RESULTS, write_tables
from fewmask.studies.publish import TABLE, write_sheet
from fewmask.studies.results import row_results
from fewmask.studies.sheet import Grid, Sheet, columns, paragraph
from fewmask.studies.states import REPLACED
from fewmask.studies.structures import structure_results
from fewmask.studies.structures_page import write_structure_tables
from fewmask.studies.study import run_study
from fewmask.studies.table import Study
from fewmask.studies.tagged_page import write_tagged_tables
from fewmask.studies.tagged_results import tagged_results
from fewmask.training.fit import unwinding
from fewmask.training.train import tell

STUDY, REPORT = "study.json", "report.html"

T = TypeVar("T")

State = Literal["done", "failed", "waiting"]


@dataclass(frozen=True)
class CellState:
    """How a cell stands, as a program may read it: `seconds` is None until it is done, `fault` until it failed."""

    row: str
    fold: int
    seed: int
    state: State
    seconds: float | None
    fault: str | None
    folder: str


@dataclass(frozen=True)
class Made:
    """What a study came to: its table as Markdown, its cells, and the fault of those that failed."""

    text: str
    order: Order
    cells: tuple[Cell, ...]
    failures: tuple[Failure, ...]
    fault: InputFault | RunFailed | None

    def mapping(self) -> dict[str, Any]:
        """The study as one JSON object."""
        why = {(failure.row, failure.fold, failure.seed): failure for failure in self.failures}
        return {
            "study": self.order.study.name,
            "out": str(self.order.out),
            "precision": self.order.precision,
            "cells": [
                to_mapping(_state(cell, why.get((cell.row, cell.fold, cell.seed)))) for cell in self.cells
            ],
            "table": str(self.order.out / TABLE),
            "results": str(self.order.out / RESULTS),
        }


def _state(cell: Cell, failure: Failure | None) -> CellState:
    place = (cell.row, cell.fold, cell.seed)
    if cell.done():
        seconds = read_json(cell.folder / DONE).get("seconds")
        return CellState(*place, "done", seconds, None, str(cell.folder))
    if failure is None or failure.kind == "not run":
        why = None if failure is None else failure.fault
        return CellState(*place, "waiting", None, why, str(cell.folder))
    return CellState(*place, "failed", None, failure.fault, str(cell.folder))


def named_study(name: str) -> Study:
    """A study by its name; `-` and `_` are equal."""
    plain = name.replace("-", "_")
    if plain not in STUDIES:
        raise InputFault(f"no study {name!r}; {did_you_mean(plain, STUDIES)}")
    return STUDIES[plain]


def list_rows(name: str) -> str:
    """The rows of a study, one a line; without a name the studies."""
    return "\n".join([row.name for row in named_study(name).rows] if name else STUDIES)


def study_pair(
    study: Study,
    out: Path,
    small: bool,
    folders: tuple[Path | None, Path | None],
    channels: tuple[str | None, str | None],
) -> tuple[Path, Path]:
    """The source and the target of a study: the given folders, two channels of one folder, or a phantom."""
    source, target = folders
    if source is None or target is None:
        return phantom_pair(study, out, small)
    if channels == (None, None):
        return source, target
    if channels[0] is None or channels[1] is None or source.resolve() != target.resolve():
        raise InputFault(
            f"{source}: --source-channel and --target-channel take two channels of one folder; give both, and the "
            "folder as --source and as --target"
        )
    return channel_folders(source, channels[0], channels[1], out / "channels")


def tagged_pair(tags: Path, channel: str | None, out: Path) -> tuple[Path, Path]:
    """The one folder of a study of tags, or one channel of it, in both places of a pair."""
    folder = tags if channel is None else channel_folder(tags, channel, out / "channels")
    return folder, folder


def phantom_pair(study: Study, out: Path, small: bool) -> tuple[Path, Path]:
    """The phantom that a study runs on where no folders are given, drawn once."""
    folder = out / "phantom"
    if not folder.exists():
        write_phantom(study.phantom, folder, 0, study.phantom_cases, study.phantom_size if small else None)
    first, *others = sorted(path for path in folder.iterdir() if path.is_dir())
    second = others[0] if others else first
    return (second, first) if study.reverse else (first, second)


def make_table(order: Order, jobs: int | None, cluster: ClusterOptions | None = None) -> str:
    """Run a study and write its tables into its folder; returns the table as Markdown.

    `jobs` cells run at once; None is one a core, or one a GPU. Raises the first fault where cells failed, after the
    others have run and the tables are written.
    """
    made = make_study(order, jobs, cluster)
    if made.fault is not None:
        raise made.fault
    return made.text


def make_study(order: Order, jobs: int | None, cluster: ClusterOptions | None = None) -> Made:
    """Run a study, write its tables from the cells that are done, and tell which failed."""
    asked = _require_same_order(order)
    with unwinding():
        ran = run_study(order, jobs, tell, cluster)
    cells = asked_for(order, ran.cells)
    failures = failures_of(ran, order.out)
    keep_failures(failures, order.out)
    write_json(order.out / STUDY, asked | ({"failed": to_mapping(list(failures))} if failures else {}))
    text = _written(order, ran.cells, cells)
    _write_figures(order, [cell for cell in cells if cell.done()])
    return Made(text, order, ran.cells, failures, ran.fault)


def _written(order: Order, known: Sequence[Cell], cells: Sequence[Cell]) -> str:
    """Write the tables of what is done, and return them as Markdown. Each kind of study has its own."""
    study, shown = order.study, replace(order, seeds=max(cell.seed for cell in known) + 1)
    if not any(cell.done() for cell in known):
        nothing = Grid(columns(("row",)), ())
        return write_sheet(order.out, Sheet(study.title, (paragraph("No cell is done yet."),), nothing))
    if study.tables is not None:
        return study.tables(shown, known)
    if study.outcome is not None:
        return write_joint_tables(shown, joint_results(study, known))
    if study.tagged:
        return write_tagged_tables(shown, tagged_results(study, known))
    if study.structures:
        choices = _or_none(lambda: choice_results(order, known, tell))
        return write_structure_tables(shown, structure_results(study, known), choices or ())
    results = row_results(study, known)
    text = write_tables(shown, results, ())
    diagnoses = _or_none(lambda: diagnosis_results(order, cells, tell))
    return write_tables(shown, results, diagnoses) if diagnoses else text


def _or_none(make: Callable[[], T]) -> T | None:
    """What stands below a table; a fault in it does not keep the table from being written."""
    try:
        return make()
    except (InputFault, RunFailed) as fault:
        tell(f"{fault}; left out")
        return None


def _require_same_order(order: Order) -> dict[str, Any]:
    """Refuse folders or folds that done cells were not made with; seeds, rows and jobs may change.

    Returns what the study's folder keeps of the order.
    """
    asked: dict[str, Any] = {"source": str(order.source), "target": str(order.target), "folds": order.folds}
    if order.study.outcome is not None:
        asked |= {"outcome": order.outcome, "by_site": order.by_site}
    kept = order.out / STUDY
    before: dict[str, Any] = read_json(kept) if kept.exists() else asked
    if any(before.get(key) != value for key, value in asked.items()):
        raise InputFault(
            f"{order.out}: was begun with {before['folds']} folds of {before['target']} and source "
            f"{before['source']}{_outcome_words(before)}; choose another --out"
        )
    asked |= {"precision": order.precision}
    write_json(kept, asked)
    return asked


def _outcome_words(kept: Mapping[str, Any]) -> str:
    """What a study of an outcome was begun with beside its folders."""
    if "outcome" not in kept:
        return ""
    return f", outcome {kept['outcome']}{', a site a fold' if kept['by_site'] else ''}"


def _write_figures(order: Order, done: Sequence[Cell]) -> None:
    """The report of the first fold and seed: all rows side by side, with the paper's figures."""
    first = [cell for cell in done if cell.run == cell.folder and cell.fold == cell.seed == 0]
    page = order.out / REPORT
    if not first:
        page.unlink(missing_ok=True)
        return
    shown = [cell.folder / DONE for cell in first]
    if page.exists() and all(_older(file, page) for file in (*shown, order.out / REPLACED) if file.exists()):
        return
    runs = {cell.row: cell.run for cell in first}
    subject = order.study.subject if order.study.subject in runs else next(iter(runs))
    others = [run for row, run in runs.items() if row != subject]
    _or_none(lambda: write_report([runs[subject], *others], page))


def _older(one: Path, other: Path) -> bool:
    return one.stat().st_mtime <= other.stat().st_mtime
