"""What a cohort's files are like: one look at each image, before anything is decided."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewmask.data.case import Case, Cohort
from fewmask.data.orientation import canonical
from fewmask.data.raster import Raster, read_case
from fewmask.data.sampling import sampled
from fewmask.errors import InputFault

LOW, HIGH = 0.5, 99.5
"""The percentiles that stand for an image's darkest and brightest tissue; beyond them lie artefacts."""


@dataclass(frozen=True)
class Look:
    """One case: its shape and pixel size (volumes in RAS order), unit, whether it is 8-bit, and each channel's range.

    `low` and `high` are the `LOW` and `HIGH` percentile of each channel; `z_ranges` are both of them in standard
    deviations from the channel's mean, where a run that scales by these has asked for them.
    """

    case: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    unit: str
    whole_bytes: bool
    low: tuple[float, ...]
    high: tuple[float, ...]
    z_ranges: tuple[tuple[float, float], ...] = ()

    @property
    def channels(self) -> int:
        """How many channels the file holds."""
        return len(self.low)


def look_at(case: Case, clip_top_percent: float | None = None) -> Look:
    """Read one case and describe it; with its `z_ranges` where a `clip_top_percent` is given."""
    raster = canonical(read_case(case))
    low, high = percentiles(raster)
    bytes_alone = raster.array.dtype == np.uint8
    seen = Look(case.name, raster.shape, raster.spacing, raster.unit, bytes_alone, low, high)
    if clip_top_percent is None:
        return seen
    levels = [levels_of(channel, clip_top_percent) for channel in raster.array]
    ends = zip(levels, low, high, strict=True)
    return replace(seen, z_ranges=tuple((level.z(dark), level.z(bright)) for level, dark, bright in ends))


def percentiles(raster: Raster) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Each channel's `LOW` and `HIGH` percentile, over up to 100,000 pixels from all over the image."""
    low, high = np.percentile(sampled(raster.array), (LOW, HIGH), axis=1)
    return tuple(float(value) for value in low), tuple(float(value) for value in high)


@dataclass(frozen=True)
class Levels:
    """A channel's mean and standard deviation over all of its voxels, none of them brighter than `top`."""

    mean: float
    deviation: float
    top: float

    def z(self, value: float) -> float:
        """A value in standard deviations from the mean; 0 in a channel of one value."""
        return (min(value, self.top) - self.mean) / self.deviation if self.deviation else 0.0


def levels_of(values: NDArray[Any], clip_top_percent: float) -> Levels:
    """The levels of one channel, after its brightest percent of voxels were set to the value below them.

    In float64, and a slice at a time, so that a large volume is not held a second time.
    """
    top = float(np.percentile(values, 100.0 - clip_top_percent)) if clip_top_percent else float(values.max())
    mean = sum(float(np.minimum(part, top).sum(dtype=np.float64)) for part in values) / values.size
    squares = sum(float(np.square(np.minimum(part, top).astype(np.float64) - mean).sum()) for part in values)
    return Levels(mean, float(np.sqrt(squares / values.size)), top)


def survey(
    cohort: Cohort, cases: tuple[Case, ...], seen: Callable[[], None], clip_top_percent: float | None = None
) -> tuple[Look, ...]:
    """Look at each case once; `seen` is called after each, for a progress bar.

    `clip_top_percent` is given where `z_ranges` are wanted, which take a look at every voxel. Raises InputFault where
    pictures and volumes are mixed.
    """
    looks: list[Look] = []
    for case in cases:
        looks.append(look_at(case, clip_top_percent))
        seen()
    dimensions = {len(look.shape) for look in looks}
    if len(dimensions) > 1:
        raise InputFault(f"{cohort.root}: pictures and volumes are mixed; keep them in two folders")
    return tuple(looks)
