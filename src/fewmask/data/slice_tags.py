"""Which slices show the object: the tags of slices.csv (of cases.csv for pictures) in the order of prepared slices."""

import nibabel as nib

from fewmask.config import did_you_mean
from fewmask.data.case import Case, Cohort
from fewmask.data.cut import VIEWS
from fewmask.data.orientation import canonical
from fewmask.data.outcomes import EMPTY
from fewmask.data.preparation import Preparation, fitted, naming
from fewmask.data.raster import Raster, read_case
from fewmask.errors import InputFault

_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")

SliceTags = tuple[float | None, ...]
"""For each prepared slice of a case 1.0, 0.0, or None where nobody has looked."""


def tag_column(cohort: Cohort, wanted: str | None) -> str:
    """The column of tags that a run learns: the only one, or the one that is wanted.

    Raises InputFault where there is none, several to choose from, or not the wanted one.
    """
    columns = sorted(
        {column for case in cohort.cases for tags in case.slice_tags.values() for column in tags}
    )
    table = "slices.csv"
    if not columns:
        table = "cases.csv"
        columns = sorted({column for case in cohort.cases for column in case.columns}) if wanted else []
    if not columns:
        raise InputFault(
            f"{cohort.root}: has no tags; add slices.csv with the columns case, slice and e.g. brain (0 or 1), or name "
            "a column of cases.csv with --set tag=COLUMN where images are pictures"
        )
    if wanted is not None and wanted not in columns:
        raise InputFault(f"{cohort.root}: {table} has no column {wanted!r}; {did_you_mean(wanted, columns)}")
    if wanted is None and len(columns) > 1:
        raise InputFault(
            f"{cohort.root}: slices.csv has several columns of tags ({', '.join(columns)}); choose one, "
            f"e.g. --set tag={columns[0]}"
        )
    return wanted or columns[0]


def slice_tags(case: Case, column: str, preparation: Preparation) -> SliceTags:
    """The tags of a case's slices, in the order in which `preparation` cuts them.

    Raises InputFault for a tag that is neither 0 nor 1, and as `file_slices` does.
    """
    if not case.slice_tags:
        return (_meaning(case, column, case.columns.get(column, "")),)
    with naming(case.images[0]):
        numbers = file_slices(read_case(case), preparation)
    return tuple(
        _meaning(case, column, case.slice_tags.get(number, {}).get(column, "")) for number in numbers
    )


def file_slices(raster: Raster, preparation: Preparation) -> tuple[int, ...]:
    """The number that slices.csv gives to each prepared slice: it counts along the last axis of the file, from 0.

    A picture is its own slice 0. Raises InputFault where a volume is cut across another axis of its file.
    """
    if preparation.slice_axis is None:
        return (0,)
    axis, direction = raster.dimensions - 1, 1.0
    if raster.affine is not None:
        axis, direction = nib.io_orientation(raster.affine)[-1]
    if int(axis) != fitted(preparation, canonical(raster)).slice_axis:
        raise InputFault(
            "slices.csv counts along the file's last axis, and the volume is cut across another one; give "
            f"--set slice_axis={VIEWS[int(axis)]}, or write the file with its slices along the last axis "
            "(`fewmask convert tags-from-masks` does)"
        )
    numbers = tuple(range(raster.shape[-1]))
    return numbers[::-1] if direction < 0 else numbers


def _meaning(case: Case, column: str, cell: str) -> float | None:
    word = cell.strip().casefold()
    if word in EMPTY:
        return None
    if word not in _YES + _NO:
        raise InputFault(f"case {case.name}: the tag {column}={cell!r} is neither 0 nor 1; mend the table")
    return float(word in _YES)


def tag_cells(case: Case, column: str) -> list[str]:
    """What the tables say of a case's slices, as it stands there; of a picture one cell."""
    return [tags.get(column, "") for tags in case.slice_tags.values()] or [case.columns.get(column, "")]


def shown_anywhere(case: Case, column: str) -> float:
    """1.0 where any slice of a case is tagged as showing the object, else 0.0."""
    return float(any(_meaning(case, column, cell) == 1.0 for cell in tag_cells(case, column)))
