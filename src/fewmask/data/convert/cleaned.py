"""A dataset of pictures becomes the same one without the marks that a machine burnt into them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from fewmask.console import Progress
from fewmask.data.case import Case, Cohort
from fewmask.data.cleaning.marks import Marks, found_marks, inpainted
from fewmask.data.cleaning.options import CleaningOptions
from fewmask.data.cleaning.panels import write_panel
from fewmask.data.convert.dataset import (
    Account,
    Description,
    Part,
    Tell,
    carried_over,
    copy_file,
    describe,
    home_of,
    image_path,
    part_of,
    picture_ending,
    relative_to,
    training_count,
    write_case_table,
    write_mask,
    write_pixels,
)
from fewmask.data.layouts import read_cohort
from fewmask.data.phantoms.folder import drawn_aside
from fewmask.data.picture import read_picture
from fewmask.errors import InputFault
from fewmask.files import write_csv

FORMAT = "cleaned-marks"
_STRAY = 20
"""Up to so many saturated pixels of other hues are no mark, but a compressed picture's noise."""

Answer = Literal["yes", "no"]


@dataclass(frozen=True)
class CleanedCase:
    """What conversion.json says about one case.

    `files` are relative to the folder that was given, `changed` to the one that was written.
    """

    case: str
    part: Part
    files: tuple[str, ...]
    changed: tuple[str, ...]


class _Row(NamedTuple):
    """A row of cleaning.csv: one picture, what was found on it, and whether it was changed.

    `coloured_pixels` count the rim too. `grey_boxes` are left, top, width and height in pixels, with a semicolon
    between two marks.
    """

    case: str
    image: str
    coloured_pixels: int
    coloured_share: float
    grey_pixels: int
    grey_share: float
    grey_marks: int
    grey_boxes: str
    other_hues_pixels: int
    photograph: Answer
    changed: Answer


def cleaned(folder: Path, out: Path, options: CleaningOptions, progress: Progress, tell: Tell) -> Path:
    """Write the pictures of `folder`, any layout that is read, without burnt-in marks as the nnU-Net folder `out`.

    Coloured marks are replaced by what lies around them, grey ones found, and replaced if that is asked for; a picture
    that is coloured as a whole (a photograph) is left alone. Pictures that need no change are copied byte for byte; a
    changed one stays grey or RGB, but a palette becomes its colours and transparency is dropped. Masks, cases.csv,
    slices.csv and what dataset.json says are carried over. cleaning.csv has a row a picture, cleaning/CASE.png shows
    before, marks and after of each in which something was found. `tell` is given one line for each thing to look at.
    Raises InputFault for volumes, JPEG and pictures of more than 8 bits, for a mask that does not fit its picture, and
    for an `out` that holds something.
    """
    cohort = read_cohort(folder)
    ending = picture_ending(cohort, "cleaned")
    whole = out.resolve()
    with drawn_aside(whole.parent, f"convert-{FORMAT}", [whole.name]) as aside:
        remarks = _Writing(cohort, options, ending, aside / whole.name).write(progress)
    for remark in remarks:
        tell(remark)
    return out


@dataclass(frozen=True)
class _Writing:
    """The folder in the making."""

    cohort: Cohort
    options: CleaningOptions
    ending: str
    root: Path

    def write(self, progress: Progress) -> tuple[str, ...]:
        """Write all of it and say what a user should be told."""
        rows: list[_Row] = []
        cases: list[CleanedCase] = []
        ignores = False
        with progress(f"cleaning {self.cohort.name}", len(self.cohort.cases)) as advance:
            for case in self.cohort.cases:
                written = [self._write_picture(case, index) for index in range(len(case.images))]
                ignores |= write_mask(self.cohort, case, self.root)
                files = tuple(relative_to(path, self.cohort) for path in (*case.images, case.mask) if path)
                changed = tuple(row.image for row in written if row.changed == "yes")
                cases.append(CleanedCase(case.name, part_of(case), files, changed))
                rows.extend(written)
                advance()
        write_csv(self.root / "cleaning.csv", _Row._fields, rows)
        self._write_tables()
        remarks = _remarks(self.cohort, self.options, rows)
        meaning = dict(zip(map(str, self.cohort.label_values), self.cohort.classes, strict=True))
        description = Description(
            f"{self.cohort.name} without the marks that were burnt into its pictures",
            self.cohort.channels,
            self.cohort.classes or ("background",),
            training_count(self.cohort.cases),
            self.ending,
            ignores,
            kept=carried_over(self.cohort),
        )
        describe(self.root, description, Account(FORMAT, meaning, self.options, remarks, (), cases))
        return remarks

    def _write_picture(self, case: Case, index: int) -> _Row:
        """Write one of a case's pictures, cleaned or copied, and show what was found on it."""
        path = case.images[index]
        pixels = read_picture(path)
        if pixels.dtype != np.uint8:
            raise InputFault(
                f"{path}: has more than 8 bits; save it with 8 bits a channel to have it cleaned"
            )
        marks = found_marks(pixels, self.options)
        gone = marks.to_replace(self.options)
        if gone.all():
            raise InputFault(f"{path}: every pixel is marked or near a mark; choose a narrower rim")
        clean = inpainted(pixels, gone)
        changed = bool((clean != pixels).any())
        image = image_path(self.root, case, index, self.ending)
        if changed:
            write_pixels(clean, path, image)
        else:
            copy_file(path, image)
        if gone.any() or marks.grey.any():
            name = case.name if len(case.images) == 1 else f"{case.name}_{index:04d}"
            write_panel(pixels, clean, marks, gone, self.root / "cleaning" / f"{name}.png")
        return _row(case.name, image.relative_to(self.root).as_posix(), marks, changed)

    def _write_tables(self) -> None:
        """Write `cases.csv` with what is known of the cases, and copy `slices.csv` where there is one."""
        write_case_table(self.cohort, self.cohort.cases, self.root)
        slices = home_of(self.cohort) / "slices.csv"
        if slices.is_file():
            copy_file(slices, self.root / "slices.csv")


def _row(case: str, image: str, marks: Marks, changed: bool) -> _Row:
    return _Row(
        case,
        image,
        int(marks.coloured.sum()),
        round(float(marks.coloured.mean()), 6),
        int(marks.grey.sum()),
        round(float(marks.grey.mean()), 6),
        len(marks.boxes),
        "; ".join(" ".join(map(str, box)) for box in marks.boxes),
        marks.other_hues,
        "yes" if marks.photograph else "no",
        "yes" if changed else "no",
    )


def _remarks(cohort: Cohort, options: CleaningOptions, rows: Sequence[_Row]) -> tuple[str, ...]:
    """One line for each thing that was found, with the first picture that has it."""
    changed = [row for row in rows if row.changed == "yes"]
    grey_left = [row for row in rows if row.grey_marks and options.grey == "report"]
    whole = [row for row in rows if row.photograph == "yes"]
    others = [row for row in rows if row.other_hues_pixels > _STRAY and row.photograph == "no"]
    told = (
        (changed, "were cleaned; look at them in cleaning/ before training"),
        (
            grey_left,
            "have grey marks, which were left; ask for their removal if cleaning/ shows that they are marks",
        ),
        (
            whole,
            "are coloured as a whole and were left alone; give a grey scan, or raise the least saturation",
        ),
        (others, "have saturated pixels of other hues; add those hues if they are marks"),
    )
    lines = [
        f"{cohort.root}: {len(found)} of {len(rows)} pictures (e.g. {found[0].case}) {what}"
        for found, what in told
        if found
    ]
    return tuple(lines) or (f"{cohort.root}: no marks were found; all pictures were copied as they are",)
