"""What is done to a volume before it is written: crop, window, clip, z-score; and a record of it."""

import re
from dataclasses import dataclass
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from fewmask.data.geometry import Raster
from fewmask.errors import InputFault

_CROP = re.compile(r"(?P<sides>\d+(\.\d+)?(x\d+(\.\d+)?){2}|\d+(\.\d+)?)(?P<unit>mm|vox)")
_WINDOW = re.compile(r"(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?)")
OFF = "none"


@dataclass(frozen=True)
class Crop:
    """A box around the labels. `sides` run from left to right, from back to front and from feet to head."""

    sides: tuple[float, float, float]
    unit: Literal["mm", "voxels"]


@dataclass(frozen=True)
class Steps:
    """Which steps are taken, in this order.

    `crop`: a box that is centred on the mean coordinate of the labelled voxels; images without labels stay whole.
    `window`: values below and above are set to its ends. `clip_top_percent`: so many of the highest values are set
    to the largest of the others; 0 is off. `zscore`: mean 0 and deviation 1 over the volume that is left.
    """

    crop: Crop | None = None
    window: tuple[float, float] | None = None
    clip_top_percent: float = 0.0
    zscore: bool = False


@dataclass(frozen=True)
class Taken:
    """What the steps did to one volume.

    `crop_box` holds the first voxel and the one after the last along each axis of the file; None where nothing was
    cropped. `label_voxels_cut` lay outside it. `mean` and `deviation` are what the z-score subtracted and divided by.
    """

    shape_before: tuple[int, ...]
    shape_after: tuple[int, ...]
    crop_box: tuple[tuple[int, int], ...] | None = None
    label_voxels_cut: int = 0
    clip_value: float | None = None
    mean: float | None = None
    deviation: float | None = None


def crop_of(text: str) -> Crop | None:
    """The crop that an option asks for: one side for all axes or three, in mm or voxels; `none` is no crop.

    >>> crop_of("256x160x256mm")
    Crop(sides=(256.0, 160.0, 256.0), unit='mm')
    """
    if text == OFF:
        return None
    match = _CROP.fullmatch(text)
    sides = [float(side) for side in match["sides"].split("x")] if match else []
    if match is None or min(sides) <= 0:
        raise InputFault(f"--crop {text}: not understood; give e.g. 256mm, 256x160x256vox or {OFF}")
    first, second, third = sides * 3 if len(sides) == 1 else sides
    return Crop((first, second, third), "mm" if match["unit"] == "mm" else "voxels")


def window_of(text: str) -> tuple[float, float] | None:
    """The window that an option asks for; `none` is no window.

    >>> window_of("-125,275")
    (-125.0, 275.0)
    """
    if text == OFF:
        return None
    match = _WINDOW.fullmatch(text)
    if match is None or float(match[1]) >= float(match[2]):
        raise InputFault(f"--window {text}: not understood; give low,high, e.g. -125,275, or {OFF}")
    return float(match[1]), float(match[2])


def take_steps(
    image: Raster, classes: NDArray[np.uint8] | None, steps: Steps, where: str
) -> tuple[Raster, NDArray[np.uint8] | None, Taken]:
    """A volume (1, X, Y, Z) and its classes (X, Y, Z) after the steps, and what was done; world coordinates stay.

    Without a step that changes values they keep their number type, else they become float32. Raises InputFault,
    naming `where`, for labels that are empty where a crop is to be centred on them, and for a flat volume.
    """
    before, cut = image.shape, 0
    box = None
    if steps.crop is not None and classes is not None:
        box = _box(image, classes, steps.crop, where)
        part = tuple(slice(first, last) for first, last in box)
        cut = int(np.count_nonzero(classes) - np.count_nonzero(classes[part]))
        image, classes = _cropped(image, box, part), classes[part]
    values, clip, mean, deviation = _scaled(image.array, steps, where)
    taken = Taken(before, image.shape, box, cut, clip, mean, deviation)
    return Raster(values, image.spacing, image.unit, image.affine), classes, taken


def _box(
    image: Raster, classes: NDArray[np.uint8], crop: Crop, where: str
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """The box on the axes of the file, cut off where the volume ends."""
    places = np.nonzero(classes)
    if places[0].size == 0:
        raise InputFault(
            f"{where}: none of its structures is labelled, so nothing says where to crop; use --crop {OFF}"
        )
    if crop.unit == "mm" and image.unit != "mm":
        raise InputFault(f"{where}: its voxels' size is unknown; give --crop in voxels, e.g. 256vox")
    directions = nib.io_orientation(image.affine)[:, 0].astype(int)
    bounds: list[tuple[int, int]] = []
    for axis in range(3):
        side = crop.sides[directions[axis]]
        length = max(1, round(side / image.spacing[axis] if crop.unit == "mm" else side))
        first = int(np.floor(places[axis].mean() - (length - 1) / 2 + 0.5))
        bounds.append((max(0, first), min(image.shape[axis], first + length)))
    return bounds[0], bounds[1], bounds[2]


def _cropped(image: Raster, box: tuple[tuple[int, int], ...], part: tuple[slice, ...]) -> Raster:
    """The voxels of a box, each where it was in the patient."""
    if image.affine is None:
        raise ValueError("a volume without an affine")
    affine = image.affine.copy()
    affine[:3, 3] = (image.affine @ np.array([*(first for first, _ in box), 1.0]))[:3]
    return Raster(image.array[(slice(None), *part)], image.spacing, image.unit, affine)


def _scaled(
    values: NDArray[Any], steps: Steps, where: str
) -> tuple[NDArray[Any], float | None, float | None, float | None]:
    """The values, and by what they were clipped, shifted and divided."""
    clip = mean = deviation = None
    if steps.window is None and steps.clip_top_percent == 0 and not steps.zscore:
        return values, clip, mean, deviation
    values = values.astype(np.float32)
    if steps.window is not None:
        values = np.clip(values, np.float32(steps.window[0]), np.float32(steps.window[1]))
    if steps.clip_top_percent > 0:
        clip = float(np.percentile(values, 100.0 - steps.clip_top_percent))
        values = np.minimum(values, np.float32(clip))
    if steps.zscore:
        mean, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        if deviation == 0:
            raise InputFault(f"{where}: no contrast is left in the volume; remove it, or use --no-zscore")
        values = ((values - mean) / deviation).astype(np.float32)
    return values, clip, mean, deviation
