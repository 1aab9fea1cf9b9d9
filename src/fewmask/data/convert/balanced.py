"""A dataset of pictures in which augmented copies make both outcomes equally many, in every part, the test part too."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fewmask.console import Progress
from fewmask.data.augment import augment
from fewmask.data.case import Case
from fewmask.data.convert.balanced_plan import Plan, drawn_number, planned
from fewmask.data.convert.dataset import (
    Account,
    Description,
    Part,
    Tell,
    carried_over,
    copy_file,
    describe,
    image_path,
    labels_folder,
    part_of,
    picture_ending,
    relative_to,
    training_count,
    write_case_table,
    write_mask,
    write_pixels,
)
from fewmask.data.layouts import read_cohort
from fewmask.data.outcomes import outcome_rule
from fewmask.data.phantoms.folder import drawn_aside
from fewmask.data.raster import outline, read_case, read_classes, write_classes
from fewmask.errors import InputFault
from fewmask.files import write_csv
from fewmask.recipe import Augmentation

FORMAT = "balanced-outcomes"


@dataclass(frozen=True)
class BalancedCase:
    """What conversion.json says about one original: its files in the folder that was given, and its copies' names."""

    case: str
    part: Part
    files: tuple[str, ...]
    copies: tuple[str, ...]


def balanced(folder: Path, out: Path, outcome: str, seed: int, progress: Progress, tell: Tell) -> Path:
    """Write the pictures of `folder`, any layout that is read, as the nnU-Net folder `out` with equally many outcomes.

    In the training part and in the test part, images of the rarer outcome (`outcome` as in `outcome_rule`) are copied
    in turn until there are as many as of the other; images count, whatever their patients. Each copy is augmented in
    another way, its mask moved along, and is called CASE_copy01 and so on; it depends on the seed and that name alone.
    Patient, site, split, all columns and the tags of slices are its original's, which the column copy_of names; where
    patients are not known, near-duplicates and their copies become one. All images of `folder` are in `out` once, byte
    for byte, also those without an outcome or a mask. `tell` is given one line for each thing to know, a WARNING
    among them where the test part holds copies. Raises InputFault for a column that is absent or says the same of all
    images, for a patient in both parts, for volumes, JPEG and pictures of more than 8 bits, for a mask that does not
    fit its image, for a folder that holds copies already, and for an `out` that holds something.

    Wlodarczyk et al. 2020, section 2, balance each part so. Its test part then has neither the patients' number nor
    their prevalence; training draws the rarer outcome more often instead, and leaves the test part alone.
    """
    cohort = read_cohort(folder)
    ending = picture_ending(cohort, "balanced")
    plan = planned(cohort, outcome_rule(outcome, cohort.cases), seed, progress)
    whole = out.resolve()
    with drawn_aside(whole.parent, f"convert-{FORMAT}", [whole.name]) as aside:
        _Writing(plan, ending, aside / whole.name).write(progress)
    for remark in plan.remarks:
        tell(remark)
    return out


@dataclass(frozen=True)
class _Writing:
    """The folder in the making."""

    plan: Plan
    ending: str
    root: Path

    def write(self, progress: Progress) -> None:
        """Write all of it."""
        cohort, plan = self.plan.cohort, self.plan
        told: list[BalancedCase] = []
        ignores = False
        with progress(f"balancing {cohort.name}", len(cohort.cases)) as advance:
            for case in cohort.cases:
                for index, path in enumerate(case.images):
                    copy_file(path, image_path(self.root, case, index, self.ending))
                ignores |= write_mask(cohort, case, self.root)
                copies = plan.copies.get(case.name, ())
                for copy in copies:
                    self._write_copy(case, copy)
                files = tuple(relative_to(path, cohort) for path in (*case.images, case.mask) if path)
                names = tuple(copy.name for copy in copies)
                told.append(BalancedCase(case.name, part_of(case), files, names))
                advance()
        cases = (*cohort.cases, *(copy for added in plan.copies.values() for copy in added))
        # Where no patient is named, each copy would count as one, and a split might part it from its original.
        patients = replace(cohort, patients_known=cohort.patients_known or bool(plan.copies))
        write_case_table(patients, cases, self.root)
        _write_tags(cases, self.root)
        meaning = dict(zip(map(str, cohort.label_values), cohort.classes, strict=True))
        description = Description(
            f"{cohort.name} with augmented copies that make both outcomes equally many",
            cohort.channels,
            cohort.classes or ("background",),
            training_count(cases),
            self.ending,
            ignores,
            kept=carried_over(cohort),
        )
        account = Account(FORMAT, meaning, plan.balancing, plan.remarks, (), told)
        describe(self.root, description, account)

    def _write_copy(self, case: Case, copy: Case) -> None:
        """Write a case's pictures and its mask once more, augmented."""
        cohort = self.plan.cohort
        pixels = read_case(case).array
        if pixels.dtype != np.uint8:
            raise InputFault(
                f"{case.images[0]}: has more than 8 bits; save it with 8 bits a channel to have it copied"
            )
        classes = read_classes(cohort, case) if case.mask else None
        key = drawn_number(self.plan.balancing.seed, copy.name)
        pixels, classes = _augmented(pixels, classes, key, self.plan.balancing.augmentation)
        channels = [outline(path).channels for path in case.images]
        pictures = np.split(pixels, np.cumsum(channels)[:-1])
        for index, (path, picture) in enumerate(zip(case.images, pictures, strict=True)):
            write_pixels(picture, path, image_path(self.root, copy, index, self.ending))
        if classes is not None:
            values = range(len(cohort.classes))
            write_classes(classes, case.images[0], labels_folder(self.root, copy), copy.name, values)


def _augmented(
    pixels: NDArray[np.uint8], classes: NDArray[np.uint8] | None, key: int, augmentation: Augmentation
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """A picture (C, H, W) and its classes (H, W) as `augment` changes them by this key; grey in RGB stays grey."""
    grey = pixels[:1] if (pixels == pixels[:1]).all() else pixels
    images = torch.from_numpy(grey.astype(np.float32))[None] / 127.5 - 1.0
    masks = None if classes is None else torch.from_numpy(classes.astype(np.int64))[None]
    images, masks = augment(images, masks, torch.tensor([key]), augmentation)
    lit = ((images[0] + 1.0) * 127.5).round().to(torch.uint8).numpy()
    moved = None if masks is None else masks[0].numpy().astype(np.uint8)
    return np.broadcast_to(lit, pixels.shape), moved


def _write_tags(cases: Sequence[Case], root: Path) -> None:
    """`slices.csv` with the tags of all cases, where any has one."""
    tagged = [(case.name, number, tags) for case in cases for number, tags in case.slice_tags.items()]
    names = tuple(dict.fromkeys(name for _, _, tags in tagged for name in tags))
    if tagged:
        rows = [(case, number, *(tags.get(name, "") for name in names)) for case, number, tags in tagged]
        write_csv(root / "slices.csv", ("case", "slice", *names), rows)
