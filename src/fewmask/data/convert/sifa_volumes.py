"""SIFA's test volumes: one .npz a patient, or the pair of NIfTI files that it is made from."""

import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewmask.data.convert.found import Found, Named, files_below, find_volumes, once
from fewmask.data.convert.sifa_parts import modality_of
from fewmask.data.convert.sifa_slices import whole_labels
from fewmask.data.folder import stem_of
from fewmask.data.raster import read_label_values
from fewmask.data.volume import read_volume
from fewmask.errors import InputFault

_NUMBER = re.compile(r"(?<!\d)(\d{4})(?!\d)")
_PAIR = re.compile(r"(?P<role>image|gth|label)_(?P<modality>ct|mr)_(?P<number>\d{4})")
_DAMAGE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)

Volume = Found
"""A test patient; `label` is None where one .npz holds both."""


@dataclass(frozen=True)
class _Arrays:
    """Image and labels as they lie in the files, (X, Y, Z)."""

    image: NDArray[Any]
    labels: NDArray[Any]


def find_test_volumes(folder: Path) -> tuple[Volume, ...]:
    """The test volumes below a folder. Raises InputFault for a name that tells no patient, and for one told twice."""
    found = list(find_volumes(folder, _name_of).cases)
    for path in files_below(folder, (".npz",)):
        numbers = set(_NUMBER.findall(path.stem))
        if len(numbers) != 1:
            raise InputFault(
                f"{path}: its name does not say which patient it is of; call it e.g. ct_1003.npz"
            )
        modality, number = modality_of(path, folder), int(numbers.pop())
        found.append(Volume(f"{modality}_{number:04d}", modality, number, path, None))
    return once(found)


def read_test_volume(volume: Volume) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Image and labels (X, Y, Z), flipped on the first two axes so that slices along the third lie as in training."""
    arrays = _from_npz(volume.image) if volume.label is None else _from_nifti(volume.image, volume.label)
    image, labels = arrays.image, arrays.labels
    if image.ndim != 3 or image.shape != labels.shape:
        raise InputFault(
            f"{volume.image}: image {image.shape} and label {labels.shape} are not two volumes of one size; "
            "save arr_0 and arr_1 of one patient"
        )
    if image.dtype.kind not in "fiu" or not np.isfinite(image).all():
        raise InputFault(f"{volume.image}: the image holds NaN, infinity or no numbers; copy the file again")
    return image[::-1, ::-1], whole_labels(labels, str(volume.label or volume.image))[::-1, ::-1]


def _from_npz(path: Path) -> _Arrays:
    try:
        with np.load(path, allow_pickle=False) as content:
            if not {"arr_0", "arr_1"} <= set(content.files):
                raise InputFault(
                    f"{path}: arr_0 (image) and arr_1 (label) are needed; save both in this order"
                )
            return _Arrays(content["arr_0"], content["arr_1"])
    except _DAMAGE:
        raise InputFault(f"{path}: damaged, truncated or no .npz file; copy it again") from None


def _from_nifti(image: Path, label: Path) -> _Arrays:
    return _Arrays(read_volume(image).array[0], read_label_values(label).array[0])


def _name_of(path: Path) -> Named | None:
    match = _PAIR.fullmatch(stem_of(path).lower())
    if match is None:
        return None
    role = "image" if match["role"] == "image" else "label"
    return Named(match["modality"], int(match["number"]), role)
