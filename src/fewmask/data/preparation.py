"""How images become network input: decided from the data, written down, and exactly reversible."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch.nn import functional as F

from fewmask.config import STRICT
from fewmask.data.raster import Raster
from fewmask.data.survey import Look, percentiles
from fewmask.errors import InputFault

AIR_HU = -500.0
"""Volumes whose darkest tissue lies below this are taken for CT, whose numbers mean the same in every scanner."""

CLEARLY_THICKER = 1.5
"""A volume is cut across the axis whose spacing exceeds the others by this factor, else across its last axis."""


@dataclass(frozen=True)
class Intensity:
    """How raw values become [-1, 1]: `low` maps to -1, `high` to 1, and what lies beyond is clipped.

    `fixed`: low and high are values. `own_percentiles`: each image's own percentiles (0.5 and 99.5) are used.
    """

    rule: Literal["fixed", "own_percentiles"]
    low: float = 0.0
    high: float = 255.0


EIGHT_BIT = Intensity("fixed", 0.0, 255.0)
"""8-bit pictures keep their full range."""


@dataclass(frozen=True)
class Grid:
    """What all cohorts of a run have in common, so that a structure looks as large and lies alike in each of them."""

    channels: int
    size: int
    pixel_mm: float | None
    slice_axis: int | None


@dataclass(frozen=True)
class Preparation:
    """Everything that is decided about one cohort's images before training.

    `pixel_mm` is the size of a prepared pixel, the same for all volumes; None lets each image's longest side fill
    `size`. `slice_axis` is the axis, in RAS order, across which volumes are cut; None for pictures. `channel` is the
    one channel of the files that is used; None for all.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    role: str
    channels: int
    size: int
    intensity: tuple[Intensity, ...]
    pixel_mm: float | None = None
    slice_axis: int | None = None
    channel: int | None = None


@dataclass(frozen=True)
class Placement:
    """Where an image of `shape` lies in the prepared square: resized to `height` x `width`, at `top`, `left`.

    What is left of the square is `mirrored` (pictures), or the darkest value and background (volumes).
    """

    shape: tuple[int, int]
    height: int
    width: int
    top: int
    left: int
    mirrored: bool = False


def decide(role: str, looks: Sequence[Look], channel_names: Sequence[str], grid: Grid) -> Preparation:
    """The preparation that fits a cohort on the grid that all cohorts of a run share."""
    rules = [_intensity(looks, index, name) for index, name in enumerate(channel_names)]
    if grid.channels != len(rules):
        rules = [rules[0]] * grid.channels
    return Preparation(role, grid.channels, grid.size, tuple(rules), grid.pixel_mm, grid.slice_axis)


def shared_grid(groups: Sequence[Sequence[Look]], size: int) -> Grid:
    """The grid of a run; volumes are cut across the axis that suits the first cohort."""
    looks = [look for group in groups for look in group]
    dimensions = {len(look.shape) for look in looks}
    if len(dimensions) > 1:
        raise InputFault("one cohort holds pictures and another volumes; give cohorts of the same kind")
    axis = slice_axis(groups[0]) if dimensions == {3} else None
    return Grid(shared_channels(groups), size, _shared_pixel_mm(looks, axis, size), axis)


def shared_channels(groups: Sequence[Sequence[Look]]) -> int:
    """The number of channels that all cohorts of a run can be brought to; grey pictures join colour ones."""
    counts = sorted({look.channels for looks in groups for look in looks})
    if len(counts) == 1 or counts == [1, 3]:
        return counts[-1]
    raise InputFault(
        f"images with {' and '.join(map(str, counts))} channels cannot train together; choose one channel of each "
        "with --source-channel and --target-channel"
    )


def _shared_pixel_mm(looks: Sequence[Look], axis: int | None, size: int) -> float | None:
    """The pixel size at which the widest slice of any volume fills `size`; None for pictures or unknown spacing."""
    if axis is None or any(look.unit != "mm" for look in looks):
        return None
    extents = [
        look.shape[index] * look.spacing[index]
        for look in looks
        for index in range(3)
        if index != thick_axis(look.spacing, axis)
    ]
    return max(extents) / size


def slice_axis(looks: Sequence[Look]) -> int:
    """The axis across which volumes are cut that are thick in no direction of their own."""
    return thick_axis(np.median([look.spacing for look in looks], axis=0).tolist(), 2)


def thick_axis(spacing: Sequence[float], otherwise: int) -> int:
    """The axis whose spacing clearly exceeds the others'."""
    thickest = int(np.argmax(spacing))
    others = max(mm for axis, mm in enumerate(spacing) if axis != thickest)
    return thickest if spacing[thickest] >= CLEARLY_THICKER * others else otherwise


def _intensity(looks: Sequence[Look], channel: int, name: str) -> Intensity:
    if all(look.whole_bytes and len(look.shape) == 2 for look in looks):
        return EIGHT_BIT
    low = np.median([look.low[min(channel, look.channels - 1)] for look in looks])
    high = np.median([look.high[min(channel, look.channels - 1)] for look in looks])
    # Only physical units may be carried from one hospital to another; nnU-Net calls such a channel CT.
    if name.upper() == "CT" or low < AIR_HU:
        return Intensity("fixed", float(low), float(high))
    return Intensity("own_percentiles")


