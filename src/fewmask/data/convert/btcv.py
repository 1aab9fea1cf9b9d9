"""BTCV (Synapse, "Beyond the Cranial Vault"): abdomens by CT, of whose 13 organs four pair with CHAOS."""

import re
from pathlib import Path

from fewmask.data.convert.dataset import ABDOMEN, Dataset
from fewmask.data.convert.found import Named, find_volumes
from fewmask.data.convert.options import Job, Options, steps_of
from fewmask.data.convert.steps import Steps
from fewmask.data.convert.volumes import Collection, job_of, read_nifti
from fewmask.data.folder import stem_of
from fewmask.errors import InputFault

_NAME = re.compile(r"(?P<role>img|label)(?P<number>\d{4})")
_MEANING = {6: 1, 2: 2, 3: 3, 1: 4}
COLLECTION = Collection(
    "btcv",
    "ct",
    Dataset(
        "Dataset956_BTCV_CT",
        "BTCV abdomen, CT, four organs with the test cases of SIFA",
        "the terms of the BTCV challenge apply; the images may not be passed on",
        "CT",
        ABDOMEN,
    ),
    _MEANING,
    frozenset(range(14)) - set(_MEANING),
    frozenset({1, 9, 30, 32, 33, 39}),
)
"""Its label values, and the test cases that SIFA's authors name."""


def btcv_jobs(folder: Path, options: Options) -> tuple[Job, ...]:
    """A CT folder. The values stay as they are unless a step is asked for."""
    steps = steps_of(options, Steps())
    search = find_volumes(folder, _name_of)
    if not search.cases:
        raise InputFault(
            f"{folder}: holds no BTCV files; they are called img/img0001.nii.gz and label/label0001.nii.gz"
        )
    return (job_of(COLLECTION, folder, search, read_nifti, steps, options),)


def _name_of(path: Path) -> Named | None:
    match = _NAME.fullmatch(stem_of(path).lower())
    if match is None:
        return None
    # RawData/Testing has images alone.
    testing = any(part.lower().startswith("test") for part in path.parts[:-1])
    role = "image" if match["role"] == "img" else "label"
    return Named("ct", int(match["number"]), role, may_lack_label=testing)
