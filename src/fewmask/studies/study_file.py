"""A study that a user writes: a YAML file with the rows of a table and the folders that they learn from."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from fewmask.config import STRICT, did_you_mean, from_mapping, parse_assignment, read_yaml
from fewmask.errors import InputFault
from fewmask.methods.kinds import KINDS
from fewmask.recipe import Recipe, override, takes
from fewmask.recipes.reading import named
from fewmask.studies.order import OWN
from fewmask.studies.table import Row, Study

ENDINGS = (".yaml", ".yml")
"""What tells a study file from a study's name."""

Reads = Literal["source", "target", "pair", "tags", "masks"]

_READABLE: dict[str, tuple[Reads, ...]] = {
    "source and target": ("source", "target", "pair"),
    "tags": ("tags", "masks"),
    "masks": ("masks",),
}
"""What rows may read of each kind of folder."""


@dataclass(frozen=True)
class FileRow:
    """A row as the file has it. Without a recipe the networks that it starts from are used as they are."""

    name: str
    reads: Reads
    recipe: str | None = None
    title: str | None = None
    set: tuple[str, ...] = ()
    start_from: str | None = None
    scored_on: Literal["target", "source", "nothing"] = "target"
    fixed: tuple[str, ...] = ()
    candidates: bool = False


@dataclass(frozen=True)
class StudyFile:
    """A study file's content; folders are relative to the file. `set` holds for each row that takes it.

    With `structures`, foreground classes in the order of the columns, the table has a column each; without, it pools
    pixels.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    name: str
    rows: tuple[FileRow, ...]
    title: str | None = None
    source: Path | None = None
    target: Path | None = None
    tags: Path | None = None
    masks: Path | None = None
    source_channel: str | None = None
    target_channel: str | None = None
    tags_channel: str | None = None
    outcome: str | None = None
    by_site: bool = False
    structures: tuple[str, ...] = ()
    floor: str | None = None
    ceiling: str | None = None
    subject: str | None = None
    set: tuple[str, ...] = field(default=())
    seeds: int = 1
    folds: int = 1
    small: bool = False
    precision: Literal["32", "bf16", "auto"] | None = None


@dataclass(frozen=True)
class FileRecipe:
    """A row's recipe, as `fewmask train` would read it, with the file's changes. It can be sent to other processes."""

    text: str
    changes: tuple[str, ...]
    shared: tuple[str, ...] = ()

    def __call__(self, small: bool) -> Recipe:
        """The recipe; a recipe.yaml is run as it lies, small or not."""
        recipe = named(self.text, small and not self.text.endswith(ENDINGS))
        shared = [change for change in self.shared if takes(recipe, change)]
        return override(recipe, (*shared, *self.changes), KINDS)


def read_study_file(path: Path) -> StudyFile:
    """A study file, its folders and recipe files absolute. Raises InputFault, one line, with the file and the key."""
    content = read_yaml(path)
    for key in ("precision", "source_channel", "target_channel", "tags_channel"):
        if isinstance(content.get(key), int):
            content[key] = str(content[key])  # YAML reads 32, and a channel's number, as numbers.
    home = path.resolve().parent
    for key in ("source", "target", "tags", "masks"):
        if isinstance(content.get(key), str):
            content[key] = str((home / Path(content[key]).expanduser()).resolve())
    rows: Any = content.get("rows")
    for row in rows if isinstance(rows, list) else []:
        recipe = row.get("recipe") if isinstance(row, dict) else None
        if isinstance(recipe, str) and recipe.endswith(ENDINGS):
            row["recipe"] = str(home / recipe)
    return from_mapping(StudyFile, content, str(path))


def study_of(file: StudyFile, where: Path) -> Study:
    """The study that a file describes. Raises InputFault where rows contradict one another, or the folders."""
    folders = _folders_of(file, where)
    if not file.rows:
        raise InputFault(f"{where}: rows: is empty; give each row a name, a recipe and what it reads")
    if min(file.seeds, file.folds) < 1:
        raise InputFault(f"{where}: seeds and folds must be at least 1")
    if file.outcome is not None and folders != "masks":
        raise InputFault(
            f"{where}: outcome: belongs to a study of `masks`; give that folder alone, or leave it out"
        )
    rows: list[Row] = []
    for row in file.rows:
        rows.append(_row(row, rows, file, folders, where))
    names = [row.name for row in rows]
    scored = [row.name for row in rows if row.scored_on == "target"]
    if not scored:
        raise InputFault(f"{where}: rows: none is scored on the target; a table needs one")
    return Study(
        name=file.name,
        title=file.title or file.name,
        rows=tuple(rows),
        floor=_named_row("floor", file.floor, names, where),
        ceiling=_named_row("ceiling", file.ceiling, names, where),
        subject=_named_row("subject", file.subject, names, where) or scored[-1],
        phantom="",
        structures=file.structures,
        tagged=folders == "tags",
        masks_alone=folders == "masks" and file.outcome is None,
        outcome=file.outcome,
    )


def _folders_of(file: StudyFile, where: Path) -> str:
    """Which kind of folders a study has: a pair, one with tags, or one with masks."""
    pair = [folder for folder in (file.source, file.target) if folder is not None]
    given = [("source and target", bool(pair)), ("tags", bool(file.tags)), ("masks", bool(file.masks))]
    kinds = [kind for kind, there in given if there]
    if len(kinds) != 1 or len(pair) == 1:
        raise InputFault(
            f"{where}: needs `source` and `target`, or `tags`, or `masks`, and has "
            f"{', '.join(kinds) or 'none'}; give the folders of one kind"
        )
    return kinds[0]


def _row(row: FileRow, before: Sequence[Row], file: StudyFile, folders: str, where: Path) -> Row:
    name, place = _plain(row.name), f"{where}: row {row.name}"
    known = [other.name for other in before]
    if not re.fullmatch(r"[A-Za-z0-9_]+", name) or name in known:
        raise InputFault(f"{place}: give each row a name of its own, of letters, digits, - and _")
    if row.reads not in _READABLE[folders]:
        raise InputFault(
            f"{place}: reads: {row.reads}, and a study of {folders} has {', '.join(_READABLE[folders])}; take one"
        )
    start = None if row.start_from is None else _plain(row.start_from)
    if start is not None and start not in known:
        remedy = did_you_mean(start, known) if known else "no row comes before it"
        raise InputFault(f"{place}: start_from: {row.start_from} is no earlier row; {remedy}")
    if row.recipe is None and start is None:
        raise InputFault(f"{place}: has neither recipe nor start_from; add one")
    recipe = None if row.recipe is None else _recipe(row, file, place)
    return Row(
        name,
        row.title or row.name,
        recipe,
        "target" if row.reads == "masks" else row.reads,
        start,
        row.scored_on,
        fixed=row.fixed,
        candidates=row.candidates,
    )


def _recipe(row: FileRow, file: StudyFile, place: str) -> FileRecipe:
    """A row's recipe, made once: a name or a change that is mistyped is told before anything is trained."""
    assert row.recipe is not None
    for change in (*file.set, *row.set):
        if parse_assignment(change)[0][0] in OWN:
            raise InputFault(f"{place}: set: {change}: a study sets this itself; leave it out")
    recipe = FileRecipe(row.recipe, row.set, file.set)
    try:
        recipe(file.small)
    except InputFault as fault:
        raise InputFault(f"{place}: {fault}") from None
    return recipe


def _named_row(key: str, name: str | None, names: Sequence[str], where: Path) -> str:
    if name is None:
        return ""
    if _plain(name) not in names:
        raise InputFault(f"{where}: {key}: {name} is no row; {did_you_mean(_plain(name), names)}")
    return _plain(name)


def _plain(name: str) -> str:
    """A row's name as its folder is called; `-` and `_` are equal."""
    return name.replace("-", "_")
