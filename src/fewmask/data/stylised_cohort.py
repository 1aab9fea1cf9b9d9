"""The re-drawn source as a dataset folder, for people to look at and for any tool that reads nnU-Net's layout."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewmask.data.case import Case, Cohort
from fewmask.data.orientation import canonical
from fewmask.data.preparation import Intensity, Preparation, assembled, fitted, placement
from fewmask.data.raster import read_case
from fewmask.data.store import SliceStore, building
from fewmask.data.volume import write_volume
from fewmask.files import replaced, write_csv, write_json
from fewmask.shapes import IGNORED

FOLDER = "Dataset001_stylised"

AXES = 3


@dataclass(frozen=True)
class Stylised:
    """A re-drawn store and what its slices were: `copies` of each of `cohort`'s cases, one after the other.

    `looks` are the intensity rules of the domain whose look the images have, and `channels` are its names.
    """

    store: SliceStore
    copies: int
    cohort: Cohort
    preparation: Preparation
    classes: tuple[str, ...]
    looks: tuple[Intensity, ...]
    channels: tuple[str, ...]


@dataclass(frozen=True)
class _Geometry:
    """How slices become a file: the preparation of their case, and the size of a voxel along each axis (volumes)."""

    preparation: Preparation
    spacing: tuple[float, ...]
    unit: str


def write_stylised(stylised: Stylised, folder: Path, written: Callable[[], None]) -> None:
    """Write the images and masks as nnU-Net's raw layout, whole or not at all; a folder that is there is left alone.

    A case `NAME` becomes `NAME_style0`, `NAME_style1`, ..., which `cases.csv` ascribes to one patient. Images have the
    prepared size, without padding, and volumes the voxels that belong to it; they lie at the origin. Values are in the
    unit of the target's files where that is known (CT, 8-bit pictures), else in [-1, 1]. `written` is called after
    each case.
    """
    if folder.exists():
        return
    cases = {case.name: case for case in stylised.cohort.cases}
    flat = stylised.preparation.slice_axis is None
    ending = ".png" if flat else ".nii.gz"
    rows: list[tuple[str, str, str]] = []
    ignored = False
    with building(folder) as temporary:
        for name in stylised.store.cases:
            geometry = _geometry(cases[name], stylised.preparation)
            for number, (images, masks) in enumerate(_copies(stylised, name)):
                ignored |= bool((masks == len(stylised.classes)).any())
                copy = f"{name}_style{number}"
                _write_images(images, temporary / "imagesTr", copy, stylised.looks, geometry)
                _write(masks, temporary / "labelsTr" / f"{copy}{ending}", geometry)
                rows.append((copy, cases[name].patient, cases[name].site or ""))
            written()
        write_csv(temporary / "cases.csv", ("case", "patient", "site"), rows)
        labels = {label: value for value, label in enumerate(stylised.classes)}
        write_json(
            temporary / "dataset.json",
            {
                "name": folder.name,
                "description": f"{stylised.cohort.name} in another domain's look, by fewmask; masks are copied",
                "channel_names": _channel_names(stylised),
                "labels": labels | ({"ignore": len(labels)} if ignored else {}),
                "numTraining": len(rows),
                "file_ending": ending,
            },
        )


def _copies(stylised: Stylised, name: str) -> Iterator[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    """The images (N, C, h, w) in [-1, 1] and masks (N, 1, h, w) of each copy, without padding."""
    store = stylised.store
    frame = store.frame(name)
    own = stylised.preparation.channels
    # Of neighbouring slices that were re-drawn together, the middle one is the slice itself.
    first = stylised.preparation.neighbours // 2 * own
    for rows in np.split(store.rows_of([name]), stylised.copies):
        masks = store.masks(rows)[:, None, *frame]
        # nnU-Net wants its label `ignore` to be the highest, right behind the classes.
        masks = np.where(masks == IGNORED, len(stylised.classes), masks).astype(np.uint8)
        yield store.images(rows)[:, first : first + own, *frame], masks


def _geometry(case: Case, preparation: Preparation) -> _Geometry:
    """How a prepared case lies in space, which its own file says."""
    if preparation.slice_axis is None:
        return _Geometry(preparation, (), "px")
    turned = canonical(read_case(case))
    own = fitted(preparation, turned)
    place = placement(turned, own)
    if turned.unit != "mm":
        return _Geometry(own, (1.0,) * AXES, "px")
    spacing = list(turned.spacing)
    across, down = (axis for axis in range(AXES) if axis != own.slice_axis)
    spacing[across] *= place.shape[1] / place.width
    spacing[down] *= place.shape[0] / place.height
    return _Geometry(own, tuple(spacing), "mm")


def _write_images(
    images: NDArray[np.float32], folder: Path, name: str, looks: Sequence[Intensity], geometry: _Geometry
) -> None:
    channels = images.shape[1]
    if geometry.preparation.slice_axis is None:
        grey = np.rint((images + 1.0) * 127.5).clip(0, 255).astype(np.uint8)
        # Colours share a file; other channels have one each, as nnU-Net has it.
        parts = [grey] if channels == 3 else [grey[:, index : index + 1] for index in range(channels)]
        for index, part in enumerate(parts):
            _write(part, folder / f"{name}_{index:04d}.png", geometry)
        return
    for index in range(channels):
        values = _in_unit(images[:, index : index + 1], looks[index])
        _write(values, folder / f"{name}_{index:04d}.nii.gz", geometry)


def _in_unit(images: NDArray[np.float32], look: Intensity) -> NDArray[np.float32]:
    """The values as the target's files have them, where one rule holds for all of those."""
    if look.rule != "fixed":
        return images
    return (look.low + (images + 1.0) / 2.0 * (look.high - look.low)).astype(np.float32)


def _write(slices: NDArray[np.float32 | np.uint8], path: Path, geometry: _Geometry) -> None:
    """Write the slices (N, C, h, w) of one picture, or of one channel of a volume."""
    if geometry.preparation.slice_axis is None:
        picture = slices[0, 0] if slices.shape[1] == 1 else np.moveaxis(slices[0], 0, -1)
        with replaced(path) as temporary:
            Image.fromarray(np.ascontiguousarray(picture)).save(temporary)
        return
    volume = assembled(slices, geometry.preparation)[0]
    write_volume(np.ascontiguousarray(volume), np.diag((*geometry.spacing, 1.0)), path, geometry.unit)


def plain_channel_names(count: int) -> list[str]:
    """Names for channels that nobody has named: colours if there are three."""
    return ["R", "G", "B"] if count == 3 else [f"channel_{index}" for index in range(count)]


def _channel_names(stylised: Stylised) -> dict[str, str]:
    count = stylised.preparation.channels
    if len(stylised.channels) != count:
        names = plain_channel_names(count)
        return {str(index): name for index, name in enumerate(names)}
    # A name such as CT promises physical units.
    return {
        str(index): name if look.rule == "fixed" else f"{name}_scaled"
        for index, (name, look) in enumerate(zip(stylised.channels, stylised.looks, strict=True))
    }
