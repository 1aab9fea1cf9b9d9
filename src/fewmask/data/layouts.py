"""Recognises how a folder is laid out and reads it as a cohort.

No image is read but for a header or two, where nothing names the channels or tells how the series and the files of a
folder belong together. Of the masks, if they are wanted at all, the first are opened: to see which values occur where
nothing declares them, and whether 255 stands where 1 is declared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fewmask.data.bids import is_bids, read_bids
from fewmask.data.case import Case, Cohort
from fewmask.data.declared import declared_labels, read_dataset_json
from fewmask.data.folder import ENDINGS, ending_of, existing_folder, folders_in, named_folders
from fewmask.data.labels import NO_LABELS, settled_labels
from fewmask.data.listing import MASK_FOLDERS, Listing, is_empty, mask_index
from fewmask.data.manifest import read_manifest
from fewmask.data.nnunet import is_decathlon, read_decathlon, read_nnunet
from fewmask.data.plain import (
    MASK_SUFFIXES,
    is_half_of_a_pair,
    is_one_series,
    is_pair,
    read_half,
    read_one,
    read_plain,
)
from fewmask.data.raster import outline
from fewmask.data.tables import with_case_table, with_slice_table
from fewmask.errors import InputFault

NO_PATIENTS = "no patient column in cases.csv: every case counts as one patient"


def read_cohort(folder: Path, masks: bool = True) -> Cohort:
    """The cases of a dataset folder (nnU-Net, Decathlon, BIDS, DICOM series, plain images) or of a .csv manifest.

    `cases.csv` and `slices.csv` beside any layout are read too. With `masks=False` no folder of labels is opened
    or listed, and the cohort knows neither masks nor classes. Raises InputFault, one line, for a folder that does
    not exist, is empty, follows no known layout or contradicts itself.
    """
    return _settled(folder, _listing(folder, masks), masks)


def read_pair(folder: Path, target_masks: bool = False) -> tuple[Cohort, Cohort]:
    """The two cohorts of a folder with `trainA` and `trainB`: A is the source, B the target.

    `testA` and `testB` are their test parts. The target's masks are left alone unless they are asked for.
    """
    if not is_pair(existing_folder(folder)):
        raise InputFault(f"{folder}: holds no trainA and trainB; give two folders as --source and --target")
    halves = [
        _settled(folder / f"train{domain}", read_half(folder, domain, masks, with_test=True), masks)
        for domain, masks in (("A", True), ("B", target_masks))
    ]
    return halves[0], halves[1]


def find_labels(folder: Path) -> dict[str, Path]:
    """The masks in a folder by case: of a dataset `labelsTs`, else `labelsTr`, else what its layout has; or mask files.

    Empty where there is none. A suffix _mask, _seg or _label that all files share is not part of the case's name.
    """
    existing_folder(folder)
    for name in ("labelsTs", "labelsTr"):
        if (folder / name).is_dir() and not is_empty(folder / name):
            return mask_index(folder / name)
    if is_pair(folder) or is_bids(folder) or _has_images_and_masks(folder):
        cohort = read_pair(folder, target_masks=True)[1] if is_pair(folder) else read_cohort(folder)
        tested = {case.name: case.mask for case in cohort.part("test") if case.mask}
        return tested or {case.name: case.mask for case in cohort.cases if case.mask}
    return _without_shared_suffix(mask_index(folder))


def _has_images_and_masks(folder: Path) -> bool:
    if (folder / "manifest.csv").is_file():
        return True
    return bool(named_folders(folder, MASK_FOLDERS))


def _without_shared_suffix(masks: Mapping[str, Path]) -> dict[str, Path]:
    for suffix in MASK_SUFFIXES[1:]:
        if masks and all(name.endswith(suffix) for name in masks):
            return {name.removesuffix(suffix): path for name, path in masks.items()}
    return dict(masks)


def _listing(folder: Path, masks: bool) -> Listing:
    if folder.is_file():
        return _listing_of_file(folder, masks)
    existing_folder(folder)
    if is_empty(folder):
        raise InputFault(f"{folder}: is empty; copy the images into it or give another folder")
    if is_pair(folder):
        raise InputFault(f"{folder}: holds two cohorts; give {folder / 'trainA'} or {folder / 'trainB'}")
    if is_half_of_a_pair(folder):
        return read_half(folder.parent, folder.name[-1], masks, with_test=False)
    if (folder / "dataset.json").is_file():
        return _described(folder, masks)
    return _undescribed(folder, masks)


def _undescribed(folder: Path, masks: bool) -> Listing:
    if (folder / "manifest.csv").is_file():
        return read_manifest(folder / "manifest.csv", masks)
    if is_bids(folder):
        return read_bids(folder, masks)
    return read_one(folder) if is_one_series(folder) else read_plain(folder, masks)


def _described(folder: Path, masks: bool) -> Listing:
    """A folder with a dataset.json: a Decathlon, nnU-Net's, or one of another layout whose labels it names."""
    if is_decathlon(folder):
        return read_decathlon(folder, masks)
    if not any((folder / images).is_dir() for images in ("imagesTr", "imagesTs")):
        listing = _undescribed(folder, masks)
        if listing.cases:
            described = folder / "dataset.json"
            labels = declared_labels(read_dataset_json(folder), described) if masks else None
            return replace(listing, labels=labels)
    return read_nnunet(folder, masks)


