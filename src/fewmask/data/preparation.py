"""How images become network input: decided from the data, written down, and exactly reversible."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from fewmask.config import STRICT
from fewmask.data.cut import VIEWS, require_cuttable, slice_axis, thick_axis
from fewmask.data.intensity import EIGHT_BIT, Intensity, intensity, mapped, z_score
from fewmask.data.raster import Raster
from fewmask.data.survey import Look, percentiles
from fewmask.errors import InputFault
from fewmask.recipe import Scaling


@dataclass(frozen=True)
class Grid:
    """What all cohorts of a run have in common, so that a structure looks as large and lies alike in each of them."""

    channels: int
    size: int
    pixel_mm: float | None
    slice_axis: int | None
    axis_is_chosen: bool = False
    neighbours: int = 1


@dataclass(frozen=True)
class Preparation:
    """Everything that is decided about one cohort's images before training.

    `pixel_mm` is the size of a prepared pixel, the same for all volumes; None lets each image's longest side fill
    `size`. `slice_axis` is the axis, in RAS order, across which volumes are cut; None for pictures. It holds for every
    volume where `axis_is_chosen`, else for those that have no thick axis of their own. `channels` are an image's own;
    a network sees those of `neighbours` adjacent slices. `channel` is the one channel of the files that is used; None
    for all.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    role: str
    channels: int
    size: int
    intensity: tuple[Intensity, ...]
    pixel_mm: float | None = None
    slice_axis: int | None = None
    channel: int | None = None
    axis_is_chosen: bool = False
    neighbours: int = 1

    @property
    def inputs(self) -> int:
        """How many channels a network sees: those of the slice before, of the slice itself, of the one behind."""
        return self.channels * self.neighbours


@dataclass(frozen=True)
class Placement:
    """Where an image of `shape` lies in the prepared square: resized to `height` x `width`, at `top`, `left`.

    What is left of the square is `mirrored` (pictures), or `darkest` and background (volumes).
    """

    shape: tuple[int, int]
    height: int
    width: int
    top: int
    left: int
    mirrored: bool = False
    darkest: float = -1.0


def decide(
    role: str,
    looks: Sequence[Look],
    channel_names: Sequence[str],
    grid: Grid,
    scaling: Scaling | None = None,
) -> Preparation:
    """The preparation that fits a cohort on the grid that all cohorts of a run share."""
    if scaling is not None and scaling.rule == "z_score":
        rules = [z_score(looks, index, role, scaling) for index in range(len(channel_names))]
    else:
        rules = [intensity(looks, index, name) for index, name in enumerate(channel_names)]
    if grid.channels != len(rules):
        rules = [rules[0]] * grid.channels
    return Preparation(
        role,
        grid.channels,
        grid.size,
        tuple(rules),
        grid.pixel_mm,
        grid.slice_axis,
        axis_is_chosen=grid.axis_is_chosen,
        neighbours=grid.neighbours,
    )


def shared_grid(
    groups: Sequence[Sequence[Look]],
    size: int,
    view: str = "auto",
    neighbours: int = 1,
    pixel_mm: float | None = None,
) -> Grid:
    """The grid of a run; with `view="auto"` volumes are cut across the axis that suits the first cohort.

    `pixel_mm` is the side of a prepared pixel, else the widest slice of any volume fills `size`.

    Raises InputFault where pictures are asked for slices, or a volume is too thick for the `view` of `VIEWS`.
    """
    looks = [look for group in groups for look in group]
    dimensions = {len(look.shape) for look in looks}
    if len(dimensions) > 1:
        raise InputFault("one cohort holds pictures and another volumes; give cohorts of the same kind")
    chosen = view != "auto"
    if dimensions != {3}:
        if chosen or neighbours != 1 or pixel_mm is not None:
            asked = f"slice_axis={view}" if chosen else f"neighbours={neighbours}"
            asked = asked if pixel_mm is None else f"pixel_mm={pixel_mm:g}"
            raise InputFault(f"{asked}: is for volumes, and these are pictures; leave it out")
        return Grid(shared_channels(groups), size, None, None)
    axis = VIEWS.index(view) if chosen else slice_axis(groups[0])
    if chosen:
        for look in looks:
            require_cuttable(look.case, look.spacing, axis)
    widest = _shared_pixel_mm(looks, axis, chosen, size)
    if pixel_mm is not None and widest is None:
        raise InputFault(f"pixel_mm={pixel_mm:g}: the volumes' spacing is not known in mm; leave it out")
    pixel_mm = pixel_mm or widest
    return Grid(shared_channels(groups), size, pixel_mm, axis, chosen, neighbours)


