"""Cases as pictures: the image, the truth as a solid outline and each run's prediction as a dashed one."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from contourpy import contour_generator
from nibabel.orientations import io_orientation
from numpy.typing import NDArray
from PIL import Image

from fewmask.data.case import Case
from fewmask.data.geometry import Raster, laid_on, misfit
from fewmask.data.orientation import canonical
from fewmask.data.raster import read_case, read_label_values
from fewmask.data.survey import HIGH, LOW
from fewmask.errors import InputFault
from fewmask.evaluation.run_record import CaseFiles, Sample
from fewmask.evaluation.truth import holds_class_numbers

LONGEST_SIDE = 320
"""Pixels: a picture in a page is there to judge a contour by, not to diagnose from."""

_UNITS = 640
"""The longest side of a picture in the outlines' own whole-number units: half a pixel at most is rounded away."""

_SMALL = 160 * 160
"""Pictures with fewer pixels are stored without loss."""


@dataclass(frozen=True)
class Wanted:
    """What a picture is drawn from; `predictions` has one file a run, None where a run has none for this case.

    `labels` are the values of the foreground classes in the mask files. `slice_axis`, in RAS order, is the axis
    that volumes are cut across.
    """

    files: CaseFiles
    predictions: tuple[Path | None, ...]
    labels: tuple[int, ...]
    slice_axis: int


@dataclass(frozen=True)
class CasePicture:
    """A picture and the outlines on it, in units of the view box (`width`, `height`).

    `photo` is a data URI; `truth` has one path a class, `predictions` one such tuple a run (None: no prediction).
    `slice_note` names the slice of a volume.
    """

    photo: str
    width: int
    height: int
    truth: tuple[str, ...]
    predictions: tuple[tuple[str, ...] | None, ...]
    slice_note: str


@dataclass(frozen=True)
class _Plane:
    """The cut through a volume that is shown: an axis in RAS order, and the slice along it."""

    axis: int
    index: int


def draw_case(wanted: Wanted) -> CasePicture | None:
    """Draw one case, or None where its image or its mask has moved, is damaged, or does not fit the other.

    A volume is shown at the slice with the largest structure, in RAS order with the patient's right on the left.
    """
    if not wanted.files.images:
        return None
    try:
        original = read_case(Case(wanted.files.case, wanted.files.images))
        image = canonical(original)
        values = _mask(wanted.files.truth, original)
    except InputFault:
        return None
    truth = [values == label for label in wanted.labels]
    predictions = [_prediction(path, original, wanted.labels) for path in wanted.predictions]
    plane = _largest(wanted.slice_axis, truth, predictions) if image.dimensions == 3 else None
    shown = _upright(image.array, plane)
    tall, wide = _spacing(image.spacing, plane)
    height, width = shown.shape[1] * tall, shown.shape[2] * wide
    unit = _UNITS / max(height, width)
    scale = (tall * unit, wide * unit)

    def outlines(classes: Sequence[NDArray[np.bool_]]) -> tuple[str, ...]:
        return tuple(outline_path(_upright(there[None], plane)[0], scale) for there in classes)

    return CasePicture(
        photo=_photo(shown),
        width=round(width * unit),
        height=round(height * unit),
        truth=outlines(truth),
        predictions=tuple(None if mask is None else outlines(mask) for mask in predictions),
        slice_note="" if plane is None else slice_note(original, plane.axis, plane.index),
    )


def _mask(path: Path, image: Raster) -> NDArray[Any]:
    """The label values of a mask on the grid of its image as it is shown. Raises InputFault where it does not fit."""
    mask = laid_on(read_label_values(path), image)
    reason = misfit(mask, image)
    if reason is not None:
        raise InputFault(f"{path}: {reason}")
    return canonical(replace(mask, affine=image.affine)).array[0]


def _prediction(path: Path | None, image: Raster, labels: Sequence[int]) -> list[NDArray[np.bool_]] | None:
    if path is None:
        return None
    try:
        values = _mask(path, image)
    except InputFault:
        return None
    # What `segment` keeps in a folder of its own beside the masks holds class numbers as they do.
    if holds_class_numbers(path.parent) or holds_class_numbers(path.parent.parent):
        return [values == number for number in range(1, len(labels) + 1)]
    if len(labels) == 1 and not (values == labels[0]).any():
        # A single class may be written as 1 where the truth has 255, or the reverse; `evaluate` takes both.
        return [values != 0]
    return [values == label for label in labels]


