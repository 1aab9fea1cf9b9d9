"""A dataset with masks becomes one with tags: for every slice, whether its mask shows each class.

For whoever wants to know what tags alone would have given: the masks are kept beside the tags, to score by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from fewmask.console import Progress
from fewmask.data.case import Case, Cohort
from fewmask.data.convert.dataset import (
    ENDING,
    PICTURES,
    Account,
    Description,
    Part,
    Placed,
    Tell,
    copy_file,
    describe,
    image_path,
    labels_folder,
    part_of,
    relative_to,
    training_count,
    write_case,
    write_case_table,
)
from fewmask.data.convert.options import Options
from fewmask.data.cut import thick_axis
from fewmask.data.folder import ending_of
from fewmask.data.geometry import Raster
from fewmask.data.layouts import read_cohort
from fewmask.data.phantoms.folder import drawn_aside
from fewmask.data.raster import read_case, read_classes, read_raster, write_classes
from fewmask.errors import InputFault
from fewmask.files import write_csv
from fewmask.shapes import IGNORED

FORMAT = "tags-from-masks"
_RESERVED = ("case", "slice")
_LAST = 2

Cells = tuple[int | None, ...]


@dataclass(frozen=True)
class Tagged:
    """What conversion.json says about one case.

    `files` are relative to the folder that was given. `shown` is in how many slices each class shows. `moved_axis` is
    the axis of the original array that became the last one; None where the file is as it was.
    """

    case: str
    part: Part
    files: tuple[str, ...]
    slices: int
    shown: Mapping[str, int]
    moved_axis: int | None


def tags_from_masks(folder: Path, out: Path, options: Options, progress: Progress, tell: Tell) -> Path:
    """Write the cases of `folder` that have masks, any layout that is read, as the nnU-Net folder `out`.

    Beside images, masks and cases.csv lies slices.csv with a column a class: 1 where a slice shows it, 0 where not,
    and nothing where it does not but some of the slice is ignored. Tags that the folder had already are not kept.
    Slices count along the last axis of the file; a volume that would be cut across another axis (its thick one, else
    the usual one of the folder) is written with its axes in another order, in the same place of the patient. `tell` is
    given one line for each class that all slices show or none. Raises InputFault for a folder without masks, for a mask
    that does not fit its image, for JPEG and DICOM pictures, and for an `out` that holds something.
    """
    if options != Options():
        raise InputFault(f"{FORMAT}: values and labels stay as they are; leave the other options out")
    cohort = read_cohort(folder)
    cases = [case for case in cohort.cases if case.mask]
    _require_classes(cohort, cases)
    whole = out.resolve()
    with drawn_aside(whole.parent, f"convert-{FORMAT}", [whole.name]) as aside:
        remarks = _Writing(cohort, cases, aside / whole.name).write(progress)
    for remark in remarks:
        tell(remark)
    return out


def _require_classes(cohort: Cohort, cases: Sequence[Case]) -> None:
    if not cases:
        raise InputFault(
            f"{cohort.root}: holds no masks to make tags from; add them, or write slices.csv by hand"
        )
    if len(cohort.classes) < 2:
        raise InputFault(f"{cohort.root}: its masks are all empty; give masks that show something")
    reserved = [name for name in cohort.classes if name in _RESERVED]
    if reserved:
        raise InputFault(
            f"{cohort.root}: a class is called {reserved[0]}, as a column of slices.csv is; rename it"
        )


@dataclass(frozen=True)
class _Writing:
    """The folder in the making."""

    cohort: Cohort
    cases: Sequence[Case]
    root: Path

    def write(self, progress: Progress) -> tuple[str, ...]:
        """Write all of it and say what a user should be told."""
        names = self.cohort.classes[1:]
        ending = _ending(self.cases)
        usual = _usual_axis(self.cases) if ending == ENDING else None
        rows: list[tuple[object, ...]] = []
        tagged: list[Tagged] = []
        ignores = False
        with progress(f"converting {self.cohort.name}", len(self.cases)) as advance:
            for case in self.cases:
                told, tags, ignored = self._write_case(case, ending, usual)
                rows.extend((case.name, number, *cells) for number, cells in enumerate(tags))
                tagged.append(told)
                ignores |= ignored
                advance()
        write_csv(self.root / "slices.csv", ("case", "slice", *names), rows)
        write_case_table(self.cohort, self.cases, self.root)
        remarks = _remarks(self.cohort, tagged)
        meaning = zip(map(str, self.cohort.label_values), self.cohort.classes, strict=True)
        left_out = [
            relative_to(path, self.cohort) for c in self.cohort.cases if not c.mask for path in c.images
        ]
        description = Description(
            f"{self.cohort.name} with tags of slices that were made from its masks",
            self.cohort.channels,
            self.cohort.classes,
            training_count(self.cases),
            ending,
            ignores,
        )
        account = Account(FORMAT, dict(meaning), None, remarks, tuple(left_out), tagged)
        describe(self.root, description, account)
        return remarks

    def _write_case(
        self, case: Case, ending: str, usual: int | None
    ) -> tuple[Tagged, tuple[Cells, ...], bool]:
        """Write a case's image and mask; say what was done, the tags of its slices, and whether some is ignored."""
        image, classes = read_case(case), read_classes(self.cohort, case)
        axis = None if usual is None else _cut_axis(image, usual)
        moved = axis if axis != _LAST else None
        part = part_of(case)
        if moved is not None:
            image, classes = _with_last(image, moved), np.moveaxis(classes, moved, _LAST)
        whole = all(ending_of(path) == ending for path in case.images)
        # A volume's channels are files of their own in nnU-Net's layout; a picture's may share one.
        if moved is None and whole and (usual is None or len(image.array) == len(case.images)):
            self._copy(case, ending, classes)
        else:
            write_case(self.root, Placed(case.name, case.patient, part), image, classes)
        tags = _tags(classes if usual is not None else classes[..., None], len(self.cohort.classes))
        shown = {
            name: sum(cells[index] == 1 for cells in tags)
            for index, name in enumerate(self.cohort.classes[1:])
        }
        files = tuple(relative_to(path, self.cohort) for path in (*case.images, case.mask) if path)
        return Tagged(case.name, part, files, len(tags), shown, moved), tags, bool((classes == IGNORED).any())

    def _copy(self, case: Case, ending: str, classes: NDArray[np.uint8]) -> None:
        """Copy the image's files as they are, and write the mask on their grid."""
        for index, path in enumerate(case.images):
            copy_file(path, image_path(self.root, case, index, ending))
        values = range(len(self.cohort.classes))
        write_classes(classes, case.images[0], labels_folder(self.root, case), case.name, values)


