"""From a study's name to its table on disk."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fewmask.config import did_you_mean
from fewmask.data.phantom import write_phantom
from fewmask.errors import InputFault
from fewmask.evaluation.report import write_report
from fewmask.files import read_json, write_json
from fewmask.studies.cells import Cell, Order, asked_for
from fewmask.studies.channels import channel_folder, channel_folders
from fewmask.studies.choices import choice_results
from fewmask.studies.diagnoses import diagnosis_results
from fewmask.studies.joint_page import write_joint_tables
from fewmask.studies.joint_results import joint_results
from fewmask.studies.names import STUDIES
from fewmask.studies.page import write_tables
from fewmask.studies.results import row_results
from fewmask.studies.structures import structure_results
from fewmask.studies.structures_page import write_structure_tables
from fewmask.studies.study import run_study
from fewmask.studies.table import Study
from fewmask.studies.tagged_page import write_tagged_tables
from fewmask.studies.tagged_results import tagged_results
from fewmask.training.fit import unwinding


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


def make_table(order: Order, jobs: int | None) -> str:
    """Run a study and write its tables into its folder; returns the table as Markdown.

    `jobs` cells run at once; None is one a core, or one on a GPU.
    """
    _require_same_order(order)
    on_gpu = order.device != "cpu" and torch.cuda.is_available()
    with unwinding():
        known = run_study(order, jobs or (1 if on_gpu else len(os.sched_getaffinity(0))), _tell)
    cells = asked_for(order, known)
    _write_figures(order, cells)
    shown = replace(order, seeds=max(cell.seed for cell in known) + 1)
    if order.study.outcome is not None:
        return write_joint_tables(shown, joint_results(order.study, known))
    if order.study.tagged:
        return write_tagged_tables(shown, tagged_results(order.study, known))
    if order.study.structures:
        choices = choice_results(order, known, _tell)
        return write_structure_tables(shown, structure_results(order.study, known), choices)
    results = row_results(order.study, known)
    write_tables(shown, results, ())
    return write_tables(shown, results, diagnosis_results(order, cells, _tell))


def _require_same_order(order: Order) -> None:
    """Refuse folders or folds that done cells were not made with; seeds, rows and jobs may change."""
    asked = {"source": str(order.source), "target": str(order.target), "folds": order.folds}
    if order.study.outcome is not None:
        asked |= {"outcome": order.outcome, "by_site": order.by_site}
    kept = order.out / "study.json"
    if kept.exists() and (before := read_json(kept)) != asked:
        raise InputFault(
            f"{order.out}: was begun with {before['folds']} folds of {before['target']} and source "
            f"{before['source']}{_outcome_words(before)}; choose another --out"
        )
    write_json(kept, asked)


def _outcome_words(kept: Mapping[str, Any]) -> str:
    """What a study of an outcome was begun with beside its folders."""
    if "outcome" not in kept:
        return ""
    return f", outcome {kept['outcome']}{', a site a fold' if kept['by_site'] else ''}"


def _write_figures(order: Order, cells: Sequence[Cell]) -> None:
    """The report of the first fold and seed: all rows side by side, with the paper's figures."""
    runs = {cell.row: cell.run for cell in cells if cell.run == cell.folder and cell.fold == cell.seed == 0}
    subject = order.study.subject if order.study.subject in runs else next(iter(runs), None)
    if subject is not None:
        others = [run for row, run in runs.items() if row != subject]
        write_report([runs[subject], *others], order.out / "report.html")


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