def _largest(
    axis: int, truth: Sequence[NDArray[np.bool_]], predictions: Sequence[Sequence[NDArray[np.bool_]] | None]
) -> _Plane:
    """The slice with the largest true area, else the largest predicted one, else the middle."""
    across = tuple(other for other in range(3) if other != axis)
    drawn = [mask for masks in predictions if masks is not None for mask in masks]
    for masks in (truth, drawn):
        area = np.array([mask.sum(axis=across) for mask in masks]).sum(axis=0)
        if np.max(area) > 0:
            return _Plane(axis, int(np.argmax(area)))
    return _Plane(axis, truth[0].shape[axis] // 2)


def _upright(array: NDArray[Any], plane: _Plane | None) -> NDArray[Any]:
    """A picture as it is; a slice of a RAS volume with the head or the face up and the patient's right on the left."""
    if plane is None:
        return array
    return np.take(array, plane.index, axis=1 + plane.axis).swapaxes(1, 2)[:, ::-1, ::-1]


def _spacing(spacing: tuple[float, ...], plane: _Plane | None) -> tuple[float, float]:
    """The size of a pixel as it is shown: along the rows' direction (down), then across."""
    if plane is None:
        return spacing[0], spacing[1]
    across, up = (spacing[axis] for axis in range(3) if axis != plane.axis)
    return up, across


def slice_note(original: Raster, axis: int, index: int) -> str:
    """Which slice of the stored file that is, counted from 1 as viewers do; `axis` and `index` are in RAS order."""
    if original.affine is not None:
        orientation = io_orientation(original.affine)
        axis = int(np.flatnonzero(orientation[:, 0] == axis)[0])
        index = index if orientation[axis, 1] > 0 else original.shape[axis] - 1 - index
    return f"slice {index + 1} of {original.shape[axis]} along axis {axis + 1}"


def _photo(shown: NDArray[Any]) -> str:
    """A picture (C, H, W) as a data URI, its intensities stretched between two percentiles."""
    colour = shown.shape[0] == 3
    kept = (shown if colour else shown[:1]).astype(np.float32)
    low, high = np.percentile(kept, (LOW, HIGH))
    grey = np.clip((kept - low) / max(float(high - low), 1e-6), 0.0, 1.0) * 255.0
    pixels = np.rint(grey).astype(np.uint8)
    return data_uri(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0) if colour else pixels[0])))


def data_uri(picture: Image.Image, longest: int = LONGEST_SIDE) -> str:
    """A picture as a data URI, shrunk to at most `longest` pixels a side: PNG where small, else JPEG."""
    side = max(picture.size)
    if side > longest:
        size = (max(1, round(length * longest / side)) for length in picture.size)
        picture = picture.resize((next(size), next(size)), Image.Resampling.LANCZOS)
    kind = "png" if picture.width * picture.height <= _SMALL else "jpeg"
    written = io.BytesIO()
    if kind == "png":
        picture.save(written, "png", optimize=True)
    else:
        picture.save(written, "jpeg", quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(written.getvalue()).decode('ascii')}"


def outline_path(mask: NDArray[np.bool_], scale: tuple[float, float]) -> str:
    """The rim of a mask (H, W) as an SVG path in whole units; `scale` is units a row and a column. Empty for none."""
    parts: list[str] = []
    for line in rims(mask, scale):
        points = np.rint(line).astype(int)
        steps = np.diff(points, axis=0)
        steps = steps[(steps != 0).any(axis=1)]
        # The last step leads back to the start, which z draws. A speck that shrinks to a point stays a dot.
        drawn = "".join(f"l{across} {down}" for across, down in steps[:-1])
        parts.append(f"M{points[0, 0]} {points[0, 1]}{drawn}z")
    return "".join(parts)


def rims(mask: NDArray[np.bool_], scale: tuple[float, float]) -> list[NDArray[np.float64]]:
    """The rims of a mask (H, W) as closed lines of points (across, down), scaled as in `outline_path`."""
    # Around the picture lies background, so that a rim at its border is closed.
    padded = np.pad(mask.astype(np.float32), 1)
    across_down = np.array([scale[1], scale[0]])
    return [(np.asarray(line) - 0.5) * across_down for line in contour_generator(z=padded).lines(0.5)]


def draw_sample(sample: Sample, columns: int) -> str | None:
    """A picture that training drew, as a data URI with each of its `columns` at most `LONGEST_SIDE` wide.

    None where the file is damaged.
    """
    try:
        with Image.open(sample.path) as picture:
            shown = picture.convert("RGB")
    except OSError:
        return None
    tile = shown.width / columns
    return data_uri(shown, round(max(shown.size) * min(1.0, LONGEST_SIDE / tile)))
