"""An nnU-Net folder in the making: its images, its tables, and the account of how they came about."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fewmask import __version__
from fewmask.config import to_mapping
from fewmask.data.case import Case, Cohort
from fewmask.data.declared import read_dataset_json
from fewmask.data.folder import ending_of
from fewmask.data.geometry import Raster
from fewmask.data.picture import write_picture
from fewmask.data.raster import read_classes, write_classes
from fewmask.data.volume import write_volume
from fewmask.errors import InputFault
from fewmask.files import replaced, write_csv, write_json
from fewmask.shapes import IGNORED

ENDING = ".nii.gz"
PICTURES = (".png", ".tif", ".bmp")
"""The pictures that nnU-Net reads."""

HEART = ("background", "MYO", "LAC", "LVC", "AA")
"""SIFA's classes in SIFA's order: myocardium, left atrium and ventricle (cavities), ascending aorta."""
ABDOMEN = ("background", "liver", "right_kidney", "left_kidney", "spleen")
"""The classes that CHAOS and BTCV share, in SIFA's order."""

Part = Literal["train", "test"]
Tell = Callable[[str], None]
"""Is given one line for each thing that a user should know."""

_SCANNER, _ALIGNED = 1, 2
_OF_OTHER_LAYOUTS = ("training", "test", "modality", "numTest", "tensorImageSize")
"""What the Decathlon's dataset.json says and nnU-Net's does not; carried over, it would name absent files."""


@dataclass(frozen=True)
class Dataset:
    """What `dataset.json` says. `classes` starts with background, class i has value i; `ignores` declares 255."""

    folder: str
    description: str
    terms: str
    channel: str
    classes: tuple[str, ...]
    ignores: bool = False


@dataclass(frozen=True)
class Placed:
    """One case in the table: who it is of, and in which part."""

    name: str
    patient: str
    part: Part


@dataclass(frozen=True)
class Description:
    """What `dataset.json` says: class i of `classes`, background first, has value i; `ignores` declares 255.

    `kept` is what the `dataset.json` of the original said, as `carried_over` gives it; what is said here stands
    instead of the same key in it, but for the licence.
    """

    description: str
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    training: int
    ending: str
    ignores: bool = False
    licence: str = "that of the original"
    kept: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Account:
    """conversion.json: where everything came from and what was done to it.

    `labels` says what each value of the original became. `left_out` are files that were not converted. `steps` and
    `cases` are dataclasses of the format.
    """

    format: str
    labels: Mapping[str, str]
    steps: Any
    remarks: tuple[str, ...]
    left_out: tuple[str, ...]
    cases: Sequence[Any]


def write_case(root: Path, placed: Placed, image: Raster, classes: NDArray[np.uint8] | None) -> None:
    """Write a volume (C, X, Y, Z), a file a channel, and its classes (X, Y, Z) as nnU-Net names them."""
    for index, channel in enumerate(image.array):
        _write(image_path(root, placed, index, ENDING), channel, image)
    if classes is not None:
        _write(labels_folder(root, placed) / f"{placed.name}{ENDING}", classes, image)


def finish(root: Path, dataset: Dataset, cases: Sequence[Placed], account: Account) -> None:
    """Write `cases.csv`, `conversion.json` and, last, `dataset.json`: a folder that has one is whole."""
    rows = [(case.name, case.patient, case.part) for case in cases]
    write_csv(root / "cases.csv", ("case", "patient", "split"), rows)
    description = Description(
        dataset.description,
        (dataset.channel,),
        dataset.classes,
        training_count(cases),
        ENDING,
        dataset.ignores,
        dataset.terms,
    )
    describe(root, description, account)


def describe(
    root: Path, description: Description, account: Account, found: Mapping[str, Any] | None = None
) -> None:
    """Write `conversion.json`, with what else was `found`, and, last, `dataset.json`: a folder that has one is whole.

    The dataset is called as the folder is.
    """
    written_by = {"made_by": "fewmask", "version": __version__, "dataset": root.name}
    write_json(root / "conversion.json", {**written_by, **to_mapping(account), **(found or {})})
    labels = {name: value for value, name in enumerate(description.classes)}
    own = {
        "name": root.name,
        "description": description.description,
        "licence": description.kept.get("licence", description.licence),
        "channel_names": {str(index): name for index, name in enumerate(description.channels)},
        "labels": {**labels, "ignore": IGNORED} if description.ignores else labels,
        "numTraining": description.training,
        "file_ending": description.ending,
        "converted_by": f"fewmask {__version__}",
    }
    write_json(root / "dataset.json", {**description.kept, **own})


def carried_over(cohort: Cohort) -> Mapping[str, Any]:
    """What the original's `dataset.json` says, where it has one, less what only other layouts say."""
    home = home_of(cohort)
    said = read_dataset_json(home) if (home / "dataset.json").is_file() else {}
    kept = {key: value for key, value in said.items() if key not in _OF_OTHER_LAYOUTS}
    return {"licence": Description.licence, **kept}


