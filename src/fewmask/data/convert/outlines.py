"""Pictures and what annotators drew on them become an nnU-Net folder with masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewmask.config import did_you_mean, to_mapping
from fewmask.console import Progress
from fewmask.data.case import Case, Cohort
from fewmask.data.convert.dataset import (
    PICTURES,
    Account,
    Description,
    Part,
    Tell,
    copy_file,
    describe,
    image_path,
    labels_folder,
    part_of,
    relative_to,
    training_count,
    write_case_table,
    write_pixels,
)
from fewmask.data.declared import declared_labels, read_dataset_json
from fewmask.data.folder import PICTURE_ENDINGS, ending_of
from fewmask.data.layouts import read_cohort
from fewmask.data.outlines.agreement import Agreement, Pair, agreement_of
from fewmask.data.outlines.assign import assigned
from fewmask.data.outlines.bezier import TOLERANCE
from fewmask.data.outlines.label_map import label_map
from fewmask.data.outlines.merge import Merge
from fewmask.data.outlines.read import read_outlines
from fewmask.data.outlines.shape import Outline
from fewmask.data.phantoms.folder import drawn_aside
from fewmask.data.picture import read_picture
from fewmask.data.raster import outline as image_outline
from fewmask.data.raster import write_classes
from fewmask.errors import InputFault
from fewmask.files import write_csv
from fewmask.shapes import IGNORED

FORMAT = "outlines"
_RESERVED = ("background", "ignore")


@dataclass(frozen=True)
class OutlineOptions:
    """What a user asks for: how annotators are merged, and the labels in the order of their values.

    Without `classes`, the labels are those of the folder's dataset.json, else those that occur, by the alphabet.
    """

    merge: Merge = "majority"
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """How outlines became masks, for conversion.json: lengths are in pixels."""

    merge: Merge
    classes: tuple[str, ...]
    curve_tolerance: float
    rule: str = "a pixel belongs to the object where its centre, at (0.5, 0.5) from its corner, lies inside"


@dataclass(frozen=True)
class Outlined:
    """What conversion.json says about one case.

    `files` are relative to the folder that was given. `pixels` is the size of each class in the mask; `hollow` and
    `contested` are as in `LabelMap`.
    """

    case: str
    part: Part
    files: tuple[str, ...]
    outlines: int
    annotators: tuple[str, ...]
    pixels: Mapping[str, int]
    hollow: int = 0
    contested: int = 0


def outlines(
    folder: Path, out: Path, outlines_file: Path, options: OutlineOptions, progress: Progress, tell: Tell
) -> Path:
    """Write the pictures of `folder`, any layout that is read, as the nnU-Net folder `out`, with masks from outlines.

    `outlines_file` is read as in `read_outlines`; how annotators and overlapping labels are merged is said in
    `label_map`. All images are copied (JPEG is saved anew as PNG), also those without an outline, which get no mask;
    masks that the folder had are not looked at. Beside them lie cases.csv, conversion.json and, where an image has
    several annotators, agreement.csv. `tell` is given one line for each thing that a user should know. Raises
    InputFault for volumes and DICOM, for an image or a label that is not known, for whatever is wrong with an
    outline, and for an `out` that holds something.
    """
    cohort = read_cohort(folder, masks=False)
    declared = _declared(cohort, options)
    drawn = read_outlines(outlines_file, declared[0] if len(declared) == 1 else None)
    writing = _Writing(cohort, assigned(drawn, cohort), _classes(drawn, declared), options.merge)
    ending = _ending(cohort)
    whole = out.resolve()
    with drawn_aside(whole.parent, f"convert-{FORMAT}", [whole.name]) as aside:
        remarks = writing.write(aside / whole.name, ending, progress)
    for remark in remarks:
        tell(remark)
    return out


def _declared(cohort: Cohort, options: OutlineOptions) -> tuple[str, ...]:
    """The labels that are given, else those of the folder's dataset.json; empty where neither says."""
    described = cohort.root / "dataset.json"
    if options.classes or not described.is_file():
        return options.classes
    content = read_dataset_json(cohort.root)
    return declared_labels(content, described).classes[1:] if "labels" in content else ()


def _classes(drawn: Sequence[Outline], declared: Sequence[str]) -> tuple[str, ...]:
    """The labels in the order of their values. Raises InputFault for one that is not declared or cannot be a class."""
    classes = tuple(declared) or tuple(sorted({outline.label for outline in drawn}))
    for outline in drawn:
        if outline.label in _RESERVED:
            raise InputFault(
                f"{outline.where}: label {outline.label!r} is nnU-Net's own; call the object something else"
            )
        if outline.label not in classes:
            hint = did_you_mean(outline.label, classes)
            raise InputFault(f"{outline.where}: label {outline.label!r} is not declared; {hint}")
    if len(classes) >= IGNORED or len(set(classes)) < len(classes):
        raise InputFault(
            f"{len(classes)} labels: some are alike, or more than {IGNORED - 1}; name each once, or join some"
        )
    return classes


