"""What a folder of predictions is scored against: which masks, which classes, whose patients."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewmask.data import layouts, raster
from fewmask.data.case import Case, Cohort
from fewmask.data.geometry import Raster, laid_on, on_one_grid, size_text
from fewmask.data.labels import labels_of_values
from fewmask.data.listing import MASK_FOLDERS
from fewmask.data.plain import is_pair
from fewmask.errors import InputFault
from fewmask.evaluation.segment import MANIFEST
from fewmask.files import read_json
from fewmask.shapes import IGNORED


@dataclass(frozen=True)
class Pairing:
    """The cases to score, each with a mask, and the prediction for each (same order).

    `cohort` holds these cases alone and names their classes. `unmatched` counts predictions that have no mask to be
    held against.
    """

    cohort: Cohort
    cases: tuple[Case, ...]
    predictions: tuple[Path, ...]
    unmatched: int
    remarks: tuple[str, ...]


def pair(predictions: Path, truth: Path) -> Pairing:
    """Match predictions to masks by the cases' names.

    `truth` is a dataset folder, one of its folders of labels, any folder of mask files or a .csv manifest. Of a
    dataset's train and test parts, those are scored of which some case was predicted; a scored part must be complete.
    Raises InputFault where it is not, and where nothing can be scored.
    """
    for folder in (predictions, truth):
        if not folder.is_dir() and not (folder == truth and _is_manifest(truth)):
            raise InputFault(f"{folder}: no such folder; give a folder of masks")
    predicted = of_last_segment(predictions, layouts.find_labels(predictions))
    if not predicted:
        raise InputFault(f"{predictions}: no masks in it; give the folder that `fewmask segment` wrote")
    cohort = truth_cohort(truth)
    wanted = [case for case in cohort.cases if case.mask is not None]
    touched = {case.part for case in wanted if case.name in predicted}
    if not touched:
        example = wanted[0].name if wanted else "none at all"
        raise InputFault(
            f"{predictions}: no prediction is named as a mask of {truth} (first: {example}); rename them"
        )
    cases = tuple(case for case in wanted if case.part in touched)
    missing = [case.name for case in cases if case.name not in predicted]
    if missing:
        raise InputFault(
            f"{predictions}: {len(missing)} of {len(cases)} cases have no prediction (first: {missing[0]}); "
            "segment them too, or give only their masks as truth"
        )
    remarks = list(cohort.remarks)
    if len(cases) < len(wanted):
        remarks.append(f"only the {' and '.join(sorted(touched))} part was predicted and is scored")
    unmatched = len(predicted) - len(cases)
    if unmatched:
        remarks.append(f"{unmatched} predictions have no mask in {truth.name} and are left out")
    paths = tuple(predicted[case.name] for case in cases)
    named = with_classes(replace(cohort, cases=cases))
    if len(named.classes) < 2:
        raise InputFault(f"{truth}: its dataset.json names no foreground class; add one under labels")
    told = tuple(dict.fromkeys((*named.remarks, *remarks)))
    return Pairing(named, cases, paths, unmatched, told)


@dataclass(frozen=True)
class HeldAgainst:
    """A case's true and predicted classes (*spatial) on one grid, in the axes of the file, with its spacing in `unit`.

    `remapped` says that the prediction was written as 0/255 where the truth is 0/1, or the reverse.
    """

    true: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    spacing: tuple[float, ...]
    unit: str
    remapped: bool


def held_against(case: Case, path: Path, cohort: Cohort, numbered: bool) -> HeldAgainst:
    """Read a case's mask and its prediction, which holds class numbers where `numbered`, else the truth's values.

    Raises InputFault for another size or geometry, or a value that is no class.
    """
    assert case.mask is not None  # `pair` keeps only cases with a mask
    truth, predicted = raster.read_label_values(case.mask), raster.read_label_values(path)
    truth, predicted = laid_on(truth, predicted), laid_on(predicted, truth)
    _check_geometry(truth, predicted, path)
    true = raster.classes_of(truth.array[0], cohort, str(case.mask))
    values = predicted.array[0]
    if numbered:
        return HeldAgainst(true, class_numbers(values, cohort, path), truth.spacing, truth.unit, False)
    remapped = binary_values(values, cohort)
    classes = class_values(values if remapped is None else remapped, cohort, path)
    return HeldAgainst(true, classes, truth.spacing, truth.unit, remapped is not None)


def remapped_remark(remapped: int) -> tuple[str, ...]:
    """What is told of predictions that `held_against` has remapped."""
    if not remapped:
        return ()
    return (f"{remapped} predictions were 0/255 or 0/1 other than the truth and were remapped",)


def _check_geometry(truth: Raster, predicted: Raster, path: Path) -> None:
    """Refuse a prediction on another grid: its scores would be about the grid, not the structure."""
    if truth.shape != predicted.shape:
        sizes = [size_text(image.shape) for image in (predicted, truth)]
        raise InputFault(f"{path}: size {sizes[0]}, but its truth has {sizes[1]}; segment the original image")
    if not on_one_grid(truth, predicted):
        raise InputFault(
            f"{path}: its position or spacing differs from the truth's (affines differ); "
            "resample it to the truth's grid"
        )


def of_last_segment(predictions: Path, masks: dict[str, Path]) -> dict[str, Path]:
    """The masks that the last `segment` wrote, where one wrote here: others are of an earlier run, or of a stop."""
    manifest = predictions / MANIFEST
    listed = read_json(manifest).get("cases") if manifest.is_file() else None
    if listed is None:
        return masks
    written = {entry["case"] for entry in listed}
    return {name: path for name, path in masks.items() if name in written}


def truth_cohort(truth: Path) -> Cohort:
    """The cases that a folder or a manifest has masks for; a bare folder makes each case its own patient."""
    if _is_manifest(truth):
        listed = layouts.read_cohort(truth)
        if not any(case.mask for case in listed.cases):
            raise InputFault(f"{truth}: lists no masks; add a column mask with their paths")
        return listed
    if is_pair(truth):
        return layouts.read_pair(truth, target_masks=True)[1]
    masks = layouts.find_labels(truth)
    if not masks:
        raise InputFault(f"{truth}: no masks in it; give a dataset folder or a folder of masks")
    bare = all(path.parent == truth for path in masks.values())
    if not bare:
        return layouts.read_cohort(truth)
    if _belongs_to_a_dataset(truth):
        cohort = layouts.read_cohort(truth.parent)
        by_name = {case.name: case for case in cohort.cases}
        if masks.keys() <= by_name.keys():
            cases = tuple(replace(by_name[name], mask=path) for name, path in sorted(masks.items()))
            return replace(cohort, cases=cases)
    cases = tuple(Case(name, (), path, part="test") for name, path in sorted(masks.items()))
    return Cohort(truth, "masks", cases, channels=())


def _is_manifest(truth: Path) -> bool:
    return truth.suffix.lower() == ".csv" and truth.is_file()


def _belongs_to_a_dataset(folder: Path) -> bool:
    """Whether the folder above knows the classes or the patients of this folder of masks."""
    if folder.name in ("labelsTr", "labelsTs"):
        return (folder.parent / "dataset.json").is_file()
    tables = ("cases.csv", "dataset.json")
    return folder.name in MASK_FOLDERS and any((folder.parent / table).is_file() for table in tables)


def with_classes(cohort: Cohort) -> Cohort:
    """The cohort with its classes named by the values in its masks, where no dataset.json names them.

    Reads every mask once, and names the classes as a training on these masks would.
    """
    if cohort.classes:
        return cohort
    values: set[int] = set()
    for case in cohort.cases:
        if case.mask is not None:
            values |= set(np.unique(raster.read_label_values(case.mask).array).tolist())
    labels, told = labels_of_values(values)
    if len(labels.classes) < 2:
        raise InputFault(
            f"{cohort.root}: every mask is empty; give the dataset folder, which names the classes"
        )
    found = f"classes are the values that occur in {cohort.root.name}; each case counts as a patient"
    return replace(
        cohort,
        classes=labels.classes,
        label_values=labels.values,
        ignored_value=labels.ignored_value,
        remarks=(*cohort.remarks, found, *told),
    )


def holds_class_numbers(predictions: Path) -> bool:
    """Whether the masks of a folder hold class numbers 0..K-1, as `segment` writes them, and not the truth's values."""
    return (predictions / MANIFEST).is_file()