def shared_channels(groups: Sequence[Sequence[Look]]) -> int:
    """The number of channels that all cohorts of a run can be brought to; grey pictures join colour ones."""
    first_with = {look.channels: look for looks in reversed(groups) for look in reversed(looks)}
    counts = sorted(first_with)
    pictures = all(len(look.shape) == 2 for look in first_with.values())
    if len(counts) == 1 or (counts == [1, 3] and pictures):
        return counts[-1]
    found = " and ".join(f"{count} ({first_with[count].case})" for count in counts)
    raise InputFault(
        f"images with {found} channels cannot train together; choose one channel of each "
        "with --source-channel and --target-channel, or save it in files of its own"
    )


def _shared_pixel_mm(looks: Sequence[Look], axis: int, chosen: bool, size: int) -> float | None:
    """The pixel size at which the widest slice of any volume fills `size`; None for unknown spacing."""
    if any(look.unit != "mm" for look in looks):
        return None
    extents = [
        look.shape[index] * look.spacing[index]
        for look in looks
        for index in range(3)
        if index != (axis if chosen else thick_axis(look.spacing, axis))
    ]
    return max(extents) / size


def scaled(raster: Raster, preparation: Preparation) -> np.ndarray:
    """Pixel values in [-1, 1], float32, with the preparation's number of channels."""
    if (raster.dimensions == 3) != (preparation.slice_axis is not None):
        kinds = ("volume", "pictures") if raster.dimensions == 3 else ("picture", "volumes")
        raise InputFault(f"an image is a {kinds[0]} where the run was trained on {kinds[1]}; give {kinds[1]}")
    own = percentiles(raster)
    raw = raster.array
    if raw.shape[0] == 1 and preparation.channels == 3 and raster.dimensions == 2:
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
    ends = enumerate(zip(preparation.intensity, *own, strict=True))
    return np.stack([mapped(raw[index], rule, (low, high)) for index, (rule, low, high) in ends])


def fitted(preparation: Preparation, raster: Raster) -> Preparation:
    """The preparation for one image: a volume that is clearly thick in one direction is cut across that one.

    Stacks of one patient are often taken in several directions; each is a pile of its own slices. An axis that was
    chosen holds for every volume; InputFault where one is too thick for it.
    """
    if preparation.slice_axis is None or raster.dimensions != 3:
        return preparation
    if preparation.axis_is_chosen:
        require_cuttable("the volume", raster.spacing, preparation.slice_axis)
        return preparation
    return replace(preparation, slice_axis=thick_axis(raster.spacing, preparation.slice_axis))


@contextmanager
def naming(image: Path) -> Generator[None]:
    """Put the image's path before a fault that does not know it."""
    try:
        yield
    except InputFault as fault:
        raise InputFault(f"{image}: {fault}") from None


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


def amid_air(place: Placement, slices: np.ndarray, preparation: Preparation) -> Placement:
    """The placement of a volume whose prepared `slices` are given, in surroundings as dark as its own air.

    Only z-scores are mapped by a pair that may reach far below the air, so that -1 would be a bar beside it.
    """
    if place.mirrored or all(rule.rule != "z_score" for rule in preparation.intensity):
        return place
    return replace(place, darkest=float(slices.min()))


def place_images(slices: np.ndarray, place: Placement, size: int) -> torch.Tensor:
    """Slices (N, C, H, W) in [-1, 1] resized and padded with their mirror image, or air, to (N, C, size, size).

    Black bars around some pictures and not around others would be a difference of domains to a critic, and
    translators have been seen to paint them over, with the rim of the body beside them.
    """
    images = torch.from_numpy(np.ascontiguousarray(slices, dtype=np.float32))
    wanted = (place.height, place.width)
    if wanted != place.shape:
        shrinks = place.height < place.shape[0] or place.width < place.shape[1]
        images = F.interpolate(images, wanted, mode="bilinear", align_corners=False, antialias=shrinks)
    return _padded(images.clamp(-1.0, 1.0), place, size, value=place.darkest)


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
