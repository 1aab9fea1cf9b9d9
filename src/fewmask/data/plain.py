"""Folders without a convention: images, perhaps masks beside them, or one sub-folder a DICOM series."""

import re
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path

from fewmask.data.case import Case
from fewmask.data.declared import declared_channels, read_dataset_json
from fewmask.data.dicom import same_series
from fewmask.data.folder import (
    DICOM_ENDINGS,
    by_stem,
    dicom_files_in,
    ending_of,
    folders_in,
    image_files_in,
    named_folders,
    stem_of,
)
from fewmask.data.listing import MASK_FOLDERS, Listing, mask_index, unique, with_masks
from fewmask.data.nnunet import complete, numbered
from fewmask.errors import InputFault

MASK_SUFFIXES = ("", "_mask", "_seg", "_label")
_IMAGE_FOLDERS = ("images", "image", "imgs")
_OTHERS = ("imagestr", "imagests", "labelstr", "labelsts", "derivatives")
"""Folders of other layouts, which mean that something is missing when they are met here."""
_BESIDE = re.compile(r"^(?P<case>.+?)_(mask|seg|label)(_\d+)?$")


def read_plain(folder: Path, masks: bool, mask_folders: Sequence[Path] = ()) -> Listing:
    """A folder of images, in `images/` or directly in it, or one level deeper; a case is called after its file.

    Masks are in `masks/`, `labels/`, `annotations/` or `segmentations/` under the same stem, with or without
    _mask, _seg or _label, or beside the image with such an ending. `mask_folders` are further places for them.
    """
    home = next(iter(named_folders(folder, _IMAGE_FOLDERS)), folder)
    place = _mask_folder(folder, home, mask_folders) if masks else None
    found = {} if place is None else mask_index(place)
    names = {stem.removesuffix(suffix) for stem in found for suffix in MASK_SUFFIXES}
    channels = _declared(folder)
    direct = image_files_in(home)
    if direct:
        images, beside = _apart(direct)
        cases = _cases_of(home, images, channels, {*names, *beside})
        kind = "plain"
    else:
        cases, beside, kind = _nested(home, channels, names)
    fits = channels is not None and bool(cases) and len(cases[0].images) in (1, len(channels))
    listing = Listing(kind, unique(cases, home), channels if fits else None)
    if place is not None:
        return replace(listing, cases=tuple(with_masks(listing.cases, found, MASK_SUFFIXES)))
    return _masked_beside(listing, beside) if masks else listing


def read_one(path: Path) -> Listing:
    """A single image file, or a folder that holds one DICOM series, as the only case."""
    return Listing("single image", (Case(stem_of(path), (path,)),))


def is_one_series(folder: Path) -> bool:
    """Whether the folder's own files are the slices of one DICOM series."""
    return bool(folder.is_dir() and not image_files_of_other_kinds(folder) and _holds_series(folder))


def image_files_of_other_kinds(folder: Path) -> list[Path]:
    """The pictures and volumes directly in a folder."""
    return [path for path in image_files_in(folder) if ending_of(path) not in DICOM_ENDINGS]


def _holds_series(folder: Path) -> bool:
    files = dicom_files_in(folder)
    if len(files) < 2:
        return bool(files) and ending_of(files[0]) == ""
    return same_series(files[0], files[1])


def _nested(
    home: Path, channels: Sequence[str] | None, masks: Set[str]
) -> tuple[list[Case], dict[str, list[Path]], str]:
    """The cases of a folder's sub-folders: each a DICOM series, or a group of files."""
    cases: list[Case] = []
    beside: dict[str, list[Path]] = {}
    kind = "plain"
    series: bool | None = None
    for inner in (inner for inner in folders_in(home) if inner.name.lower() not in (*MASK_FOLDERS, *_OTHERS)):
        files = image_files_in(inner)
        if all(ending_of(path) in DICOM_ENDINGS for path in files) and dicom_files_in(inner):
            # Asked of the first folder alone: reading headers of thousands of folders would take minutes.
            series = (len(files) < 2 or _holds_series(inner)) if series is None else series
            if series:
                cases.append(Case(inner.name, (inner,)))
                kind = "DICOM series"
                continue
        images, own = _apart(files)
        prefix = f"{inner.name}_"
        known = {*own, *(name.removeprefix(prefix) for name in masks if name.startswith(prefix))}
        grouped = _cases_of(inner, images, channels, known)
        cases += [replace(case, name=prefix + case.name) for case in grouped]
        beside |= {prefix + name: paths for name, paths in own.items()}
    return cases, beside, kind


