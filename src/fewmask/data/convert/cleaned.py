"""A dataset of pictures becomes the same one without the marks that a machine burnt into them."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from fewmask import __version__
from fewmask.config import to_mapping
from fewmask.console import Progress
from fewmask.data.case import Case, Cohort
from fewmask.data.cleaning.marks import Marks, found_marks, inpainted
from fewmask.data.cleaning.options import CleaningOptions
from fewmask.data.cleaning.panels import write_panel
from fewmask.data.convert.dataset import Account, Part
from fewmask.data.convert.tags import Tell
from fewmask.data.declared import read_dataset_json
from fewmask.data.folder import ending_of
from fewmask.data.layouts import read_cohort
from fewmask.data.phantoms.folder import drawn_aside
from fewmask.data.picture import read_picture, write_picture
from fewmask.data.raster import read_classes, write_classes
from fewmask.errors import InputFault
from fewmask.files import replaced, write_csv, write_json
from fewmask.shapes import IGNORED

FORMAT = "cleaned-marks"
_PICTURES = (".png", ".tif", ".bmp")
"""The pictures that nnU-Net reads."""

_OF_OTHER_LAYOUTS = ("training", "test", "modality", "numTest", "tensorImageSize")
"""What the Decathlon's dataset.json says and nnU-Net's does not; carried over, it would name absent files."""

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
    ending = _ending(cohort)
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
                ignores |= self._write_mask(case)
                files = tuple(_relative(path, self.cohort) for path in (*case.images, case.mask) if path)
                changed = tuple(row.image for row in written if row.changed == "yes")
                cases.append(CleanedCase(case.name, _part(case), files, changed))
                rows.extend(written)
                advance()
        write_csv(self.root / "cleaning.csv", _Row._fields, rows)
        self._write_tables()
        remarks = _remarks(self.cohort, self.options, rows)
        meaning = dict(zip(map(str, self.cohort.label_values), self.cohort.classes, strict=True))
        account = Account(FORMAT, meaning, self.options, remarks, (), cases)
        written_by = {"made_by": "fewmask", "version": __version__, "dataset": self.root.name}
        write_json(self.root / "conversion.json", {**written_by, **to_mapping(account)})
        self._describe(ignores)
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
        image = self.root / f"images{_suffix(case)}" / f"{case.name}_{index:04d}{self.ending}"
        if changed:
            write_picture(clean[0] if len(clean) == 1 else np.moveaxis(clean, 0, -1), path, image)
        else:
            with replaced(image) as temporary:
                shutil.copyfile(path, temporary)
        if gone.any() or marks.grey.any():
            name = case.name if len(case.images) == 1 else f"{case.name}_{index:04d}"
            write_panel(pixels, clean, marks, gone, self.root / "cleaning" / f"{name}.png")
        return _row(case.name, image.relative_to(self.root).as_posix(), marks, changed)

    def _write_mask(self, case: Case) -> bool:
        """Write a case's mask, if it has one, and say whether some of it is ignored."""
        if case.mask is None:
            return False
        classes = read_classes(self.cohort, case)
        home = self.root / f"labels{_suffix(case)}"
        write_classes(classes, case.images[0], home, case.name, range(len(self.cohort.classes)))
        return bool((classes == IGNORED).any())

    def _write_tables(self) -> None:
        """Write `cases.csv` with what is known of the cases, and copy `slices.csv` where there is one."""
        cases = self.cohort.cases
        columns: dict[str, list[object]] = {"case": [case.name for case in cases]}
        if self.cohort.patients_known:
            columns["patient"] = [case.patient for case in cases]
        if any(case.site for case in cases):
            columns["site"] = [case.site for case in cases]
        columns["split"] = [_part(case) for case in cases]
        for name in dict.fromkeys(column for case in cases for column in case.columns):
            columns[name] = [case.columns.get(name, "") for case in cases]
        write_csv(self.root / "cases.csv", tuple(columns), zip(*columns.values(), strict=True))
        slices = _home(self.cohort) / "slices.csv"
        if slices.is_file():
            with replaced(self.root / "slices.csv") as temporary:
                shutil.copyfile(slices, temporary)

    def _describe(self, ignores: bool) -> None:
        """Write `dataset.json`, last: a folder that has one is whole. What else the original says is carried over."""
        home = _home(self.cohort)
        said = read_dataset_json(home) if (home / "dataset.json").is_file() else {}
        kept = {key: value for key, value in said.items() if key not in _OF_OTHER_LAYOUTS}
        classes = self.cohort.classes or ("background",)
        labels = {name: value for value, name in enumerate(classes)}
        own = {
            "name": self.root.name,
            "description": f"{self.cohort.name} without the marks that were burnt into its pictures",
            "channel_names": {str(index): name for index, name in enumerate(self.cohort.channels)},
            "labels": {**labels, "ignore": IGNORED} if ignores else labels,
            "numTraining": sum(_part(case) == "train" for case in self.cohort.cases),
            "file_ending": self.ending,
            "converted_by": f"fewmask {__version__}",
        }
        write_json(self.root / "dataset.json", {"licence": "that of the original", **kept, **own})


def _ending(cohort: Cohort) -> str:
    """The ending of all pictures. Raises InputFault for what is none, or none that nnU-Net's layout can hold."""
    paths = [path for case in cohort.cases for path in case.images]
    first = ending_of(paths[0])
    for path in paths:
        if ending_of(path) not in _PICTURES:
            raise InputFault(f"{path}: only pictures are cleaned, as {', '.join(_PICTURES)}; save it as one")
        if ending_of(path) != first:
            raise InputFault(f"{path}: is no {first}, as {paths[0].name} is; save all pictures as one kind")
    return first


def _part(case: Case) -> Part:
    return "train" if case.part == "train" else "test"


def _suffix(case: Case) -> str:
    return "Tr" if case.part == "train" else "Ts"


def _home(cohort: Cohort) -> Path:
    """The folder that the tables of a cohort and its pictures' paths are read from."""
    return cohort.root if cohort.root.is_dir() else cohort.root.parent


def _relative(path: Path, cohort: Cohort) -> str:
    home = _home(cohort)
    return path.relative_to(home).as_posix() if path.is_relative_to(home) else path.name


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
