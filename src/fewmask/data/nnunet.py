"""nnU-Net's raw folders and those of the Medical Segmentation Decathlon."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from fewmask.data.case import Case
from fewmask.data.declared import declared_channels, declared_labels, read_dataset_json
from fewmask.data.folder import files_in, image_files_in, stem_of
from fewmask.data.listing import Listing, mask_index, unique, with_masks
from fewmask.data.raster import outline
from fewmask.errors import InputFault

NUMBERED = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")
_PARTS = (("imagesTr", "labelsTr", "train"), ("imagesTs", "labelsTs", "test"))


def read_nnunet(folder: Path, masks: bool) -> Listing:
    """nnU-Net v2's raw layout (v1's too): `imagesTr/case_0000.png`, `labelsTr/case.png`, test in imagesTs, labelsTs.

    A case has one file a channel; or every case has a single file `case_0000` that holds all of them (RGB).
    """
    described = folder / "dataset.json"
    content = read_dataset_json(folder)
    channels = declared_channels(content, described)
    ending = str(content.get("file_ending", "")).lower()
    cases: list[Case] = []
    for images, labels, part in _PARTS:
        if (folder / images).is_dir():
            found = _numbered_cases(folder / images, ending, channels, part)
            if masks and (folder / labels).is_dir():
                found = with_masks(found, _ending_in(mask_index(folder / labels), ending))
            cases += found
    labels = declared_labels(content, described) if masks else None
    return Listing("nnU-Net", unique(cases, folder), channels, labels)


def numbered(paths: Sequence[Path]) -> dict[str, dict[int, Path]]:
    """Files called `case_0000`, `case_0001`, ... by case and channel; files with other names do not occur in it."""
    groups: dict[str, dict[int, Path]] = defaultdict(dict)
    for path in paths:
        match = NUMBERED.match(stem_of(path))
        if match:
            groups[match["case"]][int(match["channel"])] = path
    return dict(groups)


def complete(groups: Mapping[str, Mapping[int, Path]], count: int, folder: Path) -> None:
    """Raise InputFault, naming the first, where a case lacks one of `count` channels or has more."""
    for name, files in groups.items():
        wanted = set(range(count))
        if set(files) != wanted:
            lacking = sorted(wanted - set(files))
            fault = f"lacks channel {lacking[0]:04d}" if lacking else f"has more channels than {count}"
            raise InputFault(f"{folder}: case {name} {fault}; add the file or remove the case")


def _numbered_cases(folder: Path, ending: str, channels: Sequence[str], part: str) -> list[Case]:
    paths = [path for path in image_files_in(folder) if path.name.lower().endswith(ending)]
    groups = numbered(paths)
    if not groups and files_in(folder):
        raise InputFault(
            f"{folder}: no file is called like case_0000{ending}; rename the images or mend file_ending"
        )
    named = sum(len(files) for files in groups.values())
    if named < len(paths):
        stray = next(path for path in paths if not NUMBERED.match(stem_of(path)))
        raise InputFault(
            f"{stray}: the channel's number is missing; rename it to {stem_of(stray)}_0000{ending}"
        )
    if not (groups and _share_one_file(groups, len(channels))):
        complete(groups, len(channels), folder)
    return [Case(name, tuple(files[i] for i in sorted(files)), part=part) for name, files in groups.items()]


def _share_one_file(groups: Mapping[str, Mapping[int, Path]], count: int) -> bool:
    """Whether each case is one file that holds all channels, as nnU-Net's reader of natural images has it."""
    if count == 1 or any(set(files) != {0} for files in groups.values()):
        return False
    return outline(next(iter(groups.values()))[0]).channels == count


def _ending_in(masks: Mapping[str, Path], ending: str) -> dict[str, Path]:
    return {name: path for name, path in masks.items() if path.name.lower().endswith(ending)}


def is_decathlon(folder: Path) -> bool:
    """Whether dataset.json lists files that exist as listed; nnU-Net v1's lists lack the channel's number."""
    content = read_dataset_json(folder)
    listed = content.get("training")
    if "channel_names" in content or not isinstance(listed, list) or not listed:
        return False
    image = _listed(cast(list[Any], listed)[0], "image")
    return image is not None and not (folder / f"{image.removesuffix('.nii.gz')}_0000.nii.gz").exists()


def read_decathlon(folder: Path, masks: bool) -> Listing:
    """The Medical Segmentation Decathlon: dataset.json lists images and labels; channels lie on the fourth axis."""
    described = folder / "dataset.json"
    content = read_dataset_json(folder)
    cases: list[Case] = []
    remarks: list[str] = []
    for key, part in (("training", "train"), ("test", "test")):
        paths = [_listed(entry, "image") for entry in content.get(key) or ()]
        present = set(_files_beside([path for path in paths if path], folder))
        if part == "test" and paths and not present:
            remarks.append("the test images that dataset.json lists are not in the folder")
            continue
        for entry, image in zip(content.get(key) or (), paths, strict=True):
            if image is None or Path(image).name.startswith("._"):
                continue
            if folder / image not in present:
                raise InputFault(f"{folder / image}: dataset.json lists it, but it does not exist; add it")
            label = _listed(entry, "label") if masks else None
            cases.append(Case(stem_of(Path(image)), (folder / image,), _existing(folder, label), part=part))
    if masks and (folder / "labelsTs").is_dir():
        found = with_masks([case for case in cases if case.part == "test"], mask_index(folder / "labelsTs"))
        cases = [case for case in cases if case.part != "test"] + found
    channels = declared_channels(content, described)
    labels = declared_labels(content, described) if masks else None
    return Listing(
        "Medical Segmentation Decathlon", unique(cases, folder), channels, labels, remarks=tuple(remarks)
    )


def _listed(entry: Any, key: str) -> str | None:
    """The path in one entry of dataset.json's lists, which are strings or {"image": ..., "label": ...}."""
    path = (
        cast(dict[str, Any], entry).get(key) if isinstance(entry, dict) else entry if key == "image" else None
    )
    return str(path).removeprefix("./") if path is not None else None


def _files_beside(listed: Sequence[str], folder: Path) -> list[Path]:
    """What exists in the folders of the listed files: one listing each, not one question a file."""
    homes = {(folder / path).parent for path in listed}
    return [path for home in homes if home.is_dir() for path in files_in(home)]


def _existing(folder: Path, label: str | None) -> Path | None:
    if label is None:
        return None
    if not (folder / label).exists():
        raise InputFault(f"{folder / label}: dataset.json lists this label, but it does not exist; add it")
    return folder / label
