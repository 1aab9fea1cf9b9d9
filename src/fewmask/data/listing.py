"""What a layout's reader hands over: cases and whatever the folder itself declares about channels and labels."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from fewmask.data.case import Case
from fewmask.data.folder import files_in, folders_in, image_files_in, stem_of
from fewmask.errors import InputFault

MASK_FOLDERS = (
    "masks",
    "mask",
    "labels",
    "label",
    "annotations",
    "annotation",
    "segmentations",
    "segmentation",
    "gt",
    "ground_truth",
)


@dataclass(frozen=True)
class Labels:
    """The classes, background first, and the value of each in the mask files."""

    classes: tuple[str, ...]
    values: tuple[int, ...]
    ignored_value: int = 255
    ignored_is_declared: bool = False


@dataclass(frozen=True)
class Listing:
    """The cases of a folder as one layout reads them. `channels` and `labels` are None where nothing declares them."""

    layout: str
    cases: tuple[Case, ...]
    channels: tuple[str, ...] | None = None
    labels: Labels | None = None
    patients_known: bool = False
    remarks: tuple[str, ...] = ()


def mask_index(folder: Path) -> dict[str, Path]:
    """The mask files of a folder by stem; where it has sub-folders alone, by `subfolder_stem`.

    Raises InputFault where two files share a name.
    """
    named = [(stem_of(path), path) for path in image_files_in(folder)]
    if not named:
        named = [
            (f"{inner.name}_{stem_of(path)}", path)
            for inner in folders_in(folder)
            for path in image_files_in(inner)
        ]
    found: dict[str, Path] = {}
    for name, path in named:
        if name in found:
            raise InputFault(f"{path}: {found[name].name} is a mask of the same case; rename or remove one")
        found[name] = path
    return found


def with_masks(
    cases: Iterable[Case], masks: Mapping[str, Path], suffixes: tuple[str, ...] = ("",)
) -> list[Case]:
    """The cases, each with its mask: the one called like the case, or like the case and one of the suffixes.

    Raises InputFault for a mask whose case has no image, and for two masks of one case.
    """
    named = {case.name: case for case in cases}
    owner: dict[str, Path] = {}
    for stem, path in masks.items():
        bare = [stem.removesuffix(suffix) for suffix in suffixes if stem.endswith(suffix)]
        name = next((candidate for candidate in bare if candidate in named), None)
        if name is None:
            raise InputFault(f"{path}: there is no image for this mask; add the image or remove the mask")
        if name in owner:
            raise InputFault(
                f"{path}: {owner[name].name} is a mask of the same case; join the two into one file"
            )
        owner[name] = path
    return [replace(case, mask=owner.get(case.name, case.mask)) for case in named.values()]


def unique(cases: Iterable[Case], where: Path) -> tuple[Case, ...]:
    """The cases sorted by name. Raises InputFault where two have one name."""
    ordered = sorted(cases, key=lambda case: case.name)
    for first, second in pairwise(ordered):
        if first.name == second.name:
            raise InputFault(f"{where}: two cases are called {first.name}; rename one")
    return tuple(ordered)


def is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but dotted files."""
    return not files_in(folder) and not folders_in(folder)