def _ending(cohort: Cohort) -> str:
    """The ending of all images that are written: the pictures' own where they share one, else .png."""
    paths = [path for case in cohort.cases for path in case.images]
    for path in paths:
        if ending_of(path) not in PICTURE_ENDINGS:
            raise InputFault(
                f"{path}: is no picture, and outlines are drawn on pictures; save it or its slices as PNG"
            )
    found = {_filed(path) for path in paths}
    return found.pop() if len(found) == 1 and found <= set(PICTURES) else ".png"


@dataclass(frozen=True)
class _Writing:
    """The folder in the making."""

    cohort: Cohort
    outlines: Mapping[str, Sequence[Outline]]
    classes: tuple[str, ...]
    merge: Merge

    def write(self, root: Path, ending: str, progress: Progress) -> tuple[str, ...]:
        """Write all of it and say what a user should be told."""
        told: list[Outlined] = []
        pairs: list[Pair] = []
        with progress(f"converting {self.cohort.name}", len(self.cohort.cases)) as advance:
            for case in self.cohort.cases:
                outlined, agreed = self._write_case(case, root, ending)
                told.append(outlined)
                pairs += agreed
                advance()
        agreements = [agreement_of(label, pairs) for label in self.classes] if pairs else []
        if pairs:
            rows = [(p.image, p.label, p.first, p.other, p.dice, p.kappa) for p in pairs]
            write_csv(root / "agreement.csv", ("case", "class", "first", "second", "dice", "kappa"), rows)
        write_case_table(self.cohort, self.cohort.cases, root)
        remarks = (*_remarks(self.cohort, told), *(_agreed(one) for one in agreements if one.pairs))
        labels = {label: label for label in self.classes}
        drawing = Drawing(self.merge, self.classes, TOLERANCE)
        description = Description(
            f"{self.cohort.name} with masks that were made from outlines",
            self.cohort.channels,
            ("background", *self.classes),
            training_count(self.cohort.cases),
            ending,
        )
        account = Account(FORMAT, labels, drawing, remarks, (), told)
        describe(root, description, account, {"agreement": to_mapping(agreements)})
        return remarks

    def _write_case(self, case: Case, root: Path, ending: str) -> tuple[Outlined, tuple[Pair, ...]]:
        copies = [image_path(root, case, index, ending) for index in range(len(case.images))]
        for image, copy in zip(case.images, copies, strict=True):
            _copy(image, copy)
        part, files = part_of(case), tuple(relative_to(path, self.cohort) for path in case.images)
        drawn = self.outlines.get(case.name, ())
        if not drawn:
            return Outlined(case.name, part, files, 0, (), {}), ()
        height, width = image_outline(case.images[0]).shape
        drawn_map = label_map(case.name, drawn, self.classes, (height, width), self.merge)
        values = range(len(self.classes) + 1)
        write_classes(drawn_map.classes, copies[0], labels_folder(root, case), case.name, values)
        pixels = np.bincount(drawn_map.classes.ravel(), minlength=len(values)).tolist()[1:]
        outlined = Outlined(
            case.name,
            part,
            files,
            len(drawn),
            tuple(annotator or "" for annotator in drawn_map.annotators),
            dict(zip(self.classes, pixels, strict=True)),
            drawn_map.hollow,
            drawn_map.contested,
        )
        return outlined, drawn_map.pairs


def _filed(image: Path) -> str:
    """The ending of a picture's kind in nnU-Net's layout."""
    ending = ending_of(image)
    return ".tif" if ending == ".tiff" else ending


def _copy(image: Path, copy: Path) -> None:
    """Copy a picture as it is, or save it anew, with the same numbers, where it must be of another kind."""
    if _filed(image) == copy.suffix:
        copy_file(image, copy)
        return
    values = read_picture(image)
    if values.dtype != np.uint8 and (values.dtype != np.uint16 or len(values) > 1):
        raise InputFault(
            f"{image}: {values.dtype} numbers do not fit a PNG file; save all images of one kind"
        )
    write_pixels(values, image, copy)


def _remarks(cohort: Cohort, told: Sequence[Outlined]) -> tuple[str, ...]:
    """What a user should know of the outlines, a line each."""
    remarks: list[str] = []
    bare = [case.case for case in told if not case.outlines]
    if bare:
        remarks.append(
            f"{cohort.root}: {len(bare)} of {len(told)} images have no outline (first: {bare[0]}) and get no mask; "
            "outline them if they should have one"
        )
    hollow = [case.case for case in told if case.hollow]
    if hollow:
        count = sum(case.hollow for case in told)
        remarks.append(
            f"{cohort.root}: {count} outlines hold no pixel's centre (first: in {hollow[0]}); check that they are meant"
        )
    contested = sum(case.contested for case in told)
    if contested:
        remarks.append(
            f"{cohort.root}: {contested} pixels are claimed by several labels; each has the surer one, else the later"
        )
    return tuple(remarks)


def _agreed(agreement: Agreement) -> str:
    kappa = "undefined" if agreement.kappa is None else f"{agreement.kappa:.3f}"
    return (
        f"{agreement.label}: annotators agree with a mean Dice of {agreement.dice:.3f} and a Cohen's kappa of {kappa} "
        f"(n = {agreement.images} images, {agreement.pairs} pairs); see agreement.csv"
    )
