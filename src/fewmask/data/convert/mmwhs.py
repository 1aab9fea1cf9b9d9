"""MM-WHS 2017 as its challenge hands it out: hearts by CT and by MR, not of the same patients.

Values are those of the challenge, numbers of test cases those of SIFA's authors, whose steps are told in prose alone:
a box around the mean label coordinate, the top 2 % of the values clipped, z-score over the volume. Differs: their
box's size is not published; ours is 256 mm, which is 256 voxels of an MR of about 1 mm.
"""

import re
from pathlib import Path

from fewmask.data.convert.dataset import HEART, Dataset
from fewmask.data.convert.found import Named, Search, find_volumes
from fewmask.data.convert.options import Job, Options, steps_of
from fewmask.data.convert.steps import Crop, Steps
from fewmask.data.convert.volumes import Collection, job_of, read_nifti
from fewmask.data.folder import stem_of
from fewmask.errors import InputFault

USUAL = Steps(crop=Crop((256.0, 256.0, 256.0), "mm"), clip_top_percent=2.0, zscore=True)

_NAME = re.compile(r"(?P<modality>ct|mr)_(?P<set>train|test)_(?P<number>\d{4})_(?P<role>image|label)")
# One case of the original has 421 where 420 is meant.
_MEANING = {205: 1, 420: 2, 421: 2, 500: 3, 820: 4}
_OTHERS = frozenset({0, 550, 600, 850})
TESTED = {"mr": frozenset({1007, 1009, 1018, 1019}), "ct": frozenset({1003, 1008, 1014, 1019})}
"""The published test cases of SIFA and PnP-AdaNet."""

TERMS = "the terms of MM-WHS 2017 apply; the images may not be passed on"


def mmwhs_jobs(folder: Path, options: Options) -> tuple[Job, ...]:
    """An MR folder and a CT folder, or the one of them that is there."""
    steps = steps_of(options, USUAL)
    search = find_volumes(folder, _name_of)
    if not search.cases:
        raise InputFault(
            f"{folder}: holds no MM-WHS files; they are called like ct_train_1001_image.nii.gz and ..._label.nii.gz"
        )
    jobs: list[Job] = []
    for modality, tested in TESTED.items():
        cases = tuple(case for case in search.cases if case.modality == modality)
        if cases:
            collection = Collection("mmwhs", modality, _dataset(modality), _MEANING, _OTHERS, tested)
            own = Search(cases, search.strange)
            jobs.append(job_of(collection, folder, own, read_nifti, steps, options))
    return tuple(jobs)


def _dataset(modality: str) -> Dataset:
    name = modality.upper()
    return Dataset(
        f"Dataset951_MMWHS_{name}" if modality == "mr" else f"Dataset952_MMWHS_{name}",
        f"MM-WHS 2017, {name}, four structures with the test cases of SIFA",
        TERMS,
        name,
        HEART,
    )


def _name_of(path: Path) -> Named | None:
    match = _NAME.fullmatch(stem_of(path).lower())
    if match is None:
        return None
    role = "image" if match["role"] == "image" else "label"
    return Named(match["modality"], int(match["number"]), role, may_lack_label=match["set"] == "test")
