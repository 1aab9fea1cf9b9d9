"""File names: which ending is which kind of image, what a file's stem is, and what a folder holds."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from fewmask.config import did_you_mean
from fewmask.errors import InputFault

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
VOLUME_ENDINGS = (".nii.gz", ".nii")
DICOM_ENDINGS = (".dcm", ".dicom", ".ima")
ENDINGS = PICTURE_ENDINGS + VOLUME_ENDINGS + DICOM_ENDINGS
PROBABILITIES = "_probabilities"
"""What a volume's probabilities are called after its case; such a file is never taken for a mask."""

Kind = Literal["picture", "volume", "dicom", "series"]
_MAGIC_AT = 128


def ending_of(path: Path) -> str:
    """The file's ending in lower case, `.nii.gz` counted as one; empty where it is none that can be read.

    >>> ending_of(Path("scan.1.NII.gz"))
    '.nii.gz'
    """
    name = path.name.lower()
    return next((ending for ending in ENDINGS if name.endswith(ending)), "")


def stem_of(path: Path) -> str:
    """The file's name without its ending."""
    ending = ending_of(path)
    return path.name[: -len(ending)] if ending else path.name


def kind_of(path: Path) -> Kind:
    """How the image at `path` must be read. Raises InputFault for what is absent or no known kind of image."""
    if path.is_dir():
        return "series"
    if not path.exists():
        raise InputFault(f"{path}: no such file; check the path")
    ending = ending_of(path)
    if ending in PICTURE_ENDINGS:
        return "picture"
    if ending in VOLUME_ENDINGS:
        return "volume"
    if is_dicom(path):
        return "dicom"
    raise InputFault(f"{path}: unknown ending; use one of {', '.join(ENDINGS)} or a folder of DICOM files")


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its ending or, where it has no known one, by its first bytes."""
    ending = ending_of(path)
    if ending or path.name.upper() == "DICOMDIR":
        return ending in DICOM_ENDINGS
    with path.open("rb") as content:
        return content.read(_MAGIC_AT + 4)[_MAGIC_AT:] == b"DICM"


def files_in(folder: Path) -> list[Path]:
    """The files directly in a folder, by name. Dotted files (macOS writes `._x` beside x) do not count."""
    return _entries(folder, directories=False)


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in a folder, by name, without dotted ones."""
    return _entries(folder, directories=True)


def named_folders(folder: Path, names: Collection[str]) -> list[Path]:
    """The folders directly in a folder that have one of the names, which are in lower case; capitals do not matter."""
    return [inner for inner in folders_in(folder) if inner.name.lower() in names]


def _entries(folder: Path, directories: bool) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if not e.name.startswith(".") and e.is_dir() == directories]
    except OSError as error:
        raise InputFault(
            f"{folder}: cannot be listed ({error.strerror}); check the path and its permissions"
        ) from None
    return [folder / name for name in sorted(names)]


def image_files_in(folder: Path) -> list[Path]:
    """The pictures, volumes and DICOM files directly in a folder, without what `segment` adds to masks."""
    return [p for p in files_in(folder) if ending_of(p) and not stem_of(p).endswith(PROBABILITIES)]


def dicom_files_in(folder: Path) -> list[Path]:
    """The DICOM files directly in a folder, those without an ending included."""
    return [path for path in files_in(folder) if is_dicom(path)]


def by_stem(paths: list[Path]) -> dict[str, Path]:
    """The files by their stem. Raises InputFault where two files of one folder share a stem."""
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(stem_of(path), path)
        if other is not path:
            raise InputFault(
                f"{path}: {other.name} has the same stem, so the case is not clear; rename or remove one"
            )
    return found


def existing_folder(folder: Path) -> Path:
    """The folder itself. Raises InputFault where it does not exist, with the nearest sibling as a suggestion."""
    if folder.is_dir():
        return folder
    if folder.exists():
        raise InputFault(
            f"{folder}: is a file that holds no image; give a folder of images or a .csv manifest"
        )
    siblings = [sibling.name for sibling in folders_in(folder.parent)] if folder.parent.is_dir() else []
    hint = did_you_mean(folder.name, siblings) if siblings else "check the path"
    raise InputFault(f"{folder}: no such folder; {hint if hint.startswith('did') else 'check the path'}")
