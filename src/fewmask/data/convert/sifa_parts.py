"""Which modality and which part SIFA's files are of: their folders' names say it, or lists of files do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fewmask.data.convert.found import files_below
from fewmask.errors import InputFault

Side = Literal["train", "val"]
_MODALITIES = {"ct": "ct", "mr": "mr", "mri": "mr"}
_SIDES: dict[str, Side] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "validation": "val",
}


@dataclass(frozen=True)
class Slices:
    """The tfrecord files of one modality, the authors' training and validation slices apart."""

    train: tuple[Path, ...]
    val: tuple[Path, ...]


@dataclass(frozen=True)
class _Line:
    """What a list says about a file."""

    modality: str | None
    side: Side
    source: Path


def slices_by_modality(folder: Path) -> dict[str, Slices]:
    """The tfrecord files below a folder.

    Raises InputFault where neither a name on a file's way (`mr_train`) nor a list (`validation_mr.txt`) tells its
    modality and part, where two of them disagree, and for a listed file that does not exist.
    """
    paths = files_below(folder, (".tfrecords", ".tfrecord"))
    lists = _lists(folder)
    listed: set[str] = set()
    known: dict[tuple[str, Side], list[Path]] = {}
    for path in paths:
        names = [name for name in (_key(path.as_posix()), path.name) if name in lists]
        listed.update(names)
        line = lists[names[0]] if names else None
        known.setdefault(_placed(path, folder, line), []).append(path)
    for name in sorted(set(lists) - listed):
        source = lists[name].source
        raise InputFault(f"{source}: lists {name}, which is not there; add the file, or remove the line")
    return {
        modality: Slices(tuple(known.get((modality, "train"), ())), tuple(known.get((modality, "val"), ())))
        for modality in sorted({modality for modality, _ in known}, reverse=True)
    }


def modality_of(path: Path, folder: Path) -> str:
    """The modality that the nearest name on a file's way from the folder tells, `mr` or `ct`."""
    found = _told(path, folder, _MODALITIES)
    if found is None:
        raise InputFault(
            f"{path}: no name on its way says ct or mr; put it into a folder called e.g. mr_train"
        )
    return found


def _placed(path: Path, folder: Path, line: _Line | None) -> tuple[str, Side]:
    side = _told(path, folder, _SIDES)
    if line is None:
        if side is None:
            raise InputFault(
                f"{path}: neither a folder's name nor a list says train or val; put it into e.g. mr_train"
            )
        return modality_of(path, folder), _SIDES[side]
    if side is not None and side != line.side:
        raise InputFault(
            f"{path}: lies in {side} and {line.source.name} lists it for {line.side}; mend one of the two"
        )
    return line.modality or modality_of(path, folder), line.side


def _told(path: Path, folder: Path, words: dict[str, str] | dict[str, Side]) -> str | None:
    """The meaning of the nearest name that holds exactly one of the words; the folder's own name is the farthest."""
    for name in (*reversed(path.relative_to(folder).parts), folder.resolve().name):
        meanings = _meanings(name, words)
        if len(meanings) == 1:
            return meanings.pop()
    return None


def _meanings(name: str, words: dict[str, str] | dict[str, Side]) -> set[str]:
    return {words[word] for word in re.split(r"[^a-z]+", name.lower()) if word in words}


def _lists(folder: Path) -> dict[str, _Line]:
    """What the text files say, by the last two names of each path that they list, or by the only one."""
    lists: dict[str, _Line] = {}
    for path in files_below(folder, (".txt",)):
        sides, modalities = _meanings(path.stem, _SIDES), _meanings(path.stem, _MODALITIES)
        listed = [
            line.strip() for line in _lines(path) if line.strip().lower().endswith(("tfrecords", "tfrecord"))
        ]
        if not listed:
            continue
        if len(sides) != 1:
            raise InputFault(
                f"{path}: its name does not say which part it lists; call it e.g. training_mr.txt"
            )
        line = _Line(modalities.pop() if len(modalities) == 1 else None, _SIDES[sides.pop()], path)
        for name in listed:
            other = lists.setdefault(_key(name), line)
            if other.side != line.side:
                raise InputFault(
                    f"{path}: {name} is in {other.source.name} too; a slice cannot train and validate"
                )
    return lists


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputFault(f"{path}: cannot be read as text; save the list in UTF-8") from None


def _key(name: str) -> str:
    return "/".join(name.replace("\\", "/").split("/")[-2:])
