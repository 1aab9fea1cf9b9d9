"""The verb `measure`: how long, wide and bent each outlined object is, as a table beside its masks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewmask.console import Progress, silent
from fewmask.data.geometry import Raster
from fewmask.data.layouts import read_cohort
from fewmask.data.listing import mask_index
from fewmask.data.raster import read_label_values
from fewmask.errors import InputFault
from fewmask.evaluation.truth import of_last_segment
from fewmask.files import write_csv
from fewmask.metrics.markers import NAMES, Markers, markers_of
from fewmask.shapes import IGNORED

FILE = "measures.csv"
PIXEL = "pixel_mm"
"""The column of cases.csv with the side of a picture's pixel: picture files do not tell it."""


@dataclass(frozen=True)
class Measured:
    """One object of one case; None where the mask shows none. `value` is the class's number in the mask."""

    case: str
    value: int
    markers: Markers | None


def measure(
    masks: Path, out: Path, *, dataset: Path | None = None, progress: Progress = silent
) -> tuple[Measured, ...]:
    """Measure the largest object of each class in flat masks, and write `measures.csv` (a row a case and class).

    Lengths are in mm where a pixel's size is known: from the file, or from a column pixel_mm in the cases.csv of
    `dataset`; else in pixels of the mask. Raises InputFault for a folder without masks, for volumes, and for a size
    that is no positive number.
    """
    files = of_last_segment(masks, mask_index(masks)) if masks.is_dir() else {}
    if not files:
        raise InputFault(
            f"{masks}: no masks in it; give the folder that `fewmask segment` wrote, or labelsTr"
        )
    sides = {} if dataset is None else _pixel_sides(dataset)
    found: list[Measured] = []
    with progress("measuring", len(files)) as done:
        for case, path in sorted(files.items()):
            found += _measured(case, path, sides.get(case))
            done()
    # A class that one mask lacks is missing there only where another mask has it.
    values = sorted({entry.value for entry in found})
    known = {(entry.case, entry.value): entry.markers for entry in found}
    rows = [Measured(case, value, known.get((case, value))) for case in sorted(files) for value in values]
    write_csv(out / FILE, ("case", "value", "unit", *NAMES), [_row(entry) for entry in rows])
    return tuple(rows)


def _measured(case: str, path: Path, side: float | None) -> list[Measured]:
    raster = read_label_values(path)
    values, spacing = _flat(raster, path)
    if side is not None:
        spacing = (side, side)
    shown = [int(value) for value in np.unique(values) if value not in (0, IGNORED)]
    return [Measured(case, value, markers_of(values == value, spacing)) for value in shown]


def _flat(raster: Raster, path: Path) -> tuple[NDArray[np.integer], tuple[float, float] | None]:
    """A mask (H, W), also from a volume of one slice, and its pixels' size in mm where that is known."""
    sides = [axis for axis, length in enumerate(raster.shape) if length > 1 or raster.dimensions == 2]
    if len(sides) != 2:
        raise InputFault(f"{path}: a volume; measures are of flat masks, save the slice that matters")
    values = raster.array[0].reshape([raster.shape[axis] for axis in sides])
    known = (raster.spacing[sides[0]], raster.spacing[sides[1]]) if raster.unit == "mm" else None
    return values, known


def _pixel_sides(dataset: Path) -> Mapping[str, float]:
    """The size of each case's pixels, where the table of the dataset has it."""
    sides: dict[str, float] = {}
    for case in read_cohort(dataset, masks=False).cases:
        cell = case.columns.get(PIXEL, "").strip()
        if not cell:
            continue
        try:
            side = float(cell)
        except ValueError:
            side = math.nan
        if not 0.0 < side < math.inf:
            raise InputFault(
                f"{dataset}: case {case.name} has {PIXEL} {cell!r}; give a positive number of mm"
            )
        sides[case.name] = side
    return sides


def _row(entry: Measured) -> Sequence[object]:
    if entry.markers is None:
        return (entry.case, entry.value, *[None] * (len(NAMES) + 1))
    return (entry.case, entry.value, entry.markers.unit, *entry.markers.as_row().tolist())
