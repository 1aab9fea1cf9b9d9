"""A published collection of labelled volumes, one modality of it, as an nnU-Net folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewmask.console import Progress
from fewmask.data.convert.dataset import (
    Account,
    Dataset,
    Part,
    Placed,
    classes_from,
    finish,
    write_case,
)
from fewmask.data.convert.found import Found, Search
from fewmask.data.convert.options import Job, Options
from fewmask.data.convert.steps import Steps, Taken, take_steps
from fewmask.data.geometry import Raster, misfit
from fewmask.data.raster import read_label_values
from fewmask.data.volume import read_volume
from fewmask.errors import InputFault

CROPPED_BY_LABELS = (
    "the crop is centred on the labels, in the test part too, as the published experiments did: an image that nobody "
    "has labelled cannot be cropped so"
)


@dataclass(frozen=True)
class Collection:
    """One modality of a published set. `meaning` leads from its label values to classes, `others` become background.

    `tested` are the numbers of the published test cases.
    """

    format: str
    modality: str
    dataset: Dataset
    meaning: Mapping[int, int]
    others: frozenset[int]
    tested: frozenset[int]


@dataclass(frozen=True)
class Converted:
    """What conversion.json says about one volume; `files` are relative to the folder that was given."""

    case: str
    part: Part
    files: tuple[str, ...]
    labelled: bool
    steps: Taken


Reader = Callable[[Found], tuple[Raster, Raster | None]]
"""The image and the label values of a case."""


def job_of(
    collection: Collection, folder: Path, search: Search, read: Reader, steps: Steps, options: Options
) -> Job:
    """What writes this collection, once its test part is known to be whole.

    Raises InputFault where a published test case is missing and that was not said to be meant, and where no labelled
    case is left to train on.
    """
    cases = search.cases
    _require_tested(collection, folder, [case.number for case in cases if case.label], options.partial)
    if not any(case.label and case.number not in collection.tested for case in cases):
        raise InputFault(
            f"{folder}: no labelled {collection.modality.upper()} case is left to train on; add the training cases"
        )
    converted = [case for case in cases if case.label or options.unlabelled]
    unused = [*(case.image for case in cases if case not in converted), *search.strange]
    left_out = [_relative(path, folder) for path in unused]
    write = partial(_write, collection, folder, converted, tuple(left_out), read, steps)
    return Job(collection.dataset.folder, write)


def _require_tested(collection: Collection, folder: Path, present: Sequence[int], meant: bool) -> None:
    """Raise InputFault where a published test case is missing, unless that is meant."""
    missing = sorted(collection.tested - set(present))
    if missing and not meant:
        raise InputFault(
            f"{folder}: the published {collection.modality.upper()} test cases {', '.join(map(str, missing))} are "
            "missing; add them, or use --partial to convert what is there"
        )


def read_nifti(case: Found) -> tuple[Raster, Raster | None]:
    """An image and its label from NIfTI files."""
    return read_volume(case.image), read_label_values(case.label) if case.label else None


def _write(
    collection: Collection,
    folder: Path,
    cases: Sequence[Found],
    left_out: tuple[str, ...],
    read: Reader,
    steps: Steps,
    root: Path,
    progress: Progress,
) -> None:
    placed: list[Placed] = []
    converted: list[Converted] = []
    with progress(f"converting {collection.dataset.folder}", len(cases)) as advance:
        for case in cases:
            part: Part = "test" if case.label and case.number in collection.tested else "train"
            placed.append(Placed(case.name, case.name, part))
            taken = _write_volume(collection, case, placed[-1], read, steps, root)
            files = [case.image] if case.label is None else [case.image, case.label]
            told = tuple(_relative(path, folder) for path in files)
            converted.append(Converted(case.name, part, told, case.label is not None, taken))
            advance()
    labels = {str(value): collection.dataset.classes[class_] for value, class_ in collection.meaning.items()}
    others = {str(value): collection.dataset.classes[0] for value in sorted(collection.others)}
    remarks = (CROPPED_BY_LABELS,) if steps.crop else ()
    account = Account(collection.format, labels | others, steps, remarks, left_out, converted)
    finish(root, collection.dataset, placed, account)


def _write_volume(
    collection: Collection, case: Found, placed: Placed, read: Reader, steps: Steps, root: Path
) -> Taken:
    image, labels = read(case)
    if image.affine is None or len(image.array) != 1:
        raise InputFault(f"{case.image}: not a volume of one channel; give the original file")
    classes: NDArray[np.uint8] | None = None
    if labels is not None:
        reason = misfit(labels, image)
        if reason is not None:
            raise InputFault(f"{case.label}: {reason}")
        values: NDArray[Any] = labels.array[0]
        classes = classes_from(values, collection.meaning, collection.others, str(case.label))
    image, classes, taken = take_steps(image, classes, steps, str(case.label or case.image))
    write_case(root, placed, image, classes)
    return taken


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
