"""Which files of a folder belong together: an image and its label by modality and number."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fewmask.data.folder import VOLUME_ENDINGS
from fewmask.errors import InputFault


@dataclass(frozen=True)
class Named:
    """What a file's name says. `may_lack_label`: it lies among a challenge's test images."""

    modality: str
    number: int
    role: Literal["image", "label"]
    may_lack_label: bool = False

    @property
    def case(self) -> str:
        """The case's name in the folder that is written."""
        return f"{self.modality}_{self.number:04d}"


@dataclass(frozen=True)
class Found:
    """One case of the original: a file or a folder of its image, and of its labels where it has any."""

    name: str
    modality: str
    number: int
    image: Path
    label: Path | None


@dataclass(frozen=True)
class Search:
    """The cases of a folder, and the volumes in it whose names mean nothing here."""

    cases: tuple[Found, ...]
    strange: tuple[Path, ...]


def files_below(folder: Path, endings: Collection[str]) -> list[Path]:
    """All files below a folder that have one of the endings, sorted; nothing dotted (macOS writes `._x` beside x)."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.name.lower().endswith(tuple(endings)) and path.is_file() and not is_hidden(path, folder)
    ]


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether a name between the folder and the path starts with a dot."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def find_volumes(folder: Path, name_of: Callable[[Path], Named | None]) -> Search:
    """The NIfTI files below a folder as cases. `name_of` is given each path relative to the folder.

    Raises InputFault for a case that occurs twice, a label without an image and an image without its label.
    """
    known: dict[tuple[str, str], tuple[Named, Path]] = {}
    strange: list[Path] = []
    for path in files_below(folder, VOLUME_ENDINGS):
        named = name_of(path.relative_to(folder))
        if named is None:
            strange.append(path)
            continue
        _, other = known.setdefault((named.role, named.case), (named, path))
        if other is not path:
            raise InputFault(f"{path}: {_twice(named.case, other)}")
    return Search(tuple(_paired(list(known.values()))), tuple(strange))


def once(cases: Sequence[Found]) -> tuple[Found, ...]:
    """The cases by name. Raises InputFault where one occurs twice."""
    seen: dict[str, Found] = {}
    for case in cases:
        other = seen.setdefault(case.name, case)
        if other is not case:
            raise InputFault(f"{case.image}: {_twice(case.name, other.image)}")
    return tuple(seen[name] for name in sorted(seen))


def _twice(case: str, where: Path) -> str:
    return f"case {case} is there twice, as {where} too; keep one, so that no case can both train and test"


def _paired(known: Sequence[tuple[Named, Path]]) -> list[Found]:
    labels = {named.case: path for named, path in known if named.role == "label"}
    cases: list[Found] = []
    for named, path in known:
        if named.role == "image":
            label = labels.pop(named.case, None)
            if label is None and not named.may_lack_label:
                raise InputFault(f"{path}: its label is missing; add the file, or remove the image")
            cases.append(Found(named.case, named.modality, named.number, path, label))
    for path in labels.values():
        raise InputFault(f"{path}: there is no image for this label; add the file, or remove the label")
    return sorted(cases, key=lambda case: case.name)
