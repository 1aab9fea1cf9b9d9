"""Pseudo-labels as a dataset folder in nnU-Net's layout, for people to look at and for nnU-Net itself to train on."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewmask.data.case import Case, Cohort
from fewmask.data.folder import ending_of
from fewmask.data.geometry import Raster
from fewmask.data.raster import write_classes, write_probabilities
from fewmask.data.stylised_cohort import plain_channel_names
from fewmask.data.volume import write_volume
from fewmask.files import replaced, write_csv, write_json
from fewmask.shapes import IGNORED

FOLDER = "Dataset001_pseudo"

SOFT, FUSED, MAPS = "soft", "fused", "maps"
"""The folders beside it: soft pseudo-labels, fused activation maps, and the map of each layer, all in [0, 1]."""


@dataclass(frozen=True)
class OwnGrid:
    """What was made of one case, on its own grid and in the axes of its file.

    `maps` (M, *spatial), `fused` and `soft` (*spatial) are float in [0, 1]; `mask` (*spatial) has 1 for the object, 0
    for the rest, and `IGNORED` in slices that nobody has tagged.
    """

    maps: NDArray[np.float32]
    fused: NDArray[np.float32]
    soft: NDArray[np.float32]
    mask: NDArray[np.uint8]


def write_case(case: Case, original: Raster, labels: OwnGrid, folder: Path) -> None:
    """Write one case's image, mask, soft label and maps under `folder`. The image is copied where nnU-Net reads it."""
    dataset = folder / FOLDER
    files = _files_of(case, original)
    written = [
        _write_image(path, channel, original, dataset / "imagesTr", f"{case.name}_{index:04d}")
        for index, (path, channel) in enumerate(zip(files, original.array, strict=True))
    ]
    # nnU-Net wants its label `ignore` to be the highest, right behind the classes.
    values = np.where(labels.mask == IGNORED, 2, labels.mask).astype(np.uint8)
    write_classes(values, written[0], dataset / "labelsTr", case.name, range(3))
    for name, maps in ((SOFT, labels.soft[None]), (FUSED, labels.fused[None]), (MAPS, labels.maps)):
        write_probabilities(maps, case.images[0], folder / name, case.name)


def write_descriptions(
    folder: Path,
    cohort: Cohort,
    cases: Sequence[Case],
    classes: Sequence[str],
    channels: int,
    *,
    flat: bool,
    ignores: bool,
) -> None:
    """Write the dataset.json and cases.csv that make the written cases an nnU-Net dataset."""
    names = list(cohort.channels)
    if len(names) != channels:
        names = plain_channel_names(channels)
    write_csv(
        folder / FOLDER / "cases.csv",
        ("case", "patient", "site"),
        [(case.name, case.patient, case.site or "") for case in cases],
    )
    write_json(
        folder / FOLDER / "dataset.json",
        {
            "name": FOLDER,
            "description": f"pseudo-labels of {cohort.name}, made from tags by fewmask; no person has outlined them",
            "channel_names": {str(index): name for index, name in enumerate(names)},
            "labels": {name: value for value, name in enumerate(classes)}
            | ({"ignore": len(classes)} if ignores else {}),
            "numTraining": len(cases),
            "file_ending": ".png" if flat else ".nii.gz",
        },
    )


def _files_of(case: Case, original: Raster) -> list[Path | None]:
    """The file of each channel; None where channels share one."""
    channels = len(original.array)
    return list(case.images) if len(case.images) == channels else [None] * channels


def _write_image(
    path: Path | None, channel: NDArray[np.generic], original: Raster, folder: Path, name: str
) -> Path:
    ending = ".png" if original.dimensions == 2 else ".nii.gz"
    written = folder / f"{name}{ending}"
    if path is not None and path.is_file() and ending_of(path) == ending:
        with replaced(written) as temporary:
            shutil.copyfile(path, temporary)
    elif original.dimensions == 2:
        with replaced(written) as temporary:
            Image.fromarray(np.ascontiguousarray(channel)).save(temporary)
    else:
        affine = np.diag((*original.spacing, 1.0)) if original.affine is None else original.affine
        write_volume(np.ascontiguousarray(channel), affine, written, original.unit)
    return written
