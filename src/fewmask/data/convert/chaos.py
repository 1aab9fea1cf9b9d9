"""CHAOS: abdomens by MR (T2-SPIR), a DICOM series and a PNG mask for each of its slices.

As CHAOS has it, the first mask by name belongs to the first DICOM file by name; where a slice lies is read from its
header, because names need not follow the body. No other header value is used or kept.
"""

from pathlib import Path

import numpy as np

from fewmask.data.convert.dataset import ABDOMEN, Dataset
from fewmask.data.convert.found import Found, Search, is_hidden, once
from fewmask.data.convert.options import Job, Options, steps_of
from fewmask.data.convert.steps import Steps
from fewmask.data.convert.volumes import Collection, job_of
from fewmask.data.dicom import read_series, series_order
from fewmask.data.folder import dicom_files_in, files_in
from fewmask.data.geometry import Raster
from fewmask.data.picture import read_label_picture
from fewmask.errors import InputFault

SEQUENCE, SLICES, MASKS = "T2SPIR", "DICOM_anon", "Ground"
COLLECTION = Collection(
    "chaos",
    "mr",
    Dataset(
        "Dataset955_CHAOS_MR",
        "CHAOS abdomen, MR T2-SPIR, four organs with the test cases of SIFA",
        "CHAOS: CC-BY-NC-SA 4.0",
        "MR",
        ABDOMEN,
    ),
    {63: 1, 126: 2, 189: 3, 252: 4},
    frozenset({0}),
    frozenset({1, 13, 32, 38}),
)
"""Its grey values, and the test cases that SIFA's authors name."""


def chaos_jobs(folder: Path, options: Options) -> tuple[Job, ...]:
    """An MR folder. The values stay as they are unless a step is asked for."""
    steps = steps_of(options, Steps())
    series = [
        path for path in sorted(folder.rglob(SEQUENCE)) if path.is_dir() and not is_hidden(path, folder)
    ]
    if not series:
        raise InputFault(
            f"{folder}: holds no CHAOS series; they lie like MR/1/{SEQUENCE}/{SLICES} with {MASKS} beside it"
        )
    cases = once([_found(path, folder) for path in series])
    return (job_of(COLLECTION, folder, Search(cases, ()), read_slices, steps, options),)


def read_slices(case: Found) -> tuple[Raster, Raster | None]:
    """The series of a case as a volume, and its masks stacked in the order of its slices."""
    image = read_series(case.image)
    if case.label is None or image.affine is None:
        return image, None
    slices = dicom_files_in(case.image)
    pictures = [path for path in files_in(case.label) if path.suffix.lower() == ".png"]
    if len(slices) != image.shape[2]:
        raise InputFault(f"{case.image}: holds DICOM files besides its slices; leave the slices alone in it")
    _require_partners(case.label, slices, pictures)
    planes: list[np.ndarray] = []
    picture_of = dict(zip(slices, pictures, strict=True))
    for path in series_order(case.image):
        picture = picture_of[path]
        plane = read_label_picture(picture)[0].T
        if plane.shape != image.shape[:2]:
            sizes = f"{plane.shape[0]} x {plane.shape[1]} pixels on a slice of {image.shape[0]} x {image.shape[1]}"
            raise InputFault(f"{picture}: {sizes}; give the mask that was drawn on this slice")
        planes.append(plane)
    return image, Raster(np.stack(planes, axis=-1)[None], image.spacing, image.unit, image.affine)


def _found(path: Path, folder: Path) -> Found:
    number = path.parent.name
    if not number.isdigit():
        raise InputFault(
            f"{path}: lies in no folder with a case's number; restore CHAOS's own, MR/1/{SEQUENCE}"
        )
    if not (path / SLICES).is_dir():
        raise InputFault(f"{path}: has no folder {SLICES}; add the series, or remove the case")
    labelled = (path / MASKS).is_dir()
    tests = any(part.lower().startswith("test") for part in path.relative_to(folder).parts[:-1])
    if not labelled and not tests:
        raise InputFault(f"{path}: has no folder {MASKS}; add the masks, or remove the case")
    label = path / MASKS if labelled else None
    return Found(f"mr_{int(number):04d}", "mr", int(number), path / SLICES, label)


def _require_partners(label: Path, slices: list[Path], pictures: list[Path]) -> None:
    """Raise InputFault where masks and slices cannot be matched one by one."""
    if len(slices) != len(pictures):
        raise InputFault(
            f"{label}: {len(pictures)} masks for {len(slices)} slices; add what is missing, or remove the case"
        )
    names = [{path.stem for path in paths} for paths in (slices, pictures)]
    # Where the two are called alike, a stranger among them would shift all that follow.
    if names[0] & names[1] and names[0] != names[1]:
        stranger = min(names[0] ^ names[1])
        raise InputFault(
            f"{label}: {stranger} has no partner of its name among slices and masks; mend the names"
        )