def _apart(files: list[Path]) -> tuple[list[Path], dict[str, list[Path]]]:
    """Images, and by image the masks that lie beside it: `a_mask.png` beside `a.png`."""
    stems = {stem_of(path) for path in files}
    images: list[Path] = []
    beside: dict[str, list[Path]] = {}
    for path in files:
        match = _BESIDE.match(stem_of(path))
        if match and match["case"] in stems:
            beside.setdefault(match["case"], []).append(path)
        else:
            images.append(path)
    return images, beside


def _cases_of(
    folder: Path, images: list[Path], channels: Sequence[str] | None, masks: Set[str]
) -> list[Case]:
    """One case a file; files called `case_0000`, `case_0001`, ... are one case where the channels or masks say so.

    Numbers alone say nothing: they may count a patient's pictures or a film's frames as well as channels.
    """
    named = by_stem(images)
    groups = numbered(images)
    count = max((len(files) for files in groups.values()), default=0)
    in_groups = sum(len(files) for files in groups.values()) == len(images)
    if images and in_groups and all(0 in files for files in groups.values()):
        stacked = _are_channels(set(named), set(groups), channels, masks)
        if count == 1:
            stacked = masks.isdisjoint(named)
        if stacked:
            complete(groups, count if count == 1 or channels is None else len(channels), folder)
            return [Case(name, tuple(files[i] for i in sorted(files))) for name, files in groups.items()]
    return [Case(stem, (path,)) for stem, path in named.items()]


def _are_channels(full: Set[str], short: Set[str], channels: Sequence[str] | None, masks: Set[str]) -> bool:
    """Whether the numbers count channels: several are declared, or else the masks are called without them."""
    if channels is not None:
        return len(channels) > 1
    return not masks.isdisjoint(short) and masks.isdisjoint(full)


def _mask_folder(folder: Path, home: Path, mask_folders: Sequence[Path]) -> Path | None:
    """Where the masks lie in a folder of their own. Raises InputFault for two such folders."""
    present = [*named_folders(folder, MASK_FOLDERS), *(place for place in mask_folders if place.is_dir())]
    if home != folder:
        present += named_folders(home, MASK_FOLDERS)
    if len(present) > 1:
        raise InputFault(f"{folder}: masks in {present[0].name} and in {present[1].name}; leave one of them")
    return present[0] if present else None


def _masked_beside(listing: Listing, beside: dict[str, list[Path]]) -> Listing:
    for name, paths in beside.items():
        if len(paths) > 1:
            raise InputFault(f"{paths[1]}: {name} has {len(paths)} masks; join them into one file")
    cases = tuple(replace(case, mask=beside.get(case.name, [None])[0]) for case in listing.cases)
    return replace(listing, cases=cases)


def _declared(folder: Path) -> tuple[str, ...] | None:
    """The channels that a dataset.json names: the folder's own, or above imagesTr and imagesTs the dataset's."""
    owner = folder.parent if folder.name in ("imagesTr", "imagesTs") else folder
    described = owner / "dataset.json"
    if not described.is_file():
        return None
    content = read_dataset_json(owner)
    # A plain folder's dataset.json may name the labels alone.
    if owner == folder and not {"channel_names", "modality"} & content.keys():
        return None
    return declared_channels(content, described)


def is_half_of_a_pair(folder: Path) -> bool:
    """Whether the folder is the trainA or trainB of an unpaired dataset as CycleGAN's users have it."""
    return folder.name in ("trainA", "trainB") and is_pair(folder.parent)


def is_pair(folder: Path) -> bool:
    """Whether the folder holds two cohorts, trainA and trainB."""
    return (folder / "trainA").is_dir() and (folder / "trainB").is_dir()


def read_half(parent: Path, domain: str, masks: bool, with_test: bool) -> Listing:
    """One domain ("A" or "B") of an unpaired dataset; `testA` and `testB` are its test part.

    Masks lie beside, in `trainA_mask`, `trainA_masks`, `maskA`, `masksA` or `labelsA` (and so for B and test).
    """
    listing = read_plain(
        parent / f"train{domain}", masks, _mask_folders(parent, f"train{domain}") if masks else ()
    )
    test = parent / f"test{domain}"
    if not (with_test and test.is_dir()):
        return listing
    tested = read_plain(test, masks, _mask_folders(parent, test.name) if masks else ())
    cases = [replace(case, part="test") for case in tested.cases]
    return replace(listing, cases=unique([*listing.cases, *cases], parent))


def _mask_folders(parent: Path, half: str) -> list[Path]:
    own = [parent / f"{half}_mask", parent / f"{half}_masks"]
    shared = [parent / f"{stem}{half[-1]}" for stem in ("mask", "masks", "labels")]
    return own if any(place.is_dir() for place in own) or half.startswith("test") else shared