def _listing_of_file(path: Path, masks: bool) -> Listing:
    if path.suffix.lower() == ".csv":
        return read_manifest(path, masks)
    if not ending_of(path):
        raise InputFault(
            f"{path}: unknown ending; give a folder, a .csv manifest or an image ({', '.join(ENDINGS)})"
        )
    return read_one(path)


def _settled(root: Path, listing: Listing, masks: bool) -> Cohort:
    """The cohort of a listing, with the tables beside it, the channels' names and the labels' values."""
    if not listing.cases:
        raise InputFault(f"{root}: {_no_images(root)}")
    cases, patients_known = _with_tables(root, listing)
    labels, label_remarks = (
        settled_labels(listing.labels, [c.mask for c in cases if c.mask]) if masks else NO_LABELS
    )
    patient_remarks = () if patients_known else (NO_PATIENTS,)
    return Cohort(
        root,
        listing.layout,
        tuple(cases),
        listing.channels or _channels(cases),
        classes=labels.classes if labels else (),
        label_values=labels.values if labels else (),
        ignored_value=labels.ignored_value if labels else 255,
        patients_known=patients_known,
        remarks=(*listing.remarks, *label_remarks, *patient_remarks),
    )


def _with_tables(root: Path, listing: Listing) -> tuple[list[Case], bool]:
    """The cases with what the tables beside them say, and whether patients are known."""
    cases, patients_known = list(listing.cases), listing.patients_known
    # A manifest under another name may share its folder with tables that are not about its cases.
    home = root.parent if root.name == "manifest.csv" else root
    if (home / "cases.csv").is_file():
        cases, patients_given = with_case_table(cases, home)
        patients_known = patients_known or patients_given
    if (home / "slices.csv").is_file():
        cases = with_slice_table(cases, home)
    return cases, patients_known


def _channels(cases: Sequence[Case]) -> tuple[str, ...]:
    """Names for channels that nothing names, from the header of the first case that can be read.

    Unreadable ones are left to whoever reads the images: a check lists them all. Raises the first one's InputFault
    where none can be read.
    """
    first_fault: InputFault | None = None
    for case in cases:
        try:
            return _channels_of(case)
        except InputFault as fault:
            first_fault = first_fault or fault
    raise first_fault or InputFault("no cases; give a folder with images")


def _channels_of(case: Case) -> tuple[str, ...]:
    first, *others = case.images
    if others:
        return tuple(f"channel_{index}" for index in range(len(case.images)))
    header = outline(first)
    if header.channels == 1:
        return ("image",)
    if header.channels == 3 and len(header.shape) == 2:
        return ("R", "G", "B")
    return tuple(f"channel_{index}" for index in range(header.channels))


def _no_images(root: Path) -> str:
    inside = [inner.name for inner in folders_in(root)] if root.is_dir() else []
    datasets = [
        name
        for name in inside
        if (root / name / "dataset.json").is_file() or (root / name / "images").is_dir()
    ]
    if datasets:
        return f"holds datasets, not images; give one of them, e.g. {root / datasets[0]}"
    if "imagesTr" in inside:
        return "has imagesTr but no dataset.json; add one with channel_names, labels and file_ending"
    return "holds no images in a known layout (nnU-Net, Decathlon, BIDS, images/ + masks/, manifest.csv); check it"