def class_numbers(values: NDArray[np.generic], cohort: Cohort, path: Path) -> NDArray[np.uint8]:
    """The classes of a prediction that holds class numbers. Raises InputFault for a number that no class has."""
    highest = len(cohort.classes) - 1
    strange = np.setdiff1d(values, np.arange(highest + 1))
    if strange.size:
        raise InputFault(
            f"{path}: value {strange[0]} is no class number of the truth (0 to {highest}); segment again, or remove "
            f"{MANIFEST} if the masks hold the truth's own values"
        )
    return values.astype(np.uint8)


def class_values(values: NDArray[np.generic], cohort: Cohort, path: Path) -> NDArray[np.uint8]:
    """The classes of a prediction that holds the truth's values. Raises InputFault for a value that no class has."""
    unknown = np.setdiff1d(values, [*cohort.label_values, cohort.ignored_value])
    if unknown.size:
        known = ", ".join(str(value) for value in cohort.label_values)
        raise InputFault(
            f"{path}: value {unknown[0]} is no class of the truth ({known}); write the truth's values"
        )
    return raster.classes_of(values, cohort, str(path))


def binary_values(values: NDArray[np.generic], cohort: Cohort) -> NDArray[np.generic] | None:
    """A 0/255 prediction of a 0/1 cohort, or the reverse, in the cohort's values; None where it is neither.

    Without this a 255 would be taken for the value that is ignored, and a good prediction would score 0.
    """
    if len(cohort.label_values) != 2 or cohort.label_values[0] != 0:
        return None
    on = cohort.label_values[1]
    other = {1: IGNORED, IGNORED: 1}.get(on)
    found = set(np.unique(values).tolist())
    if other is None or other not in found or not found <= {0, other}:
        return None
    return np.where(values == other, on, 0)
