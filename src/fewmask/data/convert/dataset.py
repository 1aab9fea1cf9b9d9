"""An nnU-Net folder in the making: its volumes, its tables, and the account of how they came about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fewmask import __version__
from fewmask.config import to_mapping
from fewmask.data.geometry import Raster
from fewmask.data.volume import write_volume
from fewmask.errors import InputFault
from fewmask.files import write_csv, write_json
from fewmask.shapes import IGNORED

ENDING = ".nii.gz"
HEART = ("background", "MYO", "LAC", "LVC", "AA")
"""SIFA's classes in SIFA's order: myocardium, left atrium and ventricle (cavities), ascending aorta."""
ABDOMEN = ("background", "liver", "right_kidney", "left_kidney", "spleen")
"""The classes that CHAOS and BTCV share, in SIFA's order."""

Part = Literal["train", "test"]
_SCANNER, _ALIGNED = 1, 2


@dataclass(frozen=True)
class Dataset:
    """What `dataset.json` says. `classes` starts with background, class i has value i; `ignores` declares 255."""

    folder: str
    description: str
    terms: str
    channel: str
    classes: tuple[str, ...]
    ignores: bool = False


@dataclass(frozen=True)
class Placed:
    """One case in the table: who it is of, and in which part."""

    name: str
    patient: str
    part: Part


@dataclass(frozen=True)
class Account:
    """conversion.json: where everything came from and what was done to it.

    `labels` says what each value of the original became. `left_out` are files that were not converted. `steps` and
    `cases` are dataclasses of the format.
    """

    format: str
    labels: Mapping[str, str]
    steps: Any
    remarks: tuple[str, ...]
    left_out: tuple[str, ...]
    cases: Sequence[Any]


def write_case(root: Path, placed: Placed, image: Raster, classes: NDArray[np.uint8] | None) -> None:
    """Write a volume (C, X, Y, Z), a file a channel, and its classes (X, Y, Z) as nnU-Net names them."""
    suffix = "Tr" if placed.part == "train" else "Ts"
    for index, channel in enumerate(image.array):
        _write(root / f"images{suffix}" / f"{placed.name}_{index:04d}{ENDING}", channel, image)
    if classes is not None:
        _write(root / f"labels{suffix}" / f"{placed.name}{ENDING}", classes, image)


def finish(root: Path, dataset: Dataset, cases: Sequence[Placed], account: Account) -> None:
    """Write `cases.csv`, `conversion.json` and, last, `dataset.json`: a folder that has one is whole."""
    rows = [(case.name, case.patient, case.part) for case in cases]
    write_csv(root / "cases.csv", ("case", "patient", "split"), rows)
    written_by = {"made_by": "fewmask", "version": __version__, "dataset": dataset.folder}
    write_json(root / "conversion.json", {**written_by, **to_mapping(account)})
    labels = {name: value for value, name in enumerate(dataset.classes)}
    write_json(
        root / "dataset.json",
        {
            "name": dataset.folder,
            "description": dataset.description,
            "licence": dataset.terms,
            "channel_names": {"0": dataset.channel},
            "labels": {**labels, "ignore": IGNORED} if dataset.ignores else labels,
            "numTraining": sum(case.part == "train" for case in cases),
            "file_ending": ENDING,
            "converted_by": f"fewmask {__version__}",
        },
    )


def classes_from(
    values: NDArray[np.integer], meaning: Mapping[int, int], others: frozenset[int], where: str
) -> NDArray[np.uint8]:
    """The class of every voxel: by `meaning`, 0 for the `others`. Raises InputFault for any further value."""
    known = {*meaning, *others}
    strange = sorted({int(value) for value in np.unique(values)} - known)
    if strange:
        told = ", ".join(str(value) for value in strange[:5]) + (", ..." if len(strange) > 5 else "")
        raise InputFault(
            f"{where}: holds {told}, but its labels are {', '.join(map(str, sorted(known)))}; "
            "give the original file"
        )
    classes = np.zeros(values.shape, dtype=np.uint8)
    for value, class_ in meaning.items():
        classes[values == value] = class_
    return classes


def _write(path: Path, values: NDArray[Any], like: Raster) -> None:
    assert like.affine is not None  # a volume's
    write_volume(_storable(values), like.affine, path, like.unit, _SCANNER if like.unit == "mm" else _ALIGNED)


def _storable(values: NDArray[Any]) -> NDArray[Any]:
    """Numbers of a type that every reader of NIfTI knows."""
    if values.dtype.kind == "f":
        return values.astype(np.float32, copy=False)
    if values.dtype.itemsize <= 4 and values.dtype.kind in "iu":
        return values
    return values.astype(np.int32 if np.abs(values).max(initial=0) < 2**31 else np.float32)