def write_case_table(cohort: Cohort, cases: Sequence[Case], root: Path) -> None:
    """`cases.csv` with all that is known; without patients where they are not, so that nobody is misled."""
    columns = tuple(dict.fromkeys(column for case in cases for column in case.columns))
    patients = ("patient",) if cohort.patients_known else ()
    sites = ("site",) if any(case.site for case in cases) else ()
    rows: list[tuple[object, ...]] = []
    for case in cases:
        known = [case.patient] * len(patients) + [case.site] * len(sites)
        rows.append((case.name, *known, case.part, *(case.columns.get(column, "") for column in columns)))
    write_csv(root / "cases.csv", ("case", *patients, *sites, "split", *columns), rows)


def write_mask(cohort: Cohort, case: Case, root: Path) -> bool:
    """Write a case's mask on its image's grid, if it has one, and say whether some of it is ignored."""
    if case.mask is None:
        return False
    classes = read_classes(cohort, case)
    values = range(len(cohort.classes))
    write_classes(classes, case.images[0], labels_folder(root, case), case.name, values)
    return bool((classes == IGNORED).any())


def write_pixels(pixels: NDArray[Any], like: Path, path: Path) -> None:
    """Write a picture (C, H, W), grey or RGB, as `write_picture` does."""
    write_picture(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1), like, path)


def copy_file(path: Path, copy: Path) -> None:
    """Copy a file byte for byte, whole or not at all."""
    with replaced(copy) as temporary:
        shutil.copyfile(path, temporary)


def picture_ending(cohort: Cohort, done: str) -> str:
    """The ending that all of a cohort's pictures share; `done` says what is done to them, for the message.

    Raises InputFault for what is no picture, or none that nnU-Net's layout can hold, and for several kinds.
    """
    paths = [path for case in cohort.cases for path in case.images]
    first = ending_of(paths[0])
    for path in paths:
        if ending_of(path) not in PICTURES:
            raise InputFault(f"{path}: only pictures are {done}, as {', '.join(PICTURES)}; save it as one")
        if ending_of(path) != first:
            raise InputFault(f"{path}: is no {first}, as {paths[0].name} is; save all pictures as one kind")
    return first


def image_path(root: Path, case: Case | Placed, index: int, ending: str) -> Path:
    """Where nnU-Net's layout has the file of one channel of a case."""
    return root / f"images{_suffix(case)}" / f"{case.name}_{index:04d}{ending}"


def labels_folder(root: Path, case: Case | Placed) -> Path:
    """Where nnU-Net's layout has the mask of a case."""
    return root / f"labels{_suffix(case)}"


def part_of(case: Case) -> Part:
    """The part of the folder that a case belongs to."""
    return "train" if case.part == "train" else "test"


def training_count(cases: Sequence[Case] | Sequence[Placed]) -> int:
    """How many of the cases belong to the training part."""
    return sum(case.part == "train" for case in cases)


def home_of(cohort: Cohort) -> Path:
    """The folder that the tables of a cohort and its images' paths are read from."""
    return cohort.root if cohort.root.is_dir() else cohort.root.parent


def relative_to(path: Path, cohort: Cohort) -> str:
    """A file's path from its cohort's folder on, the file's name where it lies elsewhere."""
    home = home_of(cohort)
    return path.relative_to(home).as_posix() if path.is_relative_to(home) else path.name


def classes_from(
    values: NDArray[np.integer], meaning: Mapping[int, int], others: frozenset[int], where: str
) -> NDArray[np.uint8]:
    """The class of every voxel: by `meaning`, 0 for the `others`. Raises InputFault for any further value."""
    known = {*meaning, *others}
    strange = sorted({int(value) for value in np.unique(values)} - known)
    if strange:
        told = ", ".join(str(value) for value in strange[:5]) + (", ..." if len(strange) > 5 else "")
        raise InputFault(
            f"{where}: holds {told}, but its labels are {', '.join(map(str, sorted(known)))}; "
            "give the original file"
        )
    classes = np.zeros(values.shape, dtype=np.uint8)
    for value, class_ in meaning.items():
        classes[values == value] = class_
    return classes


def _suffix(case: Case | Placed) -> str:
    return "Tr" if case.part == "train" else "Ts"


def _write(path: Path, values: NDArray[Any], like: Raster) -> None:
    assert like.affine is not None  # a volume's
    write_volume(_storable(values), like.affine, path, like.unit, _SCANNER if like.unit == "mm" else _ALIGNED)


def _storable(values: NDArray[Any]) -> NDArray[Any]:
    """Numbers of a type that every reader of NIfTI knows."""
    if values.dtype.kind == "f":
        return values.astype(np.float32, copy=False)
    if values.dtype.itemsize <= 4 and values.dtype.kind in "iu":
        return values
    return values.astype(np.int32 if np.abs(values).max(initial=0) < 2**31 else np.float32)