def scaled(raster: Raster, preparation: Preparation) -> np.ndarray:
    """Pixel values in [-1, 1], float32, with the preparation's number of channels."""
    if (raster.dimensions == 3) != (preparation.slice_axis is not None):
        kinds = ("volume", "pictures") if raster.dimensions == 3 else ("picture", "volumes")
        raise InputFault(f"an image is a {kinds[0]} where the run was trained on {kinds[1]}; give {kinds[1]}")
    own = percentiles(raster)
    raw = raster.array
    if raw.shape[0] == 1 and preparation.channels == 3:
        raw, own = np.repeat(raw, 3, axis=0), (own[0] * 3, own[1] * 3)
    if raw.shape[0] != preparation.channels:
        raise InputFault(
            f"an image has {raw.shape[0]} channels where the run was trained on {preparation.channels}; "
            "segment images of the same kind, or train with --source-channel / --target-channel"
        )
    if raw.dtype != np.uint8 and all(rule == EIGHT_BIT for rule in preparation.intensity):
        raise InputFault(
            f"an image holds {raw.dtype} numbers where the run was trained on 8-bit pictures; convert it to 8 bits"
        )
    channels: list[np.ndarray] = []
    for index, rule in enumerate(preparation.intensity):
        fixed = rule.rule == "fixed"
        low, high = (rule.low, rule.high) if fixed else (own[0][index], own[1][index])
        span = max(high - low, 1e-6)
        channels.append(np.clip((raw[index].astype(np.float32) - low) / span * 2.0 - 1.0, -1.0, 1.0))
    return np.stack(channels)


def fitted(preparation: Preparation, raster: Raster) -> Preparation:
    """The preparation for one image: a volume that is clearly thick in one direction is cut across that one.

    Stacks of one patient are often taken in several directions; each is a pile of its own slices.
    """
    if preparation.slice_axis is None or raster.dimensions != 3:
        return preparation
    return replace(preparation, slice_axis=thick_axis(raster.spacing, preparation.slice_axis))


def slices_of(volume: np.ndarray, preparation: Preparation) -> np.ndarray:
    """A picture (C, H, W) or a volume (C, X, Y, Z) in RAS order as slices (N, C, H, W).

    In a slice the later of the two axes runs down the rows, so that an axial slice has left and right in its columns.
    """
    if preparation.slice_axis is None:
        return volume[None]
    return np.moveaxis(volume, 1 + preparation.slice_axis, 0).swapaxes(-1, -2)


def assembled(slices: np.ndarray, preparation: Preparation) -> np.ndarray:
    """The inverse of `slices_of`."""
    if preparation.slice_axis is None:
        return slices[0]
    return np.moveaxis(slices.swapaxes(-1, -2), 0, 1 + preparation.slice_axis)


def placement(raster: Raster, preparation: Preparation) -> Placement:
    """Where each slice of a raster (volumes in RAS order) lies in the prepared square; the aspect in mm is kept."""
    kept = [axis for axis in range(raster.dimensions) if axis != preparation.slice_axis]
    if preparation.slice_axis is not None:
        kept.reverse()
    rows, columns = (raster.shape[axis] for axis in kept)
    extents = [raster.shape[axis] * raster.spacing[axis] for axis in kept]
    size = preparation.size
    # A volume wider than any that was trained on is shrunk to fit rather than cut.
    pixel = max(preparation.pixel_mm or 0.0, max(extents) / size)
    height, width = (min(size, max(1, round(extent / pixel))) for extent in extents)
    # A photograph goes on beyond its frame; around a body there is air.
    mirrored = preparation.slice_axis is None
    return Placement((rows, columns), height, width, (size - height) // 2, (size - width) // 2, mirrored)


def place_images(slices: np.ndarray, place: Placement, size: int) -> torch.Tensor:
    """Slices (N, C, H, W) in [-1, 1] resized and padded with their mirror image, or -1, to (N, C, size, size).

    Black bars around some pictures and not around others would be a difference of domains to a critic, and
    translators have been seen to paint them over, with the rim of the body beside them.
    """
    images = torch.from_numpy(np.ascontiguousarray(slices, dtype=np.float32))
    wanted = (place.height, place.width)
    if wanted != place.shape:
        shrinks = place.height < place.shape[0] or place.width < place.shape[1]
        images = F.interpolate(images, wanted, mode="bilinear", align_corners=False, antialias=shrinks)
    return _padded(images.clamp(-1.0, 1.0), place, size, value=-1.0)


def place_masks(slices: np.ndarray, place: Placement, size: int) -> torch.Tensor:
    """Class slices (N, H, W) resized (nearest) and padded as the images are, or with background, uint8."""
    masks = torch.from_numpy(np.ascontiguousarray(slices))[:, None].float()
    masks = F.interpolate(masks, (place.height, place.width), mode="nearest-exact")
    return _padded(masks[:, 0].to(torch.uint8), place, size, value=0)


def replace_in_original(probabilities: torch.Tensor, place: Placement) -> torch.Tensor:
    """Prepared (N, K, size, size) back on the slices' own grid, (N, K, H, W): probabilities, not masks, are resized."""
    inner = probabilities[..., place.top : place.top + place.height, place.left : place.left + place.width]
    if (place.height, place.width) == place.shape:
        return inner
    return F.interpolate(inner, place.shape, mode="bilinear", align_corners=False)


def _padded(slices: torch.Tensor, place: Placement, size: int, value: float) -> torch.Tensor:
    if place.mirrored:
        rows = _mirrored_positions(size, place.top, place.height)
        return slices[..., rows, :][..., _mirrored_positions(size, place.left, place.width)]
    right, bottom = size - place.width - place.left, size - place.height - place.top
    return F.pad(slices, [place.left, right, place.top, bottom], value=value)


def _mirrored_positions(size: int, start: int, length: int) -> torch.Tensor:
    """For each of `size` places the one of `length` that it shows, the first lying at `start`.

    >>> _mirrored_positions(7, 2, 3).tolist()
    [1, 0, 0, 1, 2, 2, 1]
    """
    place = (torch.arange(size) - start) % (2 * length)
    return torch.minimum(place, 2 * length - 1 - place)
