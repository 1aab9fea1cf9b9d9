"""SIFA's own packaging of MM-WHS (PnP-AdaNet's too): anonymous training slices and whole test volumes.

Nothing in these files says which slice is of which patient or how large a voxel is, so the folder claims neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from fewmask.console import Progress
from fewmask.data.convert.dataset import HEART, Account, Dataset, Part, Placed, finish, write_case
from fewmask.data.convert.mmwhs import TERMS, TESTED
from fewmask.data.convert.options import Job, Options
from fewmask.data.convert.sifa_parts import Slices, slices_by_modality
from fewmask.data.convert.sifa_slices import read_slices
from fewmask.data.convert.sifa_volumes import Volume, find_test_volumes, read_test_volume
from fewmask.data.geometry import Raster
from fewmask.data.split import SPLITS_FINAL
from fewmask.errors import InputFault
from fewmask.files import write_json
from fewmask.shapes import IGNORED

Label5 = Literal["ignore", "background"]
FOLDERS = {"mr": "Dataset953_SIFA_MR", "ct": "Dataset954_SIFA_CT"}

ANONYMOUS = (
    "slices are anonymous: `patient` says unknown for all that may share one, so nothing can hold patients out of "
    "them unless they came in parts that are known to be apart"
)
VAL_IS_TEST = (
    "left out are the authors' MR validation slices: they are augmented slices of the four test patients, who would "
    "train"
)
PLACELESS = (
    "voxel size and directions are unknown: every axis counts pixels, as the files have them; test volumes are "
    "flipped on their first two axes to lie as the training slices do"
)


@dataclass(frozen=True)
class Packed:
    """What conversion.json says about a case: its file, and where in it the record starts."""

    case: str
    part: Part
    file: str
    offset: int | None = None


@dataclass(frozen=True)
class Meaning:
    """How the undocumented label 5 is read in each part."""

    label_5_in_training: Label5
    label_5_in_test: Label5


def sifa_jobs(folder: Path, options: Options) -> tuple[Job, ...]:
    """An MR folder and a CT folder, or the one of them that is there."""
    asked = (options.crop, options.window, options.clip_top, options.zscore)
    if options.unlabelled or any(wish is not None for wish in asked):
        raise InputFault(
            "sifa: its files are cropped, clipped, z-scored and labelled already; leave those options out"
        )
    meaning = Meaning(options.label_5 or "ignore", options.label_5 or "background")
    slices = slices_by_modality(folder)
    volumes = find_test_volumes(folder)
    modalities = [name for name in FOLDERS if name in slices or any(v.modality == name for v in volumes)]
    if not modalities:
        raise InputFault(f"{folder}: holds no .tfrecords and no .npz; give the folder of SIFA's download")
    jobs: list[Job] = []
    for modality in modalities:
        own = [volume for volume in volumes if volume.modality == modality]
        train = slices.get(modality, Slices((), ()))
        _require_whole(folder, modality, train, own, options.partial)
        write = partial(_write, folder, modality, train, own, meaning)
        jobs.append(Job(FOLDERS[modality], write))
    return tuple(jobs)


def _require_whole(
    folder: Path, modality: str, slices: Slices, volumes: Sequence[Volume], meant: bool
) -> None:
    """Raise InputFault for a modality without training slices, a training patient among the tests, or a missing one."""
    if not slices.train:
        raise InputFault(
            f"{folder}: no {modality.upper()} training slices; add them, e.g. as {modality}_train"
        )
    for volume in volumes:
        if volume.number not in TESTED[modality]:
            raise InputFault(
                f"{volume.image}: {modality.upper()} {volume.number} is no published test case, so its slices are "
                "among the anonymous training slices; remove it"
            )
    missing = sorted(TESTED[modality] - {volume.number for volume in volumes})
    if missing and not meant:
        raise InputFault(
            f"{folder}: the published {modality.upper()} test cases {', '.join(map(str, missing))} are missing; add "
            f"them as {modality}_{missing[0]}.npz and so on, or use --partial to convert what is there"
        )


def _write(
    folder: Path,
    modality: str,
    slices: Slices,
    volumes: Sequence[Volume],
    meaning: Meaning,
    root: Path,
    progress: Progress,
) -> None:
    # All 20 MR patients are among the 16 of the training and the 4 of the validation slices: these 4 are the test's.
    left_out = slices.val if modality == "mr" else ()
    val = () if left_out else slices.val
    placed: list[Placed] = []
    packed: list[Packed] = []
    with progress(f"converting {FOLDERS[modality]}", len(slices.train) + len(val) + len(volumes)) as advance:
        for side, path in [*(("train", path) for path in slices.train), *(("val", path) for path in val)]:
            for sliced in read_slices(path):
                group = f"{modality}_{side}"
                placed.append(Placed(f"{group}_{len(placed) + 1:05d}", f"unknown_{group}", "train"))
                image, labels = sliced.image[..., None], sliced.labels[..., None]
                _write_placeless(root, placed[-1], image, labels, meaning.label_5_in_training)
                packed.append(Packed(placed[-1].name, "train", _relative(path, folder), sliced.offset))
            advance()
        for volume in volumes:
            placed.append(Placed(volume.name, volume.name, "test"))
            image, labels = read_test_volume(volume)
            _write_placeless(root, placed[-1], image, labels, meaning.label_5_in_test)
            packed.append(Packed(volume.name, "test", _relative(volume.image, folder)))
            advance()
    _write_fold(root, placed, modality)
    remarks = (ANONYMOUS, PLACELESS, *((VAL_IS_TEST,) if left_out else ()))
    labels_told = {str(value): name for value, name in enumerate(HEART)} | {str(len(HEART)): "undocumented"}
    told = tuple(_relative(path, folder) for path in left_out)
    finish(
        root,
        _dataset(modality, meaning),
        placed,
        Account("sifa", labels_told, meaning, remarks, told, packed),
    )


def _dataset(modality: str, meaning: Meaning) -> Dataset:
    name = modality.upper()
    described = (
        f"MM-WHS 2017 as SIFA packed it, {name}: anonymous slices to train on, whole volumes to test on"
    )
    ignores = "ignore" in (meaning.label_5_in_training, meaning.label_5_in_test)
    return Dataset(FOLDERS[modality], described, TERMS, name, HEART, ignores)


def _write_placeless(
    root: Path, placed: Placed, image: np.ndarray, labels: np.ndarray, label_5: Label5
) -> None:
    """Write a volume (X, Y, Z) whose place in the patient is unknown."""
    classes = np.where(labels == len(HEART), IGNORED if label_5 == "ignore" else 0, labels).astype(np.uint8)
    raster = Raster(image.astype(np.float32)[None], (1.0, 1.0, 1.0), "px", np.eye(4))
    write_case(root, placed, raster, classes)


def _write_fold(root: Path, placed: Sequence[Placed], modality: str) -> None:
    """Say in nnU-Net's file that the authors' validation slices, which are of other patients, validate."""
    sides = [
        [case.name for case in placed if case.patient == f"unknown_{modality}_{side}"]
        for side in ("train", "val")
    ]
    if all(sides):
        write_json(root / SPLITS_FINAL, [{"train": sides[0], "val": sides[1]}])


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
