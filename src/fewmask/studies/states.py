"""What lies in a study's folder already: cells that hold, cells that another recipe has made, and where those go."""

import shutil
import textwrap
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fewmask.config import to_yaml
from fewmask.errors import InputFault
from fewmask.files import read_json, write_json, write_text
from fewmask.studies.cells import BEGUN, DONE, Cell, own_of
from fewmask.studies.table import Study
from fewmask.training.run import Run, differences, held, short_hash

REPLACED = "replaced"
"""The folder of cells that another recipe has made; nothing reads them."""


@dataclass(frozen=True)
class Found:
    """A cell as its folder is found, with the key that was kept there, if one was.

    An `equal` one was made by the same recipe under another key: an earlier version's. `changes` say what differs.
    """

    cell: Cell
    state: Literal["new", "same", "equal", "changed"]
    key: str | None = None
    changes: tuple[str, ...] = ()


def settled(
    cells: Sequence[Cell], asked: Iterable[Cell], study: Study, tell: Callable[[str], None]
) -> tuple[Cell, ...]:
    """The cells, each of whose folders holds what its own recipe made, or nothing.

    Folders of another recipe are moved to `replaced/` if their cell is asked for, or starts from one that is moved;
    a cell that lies there and has the wanted recipe is brought back. Others of another recipe are marked as stale.
    """
    found = states_of(cells)
    wanted = {cell.folder for cell in asked}
    moved: set[Path] = set()
    for one in found:
        if one.state == "changed" and (one.cell.folder in wanted or one.cell.needs in moved):
            moved.add(one.cell.folder)
    _tell_moved([one for one in found if one.cell.folder in moved], tell)
    # What starts from others goes first: a study that is killed in between finds their starts still changed.
    for one in reversed(found):
        if one.cell.folder in moved:
            _move_away(one, study)
        if one.state == "equal":
            _keep_key(one.cell)
    stale = {one.cell.folder for one in found if one.state == "changed"} - moved
    if stale:
        rows = sorted({cell.row for cell in cells if cell.folder in stale})
        tell(
            f"{len(stale)} cells ({', '.join(rows)}) were made with another recipe and are left out; run their rows to "
            "replace them"
        )
    _bring_back([one.cell for one in found if one.state == "new" or one.cell.folder in moved], tell)
    return tuple(replace(cell, stale=True) if cell.folder in stale else cell for cell in cells)


def states_of(cells: Sequence[Cell]) -> tuple[Found, ...]:
    """How each cell's folder is found. The cells stand after those that they need."""
    found: dict[Path, Found] = {}
    for cell in cells:
        found[cell.folder] = _found(cell, None if cell.needs is None else found.get(cell.needs))
    return tuple(found.values())


def _found(cell: Cell, start: Found | None) -> Found:
    kept = _kept(cell)
    if kept is None:
        return Found(cell, "new")
    key = kept.get("recipe")
    if key == cell.key:
        if not (cell.folder / DONE).exists():
            _mend_start(cell)
        return Found(cell, "same", key)
    changes = (*_changed_start(cell, kept, start), *_changed_recipe(cell))
    return Found(cell, "changed" if changes else "equal", key, changes)


def _kept(cell: Cell) -> dict[str, Any] | None:
    """What is kept of how a cell was made; nothing of one that holds nothing trained or scored."""
    if (cell.folder / DONE).exists():
        return read_json(cell.folder / DONE)
    # Until its data were prepared a run may begin anew with another recipe.
    if cell.recipe is None or not (
        Run(cell.folder).material.exists() and Run(cell.folder).recipe_file.exists()
    ):
        return None
    return read_json(cell.folder / BEGUN) if (cell.folder / BEGUN).exists() else {}


def _changed_start(cell: Cell, kept: dict[str, Any], start: Found | None) -> tuple[str, ...]:
    if start is None:
        return ()
    if start.state == "changed":
        return (f"what it starts from changed: {start.cell.row}",)
    began_from = kept.get("start")
    if began_from is not None and began_from not in (cell.start, start.key):
        return (f"it started from other networks of {start.cell.row}",)
    return ()


def _changed_recipe(cell: Cell) -> tuple[str, ...]:
    if cell.recipe is None:
        return ()
    try:
        before = Run(cell.folder).recipe()
    except InputFault as fault:
        return (str(fault),)
    return tuple(differences(own_of(before), own_of(cell.recipe)))


def _mend_start(cell: Cell) -> None:
    """Name the start of a begun cell anew where the study's folder has moved; `train` takes it for another recipe."""
    run = Run(cell.folder)
    if cell.recipe is not None and run.recipe().start_from != cell.recipe.start_from:
        write_text(run.recipe_file, to_yaml(cell.recipe))


def _keep_key(cell: Cell) -> None:
    """Write a cell's key where an earlier version kept another one, or none."""
    done = cell.folder / DONE
    decided = {"recipe": cell.key, "start": cell.start}
    if done.exists():
        write_json(done, read_json(done) | decided)
    else:
        write_json(cell.folder / BEGUN, decided)


def _place(cell: Cell, key: str) -> Path:
    return cell.out / REPLACED / f"{cell.file_name}_{key}"


def _move_away(found: Found, study: Study) -> None:
    """Move a cell's folder, and what was judged by its masks, out of the table's way."""
    cell = found.cell
    key = found.key or f"before_{short_hash([found.changes, (cell.folder / DONE).exists()])}"
    with held(cell.folder / ".cell.lock"):  # Refused where another study's process is at it.
        _moved(cell.folder, _place(cell, key))
    if study.diagnosis is not None and study.diagnosis.masks_of == cell.row:
        for judged in cell.out.glob(f"diagnosis/*/seed-{cell.seed}/judged"):
            outcome = judged.parents[1].name
            _moved(judged, cell.out / REPLACED / f"diagnosis_{outcome}_seed{cell.seed}_{key}")


def _moved(folder: Path, place: Path) -> None:
    number, free = 1, place
    while free.exists():
        number += 1
        free = place.with_name(f"{place.name}_{number}")
    free.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, free)


def _bring_back(cells: Sequence[Cell], tell: Callable[[str], None]) -> None:
    """Take cells that were replaced before, and whose recipe is asked for again, from where they lie."""
    back: Counter[str] = Counter()
    for cell in cells:
        place = _place(cell, cell.key)
        if place.is_dir() and not _has_files(cell.folder):
            cell.folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(cell.folder, ignore_errors=True)
            shutil.move(place, cell.folder)
            back[cell.row] += 1
    for row, count in back.items():
        tell(f"{row}: {count} cells that this recipe made before are taken back from {REPLACED}/")


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir())


def _tell_moved(moved: Collection[Found], tell: Callable[[str], None]) -> None:
    """One line a row and reason."""
    alike: dict[tuple[str, str], list[Found]] = {}
    for one in moved:
        why = "; ".join(textwrap.shorten(change, 150) for change in one.changes[:4])
        alike.setdefault((one.cell.row, why), []).append(one)
    for (row, why), ones in alike.items():
        cells = (
            f"{len(ones)} cells" if len(ones) > 1 else f"fold {ones[0].cell.fold}, seed {ones[0].cell.seed}"
        )
        tell(
            f"{row}, {cells}: its recipe changed ({why}); the old is kept in {REPLACED}/, and it is run again"
        )
