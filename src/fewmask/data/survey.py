"""What a cohort's files are like: one look at each image, before anything is decided."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

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

    `low` and `high` are the `LOW` and `HIGH` percentile of each channel.
    """

    case: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    unit: str
    whole_bytes: bool
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def channels(self) -> int:
        """How many channels the file holds."""
        return len(self.low)


def look_at(case: Case) -> Look:
    """Read one case and describe it."""
    raster = canonical(read_case(case))
    low, high = percentiles(raster)
    return Look(
        case.name, raster.shape, raster.spacing, raster.unit, raster.array.dtype == np.uint8, low, high
    )


def percentiles(raster: Raster) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Each channel's `LOW` and `HIGH` percentile, over up to 100,000 pixels from all over the image."""
    low, high = np.percentile(sampled(raster.array), (LOW, HIGH), axis=1)
    return tuple(float(value) for value in low), tuple(float(value) for value in high)


def survey(cohort: Cohort, cases: tuple[Case, ...], seen: Callable[[], None]) -> tuple[Look, ...]:
    """Look at each case once; `seen` is called after each, for a progress bar.

    Raises InputFault where pictures and volumes are mixed.
    """
    looks: list[Look] = []
    for case in cases:
        looks.append(look_at(case))
        seen()
    dimensions = {len(look.shape) for look in looks}
    if len(dimensions) > 1:
        raise InputFault(f"{cohort.root}: pictures and volumes are mixed; keep them in two folders")
    return tuple(looks)