def _ending(cases: Sequence[Case]) -> str:
    """The ending of the images that are written: .nii.gz for volumes of any kind, a picture's own.

    Raises InputFault for pictures that nnU-Net's layout cannot hold, and for several kinds of them.
    """
    first_of = {ending_of(path): path for case in reversed(cases) for path in reversed(case.images)}
    found = {
        ending if read_raster(path).dimensions == 2 else ENDING: path for ending, path in first_of.items()
    }
    if len(found) > 1:
        first, other = sorted(found)[:2]
        raise InputFault(
            f"{found[other]}: is no image of the kind {first}, as others are; convert them to one"
        )
    ending, path = next(iter(found.items()))
    if ending != ENDING and ending not in PICTURES:
        raise InputFault(
            f"{path}: nnU-Net's layout cannot hold such a picture; save it as {', '.join(PICTURES)}"
        )
    return ending


def _in_ras(raster: Raster) -> NDArray[np.intp]:
    """Which axis of a volume's array runs to the right, to the front and to the head."""
    return np.argsort(nib.io_orientation(raster.affine)[:, 0])


def _usual_axis(cases: Sequence[Case]) -> int:
    """The axis, in RAS order, across which training cuts those of the volumes that are thick in no direction."""
    training = [case for case in cases if case.part == "train"] or cases
    spacings: list[list[float]] = []
    for case in training:
        raster = read_raster(case.images[0])
        if raster.affine is None or raster.dimensions != 3:
            raise InputFault(f"{case.images[0]}: is no volume, as others are; convert them to one kind")
        spacings.append([raster.spacing[axis] for axis in _in_ras(raster)])
    return thick_axis(np.median(spacings, axis=0).tolist(), 2)


def _cut_axis(raster: Raster, usual: int) -> int:
    """The axis of a volume's array across which it will be cut, as `preparation.fitted` chooses it."""
    order = _in_ras(raster)
    return int(order[thick_axis([raster.spacing[axis] for axis in order], usual)])


def _with_last(raster: Raster, axis: int) -> Raster:
    """The same volume in the same place of the patient, its array with this axis last."""
    assert raster.affine is not None  # a volume's
    order = [*(other for other in range(3) if other != axis), axis]
    array = np.moveaxis(raster.array, 1 + axis, -1)
    spacing = tuple(raster.spacing[other] for other in order)
    return Raster(array, spacing, raster.unit, raster.affine[:, [*order, 3]])


def _tags(classes: NDArray[np.uint8], count: int) -> tuple[Cells, ...]:
    """For each slice along the last axis, and each class but background: 1, 0, or None where that is not known."""
    planes = classes.reshape(-1, classes.shape[-1])
    unknown = (planes == IGNORED).any(axis=0)
    shown = np.stack([(planes == value).any(axis=0) for value in range(1, count)], axis=1)
    return tuple(
        tuple(1 if shows else None if unsure else 0 for shows in row)
        for row, unsure in zip(shown, unknown, strict=True)
    )


def _remarks(cohort: Cohort, tagged: Sequence[Tagged]) -> tuple[str, ...]:
    """One line for each class whose tags are all alike."""
    slices = sum(case.slices for case in tagged)
    remarks: list[str] = []
    for name in cohort.classes[1:]:
        positive = sum(case.shown[name] for case in tagged)
        if positive in (0, slices):
            how = "every slice shows" if positive else "no slice shows"
            remarks.append(
                f"{cohort.root}: {how} {name}, so that a classifier has nothing to tell apart; add slices "
                f"{'without' if positive else 'with'} it before training on these tags"
            )
    return tuple(remarks)
