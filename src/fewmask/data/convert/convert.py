"""The verb: a published dataset as its users have it becomes nnU-Net folders, or any with masks one with tags."""

from collections.abc import Callable, Mapping
from pathlib import Path

from fewmask.config import did_you_mean
from fewmask.console import Progress, silent
from fewmask.data.convert.btcv import btcv_jobs
from fewmask.data.convert.chaos import chaos_jobs
from fewmask.data.convert.mmwhs import mmwhs_jobs
from fewmask.data.convert.options import Job, Options
from fewmask.data.convert.sifa import sifa_jobs
from fewmask.data.convert.tags import FORMAT as TAGS
from fewmask.data.convert.tags import Tell, tags_from_masks
from fewmask.data.folder import existing_folder
from fewmask.data.phantoms.folder import drawn_aside
from fewmask.errors import InputFault

FORMATS: Mapping[str, Callable[[Path, Options], tuple[Job, ...]]] = {
    "mmwhs": mmwhs_jobs,
    "sifa": sifa_jobs,
    "chaos": chaos_jobs,
    "btcv": btcv_jobs,
}


def _unheard(text: str) -> None:
    """No remark is told."""


def convert(
    format: str,
    folder: Path,
    out: Path,
    *,
    options: Options | None = None,
    progress: Progress = silent,
    tell: Tell = _unheard,
) -> tuple[Path, ...]:
    """Write the dataset in `folder` below `out`, one nnU-Net folder a modality, and say which folders they are.

    `format` is a key of `FORMATS`, or "tags-from-masks": then `out` itself becomes the folder, and `tell` is given
    what a user should know of the tags (see `tags_from_masks`). Beside dataset.json lie cases.csv (patient and split:
    the published test cases are the test part) and conversion.json, which says what was done to each case. The
    folders appear only when they are complete. Raises InputFault, one line, for whatever is missing, unreadable, there
    twice or not as published, and for a folder that holds something already.
    """
    name = format.lower()
    options = options or Options()
    if name == TAGS:
        return (tags_from_masks(folder, out, options, progress, tell),)
    if name not in FORMATS:
        raise InputFault(f"no format {format!r}; {did_you_mean(name, (*FORMATS, TAGS))}")
    jobs = FORMATS[name](existing_folder(folder), options)
    with drawn_aside(out, f"convert-{name}", [job.folder for job in jobs]) as aside:
        for job in jobs:
            job.write(aside / job.folder, progress)
    return tuple(out / job.folder for job in jobs)
