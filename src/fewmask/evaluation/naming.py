"""What a page may call things: never an absolute path, and with pseudonyms no name of a case, patient or site."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fewmask.config import to_mapping
from fewmask.data.layouts import read_cohort
from fewmask.errors import InputFault
from fewmask.evaluation.run_record import RunRecord
from fewmask.recipe import Recipe

_PATH = re.compile(r"(?<![\w./])(?:[A-Za-z]:[\\/]|/|\\\\)[^\s'\"<>|,;:()]+")

_EVERYDAY = frozenset(
    f"{stem}{ending}"
    for stem in ("case", "data", "image", "label", "mask", "prediction", "test", "train")
    for ending in ("", "s", "sTr", "sTs")
)
"""Folder names that give nobody away, and that are words of the page's own sentences."""


@dataclass(frozen=True)
class Roster:
    """Whose the cases of a folder are. `patients` is empty where the folder has moved or cannot be read."""

    patients: Mapping[str, str]
    patients_known: bool
    sites: frozenset[str]


@dataclass(frozen=True)
class Names:
    """The page's names. `words` are replaced wherever they stand in a remark, longest first."""

    pseudonyms: bool
    cases: Mapping[str, str]
    runs: Mapping[Path, str]
    words: tuple[tuple[re.Pattern[str], str], ...]

    def case(self, name: str) -> str:
        """A case's name, or its number."""
        return self.cases.get(name, "a case") if self.pseudonyms else name

    def folder(self, path: Path, kind: str) -> str:
        """A folder's own name, or what it is."""
        return f"{kind} folder" if self.pseudonyms else path.name

    def run(self, record: RunRecord, number: int) -> str:
        """The name of a run's folder, or of the nearest one above it that tells the runs apart; or its number."""
        return f"run {number}" if self.pseudonyms else self.runs[record.folder.resolve()]

    def text(self, remark: str) -> str:
        """A remark without what must not stand on the page."""
        for pattern, instead in self.words:
            remark = pattern.sub(instead, remark)
        return _PATH.sub(lambda match: "a folder" if self.pseudonyms else Path(match[0]).name, remark)

    def recipe(self, recipe: Recipe) -> Any:
        """The recipe as plain values, with folders by their names only."""
        return self._without_paths(to_mapping(recipe), "recipe")

    def _without_paths(self, value: Any, key: str) -> Any:
        if isinstance(value, dict):
            content = cast(dict[str, Any], value)
            return {name: self._without_paths(inner, name) for name, inner in content.items()}
        if isinstance(value, list):
            return [self._without_paths(inner, key) for inner in cast(list[Any], value)]
        if isinstance(value, str) and ("/" in value or "\\" in value):
            return self.folder(Path(value), key)
        return self.text(value) if isinstance(value, str) else value


def read_rosters(records: Sequence[RunRecord]) -> dict[Path, Roster]:
    """The patients of every folder that the runs trained on, without opening a mask."""
    folders = {folder for record in records for folder in cohort_folders(record.recipe).values()}
    return {folder: _roster(folder) for folder in sorted(folders)}


def cohort_folders(recipe: Recipe) -> dict[str, Path]:
    """The recipe's folders by role."""
    cohorts = recipe.cohorts
    found = {
        "tags": cohorts.tags,
        "masks": cohorts.masks,
        "source": cohorts.source,
        "target": cohorts.target,
    }
    return {role: folder for role, folder in found.items() if folder is not None}


def _roster(folder: Path) -> Roster:
    try:
        cohort = read_cohort(folder, masks=False)
    except (InputFault, OSError):
        return Roster({}, False, frozenset())
    patients = {case.name: case.patient for case in cohort.cases}
    sites = frozenset(case.site for case in cohort.cases if case.site)
    return Roster(patients, cohort.patients_known, sites)


def names_of(records: Sequence[RunRecord], rosters: Mapping[Path, Roster], pseudonyms: bool) -> Names:
    """The names for a page about these runs; cases are numbered in the order of their names."""
    scored = {file.case for record in records if record.scores for file in record.scores.files}
    numbers = {name: f"case-{index:03d}" for index, name in enumerate(sorted(scored), start=1)}
    instead: dict[str, str] = {}
    for record in records:
        folders = cohort_folders(record.recipe)
        if record.recipe.cohorts.corrections is not None:
            folders["corrections"] = record.recipe.cohorts.corrections
        for role, folder in folders.items():
            instead[str(folder)] = f"{role} folder" if pseudonyms else folder.name
            if pseudonyms:
                instead[folder.name] = f"{role} folder"
    if pseudonyms:
        instead |= _hidden(records, rosters) | numbers
    words = sorted((word for word in instead if _telling(word)), key=len, reverse=True)
    patterns = tuple((re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])"), instead[word]) for word in words)
    return Names(pseudonyms, numbers, run_names([record.folder for record in records]), patterns)


def run_names(folders: Sequence[Path]) -> dict[Path, str]:
    """What tells runs apart: the lowest part of their paths that differs between all of them, else the lowest.

    >>> sorted(run_names([Path("/table/msl/seed-0"), Path("/table/aggan/seed-0")]).values())
    ['aggan', 'msl']
    """
    resolved = list(dict.fromkeys(folder.resolve() for folder in folders))
    for up in range(min(len(folder.parts) for folder in resolved)):
        names = [folder.parts[-1 - up] for folder in resolved]
        if len(set(names)) == len(names):
            return dict(zip(resolved, names, strict=True))
    return {folder: folder.name for folder in resolved}


def _hidden(records: Sequence[RunRecord], rosters: Mapping[Path, Roster]) -> dict[str, str]:
    """Words that give a patient, a site or a hospital's folder away, and what stands in their place."""
    hidden: dict[str, str] = {}
    for roster in rosters.values():
        hidden |= dict.fromkeys(roster.sites, "a site")
        hidden |= dict.fromkeys(roster.patients.values(), "a patient")
        hidden |= dict.fromkeys(roster.patients, "a case")
    for record in records:
        hidden[record.folder.resolve().name] = "a run"
        for split in record.splits.values():
            hidden |= dict.fromkeys((*split.train, *split.validation, *split.test), "a case")
        if record.scores is not None:
            hidden |= {row.patient: "a patient" for row in record.scores.rows}
            truths = {folder for file in record.scores.files for folder in list(file.truth.parents)[:2]}
            hidden |= {folder.name: "truth folder" for folder in truths}
    return hidden


def _telling(word: str) -> bool:
    """Whether a word is a name at all: counts and everyday words stay, or no remark could be read."""
    counts = word.isdigit() and len(word) < 4
    return len(word) > 1 and not counts and word not in _EVERYDAY
